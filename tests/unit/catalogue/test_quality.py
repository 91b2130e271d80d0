"""Flags: what a header says against itself or against the others."""

import pytest

from medimg.cases import Header
from medimg.catalogue.quality import count_flags, find_unusable, flag_headers

MAMMOGRAM = {
    "SOPInstanceUID": "1.2", "Modality": "MG", "ImageLaterality": "L", "PatientOrientation": ["A", "FR"],
    "Rows": 100, "Columns": 80, "BitsAllocated": 16, "BitsStored": 12, "ImagerPixelSpacing": [0.1, 0.1],
    "PatientAge": "044Y", "BurnedInAnnotation": "NO",
}  # fmt: skip


def make_header(path: str = "a.dcm", **tags: object) -> Header:
    """A sound mammogram but for these tags; one that is None is absent."""
    present = {name: value for name, value in {**MAMMOGRAM, **tags}.items() if value is not None}
    return Header(path, "dicom", 1, "00", path, present)


def flags_of(**tags: object) -> list[str]:
    headers = [make_header(**tags), make_header("b.dcm"), make_header("c.dcm")]
    return list(flag_headers(headers)["a.dcm"])


@pytest.mark.parametrize(
    "tags",
    [
        *(
            {"ImageLaterality": side, "PatientOrientation": [row, column]}
            for side, row, columns in (
                ("L", "A", ("R", "F", "FR", "RF")),
                ("R", "P", ("L", "F", "FL", "LF")),
                ("R", "PL", ("FL",)),
            )
            for column in columns
        ),
        {"ImageLaterality": None, "PatientOrientation": ["P", "L"]},
        {"PatientOrientation": ["A"]},
        {"PatientOrientation": None},
        {"PatientOrientation": "A\\F"},
        {"BitsAllocated": 12},
        {"BitsStored": None, "BitsAllocated": None},
        {"Modality": None},
        {"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": None},
        {"ImagerPixelSpacing": None, "SOPInstanceUID": ""},
        {"Rows": 16, "Columns": 16},
        {"Rows": None},
        {"Rows": 5, "Columns": None},
        {"LossyImageCompression": "00"},
    ],
    ids=str,
)
def test_what_contradicts_nothing_has_no_flag(tags):
    assert flags_of(**tags) == []


def test_the_orientation_of_what_is_no_mammogram_is_not_looked_at():
    tags = {"Modality": "DX", "ImageLaterality": "R"}
    assert flag_headers([make_header(name, **tags) for name in "ab"]) == {"a": (), "b": ()}


@pytest.mark.parametrize(
    ("tags", "flag"),
    [
        ({"ImageLaterality": "R"}, "orientation: A\\FR of a breast on side R, expected P\\L or P\\FL"),
        (
            {"ImageLaterality": None, "Laterality": "R"},
            "orientation: A\\FR of a breast on side R, expected P\\L or P\\FL",
        ),
        (
            {"PatientOrientation": ["P", "FR"]},
            "orientation: P\\FR of a breast on side L, expected A\\R or A\\FR",
        ),
        (
            {"PatientOrientation": ["A", "L"]},
            "orientation: A\\L of a breast on side L, expected A\\R or A\\FR",
        ),
        (
            {"ImageLaterality": "R", "PatientOrientation": ["P", "R"]},
            "orientation: P\\R of a breast on side R, expected P\\L or P\\FL",
        ),
        (
            {"PatientOrientation": ["A", "H"]},
            "orientation: A\\H of a breast on side L, expected A\\R or A\\FR",
        ),
        ({"Modality": "CR"}, "Modality differs: CR, mostly MG"),
        ({"BitsStored": 14}, "BitsStored differs: 14, mostly 12"),
        ({"BitsAllocated": 8}, "bits: 12 stored of 8 allocated"),
        ({"BitsAllocated": 11}, "bits: 12 stored of 11 allocated"),
        (
            {"ImagerPixelSpacing": None},
            "spacing: neither PixelSpacing (0028,0030) nor ImagerPixelSpacing (0018,1164)",
        ),
        ({"Rows": 3}, "size: 3 x 80 pixels"),
        ({"Rows": 15}, "size: 15 x 80 pixels"),
        ({"Columns": 15}, "size: 100 x 15 pixels"),
        ({"PatientAge": "400Y"}, "age: PatientAge '400Y', expected 000D to 110Y"),
        *(
            ({"PatientAge": age}, f"age: PatientAge {age!r}, expected 000D to 110Y")
            for age in ("111Y", "044", "044Years", "44.5Y", "044X", "1044Y")
        ),
        ({"PatientAge": "old"}, "age: PatientAge a text of 3 characters, expected 000D to 110Y"),
        ({"LossyImageCompression": "01"}, "lossy: LossyImageCompression (0028,2110) is 01"),
    ],
)
def test_a_contradiction_is_flagged_with_what_was_found(tags, flag):
    assert flags_of(**tags) == [flag]


@pytest.mark.parametrize(
    "age", ["000D", "110Y", "109Y", "036M", "999M", "999W", "999D", " 044Y ", "7Y", "", None]
)
def test_ages_of_the_young_and_the_old_are_plausible(age):
    assert flags_of(PatientAge=age) == []


def test_burned_in_text_and_images_without_pixels_are_quarantined_with_the_reason():
    headers = [
        make_header("a.dcm", BurnedInAnnotation="yes"),
        make_header("b.dcm", Rows=0),
        make_header("c.dcm"),
        make_header("d.dcm", Columns=0),
        make_header("e.dcm", BurnedInAnnotation=" YES "),
        make_header("f.dcm", Rows=1, Columns=1),
        make_header("g.dcm", Rows=None, BurnedInAnnotation=None),
    ]
    rejects = find_unusable(headers)
    assert [(reject.path, reject.status) for reject in rejects] == [
        (f"{name}.dcm", "quarantined") for name in "abde"
    ]
    assert "(0028,0301)" in rejects[0].reason
    assert rejects[1].reason == "0 rows x 80 columns: expected at least 1 x 1"
    assert rejects[2].reason == "100 rows x 0 columns: expected at least 1 x 1"


def test_what_a_run_could_not_show_is_quarantined_but_where_the_modalitys_values_are_used():
    text = "BurnedInAnnotation (0028,0301) is YES: text in the pixels may identify the patient"
    headers = [
        make_header("a.dcm"),
        make_header("b.dcm", DisplayFault="VOI LUT has no entry"),
        make_header("c.dcm", DisplayFault="x", BurnedInAnnotation="YES"),
        make_header("d.dcm", DisplayFault="x", Rows=0),
    ]
    found = {reject.path: reject.reason for reject in find_unusable(headers)}
    assert found == {"b.dcm": "VOI LUT has no entry", "c.dcm": text, "d.dcm": "x"}
    values = {reject.path: reject.reason for reject in find_unusable(headers, shown=False)}
    assert values == {"c.dcm": text, "d.dcm": "0 rows x 80 columns: expected at least 1 x 1"}
    assert {reject.status for reject in find_unusable(headers)} == {"quarantined"}


MODALITIES = ("MG", "CR", "MG", "CR", "XA")


def test_what_is_usual_is_what_most_have_and_of_equals_the_smallest():
    headers = [
        make_header(name, Modality=value)
        for name, value in zip("abcde", ["MG", "CR", "MG", "CR", "XA"], strict=True)
    ]
    flags = flag_headers(headers)
    assert flags["a"] == ("Modality differs: MG, mostly CR",)
    assert (flags["b"], flags["d"]) == ((), ())
    assert flag_headers([*headers, make_header("f")])["b"] == ("Modality differs: CR, mostly MG",)


def test_blank_images_are_known_by_their_pixels_and_every_flag_is_counted():
    headers = [make_header(name, Rows=3) for name in "abc"] + [make_header("d", Rows=3, BitsAllocated=8)]
    flags = flag_headers(headers, blank={"a", "d"})
    assert flags["d"] == (
        "bits: 12 stored of 8 allocated", "size: 3 x 80 pixels", "constant: every pixel has the same value",
    )  # fmt: skip
    assert list(count_flags(flags).items()) == [("bits", 1), ("constant", 2), ("size", 4)]
    assert list(count_flags({"a": ["size: x"], "b": ["bits: x", "age: x"]})) == ["age", "bits", "size"]
    assert flag_headers(headers, blank={"00"})["a"] == ("size: 3 x 80 pixels",)


CAPTURE = "1.2.840.10008.5.1.4.1.1.7.1"


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"Modality": "US"}, "US"),
        ({"Modality": "sc"}, "SC"),
        ({"Modality": "OT"}, "OT"),
        ({"Modality": "OT", "SOPClassUID": CAPTURE}, "OT"),
        ({"Modality": "MG", "SOPClassUID": CAPTURE}, "SC"),
        ({"Modality": None, "SOPClassUID": CAPTURE}, "SC"),
        ({"Modality": "US", "BurnedInAnnotation": "UNKNOWN"}, "US"),
    ],
)
def test_a_picture_into_which_devices_write_names_must_say_that_it_holds_none(tags, kind):
    found = flags_of(**{"BurnedInAnnotation": None, **tags})
    assert f"burned-in text: {kind} without BurnedInAnnotation (0028,0301), needs review" in found


@pytest.mark.parametrize(
    "tags",
    [
        {"Modality": "US", "BurnedInAnnotation": "no"},
        {"Modality": "US", "BurnedInAnnotation": "YES"},
        {"Modality": "MG", "SOPClassUID": CAPTURE, "BurnedInAnnotation": "NO"},
        {"Modality": "MG", "BurnedInAnnotation": None},
        {"Modality": None, "BurnedInAnnotation": None},
    ],
)
def test_no_picture_needs_a_review_that_states_it_or_is_of_another_kind(tags):
    assert not [flag for flag in flags_of(**tags) if flag.startswith("burned-in")]
