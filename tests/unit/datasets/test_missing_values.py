"""A word for a missing value is no label, no patient and no number, in any column of any data set's table."""

import pytest

from medimg.datasets import find_data_set
from medimg.datasets.cmmd.cases import list_cases as list_breasts
from medimg.datasets.ham10000.cases import list_cases as list_lesions
from pipeline.config.overrides import load_config
from tests.unit.datasets.hospital import COUNT, HEADER, catalogue, rows, write_folder

WORDS = ("NA", "N/A", "nan", "None", "NULL", "#N/A", "-", "?", ".", " ")
MORE_WORDS = ("n.a.", "\u2014", "\uff1f", "<NA>", "#REF!")


@pytest.mark.parametrize("word", [*WORDS, *MORE_WORDS])
def test_a_word_for_a_missing_label_makes_no_class_and_is_counted(tmp_path, word):
    lines = rows(labels=(word, "a", "b"))
    seen = catalogue(write_folder(tmp_path / "data", lines=[HEADER, *lines]))
    assert seen.counts() == {"used": 8, "unlabelled": 4}
    assert set(seen.cases["label_label"].dropna()) == {"a", "b"}
    told = f"labels.csv column label: 4 cells taken as missing ({word!r} 4); --set labels.keep={word.lower()}"
    assert (told in seen.anomalies) == (told in seen.out) == bool(word.strip())


@pytest.mark.parametrize("word", ["NA", "None", ".", "?"])
def test_rows_without_a_patient_are_named_and_never_one_patient(tmp_path, word):
    patients = [word if number < 4 else f"P{number}" for number in range(COUNT)]
    seen = catalogue(write_folder(tmp_path / "data", lines=[HEADER, *rows(patients=patients)]))
    assert seen.summary["images"]["excluded"] == 4
    assert seen.counts() == {"used": 8}
    assert word not in set(seen.cases["group_id"])
    for row in (2, 3, 4, 5):
        assert f"labels.csv row {row}: no patient_id" in seen.anomalies


@pytest.mark.parametrize(("word", "kept"), [("none", "none"), ("None", "none"), ("NA", "na,none")])
def test_a_kept_word_is_a_class(tmp_path, word, kept):
    root = write_folder(tmp_path / "data", lines=[HEADER, *rows(labels=(word, "mass"))])
    refused = catalogue(root)
    assert refused.code == 2
    assert "column label has 1 classes (mass), expected at least 2" in refused.error
    assert f"--set labels.keep={word.lower()} makes it a class" in refused.error
    seen = catalogue(root, "--set", f"labels.keep={kept}")
    assert seen.counts() == {"used": 12}
    assert set(seen.cases["label_label"]) == {word, "mass"}
    assert "taken as missing" not in seen.anomalies


def test_a_run_keeps_the_same_words_as_the_catalogue(tmp_path):
    from pipeline.config.resolve import resolve_config

    root = write_folder(tmp_path / "data", lines=[HEADER, *rows(labels=("none", "null", "1"))])
    config = load_config("folder_classification", overrides=["labels.keep=none,null"])
    assert config.labels.keep == ("none", "null")
    assert resolve_config(config, root).model.heads[0].classes == ("1", "none", "null")


@pytest.mark.parametrize("data_set", ["cmmd", "ham10000", "tissue"])
def test_words_are_kept_only_where_a_table_makes_the_classes(tmp_path, data_set):
    seen = catalogue(tmp_path, "--set", "labels.keep=none", data_set=data_set)
    assert seen.code == 2
    assert f"labels.keep: found none, expected nothing: the classes of {data_set} are fixed" in seen.error
    refused = catalogue(tmp_path, "--set", "model.image_size=1", data_set=data_set)
    assert "--set model.image_size: no such config key; known: labels, labels.keep, " in refused.error


@pytest.mark.parametrize("word", ["?", "#N/A", "."])
def test_a_metadata_column_stays_numbers_beside_words_for_a_missing_value(tmp_path, word):
    ages = [word if number in (0, 5) else str(40 + number) for number in range(COUNT)]
    seen = catalogue(write_folder(tmp_path / "data", lines=[f"{HEADER},age", *rows(more=ages)]))
    assert seen.cases["clinical_age"].dtype == float
    assert seen.cases["clinical_age"].isna().sum() == 2


@pytest.mark.parametrize("word", ["?", "#N/A", "."])
def test_skin_lesions_take_the_same_words(tmp_path, word):
    find_data_set("ham10000").write_phantom(tmp_path, cases=12, seed=0)
    table = next(tmp_path.glob("HAM10000_metadata*"))
    header, first, second, *others = table.read_text().splitlines()
    columns = header.split(",")
    one, two = first.split(","), second.split(",")
    one[columns.index("dx")], two[columns.index("lesion_id")] = word, word
    table.write_text("\n".join([header, ",".join(one), ",".join(two), *others]) + "\n")
    listing = list_lesions(tmp_path, [])
    assert word not in {case.group_id for case in listing.cases}
    assert f"column dx: 1 cells taken as missing ({word!r} 1)" in listing.anomalies[0]


@pytest.mark.parametrize("word", ["?", "N/A", "."])
def test_breasts_take_the_same_words(tmp_path, word):
    lines = ["ID1,LeftRight,Age,number,abnormality,classification,subtype"]
    lines += [f"{word},L,44,2,mass,Benign,", f"D1-0002,R,{word},2,mass,Benign,{word}"]
    (tmp_path / "CMMD_clinicaldata_revision.csv").write_text("\n".join(lines) + "\n")
    listing = list_breasts(tmp_path, [])
    assert any("row 2: no patient in column ID1" in line for line in listing.anomalies)
    assert any(f"column subtype: 1 cells taken as missing ({word!r} 1)" in line for line in listing.anomalies)
    assert not any("row 3: Age" in line for line in listing.anomalies)
