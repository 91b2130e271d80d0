import math
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, norm

from medimg.evaluation.classification.metrics import BINARY_METRICS, balanced_accuracy, macro_auc
from medimg.evaluation.classification.weighted_sample import ScoredCases
from medimg.evaluation.intervals import Bootstrap, Interval
from medimg.evaluation.paired_tests import (
    adjust_holm,
    compare_aucs,
    compare_metrics,
    compute_bootstrap_p_value,
    mcnemar,
)
from tests.unit.evaluation.obuchowski import draw_unequal_patients, estimate_by_loops
from tests.unit.evaluation.predictions import blur, draw_predictions
from tests.unit.evaluation.readers import FIRST, LABELS, SECOND


def test_two_readers_differ_as_in_proc():
    # roc.test(first, second, method="delong") of pROC 1.18.0: Z 2.126943, p 0.033424816152, 0.0109377677807
    # to 0.2677080655526 for first - second.
    test = compare_aucs(LABELS, SECOND, FIRST)
    assert test.p_value == pytest.approx(0.033424816152, abs=1e-11)
    assert (test.interval.low, test.interval.high) == pytest.approx(
        (0.0109377677807, 0.2677080655526), abs=1e-12
    )
    swapped = compare_aucs(LABELS, FIRST, SECOND)
    assert swapped.p_value == pytest.approx(test.p_value)
    assert (swapped.interval.low, swapped.interval.high) == pytest.approx(
        (-test.interval.high, -test.interval.low)
    )


def test_two_models_on_patients_of_several_cases_differ_as_in_obuchowski_1997():
    labels, scores, patients = draw_unequal_patients()
    aucs, covariance = estimate_by_loops(labels, scores, patients)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    test = compare_metrics(
        *(ScoredCases(labels, 1 / (1 + np.exp(-one)), patients) for one in scores.T[:, :, None] * [-1, 1]),
        {"auc": BINARY_METRICS["auc"]},
    )["auc"]
    assert test.name == "DeLong, clustered (Obuchowski)"
    assert test.p_value == pytest.approx(2 * norm.sf(abs(aucs[1] - aucs[0]) / error))
    assert (test.interval.low, test.interval.high) == pytest.approx(
        (aucs[1] - aucs[0] - 1.959964 * error, aucs[1] - aucs[0] + 1.959964 * error), abs=1e-6
    )
    assert compare_aucs(labels, *scores.T).p_value < 0.6 * test.p_value  # Of cases taken for independent.


@pytest.mark.parametrize("second", [-FIRST, FIRST * 2], ids=["no better", "the same order"])
def test_one_patient_with_all_positives_has_no_variance_and_says_so(second):
    test = compare_aucs(LABELS, FIRST, second, groups=np.where(LABELS == 1, 99, np.arange(40)))
    assert math.isnan(test.p_value)
    assert math.isnan(test.interval.low)
    assert test.interval.note.startswith("no interval: the two models rank all cases alike, or too few")


def score_all(labels, tables, groups):
    columns = ["p_malignancy_Benign", "p_malignancy_Malignant"]
    return [ScoredCases(labels, table[columns].to_numpy(), groups) for table in tables]


@pytest.fixture(scope="module")
def models():
    """Labels and scores of 300 cases, two of each patient, by two models."""
    predictions = draw_predictions()
    labels = (predictions.label_malignancy == "Malignant").to_numpy().astype(int)
    return labels, [predictions, blur(predictions, noise=1.0)]


def test_with_independent_cases_the_paired_bootstrap_agrees_with_delong(models):
    first, second = score_all(*models, np.arange(300))
    # Under another name it is a metric as any other.
    drawn = compare_metrics(first, second, {"area": BINARY_METRICS["auc"]})["area"]
    exact = compare_aucs(models[0], first.probabilities[:, 1], second.probabilities[:, 1])
    assert (drawn.interval.low, drawn.interval.high) == pytest.approx(
        (exact.interval.low, exact.interval.high), abs=0.005
    )


def test_swapping_the_models_turns_every_interval_and_keeps_every_p_value(models):
    first, second = score_all(*models, np.arange(300) // 2)
    bootstrap = Bootstrap(resamples=150)
    there, back = (
        compare_metrics(*pair, BINARY_METRICS, bootstrap) for pair in ((first, second), (second, first))
    )
    for name, test in there.items():
        turned = back[name]
        assert (test.interval.low, test.interval.high) == pytest.approx(
            (-turned.interval.high, -turned.interval.low), nan_ok=True
        ), name
        assert test.p_value == pytest.approx(turned.p_value, nan_ok=True), name


def test_the_paired_bootstrap_draws_whole_patients(models):
    labels, tables = models
    once = score_all(labels[:100], [table.head(100) for table in tables], np.arange(100))
    twice = [
        ScoredCases(np.tile(one.labels, 2), np.tile(one.probabilities, (2, 1)), np.tile(one.groups, 2))
        for one in once
    ]
    metrics = {"brier": BINARY_METRICS["brier"]}
    expected, found = (compare_metrics(*pair, metrics, Bootstrap(300))["brier"] for pair in (once, twice))
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (expected.interval.low, expected.interval.high)
    )


@pytest.mark.parametrize(
    ("differences", "p_value"),
    [
        ([-1.0] * 3 + [1.0] * 96, 0.08),
        ([1.0] * 3 + [-1.0] * 96, 0.08),
        ([-1.0] * 2 + [0.0] + [1.0] * 96, 0.08),
        ([1.0] * 99, 0.02),
        ([-1.0] * 3 + [1.0] * 96 + [math.nan] * 11, 0.08),
        ([0.0] * 99, 1.0),
        ([-1.0] * 50 + [1.0] * 49, 1.0),
    ],
    ids=[
        "few below",
        "few above",
        "a tie counts",
        "none",
        "undefined ones do not count",
        "no difference",
        "half",
    ],
)
def test_a_bootstrap_p_value_is_twice_the_rarer_side_with_the_observed_value_counted_in(differences, p_value):
    # Davison and Hinkley (1997), (1 + number) / (1 + resamples), of both sides.
    assert compute_bootstrap_p_value(np.array(differences), Interval(0, 1)) == pytest.approx(p_value)


def test_without_an_interval_there_is_no_bootstrap_p_value():
    assert math.isnan(compute_bootstrap_p_value(np.ones(99), Interval(math.nan, math.nan)))


def test_metrics_of_several_classes_are_drawn_though_they_bear_a_two_class_name():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3
    first, second = (ScoredCases(labels, generator.dirichlet((1, 1, 1), 60), np.arange(60)) for _ in range(2))
    tests = compare_metrics(
        first, second, {"auc": macro_auc, "sensitivity": balanced_accuracy}, Bootstrap(resamples=50)
    )
    assert {test.name for test in tests.values()} == {"paired bootstrap"}


def binomial_p_value(rarer, discordant):
    return min(1.0, 2 * sum(comb(discordant, k) for k in range(rarer + 1)) / 2**discordant)


def edwards_p_value(one, other):
    return chi2.sf((abs(one - other) - 1) ** 2 / (one + other), df=1)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (4, 12, 0.076812744140625),
        (12, 4, 0.076812744140625),
        (12, 21, 0.1637343543),
        (21, 12, 0.1637343543),
        (0, 0, 1.0),
        (3, 3, 1.0),
        (0, 1, 1.0),
        (8, 16, binomial_p_value(8, 24)),
        (8, 17, edwards_p_value(8, 17)),
        (8, 18, edwards_p_value(8, 18)),
    ],
)
def test_mcnemar_is_the_binomial_test_below_25_discordant_cases_and_that_of_r_above(
    only_first, only_second, p_value
):
    # 2 * pbinom(4, 16, 0.5), and mcnemar.test of R 4.2.2, which corrects for continuity: chi-squared 1.9394,
    # p 0.1637.
    right = np.repeat([True, False, True, False], [only_first, only_second, 50, 30])
    other = np.repeat([False, True, True, False], [only_first, only_second, 50, 30])
    assert mcnemar(right, other) == pytest.approx(p_value, rel=1e-9)


COSTS = np.array([[0.0, 1.0], [9.0, 0.0]])
"""A missed positive costs nine false alarms: positive from 0.1 on."""


def score_answers(answers, *, labels, costs, groups=None):
    """A model that is just sure enough of these answers, by its costs."""
    threshold = 0.5 if costs is None else 0.1
    scores = np.where(answers, threshold + 0.05, threshold - 0.05)
    probabilities = np.stack([1 - scores, scores], axis=1)
    return ScoredCases(labels, probabilities, np.arange(len(labels)) if groups is None else groups, costs)


@pytest.mark.parametrize("costs", [(None, None), (None, COSTS), (COSTS, None), (COSTS, COSTS)])
def test_sensitivity_is_tested_on_the_positives_and_specificity_on_the_negatives_by_each_models_costs(costs):
    # Of 60 positives 2 are found by the first alone and 13 by the second alone; of 60 negatives 14 and 6.
    labels = np.repeat([1, 0], 60)
    first = np.r_[np.repeat([True, False, True, False], [2, 13, 30, 15]), np.repeat([False, True], [34, 26])]
    second = np.r_[
        np.repeat([False, True, True, False], [2, 13, 30, 15]), np.repeat([True, False, True], [14, 26, 20])
    ]
    tests = compare_metrics(
        *(
            score_answers(answers, labels=labels, costs=own)
            for answers, own in zip((first, second), costs, strict=True)
        ),
        {name: BINARY_METRICS[name] for name in ("sensitivity", "specificity")},
        Bootstrap(resamples=50),
    )
    assert {test.name for test in tests.values()} == {"McNemar"}
    assert tests["sensitivity"].p_value == pytest.approx(binomial_p_value(2, 15))
    assert tests["specificity"].p_value == pytest.approx(binomial_p_value(6, 20))
    assert tests["sensitivity"].interval.low <= 11 / 60 <= tests["sensitivity"].interval.high
    assert tests["specificity"].interval.low <= -8 / 60 <= tests["specificity"].interval.high


def test_holm_adjusts_step_by_step_and_does_not_count_what_is_undefined():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") of R 4.2.2.
    assert adjust_holm([0.01, 0.04, math.nan, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, math.nan, 0.06, 0.02], nan_ok=True
    )
    assert adjust_holm([0.9, 0.6]) == [1.0, 1.0]
    assert adjust_holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_p_values_are_no_smaller_keep_their_order_and_reject_no_more_than_the_step_down_rule(p_values):
    adjusted = np.array(adjust_holm(p_values))
    assert (adjusted >= p_values).all()
    assert (adjusted <= 1).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
    bounds = 0.05 / (len(p_values) - np.arange(len(p_values)))
    rejected = np.cumprod(np.array(p_values)[order] < bounds * (1 - 1e-9)).sum()
    accepted = np.cumprod(np.array(p_values)[order] <= bounds * (1 + 1e-9)).sum()
    assert rejected <= (adjusted <= 0.05).sum() <= accepted
