import csv

import pytest

from medimg.cases import Header
from medimg.datasets.folder.cases import list_cases, list_classes
from medimg.datasets.folder.label_table import read_labels
from medimg.datasets.identifiers import name_patient
from medimg.errors import UsageError


def header(path, **tags):
    return Header(path, "dicom" if tags else "png", 1, "0" * 64, path, tags)


def of_patient(path, patient, **tags):
    """A DICOM file's header as the catalogue hands it over: without the id itself."""
    return header(path, PatientID=name_patient(patient), **tags)


def labels(root, *rows, columns="file,patient_id,label"):
    (root / "labels.csv").write_text("\n".join((columns, *rows)) + "\n")
    return root


TWO = ("a.png,P1,dense", "b.png,P2,fatty")
TWO_HEADERS = (header("a.png"), header("b.png"))


def test_an_image_is_a_case_with_its_label_patient_and_metadata(tmp_path):
    root = labels(
        tmp_path,
        "sub/a b.png,P1,dense,44,north,",
        "b.png,P2,fatty,51.5,,",
        columns="file,patient_id,label,age,scanner type,empty",
    )
    cases = {
        case.images[0].path: case for case in list_cases(root, [header("sub/a b.png"), header("b.png")]).cases
    }
    first = cases["sub/a b.png"]
    assert (first.case_id, first.group_id, first.status) == ("sub/a%20b.png", "P1", "used")
    assert first.levels == {"image": "sub/a%20b.png", "patient": "P1"}
    assert first.labels == {"label": "dense"}
    assert first.clinical == {"age": 44.0, "scanner_type": "north", "empty": None}
    assert cases["b.png"].clinical == {"age": 51.5, "scanner_type": None, "empty": None}


def test_one_word_makes_a_column_text(tmp_path):
    root = labels(tmp_path, "a.png,P1,dense,44", "b.png,P2,fatty,old", columns="file,patient_id,label,age")
    assert [case.clinical["age"] for case in list_cases(root, TWO_HEADERS).cases] == ["44", "old"]


def test_names_that_differ_in_one_odd_character_are_different_cases(tmp_path):
    paths = ["a b.png", "a_b.png", "a%20b.png", "a,b.png"]
    root = labels(tmp_path, *(f'"{path}",P{index},{"xy"[index % 2]}' for index, path in enumerate(paths)))
    assert len({case.case_id for case in list_cases(root, [header(path) for path in paths]).cases}) == 4


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["fatty", "dense"], ("dense", "fatty")),
        (["10", "9", "0"], ("0", "9", "10")),
        (["none", "mass", "other"], ("mass", "other")),
    ],
)
def test_classes_are_sorted_with_the_positive_one_last(tmp_path, names, classes):
    root = labels(
        tmp_path, *(f"{index}.png,P{index},{name}" for index, name in enumerate(names)), "x.png,P9,"
    )
    assert list_classes(root) == {"label": classes}


@pytest.mark.parametrize(
    ("rows", "found"),
    [(["a.png,P1,dense"], r"1 classes \(dense\)"), (["a.png,P1,"], r"0 classes \(nothing\)")],
)
def test_fewer_than_two_classes_are_wrong_use(tmp_path, rows, found):
    with pytest.raises(UsageError, match=found):
        list_cases(labels(tmp_path, *rows), [header("a.png")])


def test_an_empty_label_is_an_unlabelled_case(tmp_path):
    listing = list_cases(labels(tmp_path, *TWO, "c.png,P3,"), [*TWO_HEADERS, header("c.png")])
    assert (listing.cases[2].status, listing.cases[2].labels) == ("unlabelled", {})
    assert listing.cases[2].reason == "labels.csv row 4: no label"


def test_a_file_without_a_row_is_unlabelled_if_its_patient_is_known_and_excluded_if_not(tmp_path):
    listing = list_cases(
        labels(tmp_path, *TWO),
        [*TWO_HEADERS, of_patient("c.dcm", "P7"), header("c.png"), of_patient("d.dcm", "P2")],
    )
    unknown, known = listing.cases[2:]
    assert (unknown.case_id, unknown.status, unknown.reason) == (
        "c.dcm",
        "unlabelled",
        "no row in labels.csv",
    )
    assert unknown.group_id == name_patient("P7")
    assert (known.case_id, known.group_id, known.status) == ("d.dcm", "P2", "unlabelled")
    assert [(reject.path, reject.status) for reject in listing.rejects] == [("c.png", "excluded")]
    assert "no row in labels.csv" in listing.rejects[0].reason


def test_a_row_whose_file_is_absent_is_reported_apart_from_one_that_is_no_image(tmp_path):
    (tmp_path / "notes.txt").touch()
    listing = list_cases(labels(tmp_path, *TWO, "c.png,P3,fatty", "notes.txt,P4,fatty"), TWO_HEADERS)
    assert listing.anomalies == ["labels.csv row 4: c.png is not in the folder"]
    assert [(case.case_id, case.status, case.unread) for case in listing.cases[2:]] == [
        ("c.png", "quarantined", ("c.png",)),
        ("notes.txt", "quarantined", ("notes.txt",)),
    ]


def test_what_the_table_knows_of_an_absent_file_stays_with_its_case(tmp_path):
    rows = (f"{row},{age},train" for row, age in zip((*TWO, "c.png,P3,fatty"), (44, 51, 63), strict=True))
    root = labels(tmp_path, *rows, columns="file,patient_id,label,age,split")
    absent = list_cases(root, TWO_HEADERS).cases[2]
    assert (absent.labels, absent.clinical, absent.official_split) == (
        {"label": "fatty"},
        {"age": 63.0},
        "train",
    )


def test_contradictory_rows_exclude_the_file_and_repeated_ones_count_once(tmp_path):
    listing = list_cases(
        labels(tmp_path, *TWO, "c.png,P3,fatty", "./c.png,P3,dense", "b.png,P2,fatty"),
        [*TWO_HEADERS, header("c.png")],
    )
    assert [case.case_id for case in listing.cases] == ["a.png", "b.png"]
    assert listing.rejects[0].reason == "labels.csv rows 4 and 5: contradict each other about c.png"
    assert listing.anomalies == [
        listing.rejects[0].reason,
        "labels.csv rows 3 and 6: repeat each other about b.png, counted once",
    ]


def test_a_row_without_a_patient_excludes_its_file(tmp_path):
    listing = list_cases(labels(tmp_path, *TWO, "c.png,,fatty"), [*TWO_HEADERS, header("c.png")])
    assert listing.rejects[0].reason == "labels.csv row 4: no patient_id"


@pytest.mark.parametrize(
    "path", ["../a.png", "/etc/a.png", "x/../../a.png", "C:\\images\\a.png", "\\\\server\\a.png", ""]
)
def test_a_path_outside_the_folder_is_refused(tmp_path, path):
    with pytest.raises(UsageError, match=r"labels\.csv row 4: .*expected a path relative"):
        list_cases(labels(tmp_path, *TWO, f"{path},P3,fatty"), TWO_HEADERS)


def test_backslashes_and_dots_in_a_path_mean_the_same_file(tmp_path):
    listing = list_cases(
        labels(tmp_path, "sub\\a.png,P1,dense", "./sub/../b.png,P2,fatty"),
        [header("sub/a.png"), header("b.png")],
    )
    assert [case.status for case in listing.cases] == ["used", "used"]


def test_another_patient_in_the_file_is_reported_and_the_row_counts(tmp_path):
    listing = list_cases(
        labels(tmp_path, *TWO, "c.dcm,P3,fatty", "d.dcm,P3,fatty", "e.dcm,P5,fatty"),
        [*TWO_HEADERS, of_patient("c.dcm", "P4"), of_patient("d.dcm", "P3"), of_patient("e.dcm", "P4")],
    )
    assert [case.group_id for case in listing.cases[2:]] == ["P3", "P3", "P5"]
    assert listing.anomalies == [
        "(0010,0020) PatientID is another than patient_id in labels.csv in 2 files (first: c.dcm, row 4); "
        "the rows count"
    ]


def test_a_multi_frame_file_says_that_frame_0_is_used(tmp_path):
    listing = list_cases(
        labels(tmp_path, *TWO, "c.dcm,P3,fatty"),
        [*TWO_HEADERS, of_patient("c.dcm", "P3", NumberOfFrames=7)],
    )
    assert listing.cases[-1].images[0].frame == 0
    assert listing.anomalies == [
        "(0028,0008) NumberOfFrames is above 1 in 1 file (first: c.dcm, 7 frames); frame 0 of each is used"
    ]


def test_classes_that_differ_in_case_only_are_one_and_reported(tmp_path):
    listing = list_cases(labels(tmp_path, *TWO, "c.png,P3,Dense"), [*TWO_HEADERS, header("c.png")])
    assert listing.anomalies == [
        "labels.csv column label: 'Dense' and 'dense' are one class written in 2 forms, taken as 'Dense'"
    ]


def test_a_table_that_names_none_of_the_images_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match=r"row 2 says 'a\.png', the folder has 'images/a\.png'"):
        list_cases(labels(tmp_path, *TWO), [header("images/a.png")])


def test_columns_with_the_same_feature_name_are_refused(tmp_path):
    with pytest.raises(UsageError, match="columns a b, a-b cannot be told apart"):
        list_cases(
            labels(tmp_path, "a.png,P1,x,1,2", "b.png,P2,y,1,2", columns="file,patient_id,label,a b,a-b"),
            TWO_HEADERS,
        )


def test_a_folder_without_labels_is_wrong_use(tmp_path):
    with pytest.raises(
        UsageError, match=r"no clinical table labels\.csv or labels\.xlsx; found no table at all"
    ):
        list_cases(tmp_path, [])


def test_real_density_labels_become_sixty_cases(shared_data):
    root = shared_data / "ddsm_density"
    with (root / "labels.csv").open(newline="") as file:
        headers = [of_patient(row["file"], row["patient_id"]) for row in csv.DictReader(file)]
    listing = list_cases(root, headers)
    assert len(listing.cases) == 60
    assert list_classes(root) == {"label": ("dense", "fatty")}
    assert all(
        isinstance(case.clinical["percent_density"], float) and case.clinical["laterality"] in ("L", "R")
        for case in listing.cases
    )
    assert not listing.anomalies


def test_too_few_classes_are_said_with_the_words_taken_as_missing_and_no_other_note(tmp_path):
    labels = ("none", "NA", ".", "n.a.", "-", "mass", "NA")
    rows = [f"{number}.png,{number},{label},Köln" for number, label in enumerate(labels)]
    text = "\n".join(["file,patient_id,label,place", *rows])
    (tmp_path / "labels.csv").write_bytes(text.encode("cp1252"))
    assert read_labels(tmp_path).notes[0] == "labels.csv: read as cp1252, for it is not UTF-8"
    with pytest.raises(UsageError) as refused:
        list_classes(tmp_path)
    assert str(refused.value) == (
        "labels.csv: column label has 1 classes (mass), expected at least 2; labels.csv column label: "
        "6 cells taken as missing ('-' 1, '.' 1, 'NA' 2, 'n.a.' 1, 'none' 1); "
        "--set labels.keep=-,.,n.a.,na,none makes them classes"
    )
