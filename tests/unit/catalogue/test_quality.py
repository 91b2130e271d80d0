"""Flags: what a header says against itself or against the others."""

import pytest

from medimg.cases import Header
from medimg.catalogue.quality import find_unusable, flag_headers

MAMMOGRAM = {
    "SOPInstanceUID": "1.2", "Modality": "MG", "ImageLaterality": "L", "PatientOrientation": ["A", "FR"],
    "Rows": 100, "Columns": 80, "BitsAllocated": 16, "BitsStored": 12, "ImagerPixelSpacing": [0.1, 0.1],
    "PatientAge": "044Y", "BurnedInAnnotation": "NO",
}  # fmt: skip


def make_header(path: str = "a.dcm", **tags: object) -> Header:
    return Header(path, "dicom", 1, "00", path, {**MAMMOGRAM, **tags})


def flags_of(**tags: object) -> list[str]:
    headers = [make_header(**tags), make_header("b.dcm"), make_header("c.dcm")]
    return list(flag_headers(headers)["a.dcm"])


def test_a_sound_header_has_no_flag():
    assert flags_of() == []
    assert flags_of(ImageLaterality="R", PatientOrientation=["P", "L"]) == []


@pytest.mark.parametrize(
    ("tags", "flag"),
    [
        ({"ImageLaterality": "R"}, "orientation: A\\FR of a breast on side R, expected P\\L or P\\FL"),
        ({"Modality": "CR"}, "Modality differs: CR, mostly MG"),
        ({"BitsStored": 14}, "BitsStored differs: 14, mostly 12"),
        ({"BitsAllocated": 8}, "bits: 12 stored of 8 allocated"),
        (
            {"ImagerPixelSpacing": None},
            "spacing: neither PixelSpacing (0028,0030) nor ImagerPixelSpacing (0018,1164)",
        ),
        ({"Rows": 3}, "size: 3 x 80 pixels"),
        ({"PatientAge": "400Y"}, "age: PatientAge '400Y', expected 000D to 110Y"),
        ({"PatientAge": "old"}, "age: PatientAge 'old', expected 000D to 110Y"),
        ({"LossyImageCompression": "01"}, "lossy: LossyImageCompression (0028,2110) is 01"),
    ],
)
def test_a_contradiction_is_flagged_with_what_was_found(tags, flag):
    assert flags_of(**tags) == [flag]


@pytest.mark.parametrize("age", ["000D", "110Y", "036M", ""])
def test_ages_of_the_young_and_the_old_are_plausible(age):
    assert flags_of(PatientAge=age) == []


def test_burned_in_text_and_images_without_pixels_are_quarantined_with_the_reason():
    headers = [
        make_header("a.dcm", BurnedInAnnotation="yes"),
        make_header("b.dcm", Rows=0),
        make_header("c.dcm"),
    ]
    rejects = find_unusable(headers)
    assert [(reject.path, reject.status) for reject in rejects] == [
        ("a.dcm", "quarantined"),
        ("b.dcm", "quarantined"),
    ]
    assert "(0028,0301)" in rejects[0].reason
    assert rejects[1].reason == "0 rows x 80 columns: expected at least 1 x 1"
