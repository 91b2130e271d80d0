"""The slices of one DICOM series as a volume: sorted by position, checked, and read one at a time.

DICOM's (x, y, z) end here: what leaves is (z, y, x), with an affine back to DICOM patient coordinates in mm
(LPS: x points to the patient's left, y to the back, z to the head).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medimg.cases import Stack
from medimg.dicom.parse import DicomFile, open_dicom
from medimg.dicom.read import read_frame
from medimg.errors import BadImage, UnreadableFile

SPACING_TOLERANCE = 0.01
"""Of the distance between slices: how far a slice may lie from where even spacing puts it.

At least POSITION_TOLERANCE_MM.
"""
POSITION_TOLERANCE_MM = 0.01
DIRECTION_TOLERANCE = 1e-4
"""Of each direction cosine, about 0.006 degrees, and of the pixel spacing in mm."""


@dataclass(frozen=True)
class Plane:
    """Where one frame lies and how its values are stored.

    Attributes:
        path, frame: the file and the 0-based frame within it.
        sop_instance_uid: (0008,0018).
        position: of the first pixel's centre, (x, y, z) in mm (0020,0032).
        orientation: row and column direction cosines, 6 numbers (0020,0037).
        spacing_mm: between rows, between columns (0028,0030).
        shape: (H, W).
        slope, intercept: modality LUT, 1 and 0 where absent.
        bits, signed: of the stored values.
        thickness_mm: distance to the next slice as the header says, None if it does not.
    """

    path: Path
    frame: int
    sop_instance_uid: str
    series_instance_uid: str
    position: np.ndarray
    orientation: np.ndarray
    spacing_mm: np.ndarray
    shape: tuple[int, int]
    slope: float
    intercept: float
    bits: int
    signed: bool
    thickness_mm: float | None

    @property
    def name(self) -> str:
        """For errors."""
        return self.path.name if self.frame == 0 else f"{self.path.name} frame {self.frame}"

    @property
    def normal(self) -> np.ndarray:
        """Unit vector, row direction x column direction."""
        return np.cross(self.orientation[:3], self.orientation[3:])


@dataclass(frozen=True)
class Volume:
    """A checked series. Iterating it yields its slices as unsigned integers, each read when it is asked for.

    Attributes:
        planes: in ascending order along the normal.
        affine: 4x4, (z, y, x, 1) to mm; None for a single slice whose thickness is unknown.
    """

    planes: tuple[Plane, ...]
    affine: np.ndarray | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        return len(self.planes), *self.planes[0].shape

    @property
    def dtype(self) -> np.dtype:
        """uint8 where every slice has at most 8 bits, else uint16."""
        return np.dtype(np.uint8 if max(plane.bits for plane in self.planes) <= 8 else np.uint16)

    @property
    def offset(self) -> int:
        """Added to signed stored values so that they become unsigned: 128 or 32768, 0 for unsigned ones."""
        return (np.iinfo(self.dtype).max + 1) // 2 if self.planes[0].signed else 0

    @property
    def stack(self) -> Stack:
        """Returns the slices with slope and intercept of the modality's values.

        value * slope + intercept is exactly the modality's value.
        """
        first = self.planes[0]
        return Stack(
            self, len(self.planes), self.affine, first.slope, first.intercept - first.slope * self.offset
        )

    def __iter__(self) -> Iterator[np.ndarray]:
        for plane in self.planes:
            stored_HW = read_frame(plane.path, frame=plane.frame)
            if self.offset:
                stored_HW = stored_HW.astype(np.int32) + self.offset
            yield stored_HW.astype(self.dtype)


def read_volume(paths: Sequence[Path]) -> Volume:
    """Reads the headers of one series and puts its slices into order; no pixel is read yet.

    Slices are sorted by Image Position (Patient) along the normal of the image plane, never by Instance
    Number (DICOM PS3.3 C.7.6.2.1.1). Enhanced multi-frame files are read through their functional groups
    (C.7.6.16). A tilted gantry is kept as a shear of the affine.

    Args:
        paths: the files of the series, in any order.

    Raises:
        UnreadableFile: several series, a position, orientation or spacing that is missing or differs, a
            duplicated position, a missing slice, uneven spacing, several rescale slopes, colours, or more
            than 16 bits.
    """
    planes = [plane for path in paths for plane in read_planes(path)]
    if not planes:
        raise UnreadableFile("a series without files, expected at least one slice")
    _check_alike(planes)
    normal = planes[0].normal
    ordered = tuple(sorted(planes, key=lambda plane: float(plane.position @ normal)))
    return Volume(ordered, _affine(ordered))


def read_planes(path: Path) -> list[Plane]:
    """The planes of one file: one, or one for each frame of an enhanced multi-frame object.

    Raises:
        UnreadableFile: an attribute is missing, or not of the kind that a volume needs.
    """
    with open_dicom(path) as file:
        dataset = file.dataset
        if int(dataset.get("SamplesPerPixel") or 1) != 1:
            raise BadImage(
                f"SamplesPerPixel (0028,0002) is {dataset.SamplesPerPixel}, expected 1 in a volume"
            )
        if int(dataset.get("BitsStored") or 0) > 16:
            raise BadImage(f"BitsStored (0028,0101) is {dataset.BitsStored}, expected at most 16 in a volume")
        if "ModalityLUTSequence" in dataset:
            raise BadImage(
                "has a Modality LUT Sequence (0028,3000), expected Rescale Slope and Intercept in a volume"
            )
        frames = int(dataset.get("NumberOfFrames") or 1)
        return [_plane(file, Path(path), frame) for frame in range(frames)]


def functional_groups(dataset: Dataset, *, frame: int) -> list[Dataset]:
    """Lists where a frame's attributes may be, nearest first (PS3.3 C.7.6.16).

    Its own functional groups, the shared ones, the data set.
    """
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    return [*own[frame : frame + 1], *shared[:1]]


def frame_attribute(dataset: Dataset, *, group: str, keyword: str, frame: int) -> Any:
    """An attribute of one frame from the functional group that holds it, or else from the data set.

    None where it is absent or empty.
    """
    for item in functional_groups(dataset, frame=frame):
        for inner in item.get(group) or []:
            if inner.get(keyword) not in (None, ""):
                return inner.get(keyword)
    found = dataset.get(keyword)
    return None if found == "" else found


def _plane(file: DicomFile, path: Path, frame: int) -> Plane:
    dataset = file.dataset

    def numbers(group: str, keyword: str, count: int) -> np.ndarray:
        found = frame_attribute(dataset, group=group, keyword=keyword, frame=frame)
        values = np.array([] if found is None else found, dtype=float).ravel()
        if len(values) != count or not np.isfinite(values).all():
            raise BadImage(
                f"{keyword} of frame {frame} is {'missing' if found is None else found}, expected "
                f"{count} numbers in a volume"
            )
        return values

    def number(group: str, keyword: str) -> float | None:
        found = frame_attribute(dataset, group=group, keyword=keyword, frame=frame)
        return None if found is None else float(found)

    slope, intercept = (
        number("PixelValueTransformationSequence", keyword)
        for keyword in ("RescaleSlope", "RescaleIntercept")
    )
    thicknesses = (
        number("PixelMeasuresSequence", keyword) for keyword in ("SpacingBetweenSlices", "SliceThickness")
    )
    return Plane(
        path=path,
        frame=frame,
        sop_instance_uid=str(dataset.get("SOPInstanceUID") or ""),
        series_instance_uid=str(dataset.get("SeriesInstanceUID") or ""),
        position=numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=_checked_orientation(numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)),
        spacing_mm=numbers("PixelMeasuresSequence", "PixelSpacing", 2),
        shape=(int(dataset.Rows), int(dataset.Columns)),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        bits=int(dataset.BitsStored),
        signed=bool(dataset.get("PixelRepresentation")),
        thickness_mm=next((abs(thickness) for thickness in thicknesses if thickness), None),
    )


def _checked_orientation(orientation: np.ndarray) -> np.ndarray:
    row, column = orientation[:3], orientation[3:]
    if abs(row @ row - 1) > 0.01 or abs(column @ column - 1) > 0.01 or abs(row @ column) > 0.01:
        raise BadImage(
            f"ImageOrientationPatient (0020,0037) is {orientation.tolist()}, expected two "
            "perpendicular unit vectors"
        )
    return orientation


def _check_alike(planes: Sequence[Plane]) -> None:
    first = planes[0]
    for plane in planes[1:]:
        for attribute, tolerance in _ALIKE.items():
            found, expected = getattr(plane, attribute), getattr(first, attribute)
            alike = (
                found == expected
                if tolerance is None
                else np.allclose(found, expected, rtol=0, atol=tolerance)
            )
            if not alike:
                shown, wanted = (
                    value.tolist() if isinstance(value, np.ndarray) else value for value in (found, expected)
                )
                raise UnreadableFile(
                    f"{plane.name}: {attribute} is {shown}, expected {wanted} as in {first.name} of "
                    "the same volume"
                )


_ALIKE: dict[str, float | None] = {
    "series_instance_uid": None,
    "shape": None,
    "orientation": DIRECTION_TOLERANCE,
    "spacing_mm": DIRECTION_TOLERANCE,
    "signed": None,
    "slope": 0.0,
    "intercept": 0.0,
}
"""Attributes that all slices share; the number is the absolute tolerance."""


def _affine(ordered: Sequence[Plane]) -> np.ndarray | None:
    first = ordered[0]
    if len(ordered) > 1:
        step = _checked_step(ordered)
    elif first.thickness_mm is not None:
        step = first.normal * first.thickness_mm
    else:
        return None
    affine = np.eye(4)
    # Rows go down along the column cosine (orientation[3:]), columns to the right along the row cosine: PS3.3
    # equation C.7.6.2.1-1.
    affine[:3, 0] = step
    affine[:3, 1] = first.orientation[3:] * first.spacing_mm[0]
    affine[:3, 2] = first.orientation[:3] * first.spacing_mm[1]
    affine[:3, 3] = first.position
    return affine


def _checked_step(ordered: Sequence[Plane]) -> np.ndarray:
    """The vector from one slice to the next."""
    positions_D3 = np.array([plane.position for plane in ordered])
    gaps_mm = np.diff(positions_D3 @ ordered[0].normal)
    typical = float(np.median(gaps_mm))
    for index, gap in enumerate(gaps_mm):
        before, after = ordered[index].name, ordered[index + 1].name
        if gap < POSITION_TOLERANCE_MM:
            raise UnreadableFile(
                f"{after}: lies at the position of {before} ({gap:.4f} mm apart), expected one slice "
                "for each position"
            )
        missing = round(gap / typical) - 1 if typical else 0
        if missing > 0 and abs(gap / typical - missing - 1) < 0.1:
            raise UnreadableFile(
                f"{after}: lies {gap:.3f} mm from {before}, expected {typical:.3f}; {missing} "
                "slice(s) between them are missing"
            )
    step = (positions_D3[-1] - positions_D3[0]) / (len(ordered) - 1)
    even_D3 = positions_D3[0] + np.arange(len(ordered))[:, np.newaxis] * step
    distances_mm = np.linalg.norm(positions_D3 - even_D3, axis=1)
    worst = int(distances_mm.argmax())
    if distances_mm[worst] > max(POSITION_TOLERANCE_MM, SPACING_TOLERANCE * typical):
        raise UnreadableFile(
            f"{ordered[worst].name}: lies {distances_mm[worst]:.3f} mm from where even spacing puts "
            f"it (gaps {gaps_mm.min():.3f} to "
            f"{gaps_mm.max():.3f} mm), expected at most "
            f"{max(POSITION_TOLERANCE_MM, SPACING_TOLERANCE * typical):.3f} mm"
        )
    return step
