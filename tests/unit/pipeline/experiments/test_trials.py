"""Trials are ranked by a metric's own direction, and one without a figure is never best."""

import pytest
from rich.console import Console

from medimg.errors import UsageError
from pipeline.experiments.trials import (
    Objective,
    Trial,
    find_objective,
    print_trials,
    rank,
    read_trials,
    write_trials,
)

HEADS = {"malignancy": ("Benign", "Malignant"), "kind": ("a", "b", "c")}
TRIALS = [
    Trial("one", {"model.width": 8}, {"m/auc": 0.7, "m/brier": 0.2}, epochs=3, seconds=4.0),
    Trial("two", {"model.width": 16}, failed="Trainer: out of memory"),
    Trial("three", {"model.width": 24}, {"m/auc": 0.9, "m/brier": 0.3}, epochs=3, seconds=5.0),
    Trial("four", {"model.width": 32}, {"m/auc": None, "m/brier": 0.1}, epochs=3, seconds=6.0),
]


def test_the_best_is_the_largest_or_the_smallest_as_the_metric_has_it():
    assert [trial.key for trial in rank(TRIALS, Objective("m", "auc"))] == ["three", "one", "two", "four"]
    assert [trial.key for trial in rank(TRIALS, Objective("m", "brier"))] == ["four", "one", "three", "two"]


def test_the_earlier_of_equals_is_best():
    equals = [Trial(key, {}, {"m/auc": 0.5}) for key in "abc"]
    assert [trial.key for trial in rank(equals, Objective("m", "auc"))] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "name", "direction"),
    [
        ("auc", "malignancy/auc", "max"),
        ("loss", "malignancy/loss", "min"),
        ("ece", "malignancy/ece", "min"),
        ("kind/balanced_accuracy", "kind/balanced_accuracy", "max"),
        ("kind/sensitivity_b", "kind/sensitivity_b", "max"),
    ],
)
def test_an_objective_is_a_figure_of_a_head_with_the_direction_of_its_metric(text, name, direction):
    objective = find_objective(text, HEADS)
    assert (str(objective), objective.direction) == (name, direction)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("auk", "did you mean 'malignancy/auc'"),
        ("kind/brier", "kind/"),
        ("brier_uncertainty", "no such figure"),
        ("malignncy/auc", "'malignancy/auc'"),
    ],
)
def test_a_figure_that_is_not_measured_is_refused_with_the_nearest(text, words):
    with pytest.raises(UsageError, match=f"--objective {text}: ") as caught:
        find_objective(text, HEADS)
    assert words in str(caught.value)


def test_the_record_of_trials_is_read_as_it_was_written(tmp_path):
    assert read_trials(tmp_path) == {}
    write_trials(tmp_path, TRIALS)
    assert list(read_trials(tmp_path).values()) == TRIALS


def test_a_broken_record_is_named(tmp_path):
    (tmp_path / "trials.json").write_text("[{}]")
    with pytest.raises(UsageError, match=r"trials.json: not a record of trials"):
        read_trials(tmp_path)


def test_the_table_has_the_best_first_and_says_which_trial_failed():
    console = Console(record=True, width=150)
    print_trials(TRIALS, Objective("m", "auc"), console=console)
    rows = [
        line.split()
        for line in console.export_text().splitlines()
        if line.strip() and line.split()[0].isdigit()
    ]
    assert rows == [
        ["1", "3", "24", "0.9000", "3", "5"],
        ["2", "1", "8", "0.7000", "3", "4"],
        ["2", "16", "failed"],
        ["4", "32", "failed"],
    ]
