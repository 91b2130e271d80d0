"""NIfTI volumes as stacks of slices, read one at a time with nibabel (extra `volumes`).

Axes are put into DICOM's order: slices from the feet to the head, rows from front to back, columns from the
patient's right to left, as far as permuting and flipping axes goes; the affine maps (z, y, x, 1) to DICOM
patient coordinates (LPS) in mm, NIfTI's own being RAS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medimg.cases import Stack
from medimg.dicom.parse import refusing
from medimg.errors import BadImage, UsageError

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
LARGEST_UINT16 = 65535
LABEL_TOLERANCE = 1e-3
"""How far a label may be from a whole number: a scaled BraTS mask holds 0.99999997 for 1."""


@dataclass(frozen=True)
class NiftiSlices:
    """Yields slices HW as stored values (after the file's own scaling), each time it is iterated.

    Attributes:
        path: .nii or .nii.gz.
        volume: index along the fourth axis.
        axes: for z, y and x the axis of the file that becomes it.
        flips: for z, y and x whether that axis is reversed.
        shape: (D, H, W).
    """

    path: Path
    volume: int
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    shape: tuple[int, int, int]

    def __iter__(self) -> Iterator[np.ndarray]:
        with refusing(self.path.name):
            # An open file is read on from where the last slice ended; opened again, a .gz would be inflated
            # from its start for each slice.
            image = _nibabel().load(self.path, keep_file_open=True)
            for index in range(self.shape[0]):
                yield self._slice(image, self.shape[0] - 1 - index if self.flips[0] else index)

    def _slice(self, image: Any, index: int) -> np.ndarray:
        where: list[Any] = [slice(None)] * 3
        where[self.axes[0]] = index
        if image.ndim == 4:
            where.append(self.volume)
        plane = np.asarray(image.dataobj[tuple(where)])
        if self.axes[1] > self.axes[2]:
            plane = plane.T
        return plane[:: -1 if self.flips[1] else 1, :: -1 if self.flips[2] else 1]


@dataclass(frozen=True)
class QuantisedSlices:
    """Yields slices as unsigned integers: round((value - intercept) / slope)."""

    source: NiftiSlices
    slope: float
    intercept: float
    dtype: np.dtype

    def __iter__(self) -> Iterator[np.ndarray]:
        largest = np.iinfo(self.dtype).max
        for values_HW in self.source:
            scaled_HW = np.rint((values_HW.astype(np.float64) - self.intercept) / self.slope)
            yield np.ascontiguousarray(np.clip(scaled_HW, 0, largest).astype(self.dtype))


def read_nifti(path: Path, *, kind: Literal["image", "mask"], volume: int = 0) -> Stack:
    """Reads one NIfTI volume as a stack.

    Its slices are read twice, first for their range, then for their values, and never kept.

    Whole numbers that span at most 65535 keep their values exactly. Other values of an image are quantised to
    16 bits: the error is at most half of the stack's slope, (largest - smallest) / 131070, beside float32's
    own rounding.

    Args:
        path: .nii or .nii.gz.
        kind: "mask" demands whole numbers from 0 to 65535, within LABEL_TOLERANCE, and keeps them.
        volume: which one, in a file with a fourth axis.

    Raises:
        UnreadableFile: not NIfTI, not 3-D or 4-D, values that are not finite, or a mask with other values
            than labels.
        UsageError: nibabel is not installed.
    """
    _nibabel()
    with refusing(path.name):
        source, affine = _open(path, volume)
        smallest, largest, rest = _range(source)
        if kind == "mask":
            if rest > LABEL_TOLERANCE or smallest < 0 or largest > LARGEST_UINT16:
                raise BadImage(
                    f"values from {smallest} to "
                    f"{largest}{'' if rest <= LABEL_TOLERANCE else ', not all whole'}, expected "
                    "labels from 0 to 65535"
                )
            slope, intercept = 1.0, 0.0
        elif rest == 0 and largest - smallest <= LARGEST_UINT16:
            slope, intercept = (
                1.0,
                float(min(smallest, 0.0)) if largest - min(smallest, 0.0) <= LARGEST_UINT16 else smallest,
            )
        else:
            # As float32, which is what an Example stores, and rounded up so that the largest value fits.
            slope, intercept = (
                float(np.nextafter(np.float32((largest - smallest) / LARGEST_UINT16), np.float32(np.inf))),
                float(np.float32(smallest)),
            )
        span = np.rint((largest - intercept) / slope)
        quantised = QuantisedSlices(
            source, slope, intercept, np.dtype(np.uint8 if span <= 255 else np.uint16)
        )
        return Stack(quantised, source.shape[0], affine, slope, intercept)


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise UsageError(
            "NIfTI volumes need nibabel, found none; install the extra: medimg-tfx[volumes]"
        ) from error
    return nibabel


def _open(path: Path, volume: int) -> tuple[NiftiSlices, np.ndarray]:
    nibabel = _nibabel()
    image = nibabel.load(path)
    shape = image.shape
    if len(shape) not in (3, 4):
        raise BadImage(f"has shape {shape}, expected three axes, or four of which the last counts volumes")
    if not 0 <= volume < (shape[3] if len(shape) == 4 else 1):
        raise BadImage(f"volume {volume} asked for, found shape {shape}")
    orientations = nibabel.orientations
    to_lps = orientations.ornt_transform(
        orientations.io_orientation(image.affine), orientations.axcodes2ornt(("L", "P", "S"))
    )
    axes_xyz = [int(np.flatnonzero(to_lps[:, 0] == axis)[0]) for axis in range(3)]
    flips_xyz = [bool(to_lps[axis, 1] < 0) for axis in axes_xyz]
    affine_ras = image.affine @ orientations.inv_ornt_aff(to_lps, shape[:3])
    affine = (RAS_TO_LPS @ affine_ras)[:, [2, 1, 0, 3]]
    z, y, x = reversed(axes_xyz)
    flip_z, flip_y, flip_x = reversed(flips_xyz)
    return NiftiSlices(
        path, volume, (z, y, x), (flip_z, flip_y, flip_x), (shape[z], shape[y], shape[x])
    ), affine


def _range(source: NiftiSlices) -> tuple[float, float, float]:
    """Smallest and largest value, and the largest distance of any from a whole number."""
    smallest, largest, rest = np.inf, -np.inf, 0.0
    for number, values_HW in enumerate(source):
        unusable = int(np.count_nonzero(~np.isfinite(values_HW)))
        if unusable:
            raise BadImage(f"slice {number} has {unusable} values that are not finite, expected numbers")
        smallest, largest = min(smallest, float(values_HW.min())), max(largest, float(values_HW.max()))
        rest = max(rest, float(np.abs(np.rint(values_HW) - values_HW).max()))
    return smallest, largest, rest
