"""A split that the user brings, by id: which column it may be by, and what is said of what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from medimg.cases import Case, ImageRef, Listing
from medimg.catalogue.split_file import (
    SplitFile,
    apply_split_file,
    list_keys,
    name_columns,
    read_split_file,
)
from medimg.datasets import find_data_set
from medimg.errors import UsageError

CMMD = find_data_set("cmmd")


def make_case(number: int, side: str, **changes: object) -> Case:
    patient = f"P{number}"
    values = {"levels": {"breast": f"{patient}-{side}", "patient": patient}, "official_split": None}
    images = (ImageRef(f"{patient}/{side}/1.dcm", "CC"), ImageRef(f"{patient}/{side}/2.dcm", "MLO"))
    return Case(f"{patient}-{side}", patient, images, **{**values, **changes})  # type: ignore[arg-type]


CASES = [make_case(1, "L"), make_case(1, "R"), make_case(2, "L", official_split="train"), make_case(3, "L")]


def bring(level: str, splits: dict[str, str], notes: tuple[str, ...] = ()) -> SplitFile:
    rows = {key: row for row, key in enumerate(splits, start=2)}
    return SplitFile("mine.csv", level, splits, rows, notes)


def apply(brought: SplitFile, cases: list[Case] = CASES) -> tuple[list[str | None], list[str]]:
    """The official split of each case, and what is said."""
    found = apply_split_file(Listing(cases, anomalies=["an old one"]), brought)
    return [case.official_split for case in found.cases], list(found.anomalies)


def test_columns_may_be_called_like_the_level_of_a_case_a_file_or_a_group() -> None:
    assert name_columns(CMMD) == {
        **dict.fromkeys(("case_id", "case", "breast_id", "breast"), "breast"),
        "file": "file",
        **dict.fromkeys(("group_id", "group", "patient_id", "patient"), "patient"),
    }
    assert list(name_columns(CMMD))[4] == "file"


def test_ids_of_a_case_are_those_of_its_level_or_of_each_of_its_files() -> None:
    assert list_keys(CASES[0], "patient") == list_keys(CASES[1], "patient")
    assert list_keys(CASES[0], "breast") != list_keys(CASES[1], "breast")
    assert len(set(list_keys(CASES[0], "file"))) == 2


def test_a_split_is_kept_and_the_rest_is_said(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("patient,split\nP1,val\nP1,eval\nP2,test\nP8,train\nP9,train\n")
    brought = read_split_file(path, data_set=CMMD)
    assert (brought.name, brought.level) == ("mine.csv", "patient")
    assert list(brought.splits.values()) == ["eval", "test", "train", "train"]
    assert list(brought.rows.values()) == [2, 4, 5, 6]
    splits, said = apply(brought)
    assert splits == ["eval", "eval", "test", None]
    assert said[-4:] == [
        "mine.csv: 2 of 4 ids are of no case (first: row 5)",
        "mine.csv: no row for 1 of 4 cases, which are dealt",
        "mine.csv: 1 cases leave the official split of the data set for this one",
        "an old one",
    ]


def test_a_file_that_says_all_and_agrees_says_nothing_of_it() -> None:
    [key] = list_keys(CASES[2], "patient")
    assert apply(bring("patient", {key: "train"}, ("a note",)), CASES[2:3]) == (
        ["train"],
        ["a note", "an old one"],
    )


def test_one_file_of_a_case_is_enough_and_two_must_agree() -> None:
    first, second = list_keys(CASES[0], "file")
    assert apply(bring("file", {second: "test"}))[0] == ["test", None, "train", None]
    assert apply(bring("file", {first: "test", second: "test"}))[0][0] == "test"
    with pytest.raises(UsageError, match=r"mine\.csv rows 2 and 3: images of one case in several splits"):
        apply(bring("file", {first: "test", second: "train"}))


def test_a_file_about_no_case_is_refused() -> None:
    with pytest.raises(UsageError, match=r"mine\.csv: no row is about one of 4 cases; expected ids of the"):
        apply(bring("patient", {"nobody": "train"}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file, expected a table of patient and split"),
        ("name,split\nP1,train\n", "expected case_id, split"),
        ("patient,split\n,train\n", "mine.csv row 2: no patient, expected one"),
        ("patient,split\nP1,fold 1\n", "mine.csv row 2: split 'fold 1'"),
        ("breast,split\nP1-L,train\nP2-L,train\nP1-L,test\n", "rows 2 and 4: one breast in train and test"),
    ],
)
def test_a_table_that_cannot_be_kept_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "mine.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_split_file(path, data_set=CMMD)
