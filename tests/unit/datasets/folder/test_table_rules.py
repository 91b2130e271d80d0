"""What labels.csv may say, and what becomes of it: columns, numbers, repeated rows, paths."""

import pytest

from medimg.cases import Header
from medimg.datasets.folder.cases import DATA_SET, list_cases, list_classes
from medimg.datasets.identifiers import name_patient
from medimg.errors import UsageError

TWO = ("a.png,P1,dense", "b.png,P2,fatty")


def header(path, **tags):
    return Header(path, "dicom" if tags else "png", 1, f"sha256 of {path}", path, tags)


def labels(root, *rows, columns="file,patient_id,label"):
    (root / "labels.csv").write_text("\n".join((columns, *rows)) + "\n")
    return root


TWO_HEADERS = (header("a.png"), header("b.png"))


@pytest.mark.parametrize(
    ("values", "kind", "first"),
    [
        (("1", "2.5"), "number", 1.0),
        (("-1e3", "nan"), "number", -1000.0),
        (("0", ""), "number", 0.0),
        (("1_000", "2"), "text", "1_000"),
        (("inf", "2"), "text", "inf"),
        (("-inf", "2"), "text", "-inf"),
        (("north", "2"), "text", "north"),
        (("", "n/a"), "text", None),
    ],
)
def test_a_column_holds_numbers_where_each_of_its_values_is_a_finite_one(tmp_path, values, kind, first):
    rows = [f"{row},{value}" for row, value in zip(TWO, values, strict=True)]
    root = labels(tmp_path, *rows, columns="file,patient_id,label,_tube (kV)_")
    assert DATA_SET.list_columns(root) == {"tube_kV": kind}
    case = list_cases(root, TWO_HEADERS).cases[0]
    assert case.clinical == {"tube_kV": first}
    assert type(case.clinical["tube_kV"]) is type(first)


@pytest.mark.parametrize(
    ("sites", "kind"), [("abcabc", "id"), ("abbabb", "text"), ("abcdef", "id"), ("abcdee", "id")]
)
def test_a_text_with_as_many_values_as_patients_is_an_id(tmp_path, sites, kind):
    rows = [f"{n}.png,P{n % 3},{'xy'[n % 2]},{site}" for n, site in enumerate(sites)]
    root = labels(tmp_path, *rows, columns="file,patient_id,label,site")
    assert DATA_SET.list_columns(root) == {"site": kind}


@pytest.mark.parametrize(
    "second", ["a.png,P9,dense,north", "a.png,P1,fatty,north", "a.png,P1,dense,south", "a.png,P1,dense,"]
)
def test_rows_that_differ_in_patient_label_or_metadata_contradict_each_other(tmp_path, second):
    root = labels(
        tmp_path,
        *(f"{row},north" for row in (*TWO, "c.png,P3,dense")),
        second,
        columns="file,patient_id,label,site",
    )
    listing = list_cases(root, [*TWO_HEADERS, header("c.png")])
    assert [case.case_id for case in listing.cases] == ["b.png", "c.png"]
    assert [(reject.path, reject.status) for reject in listing.rejects] == [("a.png", "excluded")]
    assert listing.anomalies == ["labels.csv rows 2 and 5: contradict each other about a.png"]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_one_row_that_cannot_be_used_spoils_all_of_its_file(tmp_path, order):
    rows = [("a.png,P1,dense", "a.png,,dense", "a.png,P1,dense")[index] for index in order]
    listing = list_cases(labels(tmp_path, *rows, TWO[1], "c.png,P3,dense"), TWO_HEADERS)
    assert [case.case_id for case in listing.cases if case.images] == ["b.png"]
    assert listing.rejects[0].reason == f"labels.csv row {2 + order.index(1)}: no patient_id"


def test_a_class_that_only_excluded_files_have_is_none(tmp_path):
    rows = (*TWO, "c.png,,odd", "d.png,P4,rare", "d.png,P4,rarer")
    assert list_classes(labels(tmp_path, *rows)) == {"label": ("dense", "fatty")}
    with pytest.raises(UsageError, match=r"1 classes \(dense\)"):
        list_classes(labels(tmp_path, TWO[0], "c.png,,odd"))


def test_numbers_that_are_equal_but_written_in_several_ways_are_one_class(tmp_path):
    names = ("1.0", "1", "01", "0", "10", "9")
    root = labels(tmp_path, *(f"{number}.png,P{number},{name}" for number, name in enumerate(names)))
    assert list_classes(root) == {"label": ("0", "01", "9", "10")}
    root = labels(
        tmp_path, *(f"{number}.png,P{number},{name}" for number, name in enumerate(("10", "9", "x")))
    )
    assert list_classes(root) == {"label": ("10", "9", "x")}


def test_all_classes_that_differ_in_case_only_are_merged_and_named(tmp_path):
    rows = [f"{name}.png,P{name},{label}" for name, label in zip("abcd", ("A", "B", "a", "b"), strict=True)]
    assert list_cases(labels(tmp_path, *rows), [header(f"{name}.png") for name in "abcd"]).anomalies == [
        "labels.csv column label: 'A' and 'a' are one class written in 2 forms, taken as 'A'",
        "labels.csv column label: 'B' and 'b' are one class written in 2 forms, taken as 'B'",
    ]


def test_a_case_notes_uid_and_hash_of_its_image_and_an_unlabelled_one_keeps_its_metadata(tmp_path):
    root = labels(
        tmp_path, "a.dcm,P1,dense,7", "b.png,P2,fatty,8", "c.png,P3,,9", columns="file,patient_id,label,age"
    )
    headers = [
        header("a.dcm", SOPInstanceUID="1.2.3", PatientID=name_patient(" P1 ")),
        *map(header, ("b.png", "c.png")),
    ]
    listing = list_cases(root, headers)
    assert [(one.images[0].sop_instance_uid, one.images[0].sha256) for one in listing.cases] == [
        ("1.2.3", "sha256 of a.dcm"),
        ("", "sha256 of b.png"),
        ("", "sha256 of c.png"),
    ]
    assert [(one.status, one.clinical) for one in listing.cases] == [
        ("used", {"age": 7.0}),
        ("used", {"age": 8.0}),
        ("unlabelled", {"age": 9.0}),
    ]
    # Blanks around a PatientID are padding (DICOM PS3.5 section 6.2), no other patient.
    assert listing.anomalies == []


def test_a_file_without_a_row_is_of_its_patient_without_the_padding(tmp_path):
    listing = list_cases(labels(tmp_path, *TWO), [*TWO_HEADERS, header("c.dcm", PatientID="P7 ")])
    assert listing.cases[-1].group_id == "P7"


@pytest.mark.parametrize(("frames", "lines"), [(None, 0), (1, 0), ("1", 0), (2, 1)])
def test_several_frames_are_reported_and_one_is_not(tmp_path, frames, lines):
    tags = {"PatientID": name_patient("P3")} | ({} if frames is None else {"NumberOfFrames": frames})
    listing = list_cases(labels(tmp_path, *TWO, "c.dcm,P3,fatty"), [*TWO_HEADERS, header("c.dcm", **tags)])
    assert len(listing.anomalies) == lines


@pytest.mark.parametrize("path", [".", "./", "sub/..", ""])
def test_the_folder_itself_is_no_file(tmp_path, path):
    with pytest.raises(
        UsageError, match=r"labels\.csv row 4: no file, expected a path relative to the folder"
    ):
        list_cases(labels(tmp_path, *TWO, f"{path},P3,fatty"), TWO_HEADERS)


@pytest.mark.parametrize("path", ["..a.png", "...", "sub/..b/c.png"])
def test_dots_at_the_beginning_of_a_name_do_not_lead_out_of_the_folder(tmp_path, path):
    listing = list_cases(labels(tmp_path, *TWO, f"{path},P3,fatty"), [*TWO_HEADERS, header(path)])
    assert path in [case.images[0].path for case in listing.cases]


def test_rows_that_repeat_each_other_have_one_line_and_a_bad_row_has_its_own(tmp_path):
    listing = list_cases(labels(tmp_path, *TWO, TWO[0], TWO[0], "c.png,,dense", "c.png,,dense"), TWO_HEADERS)
    assert listing.anomalies == [
        "labels.csv row 6: no patient_id",
        "labels.csv rows 2 and 4 and 5: repeat each other about a.png, counted once",
        "labels.csv row 6: c.png is not in the folder",
    ]
