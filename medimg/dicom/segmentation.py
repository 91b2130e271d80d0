"""DICOM SEG objects as label maps on the slices of their series, read one slice at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset

from medimg.cases import Stack
from medimg.dicom.parse import DicomFile, open_dicom
from medimg.dicom.read import frame_of
from medimg.dicom.volume import DIRECTION_TOLERANCE, Volume, frame_attribute, functional_groups
from medimg.errors import BadImage, quote_code, show_code

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"

Overlap = Literal["refuse", "last"]
"""What to do where two segments claim one pixel: refuse the file, or let the larger segment number win."""

SegmentFrames = Mapping[int, tuple[tuple[int, int], ...]]
"""Slice index to its (segment number, frame index) pairs, in ascending order.

A slice without a frame is absent.
"""


@dataclass(frozen=True)
class Segmentation:
    """The label map of one SEG object.

    Iterating it yields one slice HW at a time, pixel value = segment number, 0 = background.

    Attributes:
        labels: segment number to Segment Label (0062,0005).
        threshold: of a fractional segment; a pixel belongs to it from this part of Maximum Fractional Value
            on.
    """

    path: Path
    volume: Volume
    frames: SegmentFrames
    labels: Mapping[int, str]
    threshold: float
    overlap: Overlap

    @property
    def stack(self) -> Stack:
        """As many slices as the volume has, with its affine."""
        return Stack(self, self.volume.shape[0], self.volume.affine)

    def __iter__(self) -> Iterator[np.ndarray]:
        dtype = np.uint8 if max(self.labels) <= 255 else np.uint16
        with open_dicom(self.path) as file:
            for index in range(self.volume.shape[0]):
                labels_HW = np.zeros(self.volume.shape[1:], dtype)
                for segment, frame in self.frames.get(index, ()):
                    self._draw(file, labels_HW, segment=segment, frame=frame)
                yield labels_HW

    def _draw(self, file: DicomFile, labels_HW: np.ndarray, *, segment: int, frame: int) -> None:
        inside_HW = frame_of(file, frame=frame) >= _smallest_inside(file.dataset, threshold=self.threshold)
        if self.overlap == "refuse":
            taken = np.unique(labels_HW[inside_HW & (labels_HW != 0)])
            if len(taken):
                shared = int(np.count_nonzero(inside_HW & (labels_HW != 0)))
                raise BadImage(
                    f"segments {taken[0]} and {segment} overlap in {shared} pixel(s) of frame "
                    f"{frame}, expected disjoint segments (or overlap='last')"
                )
        labels_HW[inside_HW] = segment


def read_segmentation(
    path: Path, volume: Volume, *, threshold: float = 0.5, overlap: Overlap = "refuse"
) -> Segmentation:
    """Matches the frames of a SEG object with the slices of a volume; no pixel is read yet.

    A frame belongs to the slice whose SOPInstanceUID (and frame number, for a multi-frame source) its
    Derivation Image Sequence references (DICOM PS3.3 C.8.20, C.7.6.16.2.6); frames may be in any order, and
    slices without a frame are background. Where frames state their position and orientation, these must be
    the referenced slice's, so that a flipped or resampled mask is refused.

    Args:
        path: a SEG file, BINARY or FRACTIONAL.
        volume: the series that it was drawn on.
        threshold: of fractional segments, in (0, 1].
        overlap: see `Overlap`; an overlap is found when its slice is read.

    Raises:
        UnreadableFile: no SEG, of another size or geometry than the volume, or with a frame that references
            no or another slice.
    """
    if not 0 < threshold <= 1:
        raise BadImage(f"threshold is {threshold}, expected more than 0 and at most 1")
    with open_dicom(path) as file:
        dataset = file.dataset
        _check_kind(dataset, volume)
        labels = {
            int(item.SegmentNumber): str(item.get("SegmentLabel") or "")
            for item in dataset.get("SegmentSequence") or []
        }
        if not labels:
            raise BadImage("Segment Sequence (0062,0002) is missing or empty, expected at least one segment")
        return Segmentation(
            Path(path), volume, _match_frames(dataset, volume, labels), labels, threshold, overlap
        )


def _check_kind(dataset: Dataset, volume: Volume) -> None:
    if str(found_class := dataset.get("SOPClassUID")) != SEGMENTATION_STORAGE:
        raise BadImage(
            f"SOPClassUID (0008,0016) is {quote_code(found_class)}, expected Segmentation Storage "
            f"({SEGMENTATION_STORAGE})"
        )
    if (kind := dataset.get("SegmentationType")) not in ("BINARY", "FRACTIONAL"):
        raise BadImage(f"SegmentationType (0062,0001) is {quote_code(kind)}, expected BINARY or FRACTIONAL")
    found = int(dataset.Rows), int(dataset.Columns)
    if found != volume.shape[1:]:
        raise BadImage(
            f"has {found[0]} x {found[1]} pixels, expected {volume.shape[1]} x {volume.shape[2]} as "
            "in the series"
        )


def _smallest_inside(dataset: Dataset, *, threshold: float) -> float:
    """The smallest stored value that belongs to a segment."""
    if dataset.SegmentationType == "BINARY":
        return 1
    return max(threshold * float(dataset.get("MaximumFractionalValue") or 255), 1)


def _match_frames(dataset: Dataset, volume: Volume, labels: Mapping[int, str]) -> SegmentFrames:
    slices = _slices_by_reference(volume)
    matched: dict[int, dict[int, int]] = {}
    for frame in range(int(dataset.get("NumberOfFrames") or 1)):
        segment = frame_attribute(
            dataset, group="SegmentIdentificationSequence", keyword="ReferencedSegmentNumber", frame=frame
        )
        if segment is None or int(segment) not in labels:
            raise BadImage(f"frame {frame} is of segment {segment}, expected one of {sorted(labels)}")
        index = _slice_of(dataset, slices, frame)
        _check_place(dataset, volume, index=index, frame=frame)
        segments = matched.setdefault(index, {})
        if int(segment) in segments:
            raise BadImage(
                f"frames {segments[int(segment)]} and {frame} are both segment {segment} of one "
                "slice, expected one frame"
            )
        segments[int(segment)] = frame
    return {index: tuple(sorted(segments.items())) for index, segments in matched.items()}


def _slices_by_reference(volume: Volume) -> dict[tuple[str, int | None], int]:
    """(SOPInstanceUID, 0-based frame) to slice index.

    A file of one frame is also found without a frame number.
    """
    slices: dict[tuple[str, int | None], int] = {}
    uids = [plane.sop_instance_uid for plane in volume.planes]
    for index, plane in enumerate(volume.planes):
        slices[plane.sop_instance_uid, plane.frame] = index
        if uids.count(plane.sop_instance_uid) == 1:
            slices[plane.sop_instance_uid, None] = index
    return slices


def _slice_of(dataset: Dataset, slices: Mapping[tuple[str, int | None], int], frame: int) -> int:
    references: list[tuple[str, int | None]] = []
    for group in functional_groups(dataset, frame=frame):
        for derivation in group.get("DerivationImageSequence") or []:
            for source in derivation.get("SourceImageSequence") or []:
                number = source.get("ReferencedFrameNumber")
                references.append(
                    (str(source.ReferencedSOPInstanceUID), None if number is None else int(number) - 1)
                )
    found = sorted({slices[reference] for reference in references if reference in slices})
    if len(found) != 1:
        named = ", ".join(show_code(uid) for uid, _ in references[:3]) or "no image"
        raise BadImage(
            f"frame {frame} references {named} ({len(found)} of the series' slices), expected exactly "
            "one slice of the series"
        )
    return found[0]


def _check_place(dataset: Dataset, volume: Volume, *, index: int, frame: int) -> None:
    """Compares what the frame states of its plane with the slice.

    What it does not state is taken from the slice.
    """
    plane = volume.planes[index]
    half_pixel_mm = float(plane.spacing_mm.min()) / 2
    for group, keyword, expected, tolerance in (
        ("PlanePositionSequence", "ImagePositionPatient", plane.position, half_pixel_mm),
        ("PlaneOrientationSequence", "ImageOrientationPatient", plane.orientation, 10 * DIRECTION_TOLERANCE),
        ("PixelMeasuresSequence", "PixelSpacing", plane.spacing_mm, 10 * DIRECTION_TOLERANCE),
    ):
        found = frame_attribute(dataset, group=group, keyword=keyword, frame=frame)
        if found is not None and not np.allclose(
            np.array(found, dtype=float), expected, rtol=0, atol=tolerance
        ):
            raise BadImage(
                f"{keyword} of frame {frame} is {list(found)}, expected {expected.tolist()} as in "
                f"{plane.name}"
            )
