"""Numbers, ids and labels as people and spreadsheets write them."""

import unicodedata

import pandas as pd
import pytest

from medimg.datasets.cmmd.cases import list_cases as list_breasts
from medimg.datasets.ham10000.cases import list_cases as list_lesions
from medimg.datasets.identifiers import Forms
from medimg.datasets.tissue.cases import list_cases as list_tiles
from medimg.errors import UsageError
from pipeline.config.overrides import load_config
from pipeline.config.resolve import resolve_config
from tests.unit.datasets.hospital import COUNT, HEADER, catalogue, rows, run, write_folder


def test_forms_are_named_by_row_and_then_by_file():
    forms = Forms()
    for text, place in (("7.0", "a.dcm"), ("07", "row 1,000"), ("007", "row 99"), ("7", "row 100")):
        forms.add(text, place=place)
    assert forms.describe("ids") == [
        "ids: 1 id is written in several forms (first: row 99 and row 100 and row 1,000 and a.dcm); each "
        "counts as one"
    ]


ACCENTED = "Ren\u00e9"


@pytest.mark.parametrize(
    ("forms", "stands"),
    [
        (("0012", "12", "12.0"), "0012"),
        (("12", "12,00"), "12"),
        (("007", "7"), "007"),
        (("Pat-7", "PAT-7", "pat-7"), "PAT-7"),
        ((ACCENTED, ACCENTED.upper()), ACCENTED.upper()),
        (("\uff11\uff12", "12"), "12"),
    ],
)
def test_ids_in_several_forms_are_one_patient_and_the_summary_says_where(tmp_path, forms, stands):
    patients = [f'"{forms[number % len(forms)]}"' if number < 4 else f"Q{number}" for number in range(COUNT)]
    seen = catalogue(write_folder(tmp_path / "data", lines=[HEADER, *rows(patients=patients)]))
    assert set(seen.cases["group_id"][:4]) == {stands}
    assert seen.cases["group_id"].nunique() == COUNT - 3
    places = " and ".join(f"row {number + 2}" for number in range(len(forms)))
    told = f"labels.csv column patient_id: 1 id is written in several forms (first: {places})"
    assert told in seen.anomalies
    assert told in seen.out


@pytest.mark.parametrize("odd", ["P 01\u200b", "P\u00a001", "\ufeffP 01", "P\u00ad 01"])
def test_characters_that_cannot_be_seen_are_no_part_of_an_id_and_are_reported(tmp_path, odd):
    patients = ["P 01", odd, *(f"Q{number}" for number in range(2, COUNT))]
    seen = catalogue(write_folder(tmp_path / "data", lines=[HEADER, *rows(patients=patients)]))
    assert list(seen.cases["group_id"][:2]) == ["P 01", "P 01"]
    assert "labels.csv: 1 rows (first: 3) have characters that cannot be seen" in seen.anomalies


def test_letters_in_two_parts_are_the_same_id_label_and_file(tmp_path):
    apart = unicodedata.normalize("NFD", ACCENTED)
    root = write_folder(tmp_path / "data")
    (root / "00.png").rename(root / f"{apart}.png")
    lines = rows(patients=[ACCENTED, apart, *(f"Q{number}" for number in range(2, COUNT))])
    lines[0] = f"{ACCENTED}.png,{ACCENTED},a"
    (root / "labels.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    seen = catalogue(root)
    assert seen.counts() == {"used": COUNT}
    assert (seen.cases["group_id"] == ACCENTED).sum() == 2
    assert "labels.csv: 1 rows name files in other letters than they are called" in seen.anomalies


@pytest.mark.parametrize("lost", ["1.2E+11", "4,71E+12", "1.2345e15", "1e+20"])
def test_an_id_in_scientific_notation_is_refused_by_row_and_never_shown(tmp_path, lost):
    patients = [f'"{lost}"' if number == 3 else f"P{number}" for number in range(COUNT)]
    seen = catalogue(write_folder(tmp_path / "data", lines=[HEADER, *rows(patients=patients)]))
    assert seen.code == 2
    assert "labels.csv row 5: patient_id in scientific notation, whose digits are lost" in seen.error
    assert lost not in seen.error


def test_ids_that_only_look_like_it_are_ids(tmp_path):
    patients = [f"{number}E{number}" for number in range(COUNT)]
    seen = catalogue(write_folder(tmp_path / "data", lines=[HEADER, *rows(patients=patients)]))
    assert seen.cases["group_id"].nunique() == COUNT


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("0", "1", "0.0", "1.0"), {"0", "1"}),
        (("1", "2", "1,0", "2,0"), {"1", "2"}),
        (("benign", "Malignant", "Benign", "malignant"), {"Benign", "Malignant"}),
    ],
)
def test_a_class_in_two_forms_is_one_and_told(tmp_path, labels, classes):
    quoted = [f'"{label}"' for label in labels]
    seen = catalogue(write_folder(tmp_path / "data", lines=[HEADER, *rows(labels=quoted)]))
    assert set(seen.cases["label_label"]) == classes
    assert seen.anomalies.count("are one class written in 2 forms, taken as") == 2


def test_the_other_data_sets_merge_the_forms_of_their_ids(tmp_path):
    for name in ("skin", "breast"):
        (tmp_path / name).mkdir()
    header = "lesion_id,image_id,dx,dx_type,age,sex,localization"
    lines = [
        f"{lesion},ISIC_000000{number},nv,histo,44,male,back" for number, lesion in enumerate(("7", "07"))
    ]
    (tmp_path / "skin" / "HAM10000_metadata.csv").write_text("\n".join([header, *lines]) + "\n")
    skin = list_lesions(tmp_path / "skin", [])
    assert {case.group_id for case in skin.cases} == {"07"}
    assert "column lesion_id: 1 id is written in several forms (first: row 2 and row 3)" in skin.anomalies[0]
    header = "ID1,LeftRight,Age,number,abnormality,classification,subtype"
    lines = ["d1-0001,L,44,2,mass,Benign,", "D1-0001,R,44,2,mass,Benign,"]
    (tmp_path / "breast" / "CMMD_clinicaldata_revision.csv").write_text("\n".join([header, *lines]) + "\n")
    assert (
        "column ID1: 1 id is written in several forms" in list_breasts(tmp_path / "breast", []).anomalies[0]
    )
    for name, source in (("one", "12"), ("two", "12.0")):
        (tmp_path / "tiles" / name).mkdir(parents=True)
        (tmp_path / "tiles" / name / "a.jpg").touch()
        table = tmp_path / "tiles" / f"{name}_source_group.csv"
        table.write_text(f"file,source_group\na.jpg,{source}\n")
    tiles = list_tiles(tmp_path / "tiles", [])
    assert any("column source_group: 1 id is written in several forms" in line for line in tiles.anomalies)
    (tmp_path / "tiles" / "one_source_group.csv").write_text("file,source_group\na.jpg,1.2E+11\n")
    with pytest.raises(UsageError, match="row 2: source_group in scientific notation"):
        list_tiles(tmp_path / "tiles", [])


def test_a_patient_keeps_the_split_though_the_id_is_now_written_otherwise(tmp_path):
    first = [f"{number:04}" for number in range(COUNT)]
    root = write_folder(tmp_path / "data", lines=[HEADER, *rows(patients=first)])
    before = catalogue(root).cases
    (root / "labels.csv").write_text("\n".join([HEADER, *rows(patients=[str(int(one)) for one in first])]))
    to = tmp_path / "again"
    code, _, error = run(
        *("catalogue", "folder", "--data", root, "--to", to, "--seed", 9, "--previous", f"{root}.cat")
    )
    assert code == 0, error
    from medimg.catalogue.tables import read_catalogue

    assert list(read_catalogue(to).cases["split"]) == list(before["split"])


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_make_numbers(tmp_path, separator):
    ages = [f"{40 + number},5" for number in range(COUNT)]
    lines = [f"{HEADER},age".replace(",", separator), *rows(more=ages, separator=separator)]
    seen = catalogue(write_folder(tmp_path / "data", lines=lines))
    assert list(seen.cases["clinical_age"][:2]) == [40.5, 41.5]


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({3: "90+"}, "1 of 12 cells are no numbers (first: row 5 says '90+')"),
        ({0: ">89", 7: "<18"}, "2 of 12 cells are no numbers (first: row 2 says '>89')"),
        (dict.fromkeys(range(COUNT), "044Y"), "12 of 12 cells are no numbers (first: row 2 says '044Y')"),
        ({11: "born in Springfield"}, "1 of 12 cells are no numbers (first: row 13 is none)"),
    ],
)
def test_a_column_that_is_nearly_all_numbers_names_its_first_cell_that_is_none(tmp_path, cells, says):
    ages = [cells.get(number, str(40 + number)) for number in range(COUNT)]
    seen = catalogue(write_folder(tmp_path / "data", lines=[f"{HEADER},age", *rows(more=ages)]))
    assert f"labels.csv column age: text, for {says}" in seen.anomalies
    assert "Springfield" not in seen.out


def test_a_text_with_another_value_for_each_patient_is_no_clinical_input(tmp_path):
    codes = [f"{chr(65 + number)}x{number}" for number in range(COUNT)]
    sites = ["north", "south", "east"] * 4
    more = [f"{code},{site}" for code, site in zip(codes, sites, strict=True)]
    root = write_folder(tmp_path / "data", lines=[f"{HEADER},code,site", *rows(more=more)])
    config = load_config("folder_classification", overrides=["model.clinical_inputs=site"])
    assert resolve_config(config, root).model.clinical_inputs == ("site",)
    config = load_config("folder_classification", overrides=["model.clinical_inputs=code"])
    with pytest.raises(UsageError, match="column 'code' of folder has another text for each patient"):
        resolve_config(config, root)


@pytest.mark.parametrize("written", ["0012", "12", "12.0", " 12\u200b", "\uff11\uff12"])
def test_a_patient_is_found_in_any_form_of_the_id(written):
    from cli.results import find_patient

    cases = pd.DataFrame({"group_id": ["0012", "012x", "120"]})
    assert list(find_patient(cases, written).index) == [0]


def test_ids_near_to_a_mistyped_one_are_named():
    from cli.results import find_near_ids

    assert find_near_ids("D1-001", ["D1-0001", "D2-0999"]) == "D1-0001"
    assert find_near_ids("someone", ["D1-0001"]) == ""
