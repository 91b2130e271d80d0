"""Mammograms the same way round: chest wall to the left, head or outer side up.

Right breasts are thereby mirrored onto left ones.

What the header states certainly is followed; what it does not state is left alone, but for the side of the
chest wall, which the picture shows. DICOM PS3.3 C.7.6.1.1.1 (Patient Orientation), C.8.11.7 (Mammography
Image).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medimg.cases import Tags

CRANIO_CAUDAL_CODES = ("399162004", "R-10242")
"""SNOMED CT and the older SNOMED RT code of the cranio-caudal view (DICOM PS3.16 CID 4014)."""


EXCHANGE = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
"""Maps (y, x, 1) to (x, y, 1)."""


@dataclass(frozen=True)
class Flips:
    """Which axes are mirrored to reach the canonical orientation, and whether they are exchanged before."""

    left_right: bool = False
    up_down: bool = False
    transposed: bool = False

    def apply(self, image: np.ndarray) -> np.ndarray:
        """A mirrored view of HW or HWC; nothing is copied."""
        image = image.swapaxes(0, 1) if self.transposed else image
        rows = slice(None, None, -1) if self.up_down else slice(None)
        columns = slice(None, None, -1) if self.left_right else slice(None)
        return image[rows, columns]

    def matrix(self, shape: tuple[int, ...]) -> np.ndarray:
        """3x3, maps (y, x, 1) of an image of that shape to the mirrored image.

        Pixel centres are whole numbers.
        """
        height, width = (shape[1], shape[0]) if self.transposed else shape[:2]
        matrix = np.eye(3)
        if self.up_down:
            matrix[0] = (-1, 0, height - 1)
        if self.left_right:
            matrix[1] = (0, -1, width - 1)
        return matrix @ EXCHANGE if self.transposed else matrix


def mammogram_flips(tags: Tags, *, preview_HW: np.ndarray) -> Flips:
    """Finds the flips that bring a mammogram to the canonical orientation.

    The row direction of Patient Orientation decides on left-right: A (towards the front) means that the chest
    wall is at the left, P at the right. Without it, the brighter half is the chest wall's. Field Of View
    Rotation and Horizontal Flip are not asked: they are relative to the detector's own read-out order, which
    differs by vendor (a GE right breast with rotation 180 and no flip has its chest wall at the right). The
    column direction decides on up-down: H is flipped; L and R only in cranio-caudal views of a known side,
    where the outer side goes up. Where front and back lie along the columns, rows and columns are exchanged.

    Args:
        tags: by keyword, as `read_tags` returns them; may be empty.
        preview_HW: the display image or a thinned view of it, larger is brighter.
    """
    row_direction, column_direction = _patient_orientation(tags)
    # Front and back along the columns: the view was taken, or stored, turned by a quarter.
    transposed = column_direction[:1] in ("A", "P") and row_direction[:1] in ("L", "R", "H", "F")
    if transposed:
        row_direction, column_direction = column_direction, row_direction
        preview_HW = preview_HW.T
    is_stated = row_direction[:1] in ("A", "P")
    left_right = row_direction[0] == "P" if is_stated else _right_half_is_brighter(preview_HW)
    return Flips(left_right, _is_upside_down(column_direction, tags), transposed)


def _patient_orientation(tags: Tags) -> tuple[str, str]:
    value = tags.get("PatientOrientation")
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return "", ""
    return str(value[0] or "").upper(), str(value[1] or "").upper()


def _is_upside_down(column_direction: str, tags: Tags) -> bool:
    if "F" in column_direction or "H" in column_direction:
        return column_direction.find("H") >= 0 and "F" not in column_direction
    side = tags.get("ImageLaterality") or tags.get("Laterality")
    # Outer side up: downwards then means towards the other side of the body. The column direction towards the
    # breast's own side is upside down.
    return _is_cranio_caudal(tags) and side in ("L", "R") and column_direction[:1] == side


def _is_cranio_caudal(tags: Tags) -> bool:
    codes = [str(item.get("CodeValue", "")) for item in tags.get("ViewCodeSequence") or []]
    return str(tags.get("ViewPosition") or "").upper() == "CC" or any(
        code in CRANIO_CAUDAL_CODES for code in codes
    )


def _right_half_is_brighter(preview_HW: np.ndarray) -> bool:
    half = preview_HW.shape[1] // 2
    return half > 0 and float(preview_HW[:, -half:].sum(dtype=np.float64)) > float(
        preview_HW[:, :half].sum(dtype=np.float64)
    )
