"""Every figure that a run can have is named in words, none like another."""

import dataclasses
import math

import pytest

from medimg.evaluation.classification.metrics import metrics_of
from medimg.evaluation.figures import Figure
from medimg.reporting.metric_names import (
    describe_split,
    describe_tuning,
    describe_units,
    format_number,
    name_metric,
)

FIGURE = Figure("auc", "malignancy", "overall", "P1", "breast", "test", 25, 17, 24, 0.8, 0.7, 0.9)
TUNED = {
    "tuning.trials": "12",
    "tuning.failed": "0",
    "tuning.objective": "auc",
    "tuning.score": "0.81249",
    "tuning.chosen.training.epochs": "4",
    "tuning.chosen.model.width": "8",
    "model.width": "8",
}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("auc", "AUC"),
        ("sensitivity_at_specificity_90", "sensitivity at 90 % specificity"),
        ("sensitivity_mel_at_specificity_95", "sensitivity at 95 % specificity, mel against the rest"),
        ("auc_mel", "AUC, mel against the rest"),
        ("average_precision_mel", "average precision, mel against the rest"),
        ("sensitivity_mel", "sensitivity, mel against the rest"),
        ("accuracy_at_coverage_80", "accuracy on the most confident 80 %"),
        ("auc_at_coverage_90", "AUC on the most confident 90 %"),
        ("conformal_90_coverage", "sets of 90 %: share that holds the true class"),
        ("conformal_90_coverage_mel", "sets of 90 %: the same, mel"),
        ("conformal_90_set_size", "sets of 90 %: mean number of classes"),
        ("conformal_95_by_class_coverage", "sets of 95 % by class: share that holds the true class"),
        ("conformal_95_by_class_coverage_mel", "sets of 95 % by class: the same, mel"),
        ("conformal_95_by_class_set_size", "sets of 95 % by class: mean number of classes"),
        ("nearest_in_train_pixels", "nearest case is a train case, pixels"),
        ("nearest_in_train_by_chance_model", "the same by chance, model"),
        ("close_to_train_model", "close to a train case, model"),
        ("other_class_neighbours_model", "neighbours of another class, model"),
        ("split_auc_pixels", "AUC of telling the splits apart, pixels"),
        ("mmd_squared_pixels", "maximum mean discrepancy of the splits, pixels"),
        ("mmd_p_value_pixels", "the same: p-value, pixels"),
        ("folds_by_case_nearest", "balanced accuracy in folds by case, nearest"),
        ("folds_by_group_logistic", "balanced accuracy in folds by group, logistic"),
        ("leak_nearest", "leak of a split by case, nearest"),
        ("pointing_grad_cam", "pointing grad cam"),
    ],
)
def test_a_metric_is_named_in_words(name, words):
    assert name_metric(name) == words


def test_no_two_metrics_of_a_head_share_a_name_and_those_where_lower_is_better_say_so():
    for classes in (("no", "yes"), ("a", "b", "c")):
        names = list(metrics_of(classes, with_costs=True))
        words = [name_metric(name) for name in names]
        assert len(set(words)) == len(words)
        lower = {name for name, word in zip(names, words, strict=True) if "lower is better" in word}
        assert lower == {"brier", "brier_reliability", "ece", "mean_cost"} & set(names)


def test_units_are_counted_with_positives_and_groups_where_these_are_something_else():
    assert describe_units(FIGURE, "patient") == "25 breasts, 17 positive, of 24 patients"
    assert describe_units(FIGURE, "breast") == "25 breasts, 17 positive"
    several = dataclasses.replace(FIGURE, positives=None, n=1, groups=1)
    assert describe_units(several, "patient") == "1 breast, of 1 patient"
    none = dataclasses.replace(FIGURE, positives=0)
    assert describe_units(none, "breast") == "25 breasts, 0 positive"


def test_splits_and_numbers_in_words():
    assert describe_split("test") == "test split"
    assert describe_split("out of fold") == "cases out of fold"
    assert [format_number(value) for value in (0.12345, 1.0, math.nan)] == ["0.123", "1.000", "-"]


def test_a_search_is_told_with_what_it_chose_by_what_and_how_many_trials_failed():
    assert describe_tuning({"model.width": "8"}) == ""
    assert describe_tuning(TUNED) == (
        "Chosen in a search: training.epochs, model.width. The best of 12 trials by auc on the eval split, "
        "0.812 there; the test split had no part in it."
    )
    assert "The best of 12 trials, 2 of which failed, by auc" in describe_tuning(
        {**TUNED, "tuning.failed": "2"}
    )
