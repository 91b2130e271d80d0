import math

import numpy as np
import pytest

from medimg.evaluation.classification.delong import auc_interval
from medimg.evaluation.classification.metrics import BINARY_METRICS, metrics_of
from medimg.evaluation.classification.weighted_sample import ScoredCases
from medimg.evaluation.intervals import Bootstrap, bootstrap_intervals
from tests.unit.evaluation.cohorts import draw_cohort, true_auc

AUC = {"auc": BINARY_METRICS["auc"]}


def draw(cases, *, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(cases) % 2
    return labels, 1 / (1 + np.exp(-(labels + generator.normal(0, 1, cases))))


def test_with_independent_cases_the_bootstrap_agrees_with_delong():
    labels, scores = draw(400)
    interval = bootstrap_intervals(ScoredCases(labels, scores, np.arange(400)), AUC)["auc"]
    expected = auc_interval(labels, scores)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_counting_each_patient_twice_does_not_narrow_the_interval():
    labels, scores = draw(120)
    once = bootstrap_intervals(ScoredCases(labels, scores, np.arange(120)), AUC)["auc"]
    twice = bootstrap_intervals(
        ScoredCases(np.tile(labels, 2), np.tile(scores, 2), np.tile(np.arange(120), 2)), AUC
    )["auc"]
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_the_same_seed_gives_the_same_interval_whatever_the_order_of_rows():
    labels, scores = draw(100)
    groups, order = np.arange(100) // 2, np.random.default_rng(4).permutation(100)
    first = bootstrap_intervals(ScoredCases(labels, scores, groups), AUC, Bootstrap(seed=7))["auc"]
    again = bootstrap_intervals(
        ScoredCases(labels[order], scores[order], groups[order]), AUC, Bootstrap(seed=7)
    )["auc"]
    other = bootstrap_intervals(ScoredCases(labels, scores, groups), AUC, Bootstrap(seed=8))["auc"]
    assert (again.low, again.high) == pytest.approx((first.low, first.high))
    assert (other.low, other.high) != (first.low, first.high)


def test_resamples_without_a_class_are_counted():
    labels, scores = draw(60)
    groups = np.where(
        labels == 1, np.arange(60) % 3, np.arange(60)
    )  # All positives are three patients: one resample in twenty misses them.
    interval = bootstrap_intervals(ScoredCases(labels, scores, groups), AUC)["auc"]
    assert interval.dropped > 0
    assert f"{interval.dropped} of 2000 resamples dropped" in interval.note


@pytest.mark.parametrize(
    ("labels", "groups", "words"),
    [
        (np.arange(60) % 2, np.arange(60) % 9, "9 groups, needs 10"),
        (np.arange(60) < 4, np.arange(60), "4 positives, needs 5"),
        (np.arange(60) >= 3, np.arange(60), "3 negatives, needs 5"),
        (np.arange(60) >= 59 - 5, np.where(np.arange(60) >= 54, 99, np.arange(60)), "resamples miss a class"),
    ],
)
def test_too_little_data_gives_no_interval_and_says_which_rule(labels, groups, words):
    interval = bootstrap_intervals(ScoredCases(labels.astype(int), np.linspace(0, 1, 60), groups), AUC)["auc"]
    assert math.isnan(interval.low)
    assert words in interval.note


def test_a_perfect_ranking_says_that_its_interval_shows_nothing():
    labels = np.arange(60) % 2
    interval = bootstrap_intervals(ScoredCases(labels, labels * 0.5 + 0.25, np.arange(60)), AUC)["auc"]
    assert (interval.low, interval.high) == (1.0, 1.0)
    assert "cannot show the uncertainty" in interval.note


def test_every_metric_of_several_classes_has_an_interval():
    generator = np.random.default_rng(0)
    metrics = metrics_of(("a", "b", "c"))
    intervals = bootstrap_intervals(
        ScoredCases(generator.integers(0, 3, 90), generator.dirichlet((1, 1, 1), 90), np.arange(90)),
        metrics,
        Bootstrap(resamples=100),
    )
    assert all(interval.low < interval.high for interval in intervals.values())


def test_drawing_patients_covers_the_true_auc_and_drawing_images_does_not():
    # benchmarks/bench_coverage.py does the same with 2,000 cohorts.
    cohorts, patients = 150, 60
    held = {"patients": 0, "images": 0}
    for seed in range(cohorts):
        cohort = draw_cohort(patients, seed=seed)
        for unit, groups in (("patients", cohort.patients), ("images", np.arange(len(cohort.labels)))):
            interval = bootstrap_intervals(
                ScoredCases(cohort.labels, cohort.scores, groups), AUC, Bootstrap(resamples=300, seed=seed)
            )["auc"]
            held[unit] += interval.low <= true_auc(views=1) <= interval.high
    # Of 150 cohorts 95 % is 142.5, with a standard deviation of 2.7.
    assert held["patients"] >= 134
    assert held["images"] <= 130
