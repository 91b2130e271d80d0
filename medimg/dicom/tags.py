"""The header attributes that the catalogue keeps, as JSON-able values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence

from medimg.errors import shown_term

if TYPE_CHECKING:  # `medimg fetch` does without numpy, which the cases need.
    from medimg.cases import Tags


HEADER_TAGS = (
    "SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "InstanceNumber", "SeriesNumber", "Modality", "PatientID", "PatientAge",
    "PatientOrientation", "ImageLaterality", "Laterality", "ViewPosition", "ViewCodeSequence",
    "FieldOfViewRotation", "FieldOfViewHorizontalFlip",
    "Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "PresentationLUTShape", "PixelPaddingValue",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "ImagerPixelSpacing", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
    "SliceThickness", "SpacingBetweenSlices",
    "EchoTime", "RepetitionTime", "BurnedInAnnotation", "LossyImageCompression",
)  # fmt: skip
"""Keywords kept as they are, where present.

No free text (descriptions, names of devices and protocols): nothing needs it, and people write names into
it. The flags of `PRESENCE_FLAGS` and TransferSyntaxUID come on top.
"""

CODE_TAGS = ("CodeValue", "CodingSchemeDesignator")
"""What is kept of each item of a code sequence (DICOM PS3.3 section 8)."""

PRESENCE_FLAGS = {
    "HasModalityLUTSequence": "ModalityLUTSequence",
    "HasVOILUTSequence": "VOILUTSequence",
    "HasPerFrameFunctionalGroups": "PerFrameFunctionalGroupsSequence",
    "HasOverlay": "OverlayData",
}
"""Flag to the keyword whose presence it states; the values themselves are too large for a table."""


def collect_tags(dataset: Dataset, *, transfer_syntax: str) -> Tags:
    """The wanted attributes that the data set has, by keyword; one that is there without a value is None."""
    tags: dict[str, object] = {"TransferSyntaxUID": transfer_syntax}
    for keyword in HEADER_TAGS:
        if keyword in dataset:
            tags[keyword] = json_value(dataset[keyword])
    for flag, keyword in PRESENCE_FLAGS.items():
        tags[flag] = (0x6000, 0x3000) in dataset if keyword == "OverlayData" else keyword in dataset
    return tags


def json_value(element: DataElement) -> object:
    """Text, int, float, a list of them, or None.

    A sequence becomes a list of mappings with the code attributes.
    """
    value = element.value
    if isinstance(value, DicomSequence):
        return [_collect_code(item) for item in value]
    if isinstance(value, (MultiValue, list, tuple)):
        return [_scalar(part, element.VR) for part in value]
    return _scalar(value, element.VR)


def _collect_code(item: Dataset) -> dict[str, str]:
    return {keyword: shown_term(item[keyword].value) for keyword in CODE_TAGS if keyword in item}


def _scalar(value: Any, representation: str) -> str | int | float | None:
    if value is None or value == "":
        return None
    if representation == "IS":
        return int(value)
    if representation in ("DS", "FL", "FD"):
        return float(value)
    if isinstance(value, (int, float)):
        return value
    # PatientID is a text of its own kind; the catalogue replaces it. All others are codes, or are not kept.
    return str(value) if representation == "LO" else shown_term(value)
