"""Which header attributes are kept, and as what."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from medimg.dicom.parse import read_tags
from medimg.dicom.tags import HEADER_TAGS
from tests.unit.dicom.written import EXPLICIT, RLE, make_dataset

STATED: dict[str, tuple[object, object]] = {
    "SOPInstanceUID": ("1.2.3.4", "1.2.3.4"),
    "SOPClassUID": ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7"),
    "StudyInstanceUID": ("1.2.3", "1.2.3"),
    "SeriesInstanceUID": ("1.2.3.5", "1.2.3.5"),
    "FrameOfReferenceUID": ("1.2.3.6", "1.2.3.6"),
    "InstanceNumber": ("17", 17),
    "SeriesNumber": ("3", 3),
    "Modality": ("MG", "MG"),
    "PatientID": ("0042", "0042"),
    "PatientAge": ("044Y", "044Y"),
    "PatientOrientation": (["A", "R"], ["A", "R"]),
    "ImageLaterality": ("L", "L"),
    "Laterality": ("R", "R"),
    "ViewPosition": ("CC", "CC"),
    "FieldOfViewRotation": ("180", 180.0),
    "FieldOfViewHorizontalFlip": ("NO", "NO"),
    "Rows": (7, 7),
    "Columns": (9, 9),
    "NumberOfFrames": ("1", 1),
    "BitsAllocated": (8, 8),
    "BitsStored": (8, 8),
    "HighBit": (7, 7),
    "PixelRepresentation": (0, 0),
    "SamplesPerPixel": (1, 1),
    "PhotometricInterpretation": ("MONOCHROME1", "MONOCHROME1"),
    "PlanarConfiguration": (0, 0),
    "PresentationLUTShape": ("INVERSE", "INVERSE"),
    "PixelPaddingValue": (255, 255),
    "RescaleSlope": ("0.5", 0.5),
    "RescaleIntercept": ("-1024", -1024.0),
    "RescaleType": ("HU", "HU"),
    "WindowCenter": (["40", "50.5"], [40.0, 50.5]),
    "WindowWidth": ("400", 400.0),
    "VOILUTFunction": ("SIGMOID", "SIGMOID"),
    "ImagerPixelSpacing": (["0.1", "0.2"], [0.1, 0.2]),
    "PixelSpacing": (["0.3", "0.4"], [0.3, 0.4]),
    "ImagePositionPatient": (["1", "2", "3.5"], [1.0, 2.0, 3.5]),
    "ImageOrientationPatient": (["1", "0", "0", "0", "1", "0"], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
    "SliceThickness": ("5", 5.0),
    "SpacingBetweenSlices": ("6", 6.0),
    "EchoTime": ("10", 10.0),
    "RepetitionTime": ("500", 500.0),
    "BurnedInAnnotation": ("NO", "NO"),
    "LossyImageCompression": ("01", "01"),
}
"""Keyword to what a file states and what is kept of it."""


def write(path, **attributes) -> None:
    make_dataset([np.zeros((7, 9), np.uint8)], **attributes).save_as(path, enforce_file_format=True)


def test_every_wanted_attribute_is_kept_with_its_type(tmp_path):
    stated = {keyword: value for keyword, (value, _) in STATED.items()}
    write(tmp_path / "a.dcm", **stated)
    tags = json.loads(json.dumps(read_tags(tmp_path / "a.dcm")))
    found = {keyword: tags.get(keyword, "absent") for keyword in STATED}
    assert found == {keyword: kept for keyword, (_, kept) in STATED.items()}
    assert [type(found[keyword]) for keyword in ("InstanceNumber", "NumberOfFrames")] == [int, int]
    assert {*HEADER_TAGS} == {*STATED, "ViewCodeSequence"}


@pytest.mark.parametrize(
    "keyword", ["ImageLaterality", "InstanceNumber", "WindowCenter", "PatientOrientation"]
)
def test_an_attribute_without_a_value_is_there_and_is_none(tmp_path, keyword):
    write(tmp_path / "a.dcm", **{keyword: ""})
    assert read_tags(tmp_path / "a.dcm")[keyword] is None


NAMING = (
    "PatientName",
    "PatientAddress",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "SequenceName",
)


def test_an_attribute_that_is_absent_or_may_name_a_patient_is_not_there(tmp_path):
    write(tmp_path / "a.dcm", PatientBirthDate="19700101", **dict.fromkeys(NAMING, "Doe^Jane"))
    assert not {*NAMING, "PatientBirthDate", "ViewPosition"} & set(read_tags(tmp_path / "a.dcm"))


def test_codes_of_a_view_are_kept_as_text_and_nothing_else_of_them(tmp_path):
    codes = [
        {"CodeValue": "399162004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "cranio-caudal"},
        {"CodeValue": "R-10226", "CodingSchemeDesignator": "SRT"},
    ]
    items = [Dataset(), Dataset()]
    for item, code in zip(items, codes, strict=True):
        for keyword, value in code.items():
            setattr(item, keyword, value)
    items[0].CodingSchemeVersion = "1"
    write(tmp_path / "a.dcm", ViewCodeSequence=DicomSequence(items))
    del codes[0]["CodeMeaning"]  # Free text.
    assert read_tags(tmp_path / "a.dcm")["ViewCodeSequence"] == codes


FLAGS = {
    "HasModalityLUTSequence": "ModalityLUTSequence",
    "HasVOILUTSequence": "VOILUTSequence",
    "HasPerFrameFunctionalGroups": "PerFrameFunctionalGroupsSequence",
    "HasOverlay": "OverlayData",
}


@pytest.mark.parametrize("present", [*FLAGS.values(), "SharedFunctionalGroupsSequence", "OverlayRows"])
def test_what_is_too_large_for_a_table_is_flagged_where_it_is_present(tmp_path, present):
    dataset = make_dataset([np.zeros((7, 9), np.uint8)])
    if present == "OverlayData":
        dataset.add_new((0x6000, 0x3000), "OW", bytes(8))
    elif present == "OverlayRows":
        dataset.add_new((0x6000, 0x0010), "US", 7)
    else:
        setattr(dataset, present, DicomSequence([Dataset()]))
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    tags = read_tags(tmp_path / "a.dcm")
    assert {flag: tags[flag] for flag in FLAGS} == {
        flag: keyword == present for flag, keyword in FLAGS.items()
    }


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
def test_the_transfer_syntax_is_a_tag_too(tmp_path, syntax):
    dataset = make_dataset([np.zeros((7, 9), np.uint8)], syntax=syntax)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert read_tags(tmp_path / "a.dcm")["TransferSyntaxUID"] == syntax
    assert pydicom.dcmread(tmp_path / "a.dcm").file_meta.TransferSyntaxUID == syntax
