import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg.evaluation.classification.delong import auc_interval
from medimg.evaluation.classification.metrics import BINARY_METRICS, METRICS, metrics_of
from medimg.evaluation.classification.weighted_sample import ScoredCases
from medimg.evaluation.intervals import (
    Bootstrap,
    bootstrap_intervals,
    draw_weights,
    mean_interval,
    take_percentiles,
)
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
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.005)


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


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        (np.arange(60) % 2, np.arange(60) % 10),
        (np.arange(60) < 5, np.arange(60)),
        (np.arange(60) >= 5, np.arange(60)),
    ],
    ids=["10 groups", "5 positives", "5 negatives"],
)
def test_just_enough_data_gives_an_interval(labels, groups):
    scores = np.random.default_rng(0).random(60)
    interval = bootstrap_intervals(ScoredCases(labels.astype(int), scores, groups), AUC)["auc"]
    assert 0 <= interval.low < interval.high <= 1


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((50, 5, 4), ""),
        ((4, 50, 5), ""),
        ((50, 4, 4), "fewer than two classes with 5 cases"),
        ((50, 0, 0), "fewer than two classes with 5 cases"),
    ],
)
def test_of_more_classes_two_must_have_five_cases(counts, words):
    labels = np.repeat([0, 1, 2], counts)
    probabilities = np.random.default_rng(0).dirichlet((1, 1, 1), len(labels))
    cases = ScoredCases(labels, probabilities, np.arange(len(labels)))
    interval = bootstrap_intervals(cases, {"accuracy": METRICS["accuracy"]}, Bootstrap(100))["accuracy"]
    assert interval.note == (f"no interval: {words}" if words else "")
    assert math.isnan(interval.low) == bool(words)


def test_a_single_class_of_two_has_no_interval_and_names_the_other():
    cases = ScoredCases(np.zeros(20, int), np.linspace(0, 1, 20), np.arange(20))
    assert bootstrap_intervals(cases, AUC)["auc"].note == "no interval: 0 positives, needs 5"


def test_no_interval_is_drawn_where_none_is_asked_for():
    labels, scores = draw(60)
    interval = bootstrap_intervals(ScoredCases(labels, scores, np.arange(60)), AUC, Bootstrap(0))["auc"]
    assert math.isnan(interval.high)
    assert interval.note == "no interval: none is asked for"


@pytest.mark.parametrize(
    ("undefined", "note"),
    [
        (0, ""),
        (9, ""),
        (10, "10 of 1000 resamples dropped, a class was missing"),
        (100, "100 of 1000 resamples dropped, a class was missing"),
        (101, "no interval: 101 of 1000 resamples miss a class"),
        (1000, "no interval: 1000 of 1000 resamples miss a class"),
    ],
)
def test_up_to_a_tenth_of_the_resamples_may_be_undefined_and_from_a_hundredth_on_that_is_noted(
    undefined, note
):
    values = np.r_[np.full(undefined, math.nan), np.linspace(0, 1, 1000 - undefined)]
    interval = take_percentiles(values)
    assert (interval.dropped, interval.note) == (undefined, note)
    assert math.isnan(interval.low) == note.startswith("no interval")
    if undefined <= 100:
        assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))


def test_every_note_of_an_interval_is_kept():
    note = take_percentiles(np.r_[np.full(5, math.nan), np.ones(95)]).note
    assert note.startswith("5 of 100 resamples dropped, a class was missing; all resamples agree")


@pytest.mark.parametrize("resamples", [1, 2, 3, 4, 5])
def test_every_resample_draws_as_many_groups_as_there_are_each_with_all_its_cases(resamples):
    # So many cases that a block has two resamples.
    groups = np.r_[np.repeat(np.arange(20), 3000), np.arange(20)]
    weights = np.concatenate(list(draw_weights(groups, Bootstrap(resamples))))
    assert weights.shape == (resamples, 60_020)
    assert len(np.unique(weights, axis=0)) == resamples
    counts = weights[:, -20:]
    assert (counts.sum(axis=1) == 20).all()
    np.testing.assert_array_equal(weights[:, :-20], np.repeat(counts, 3000, axis=1))


def test_every_group_is_drawn():
    counts = np.concatenate(list(draw_weights(np.arange(12), Bootstrap(400))))
    # Once per resample in the mean, with a standard deviation of 0.05.
    assert counts.mean(axis=0) == pytest.approx(np.ones(12), abs=0.25)


def test_the_interval_of_a_mean_is_that_of_its_groups():
    generator = np.random.default_rng(0)
    values, groups = generator.random(80), np.arange(80)
    once = mean_interval(values, groups, Bootstrap())
    error = values.std(ddof=1) / math.sqrt(80)
    assert (once.low, once.high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.1 * error
    )
    twice = mean_interval(np.tile(values, 2), np.tile(groups, 2), Bootstrap())
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))
    few = mean_interval(values[:27], groups[:27] % 9, Bootstrap())
    assert (math.isnan(few.low), few.note) == (True, "no interval: 9 groups, needs 10")


VALUES = st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 11)), min_size=12, max_size=30)


@given(VALUES)
def test_the_interval_of_a_mean_lies_within_the_values_and_turns_and_shifts_with_them(cases):
    values, groups = np.array([value for value, _ in cases]), np.array([group for _, group in cases])
    groups[:12] = np.arange(12)
    bootstrap = Bootstrap(resamples=100)
    interval, turned, shifted = (
        mean_interval(changed, groups, bootstrap) for changed in (values, -values, values + 3)
    )
    assert values.min() - 1e-9 <= interval.low <= interval.high <= values.max() + 1e-9
    assert (turned.low, turned.high) == pytest.approx((-interval.high, -interval.low), abs=1e-9)
    assert (shifted.low, shifted.high) == pytest.approx((interval.low + 3, interval.high + 3), abs=1e-9)


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
