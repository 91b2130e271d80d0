"""Counts of what was written: added up over shards, and compared with what was planned and seen."""

from __future__ import annotations

import json

import pytest

from components.case_example_gen.outcome import (
    RejectRow,
    WrittenExamples,
    expect_cases,
    expect_written,
    gather_outcomes,
    lost_examples,
    read_outcome,
    write_outcome,
)
from medimg.errors import MedimgError


def reject(case_id: str, split: str, reason: str = "truncated", **values: str) -> RejectRow:
    return {"case_id": case_id, "split": split, "reason": reason, "images": 1, **values}  # type: ignore[typeddict-item]


OUTCOME = WrittenExamples(
    written={"train": 8, "unlabelled_train": 2, "test": 3},
    examples={"train": 20, "unlabelled_train": 5, "test": 3},
    rejects=[
        reject("a", "train"),
        reject("b", "train", kept="other views"),
        reject("c", "test"),
        reject("d", "test"),
    ],
)
PLANNED = {"train": 9, "unlabelled_train": 2, "test": 5}


def test_shards_add_up_whatever_their_order_and_come_back_from_the_file(tmp_path):
    shards = [
        {
            "split": "train",
            "written": 3,
            "examples": 7,
            "rejects": [reject("b", "train"), reject("a", "train", "z")],
        },
        {"split": "eval", "written": 2, "examples": 2, "rejects": []},
        {"split": "train", "written": 4, "examples": 4, "rejects": [reject("a", "train")]},
    ]
    for order in (shards, shards[::-1]):
        path = tmp_path / "much" / "deeper" / "outcome.json"
        for _ in range(2):  # Once more into the folder that is there.
            write_outcome([json.dumps(shard) for shard in order], str(path))
        assert read_outcome(path) == gather_outcomes([json.dumps(shard) for shard in order])
        assert read_outcome(path) == WrittenExamples(
            {"eval": 2, "train": 7},
            {"eval": 2, "train": 11},
            [reject("a", "train"), reject("a", "train", "z"), reject("b", "train")],
        )
        assert list(read_outcome(path).written) == ["eval", "train"]


def test_where_nothing_was_noted_nothing_was_written(tmp_path):
    assert read_outcome(tmp_path / "outcome.json") == WrittenExamples({}, {}, ())


def test_cases_that_are_written_or_rejected_as_a_whole_are_as_many_as_planned():
    expect_written(OUTCOME, planned=PLANNED)


@pytest.mark.parametrize(
    ("planned", "words"),
    [
        ({**PLANNED, "train": 8}, "written 8 and rejected 1 cases of split train, expected 8 together"),
        ({**PLANNED, "train": 10}, "written 8 and rejected 1 cases of split train, expected 10 together"),
        ({**PLANNED, "eval": 1}, "written 0 and rejected 0 cases of split eval, expected 1 together"),
        ({"train": 9, "test": 5}, "written 2 and rejected 0 cases of split unlabelled_train, expected 0"),
    ],
)
def test_a_case_more_or_less_than_planned_in_any_split_fails(planned, words):
    with pytest.raises(MedimgError, match=words):
        expect_written(OUTCOME, planned=planned)


@pytest.mark.parametrize(("found", "lines"), [(20, 0), (19, 1), (21, 1), (8, 1), (0, 1)])
def test_a_stage_has_to_see_every_example_of_a_study_once(found, lines):
    assert len(list(lost_examples("Evaluator", {"train": found, "test": 3}, OUTCOME))) == lines


def test_a_split_of_which_nothing_was_written_has_no_example_to_see():
    assert list(lost_examples("Evaluator", {"eval": 0}, OUTCOME)) == []
    assert len(list(lost_examples("Evaluator", {"eval": 1}, OUTCOME))) == 1


@pytest.mark.parametrize("found", [9, 11, 25])
def test_a_stage_that_has_seen_a_case_more_or_less_of_its_splits_fails(found):
    splits = ("train", "unlabelled_train", "unlabelled_eval")
    expect_cases("ReportGen", 10, OUTCOME, splits=splits)
    with pytest.raises(
        MedimgError, match=f"^ReportGen has counted {found} cases of split train, expected 10 as"
    ):
        expect_cases("ReportGen", found, OUTCOME, splits=splits)


def test_counts_stand_in_the_order_of_the_splits_names():
    counts = {"test": 1, "unlabelled_train": 2, "train": 3, "eval": 4}
    shards = [{"examples": n, "rejects": [], "split": name, "written": n} for name, n in counts.items()]
    found = gather_outcomes([json.dumps(shard) for shard in shards])
    assert list(found.written) == list(found.examples) == sorted(counts)
