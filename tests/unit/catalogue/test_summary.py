"""Counts that add up over groups, cases, images and frames, and how long lists are cut for people."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from medimg.archive.receipts import Receipt
from medimg.cases import Case, ImageRef, Reject
from medimg.catalogue.duplicates.near import NearDuplicates
from medimg.catalogue.rows import NearPair
from medimg.catalogue.split import Assignment
from medimg.catalogue.summary import (
    count_before_exclusions,
    count_groups,
    count_quarantined,
    count_rows_without_file,
    count_splits,
    count_statuses,
    describe_search,
    hash_content,
    list_reasons,
    print_summary,
    summarize_search,
)
from medimg.errors import MedimgError


def make_case(case_id: str, group: str, *paths: str, label: str = "", **values: object) -> Case:
    given = {"labels": {"grade": label} if label else {"other": "x"}, **values}
    return Case(case_id, group, tuple(ImageRef(path, "CC") for path in paths), **given)  # type: ignore[arg-type]


CASES = [
    make_case("a1", "A", "a1", "a2", label="low"),
    make_case("a2", "A", "a3", label="high"),
    make_case("b1", "B", "b1", status="unlabelled"),
    make_case("c1", "C", "c1", label="low", status="excluded", masks=(ImageRef("c2", "CC"),)),
    make_case("a3", "A", "a4", label="low"),
    Case("d1", "D", tuple(ImageRef("d1", "CC", frame) for frame in range(3)), labels={"grade": "low"}),
]
REJECTS = [Reject("r1", "quarantined", "x"), Reject("r2", "excluded", "y")]
FILES = 10
PLACES = {"a1": "train", "a2": "train", "a3": "train", "b1": "test", "c1": "train", "d1": "eval"}
ASSIGNMENTS = {case_id: Assignment(split) for case_id, split in PLACES.items()}


def test_every_image_file_is_counted_once_frames_and_masks_included():
    assert count_statuses(CASES, rejects=REJECTS, files=FILES) == {
        "input": {"images": 10, "cases": 6},
        "images": {"used": 5, "unlabelled": 1, "excluded": 3, "quarantined": 1},
        "cases": {"used": 4, "unlabelled": 1, "excluded": 1, "quarantined": 0},
    }


@pytest.mark.parametrize("files", [9, 11])
def test_a_file_that_is_lost_or_counted_twice_is_an_error_with_the_counts(files):
    message = f"5 used, 1 unlabelled, 3 excluded, 1 quarantined: that is 10 image files, expected {files}"
    with pytest.raises(MedimgError, match=message):
        count_statuses(CASES, rejects=REJECTS, files=files)


def test_only_quarantined_rows_without_any_quarantined_file_have_no_file():
    cases = [
        make_case("lost", "A", status="quarantined"),
        make_case("absent", "B", status="quarantined", unread=("away",)),
        make_case("unread", "C", status="quarantined", unread=("r1",)),
        make_case("left out", "D", status="excluded"),
        make_case("bare", "E", status="unlabelled"),
        make_case("with a file", "F", "f1", status="quarantined"),
        make_case("replaced", "G", status="quarantined", unread=("r2",)),
    ]
    assert count_rows_without_file(cases, rejects=REJECTS) == 3
    assert count_rows_without_file(cases[2:5], rejects=REJECTS) == 0
    images = {"quarantined": 2}
    assert count_quarantined({"images": images, "rows_without_file": 3}) == 5
    assert count_quarantined({"images": images}) == 2


def test_before_exclusions_every_case_counts_whatever_became_of_it():
    assert count_before_exclusions(CASES, head="grade", files=FILES) == {
        "groups": 4,
        "images": 10,
        "labelled_cases": 5,
        "unlabelled_cases": 1,
        "classes": {"high": 1, "low": 4},
        "labelled_images": 6,
        "unlabelled_images": 1,
    }


def test_splits_are_counted_in_cases_and_in_groups_by_class_without_the_excluded():
    strata = dict.fromkeys(PLACES, "s") | {"d1": "t"}
    columns = ("split", "stratum", "class", "status", "cases", "groups")
    rows = count_splits(CASES, head="grade", assignments=ASSIGNMENTS, strata=strata)
    assert [tuple(row[column] for column in columns) for row in rows] == [
        ("eval", "t", "low", "used", 1, 1),
        ("test", "s", None, "unlabelled", 1, 1),
        ("train", "s", "high", "used", 1, 1),
        ("train", "s", "low", "used", 2, 1),
    ]
    assert count_groups(CASES, assignments=ASSIGNMENTS) == {"train": 1, "eval": 1, "test": 1}


def test_reasons_are_listed_most_frequent_first_with_whole_counts_and_the_first_ten_names():
    cases = [make_case(f"c{number:02d}", "g", status="excluded", reason="many") for number in range(12)][::-1]
    cases += [make_case("other", "g", status="excluded", reason="b"), make_case("used", "g", reason="no")]
    rejects = [Reject(f"f{number}", "excluded", "files") for number in range(3)]
    rejects += [Reject("bad", "quarantined", "many"), Reject("g", "excluded", "a")]
    found: Any = list_reasons(cases, rejects=rejects, status="excluded")
    assert [row["reason"] for row in found["reasons"]] == ["many", "files", "a", "b"]
    first, second, *_ = found["reasons"]
    assert first["cases"] == {"total": 12, "names": [f"c{number:02d}" for number in range(10)]}
    assert first["files"] == {"total": 0, "names": []}
    assert second["files"] == {"total": 3, "names": ["f0", "f1", "f2"]}
    assert found["total"] == 4


@pytest.mark.parametrize("count", [200, 201])
def test_of_very_many_reasons_two_hundred_are_listed_and_all_are_counted(count):
    rejects = [Reject(f"f{number}", "excluded", f"reason {number}") for number in range(count)]
    found: Any = list_reasons([], rejects=rejects, status="excluded")
    assert (found["total"], len(found["reasons"])) == (count, 200)


def test_a_search_is_summarized_in_groups_and_in_what_it_joins():
    groups = {"a1": "A", "a2": "A", "b": "B", "c": "C", "d": "D", "e": "E"}
    pairs = [NearPair(("c", "d"), 3), NearPair(("d", "e"), 3), NearPair(("a1", "a2"), 1)]
    near = NearDuplicates("hash", pairs, compared=9, without_contrast=2)
    assert summarize_search(near, groups=groups) == {
        "search": "hash", "images": 9, "without_contrast": 2, "pairs": 3, "groups": 5, "clusters": 3,
        "largest_cluster": 3,
    }  # fmt: skip


SEARCH = {"search": "hash", "images": 1900, "without_contrast": 0, "pairs": 7, "groups": 9, "clusters": 9}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"search": "off"}, "near duplicates were not searched (near_duplicates is off)"),
        ({}, "7 pairs of cases are near duplicates by hash, among 1,900 images; none of them joins groups"),
        (
            {"search": "keypoints", "without_contrast": 3, "clusters": 5, "largest_cluster": 4},
            "7 pairs of cases are near duplicates by hash or keypoints, among 1,900 images, 3 of them "
            "without contrast; they join 9 groups to 5, the largest of 4 groups",
        ),
    ],
)
def test_a_search_is_one_sentence(changes, sentence):
    assert describe_search({**SEARCH, **changes}) == sentence


IMAGES = [("a.dcm", "1"), ("b.dcm", "2")]


def hash_it(root: Path, images: Sequence[tuple[str, str]] = IMAGES, *names: str, **origin: str) -> str:
    receipt = Receipt(
        path=origin.get("path", "a.dcm"), bytes=1, md5="m", sha256="1", url="", series="s", fetched="now",
        collection=origin.get("collection", "c"), source="s", version="1", licence="l", doi="d",
    )  # fmt: skip
    tables = [root / name for name in names or ("labels.csv",)]
    return hash_content(images, tables=tables, root=root, receipts=[receipt])


def test_the_hash_follows_paths_contents_and_receipts_and_no_order_nor_place(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder / "deeper").mkdir(parents=True)
        for name in ("labels.csv", "same.csv", "deeper/labels.csv"):
            (tmp_path / folder / name).write_text("patient,label\n")
    one, two = tmp_path / "one", tmp_path / "two"
    plain = hash_it(one)
    assert plain == hash_it(two) == hash_it(one, IMAGES[::-1])
    assert hash_it(one, IMAGES, "labels.csv", "same.csv") == hash_it(one, IMAGES, "same.csv", "labels.csv")
    changed = [
        hash_it(one, [("c.dcm", "1"), ("b.dcm", "2")]),
        hash_it(one, [("a.dcm", "2"), ("b.dcm", "1")]),
        hash_it(one, [("a.dcm", "1"), ("b.dcm", "3")]),
        hash_it(one, IMAGES[:1]),
        hash_it(one, IMAGES, "same.csv"),
        hash_it(one, IMAGES, "deeper/labels.csv"),
        hash_it(one, IMAGES, "labels.csv", "same.csv"),
        hash_it(one, path="b.dcm"),
        hash_it(one, collection="other"),
    ]
    assert len({plain, *changed}) == 1 + len(changed)


def test_a_table_beside_the_data_counts_by_its_name_alone(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "labels.csv").write_text("patient,label\n")
    root = tmp_path / "data"
    one, two = (
        hash_content(IMAGES, tables=[tmp_path / folder / "labels.csv"], root=root)
        for folder in ("one", "two")
    )
    assert one == two


def reason(
    text: str, cases: Sequence[str] = (), files: Sequence[str] = (), total: int = 0
) -> dict[str, object]:
    return {
        "reason": text,
        "cases": {"total": total or len(cases), "names": list(cases)},
        "files": {"total": len(files), "names": list(files)},
    }


def printed(*, width: int = 160, **changes: object) -> list[str]:
    summary: dict[str, object] = {
        "title": "", "data_set": "tiny", "licence": "", "doi": "", "provenance": [],
        "cases": {"used": 1200, "unlabelled": 2, "excluded": 3, "quarantined": 4},
        "images": {"used": 5, "unlabelled": 6, "excluded": 7, "quarantined": 8},
        "input": {"cases": 1209, "images": 26},
        "groups": {"train": 3, "eval": 1, "test": 1},
        "splits": [
            {"split": "train", "class": "low", "status": "used", "cases": 1100},
            {"split": "train", "class": "low", "status": "used", "cases": 50},
            {"split": "test", "class": "high", "status": "used", "cases": 50},
            {"split": "train", "class": None, "status": "unlabelled", "cases": 9},
        ],
        "excluded": {"total": 0, "reasons": []}, "quarantined": {"total": 0, "reasons": []},
        "duplicates": [], "near_duplicates": {"search": "off"}, "anomalies": [],
        "leakage": [
            {"common": "the same group", "pairs": {"train-eval": 1, "train-test": 0, "eval-test": 2}},
            {"common": "the same spot", "pairs": None},
        ],
        **changes,
    }  # fmt: skip
    console = Console(file=io.StringIO(), width=width)
    print_summary(summary, console)
    return [" ".join(line.replace("│", " ").split()) for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_counts_of_cases_images_splits_and_leaks_are_printed_each_in_its_place():
    lines = printed()
    assert lines[0] == "tiny"
    assert "cases 1,200 2 3 4 1,209" in lines
    assert "images 5 6 7 8 26" in lines
    assert "┃ split ┃ groups ┃ high ┃ low ┃" in lines
    assert [line for line in lines if line.startswith(("train ", "eval ", "test "))] == [
        "train 3 0 1,150",
        "eval 1 0 0",
        "test 1 50 0",
    ]
    assert "the same group 1 0 2" in lines
    assert "the same spot not searched not searched not searched" in lines
    assert printed(title="Tiny", licence="CC0", doi="10.1/x")[0] == "Tiny (CC0, doi 10.1/x)"


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (reason("x", ["a", "b"], ["c"]), "x: a, b, c"),
        (reason("x", ["a", "b"], ["c", "d"]), "x: a, b, c and 1 more"),
        (reason("x", ["a", "b", "c", "d"], total=1204), "x: a, b, c and 1,201 more"),
    ],
)
@pytest.mark.parametrize("status", ["excluded", "quarantined"])
def test_three_names_are_shown_and_the_rest_is_counted(status, row, line):
    assert f"{status}: {line}" in printed(**{status: {"total": 1, "reasons": [row]}})


@pytest.mark.parametrize(("count", "cut"), [(10, False), (11, True)])
@pytest.mark.parametrize("status", ["excluded", "quarantined"])
def test_ten_reasons_are_printed_and_that_there_are_more(status, count, cut):
    rows = [reason(f"reason {number}", ["a"]) for number in range(count)]
    lines = [
        line for line in printed(**{status: {"total": count, "reasons": rows}}) if line.startswith(status)
    ]
    assert lines[:10] == [f"{status}: reason {number}: a" for number in range(10)]
    assert len(lines) == 10 + cut
    assert (f"{status}: {count} reasons in all" in lines[-1]) == cut


NOTES = [
    "excluded: a reason: a",
    "excluded: 11 reasons in all, see reason in the tables `cases` and `images`",
    "excluded, not images: 1,204 desktop files: .DS_Store, a/.DS_Store, b/.DS_Store and 1,201 more",
    "excluded, not images: 1 reports: sr.dcm",
    "images flagged: 1,000 blank, 2 window; see flags in the table `images`",
    "0 pairs of cases with identical pixels, 0 of them with different labels",
    "anomaly: a long line of an anomaly",
]


@pytest.mark.parametrize("width", [20, 160])
def test_each_note_is_one_line_however_narrow_the_terminal_is(width):
    names = [".DS_Store", "a/.DS_Store", "b/.DS_Store", "c/.DS_Store"]
    lines = printed(
        width=width,
        excluded={"total": 11, "reasons": [reason("a reason", ["a"])]},
        not_images=[
            {"kind": "desktop files", "files": {"total": 1204, "names": names}},
            {"kind": "reports", "files": {"total": 1, "names": ["sr.dcm"]}},
        ],
        quality_flags={"blank": 1000, "window": 2},
        anomalies=["a long line of an anomaly"],
        near_duplicates={"search": "off"},
    )
    assert [line for line in lines if line in NOTES] == NOTES
    assert describe_search({"search": "off"}) in lines


@pytest.mark.parametrize(("count", "cut"), [(10, False), (11, True)])
def test_ten_anomalies_are_printed_and_that_there_are_more(count, cut):
    lines = [line for line in printed(anomalies=["odd"] * count) if line.startswith("anomaly")]
    assert (
        lines == ["anomaly: odd"] * 10 + [f"anomaly: {count} in all, see `anomalies` in summary.json"] * cut
    )


def test_pairs_with_one_look_are_counted_and_those_with_different_labels_apart():
    pairs = [
        {"labels": [None, "low"], "label_conflict": False},
        {"labels": ["low", "high"], "label_conflict": True},
    ]
    assert "2 pairs of cases with identical pixels, 1 of them with different labels" in printed(
        duplicates=pairs
    )
