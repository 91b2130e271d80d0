"""The header attributes that the catalogue keeps, as JSON-able values."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag

from medimg.dicom.damage import REPRESENTATIONS, name_element, show_representation
from medimg.errors import BadImage, show_code, show_concept
from medimg.hashing import name_uid

if TYPE_CHECKING:  # `medimg fetch` does without numpy, which the cases need.
    from medimg.cases import Tags


BLANKS = " \0\t\r\n"
LONGEST_QUOTED = 40

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


PIXEL_TAGS = frozenset(
    {
        "Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
        "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "PixelPaddingValue",
        "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction",
    }
)  # fmt: skip
"""Without one of these that is there, pixels cannot be shown as they are meant; any other may be unknown."""

PATIENT = "PatientID"
"""A text of its own kind, which is kept as it is: the catalogue replaces it."""

UNREADABLE = "Unreadable"
"""Beside the keywords: what was found in elements of another type than theirs, one line each."""

NUMBERS = {
    "DS": "a decimal number",
    "FL": "a decimal number",
    "FD": "a decimal number",
    "IS": "a whole number",
}
UNITS = re.compile(r"mm|cm|um|nan|inf(inity)?|n/?a|none|null|unknown|s|ms|kv|px|hu|e", re.IGNORECASE)


def collect_tags(dataset: Dataset, *, transfer_syntax: str) -> Tags:
    """The wanted attributes that the data set has, by keyword; one that is there without a value is None.

    One that is unreadable is None too, and named under UNREADABLE.

    Raises:
        BadImage: the unreadable one is of PIXEL_TAGS.
    """
    tags: dict[str, object] = {"TransferSyntaxUID": transfer_syntax}
    unreadable = []
    for keyword in HEADER_TAGS:
        if keyword in dataset:
            try:
                tags[keyword] = json_value(read_element(dataset, keyword), is_kept=keyword == PATIENT)
            except BadImage as error:
                if keyword in PIXEL_TAGS:
                    raise
                tags[keyword] = None
                unreadable.append(str(error))
    if unreadable:
        tags[UNREADABLE] = unreadable
    for flag, keyword in PRESENCE_FLAGS.items():
        tags[flag] = (0x6000, 0x3000) in dataset if keyword == "OverlayData" else keyword in dataset
    return tags


def read_element(dataset: Dataset, keyword: str) -> DataElement:
    """The element of a keyword that is there.

    Raises:
        BadImage: its bytes are no value of its representation, or it has one that does not exist; names tag,
            found and expected.
    """
    tag = Tag(keyword)
    try:
        element, usual = dataset[tag], dictionary_VR(tag)
        if (usual == "SQ") != isinstance(element.value, DicomSequence):
            raise BadImage(
                f"{name_element(tag)} has the value representation {show_code(element.VR)}, expected {usual}"
            )
        if usual in NUMBERS:
            numbers = [float(value) for value in _as_list(element.value) if value not in (None, "")]
            whole = usual != "IS" or all(map(float.is_integer, numbers))
            if not whole or not all(map(math.isfinite, numbers)):
                raise BadImage(describe_element(element, tag))
        return element
    except BadImage:
        raise
    except Exception as error:
        raise BadImage(describe_element(dataset.get_item(tag), tag)) from error


def read_value(dataset: Dataset, keyword: str) -> Any:
    """The element's value, None where it is absent; text without the blanks around it. Raises BadImage."""
    if keyword not in dataset:
        return None
    value = read_element(dataset, keyword).value
    return value.strip(BLANKS) if isinstance(value, str) else value


def describe_element(element: Any, tag: int) -> str:
    """`PixelSpacing (0028,0030) is '0.05,0.05', expected a decimal number`."""
    representation = str(element.VR or "")
    if representation and representation not in REPRESENTATIONS:
        found = show_representation(representation.encode("latin-1", "replace"))
        return f"{name_element(tag)} has the value representation {found}, which does not exist"
    usual = dictionary_VR(tag)
    value, expected = element.value, NUMBERS.get(usual, f"a value of type {representation or 'known'}")
    if usual not in NUMBERS:
        length = f"{len(value)} bytes" if isinstance(value, bytes) else "another value"
        return f"{name_element(tag)} has {length}, expected {expected}"
    text = value.decode("latin-1") if isinstance(value, bytes) else "\\".join(map(str, _as_list(value)))
    return f"{name_element(tag)} is {quote_number(text.strip(BLANKS))}, expected {expected}"


def quote_number(text: str) -> str:
    """A text that was meant as a number, in quotes; only its length where it may be something else."""
    rest = UNITS.sub("", text)
    if len(text) <= LONGEST_QUOTED and not any(letter.isalpha() for letter in rest) and text.isprintable():
        return repr(text)
    return f"a text of {len(text)} characters"


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]


def json_value(element: DataElement, *, is_kept: bool = False) -> object:
    """Text without the blanks around it, int, float, a list of them, or None.

    A sequence becomes a list of mappings with the code attributes. Of text that is no code only the length is
    said, unless it `is_kept`.
    """
    value, usual = element.value, dictionary_VR(element.tag)
    if isinstance(value, DicomSequence):
        return [_collect_code(item) for item in value]
    if isinstance(value, (MultiValue, list, tuple)):
        return [_scalar(part, usual, is_kept=is_kept) for part in value]
    return _scalar(value, usual, is_kept=is_kept)


def _collect_code(item: Dataset) -> dict[str, str]:
    return {keyword: show_concept(read_value(item, keyword)) for keyword in CODE_TAGS if keyword in item}


def _scalar(value: Any, usual: str, *, is_kept: bool) -> str | int | float | None:
    if value is None or value == "":
        return None
    if usual == "IS":
        return int(float(value))
    if usual in NUMBERS:
        return float(value)
    if isinstance(value, (int, float)):
        return value
    text = str(value).strip(BLANKS)
    if usual == "UI":
        return name_uid(text)
    return text if is_kept else show_code(text)
