"""A split that the data bring, by folders, a column or a file, is kept, and what it leaks is said."""

import itertools

import pytest

from medimg.catalogue.build import data_fingerprint
from medimg.catalogue.tables import read_catalogue
from medimg.datasets import find_data_set
from tests.unit.datasets.hospital import COUNT, HEADER, catalogue, rows, run, write_folder, write_image

SPLITS = ("train", "val", "test")


def write_tiles(root, folders, *, classes=("ADI", "TUM"), count=6, first=0):
    seeds = itertools.count(first)
    for folder, name in itertools.product(folders, classes):
        for _ in range(count):
            seed = next(seeds)
            write_image(root / folder / name / f"{seed}.png", seed)
    return root


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("Train", "Test"), {"Train": {"train", "eval"}, "Test": {"test"}}),
        (("training", "testing"), {"training": {"train", "eval"}, "testing": {"test"}}),
        (
            ("train_set", "val_set", "Test Set"),
            {"train_set": {"train"}, "val_set": {"eval"}, "Test Set": {"test"}},
        ),
        (("TRAIN", "valid", "TEST"), {"TRAIN": {"train"}, "valid": {"eval"}, "TEST": {"test"}}),
        (("train1", "train2", "holdout"), {"train1": {"train", "eval"}, "holdout": {"test"}}),
    ],
)
def test_folders_called_like_parts_of_a_split_are_the_split_and_no_classes(tmp_path, folders, splits):
    seen = catalogue(write_tiles(tmp_path / "data", folders), data_set="tissue")
    assert set(seen.cases["label_tissue"]) == {"ADI", "TUM"}
    assert seen.counts() == {"used": 12 * len(folders)}
    for folder, wanted in splits.items():
        mine = seen.cases[seen.cases["case_id"].str.startswith(folder.replace(" ", "%20"))]
        assert set(mine["split"]) == wanted
        assert mine["official_split"].nunique() == 1


@pytest.mark.parametrize(
    "folders", [("fold0", "fold1", "fold2"), ("Fold 1", "Fold 2"), ("cv_1", "cv_2", "cv_3")]
)
def test_folds_are_no_classes_and_told_to_be_dealt_anew(tmp_path, folders):
    seen = catalogue(write_tiles(tmp_path / "data", folders), data_set="tissue")
    assert set(seen.cases["label_tissue"]) == {"ADI", "TUM"}
    assert seen.cases["official_split"].isna().all()
    assert "folds of another split, which are not kept" in seen.anomalies


@pytest.mark.parametrize(
    ("folders", "classes", "says"),
    [
        (("ADI", "TUM"), ("train", "test"), "ADI: holds only test, train, as every other class folder does"),
        (("scanner A", "scanner B"), ("ADI", "TUM"), "scanner A: holds only ADI, TUM, as every other class"),
        (("2019", "2020", "2021"), ("benign", "malignant"), "2019: holds only benign, malignant"),
        (("train", "test", "more"), ("ADI", "TUM"), "more: beside test and train"),
        (("fold0", "fold1"), ("train", "test"), "a split inside another"),
        (("train", "fold1"), ("ADI", "TUM"), "fold1: beside train"),
        (("Train",), ("ADI", "TUM"), "test: no class folder 'ADI', which train has"),
    ],
)
def test_folders_that_cannot_be_meant_as_classes_are_refused(tmp_path, folders, classes, says):
    seen = catalogue(write_tiles(tmp_path / "data", folders, classes=classes, count=1), data_set="tissue")
    assert seen.code == 2
    assert says in seen.error


def test_class_folders_may_have_folders_of_their_own(tmp_path):
    root = write_tiles(tmp_path / "data", ("ADI",), classes=("one", "two"))
    write_tiles(root, ("TUM",), classes=("two", "three"), first=99)
    assert catalogue(root, data_set="tissue").counts() == {"used": 24}


@pytest.mark.parametrize(
    "words", [("train", "eval", "test"), ("Training", "val", "TEST"), ("train", "valid", "tst")]
)
def test_a_column_split_is_kept(tmp_path, words):
    more = [words[number % 3] for number in range(COUNT)]
    seen = catalogue(write_folder(tmp_path / "data", lines=[f"{HEADER},Split", *rows(more=more)]))
    assert list(seen.cases["split"]) == ["train", "eval", "test"] * 4
    assert "clinical_Split" not in seen.cases
    assert "clinical_split" not in seen.cases
    assert "leak" not in seen.out


def test_a_column_split_that_parts_patients_says_how_many_are_where(tmp_path):
    patients = [f"P{number // 2}" for number in range(COUNT)]
    more = ["train", "test", "train", "test", "train", "val", "val", "test", "train", "train", "test", "test"]
    lines = [f"{HEADER},split", *rows(patients=patients, more=more)]
    seen = catalogue(write_folder(tmp_path / "data", lines=lines))
    told = "1 in train and eval, 2 in train and test, 1 in eval and test"
    assert f"leak: 4 of 6 groups lie in more than one split: {told}" in seen.out
    [row] = [row for row in seen.summary["leakage"] if row["common"] == "the same group"]
    assert row["pairs"] == {"train-eval": 1, "train-test": 2, "eval-test": 1}


@pytest.mark.parametrize("word", ["fold 1", "0", "unknown"])
def test_another_word_in_a_column_split_is_refused_by_row(tmp_path, word):
    more = ["train", word, *["test"] * (COUNT - 2)]
    seen = catalogue(write_folder(tmp_path / "data", lines=[f"{HEADER},split", *rows(more=more)]))
    assert seen.code == 2
    assert f"labels.csv row 3: split {word!r}, expected train, eval (or val) or test" in seen.error


@pytest.mark.parametrize("word", ["", "NA"])
def test_images_without_a_split_are_dealt(tmp_path, word):
    more = ["train", "val", "test", *[word] * (COUNT - 3)]
    seen = catalogue(write_folder(tmp_path / "data", lines=[f"{HEADER},split", *rows(more=more)]))
    assert list(seen.cases["split"][:3]) == ["train", "eval", "test"]
    assert seen.cases["official_split"].notna().sum() == 3
    assert seen.cases["split"].notna().all()


@pytest.fixture(scope="module")
def breasts(tmp_path_factory):
    """CMMD's layout: patients with one breast or two."""
    root = tmp_path_factory.mktemp("cmmd") / "data"
    find_data_set("cmmd").write_phantom(root, cases=12, seed=0)
    return root


def write_split(path, header, splits):
    path.write_text("\n".join([header, *(f"{key},{split}" for key, split in splits.items())]) + "\n")
    return path


@pytest.mark.parametrize("column", ["patient", "patient_id", "group", "group_id"])
def test_a_file_of_groups_and_their_split_is_kept(breasts, tmp_path, column):
    before = catalogue(breasts, data_set="cmmd").cases
    groups = sorted(set(before["group_id"][before["split"].notna()]))
    splits = {group: SPLITS[number % 3] for number, group in enumerate(groups)}
    given = write_split(
        tmp_path / "mine.csv", f"{column},split", {key.lower(): value for key, value in splits.items()}
    )
    seen = catalogue(breasts, "--split-file", given, data_set="cmmd")
    dealt = seen.cases[seen.cases["split"].notna()]
    assert set(dealt["group_id"]) == set(groups)
    for group, split in zip(dealt["group_id"], dealt["split"], strict=True):
        assert split == {"val": "eval"}.get(splits[group], splits[group])
    assert "leak" not in seen.out


@pytest.mark.parametrize("column", ["case", "case_id", "breast"])
def test_a_file_of_cases_that_parts_patients_is_kept_and_its_leak_told(breasts, tmp_path, column):
    before = catalogue(breasts, data_set="cmmd").cases
    usable = before[before["split"].notna()]
    splits = {case: SPLITS[number % 2 * 2] for number, case in enumerate(sorted(usable["case_id"]))}
    parted = 0
    for _, cases in usable.groupby("group_id"):
        parted += len({splits[case] for case in cases["case_id"]}) > 1
    assert parted
    given = write_split(tmp_path / "mine.csv", f"{column},split", {**splits, "nobody-L": "test"})
    seen = catalogue(breasts, "--split-file", given, data_set="cmmd")
    assert f"leak: {parted} of {usable['group_id'].nunique()} groups lie in more than one split" in seen.out
    assert (
        f"mine.csv: 1 of {len(splits) + 1} ids are of no case (first: row {len(splits) + 2})"
        in seen.anomalies
    )


def test_a_file_may_name_images_and_leave_some_to_be_dealt(tmp_path):
    root = write_folder(tmp_path / "data", lines=[HEADER, *rows()])
    given = write_split(tmp_path / "mine.csv", "file,split", {"00.png": "test", "01.png": "validation"})
    seen = catalogue(root, "--split-file", given)
    assert list(seen.cases["split"][:2]) == ["test", "eval"]
    assert "mine.csv: no row for 10 of 12 cases, which are dealt" in seen.anomalies


def test_a_file_wins_over_the_split_of_the_data_set_and_says_so(tmp_path):
    root = write_tiles(tmp_path / "data", ("train", "test"), count=3)
    splits = {f"{split}/{name}/{number}.png": "train" for split, name, number in (("test", "ADI", 6),)}
    seen = catalogue(
        root, "--split-file", write_split(tmp_path / "mine.csv", "tile,split", splits), data_set="tissue"
    )
    assert seen.cases.set_index("case_id").loc["test/ADI/6.png", "official_split"] == "train"
    assert "mine.csv: 1 cases leave the official split of the data set" in seen.anomalies


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (("patient,split", "P00,train", "P00,test"), "rows 2 and 3: one patient in train and test"),
        (("patient,split", "P00,perhaps"), "row 2: split 'perhaps', expected train"),
        (("patient,split", ",train"), "row 2: no patient, expected one"),
        (("name,split", "P00,train"), "no column case_id; found name, split; expected case_id, split"),
        (("patient,split", "X1,train"), "no row is about one of 12 cases"),
        (("patient,split", "1.2E+11,train"), "row 2: patient in scientific notation"),
    ],
)
def test_a_split_file_that_cannot_be_kept_is_refused(tmp_path, lines, says):
    root = write_folder(tmp_path / "data", lines=[HEADER, *rows()])
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
    seen = catalogue(root, "--split-file", tmp_path / "mine.csv")
    assert seen.code == 2
    assert f"mine.csv{'' if says.startswith('no') else ' '}" in seen.error
    assert says in seen.error


def test_an_edited_split_file_is_other_data(tmp_path):
    root = write_folder(tmp_path / "data", lines=[HEADER, *rows()])
    given = write_split(tmp_path / "mine.csv", "patient,split", {"P00": "test"})
    folder = find_data_set("folder")
    first = data_fingerprint(folder, data_root=root, split_file=given, workers=1)
    assert catalogue(root, "--split-file", given).summary["content_hash"] == first
    write_split(given, "patient,split", {"P00": "train"})
    assert data_fingerprint(folder, data_root=root, split_file=given, workers=1) != first
    assert data_fingerprint(folder, data_root=root, workers=1) != first


def test_a_run_refuses_a_bad_split_file_before_any_work(tmp_path):
    root = write_folder(tmp_path / "data", lines=[HEADER, *rows()])
    write_split(tmp_path / "mine.csv", "patient,split", {"P00": "perhaps"})
    code, _, error = run(
        *("run", "folder_classification", "--data", root, "--to", tmp_path / "run"),
        *("--split-file", tmp_path / "mine.csv"),
    )
    assert (code, "mine.csv row 2: split 'perhaps'" in error) == (2, True)
    assert not (tmp_path / "run").exists()


def test_the_catalogue_of_a_brought_split_can_be_read_back(tmp_path):
    root = write_folder(tmp_path / "data", lines=[HEADER, *rows()])
    given = write_split(tmp_path / "mine.csv", "patient,split", {"P00": "test"})
    catalogue(root, "--split-file", given)
    assert read_catalogue(tmp_path / "data.cat").cases["official_split"][0] == "test"
