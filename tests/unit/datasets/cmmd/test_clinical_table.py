"""What a row of the clinical table says of a breast, and what it may not say."""

import openpyxl
import pytest

from medimg.datasets.cmmd.cases import list_cases
from tests.unit.datasets.cmmd.collection import COLUMNS, both_views, only_case, table


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("0", "<40"),
        ("39.9", "<40"),
        ("40", "40-49"),
        ("49", "40-49"),
        ("50", "50-59"),
        ("59", "50-59"),
        ("60", "60-69"),
        ("69", "60-69"),
        ("70", "70+"),
        ("120", "70+"),
    ],
)
def test_ages_fall_into_bands(tmp_path, age, band):
    listing = list_cases(table(tmp_path, f"D1-0001,L,{age},2,mass,Benign,"), both_views(PatientAge=None))
    clinical = only_case(listing).clinical
    assert (clinical["age_years"], clinical["age_band"]) == (float(age), band)


@pytest.mark.parametrize(
    ("row", "case_id", "labels"),
    [
        (
            "D1-0001,Left,44,2,MASS, malignant ,luminal  a",
            "D1-0001-L",
            {"malignancy": "Malignant", "abnormality": "mass", "subtype": "Luminal A"},
        ),
        (
            "D1-0001,RIGHT,nan,2,Both,Benign,nan",
            "D1-0001-R",
            {"malignancy": "Benign", "abnormality": "both"},
        ),
        (
            "D1-0001,r,44,2,calcification,Malignant,Triple  Negative",
            "D1-0001-R",
            {"malignancy": "Malignant", "abnormality": "calcification", "subtype": "triple negative"},
        ),
    ],
)
def test_sides_and_classes_count_however_they_are_written(tmp_path, row, case_id, labels):
    case = only_case(list_cases(table(tmp_path, row), both_views(side=case_id[-1], PatientAge=None)))
    assert (case.case_id, case.status, case.labels) == (case_id, "used", labels)
    assert case.clinical["age_years"] == (None if "nan,2" in row else 44)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("D1-0001,L,44,2,mass,Probably,", "row 2: classification 'Probably', expected Benign, Malignant"),
        ("D1-0001,L,44,2,cyst,Benign,", "row 2: abnormality 'cyst', expected calcification, mass, both"),
        ("D1-0001,L,44,2,,Benign,", "row 2: abnormality '', expected"),
        ("D1-0001,L,44,2,mass,nan,", "row 2: classification '', expected Benign, Malignant"),
        ("D1-0001,L,44,2,mass,Malignant,Luminal C", "row 2: subtype 'Luminal C', expected Luminal A"),
        ("D1-0001,L,121,2,mass,Benign,", "row 2: Age '121', expected 0 to 120 years"),
        ("D1-0001,L,-1,2,mass,Benign,", "row 2: Age '-1'"),
        ("D1-0001,L,old,2,mass,Benign,", "row 2: Age 'old'"),
        ("D1-0001,B,44,2,mass,Benign,", "row 2: LeftRight 'B' of D1-0001, expected L or R"),
        ("D1-0001,,44,2,mass,Benign,", "row 2: LeftRight '' of D1-0001"),
    ],
)
def test_a_breast_with_a_value_out_of_place_is_excluded_never_guessed(tmp_path, row, says):
    listing = list_cases(table(tmp_path, row), both_views())
    case = only_case(listing)
    assert (case.status, case.labels) == ("excluded", {})
    assert says in case.reason
    assert [line for line in listing.anomalies if says in line] == [case.reason]


def test_contradictory_rows_exclude_the_breast_and_name_both_rows(tmp_path):
    root = table(
        tmp_path,
        "D1-0001,L,44,2,mass,Benign,",
        "D1-0002,L,44,2,mass,Benign,",
        "D1-0001,L,44,2,mass,Malignant,",
    )
    listing = list_cases(root, both_views() + both_views("D1-0002"))
    first, second = listing.cases
    assert (first.status, first.labels, second.status) == ("excluded", {}, "used")
    assert "rows 2 and 4: contradict each other about D1-0001 L" in first.reason
    assert first.reason in listing.anomalies


@pytest.mark.parametrize(
    ("others", "says"),
    [
        (["45,2,mass,Benign,"], "rows 2 and 3: contradict each other"),
        (["44,2,both,Benign,"], "rows 2 and 3: contradict each other"),
        (["44,2,mass,Benign,Luminal A"], "rows 2 and 3: contradict each other"),
        (["44,2,mass,Benign,", "44,2,mass,Malignant,"], "rows 2 and 3 and 4: contradict each other"),
        (["44,2,mass,Probably,"], "row 3: classification 'Probably'"),
    ],
)
def test_whatever_rows_differ_in_the_breast_has_no_label(tmp_path, others, says):
    rows = [f"D1-0001,L,{row}" for row in ("44,2,mass,Benign,", *others)]
    listing = list_cases(table(tmp_path, *rows), both_views())
    assert (only_case(listing).status, only_case(listing).labels) == ("excluded", {})
    assert says in only_case(listing).reason
    assert [line for line in listing.anomalies if says in line] == [only_case(listing).reason]


def test_of_two_unreadable_sides_the_first_is_the_reason_and_a_good_row_counts_all_the_same(tmp_path):
    rows = [f"D1-0001,{side},44,2,mass,Benign," for side in ("B", "C", "R")]
    headers = both_views() + both_views(side="R")
    left, right = list_cases(table(tmp_path, *rows), headers).cases
    assert (left.status, right.status, right.labels["malignancy"]) == ("excluded", "used", "Benign")
    assert "row 2: LeftRight 'B' of D1-0001" in left.reason


def test_a_patient_whose_only_row_cannot_be_read_has_a_row(tmp_path):
    listing = list_cases(table(tmp_path, "D1-0001,B,44,2,mass,Benign,"), both_views())
    assert not any("has images and no row" in line for line in listing.anomalies)


def test_a_table_that_is_not_read_is_named(tmp_path):
    table(tmp_path, "D1-0001,L,44,2,mass,Benign,")
    workbook = openpyxl.Workbook()
    for row in (COLUMNS.split(","), ["D1-0001", "L", 44, 2, "mass", "Malignant", None]):
        workbook.worksheets[0].append(row)
    workbook.save(tmp_path / "CMMD_clinicaldata_revision.xlsx")
    listing = list_cases(tmp_path, both_views())
    assert only_case(listing).labels["malignancy"] == "Malignant"
    assert listing.anomalies == [
        "CMMD_clinicaldata_revision.csv: not read, CMMD_clinicaldata_revision.xlsx is"
    ]


@pytest.mark.parametrize(
    ("own", "other", "tag", "age_years"),
    [
        ("50", "60", "070Y", 50),
        ("", "60", "070Y", 60),
        ("", "", "070Y", 70),
        ("", "", "070M", None),
        ("", "", "07.Y", None),
        ("", "", None, None),
        ("0", "60", "070Y", 0),
    ],
)
def test_the_age_is_the_rows_else_the_other_breasts_else_the_files(tmp_path, own, other, tag, age_years):
    rows = [f"D1-0001,{side},{age},2,mass,Benign," for side, age in (("L", own), ("R", other))]
    first = list_cases(table(tmp_path, *rows), both_views(PatientAge=tag)).cases[0]
    assert first.clinical["age_years"] == age_years


def test_a_repeated_row_counts_once_and_is_reported(tmp_path):
    rows = ["D1-0001,R,44,2,mass,Benign,", *["D1-0001,L,44,2,mass,Benign,"] * 2]
    listing = list_cases(table(tmp_path, *rows), both_views() + both_views(side="R"))
    assert [case.status for case in listing.cases] == ["used", "used"]
    assert listing.anomalies == [
        "CMMD_clinicaldata_revision.csv rows 3 and 4: repeat each other about D1-0001 L, counted once"
    ]
