"""Series and SEG objects written at test time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.unit.dicom.written import make_dataset, write_dicom

AXIAL = (1.0, 0, 0, 0, 1, 0)
SAGITTAL = (0.0, 1, 0, 0, 0, -1)


def write_series(
    folder: Path,
    slices: np.ndarray,
    *,
    gap_mm: float = 2.5,
    orientation: Sequence[float] = AXIAL,
    **attributes: object,
) -> list[Path]:
    """Writes slices DHW, first to last along the normal; names and instance numbers run the other way.

    An attribute given as a list of D values differs from slice to slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    per_slice = {
        name: values
        for name, values in attributes.items()
        if isinstance(values, list) and len(values) == len(slices)
    }
    shared = {name: value for name, value in attributes.items() if name not in per_slice}
    paths = []
    for index, slice_HW in enumerate(slices):
        position = np.array([-120.0, -60.0, 30.0]) + normal * gap_mm * index
        geometry: dict[str, object] = {
            "ImagePositionPatient": position.tolist(),
            "ImageOrientationPatient": list(orientation),
            "PixelSpacing": [0.5, 0.75],
            "SliceThickness": 9.0,
            "InstanceNumber": len(slices) - index,
            "SeriesInstanceUID": "1.2.3.4",
            "SOPInstanceUID": f"1.2.3.4.{index + 1}",
        }
        values = geometry | shared | {name: values[index] for name, values in per_slice.items()}
        paths.append(write_dicom(folder / f"{len(slices) - index:03d}.dcm", slice_HW, **values))
    return paths


def write_segmentation(
    path: Path, frames: Sequence[tuple[int, int, np.ndarray]], **attributes: object
) -> Path:
    """Writes a SEG object; each frame is (segment number, 1-based slice as in `write_series`, values HW)."""
    fractional = attributes.get("SegmentationType") == "FRACTIONAL"
    dataset = make_dataset(
        [values.astype(np.uint8) for *_, values in frames], SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"
    )
    dataset.SegmentationType, dataset.NumberOfFrames = "BINARY", len(frames)
    if not fractional:
        dataset.BitsAllocated = dataset.BitsStored = 1
        dataset.HighBit = 0
        bits = np.concatenate([values.ravel() for *_, values in frames]).astype(bool)
        packed = np.packbits(bits, bitorder="little").tobytes()
        dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    dataset.SegmentSequence = [
        _item(SegmentNumber=number, SegmentLabel=f"segment {number}")
        for number in sorted({number for number, *_ in frames})
    ]
    dataset.PerFrameFunctionalGroupsSequence = [_frame_groups(number, index) for number, index, _ in frames]
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    dataset.save_as(path, enforce_file_format=True)
    return path


def _frame_groups(number: int, index: int) -> Dataset:
    source = _item(
        ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.7", ReferencedSOPInstanceUID=f"1.2.3.4.{index}"
    )
    return _item(
        DerivationImageSequence=[_item(SourceImageSequence=[source])],
        SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=number)],
    )


def _item(**attributes: object) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item
