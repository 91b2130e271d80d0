"""Predicted against observed: bins of equal mass with Wilson intervals, and the parts of the Brier score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from medimg.evaluation.classification.calibration import make_reliability_bins, wilson_interval
from medimg.evaluation.classification.metrics import evaluate, metrics_of
from medimg.evaluation.classification.weighted_sample import make_sample

TWO = ("no", "yes")


@pytest.mark.parametrize(
    ("positives", "cases"), [(0, 10), (1, 1), (3, 10), (10, 10), (57, 100), (0, 1), (0, 27), (16, 16)]
)
def test_the_interval_of_a_share_is_wilsons_as_scipy_has_it(positives, cases):
    expected = binomtest(positives, cases).proportion_ci(0.95, method="wilson")
    assert wilson_interval(positives, cases) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= wilson_interval(positives, cases)[0] <= wilson_interval(positives, cases)[1] <= 1


@given(st.integers(1, 500), st.data())
def test_the_interval_holds_the_share_shrinks_with_cases_and_turns_with_the_classes(cases, data):
    positives = data.draw(st.integers(0, cases))
    low, high = wilson_interval(positives, cases)
    assert 0 <= low <= high <= 1
    assert low - 1e-12 <= positives / cases <= high + 1e-12
    assert wilson_interval(cases - positives, cases) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    narrower = wilson_interval(4 * positives, 4 * cases)
    assert narrower[1] - narrower[0] < high - low


def test_bins_hold_equal_masses_by_rising_probability_and_equal_scores_share_one():
    # 20 cases, two a bin: the three of 0.30 have ranks 3 to 5, the middle one of which is in the second bin.
    scores = np.array([0.1, 0.2, 0.3, 0.3, 0.3, *np.linspace(0.4, 0.96, 15)])
    labels = np.array([0, 1, 1, 0, 0, *np.arange(15) % 2])
    order = np.random.default_rng(0).permutation(20)
    bins = make_reliability_bins(labels[order], scores[order])
    assert [one.cases for one in bins] == [2, 3, 1, 2, 2, 2, 2, 2, 2, 2]
    assert [one.positives for one in bins[:3]] == [1, 1, 0]
    assert [one.predicted for one in bins[:3]] == pytest.approx([0.15, 0.3, 0.4])
    assert [one.observed for one in bins[:3]] == pytest.approx([1 / 2, 1 / 3, 0])
    assert (bins[1].low, bins[1].high) == pytest.approx(wilson_interval(1, 3))


def test_a_bin_predicts_the_mean_over_its_cases_and_not_over_its_scores():
    # All but the highest bin hold one score each; there 0.9 is had by three cases and 0.98 by one.
    scores = np.r_[np.repeat(np.arange(1, 10) / 20, 4), 0.9, 0.9, 0.9, 0.98]
    (*_, highest) = make_reliability_bins(np.zeros(40), scores)
    assert (highest.cases, highest.predicted) == (4, pytest.approx(0.92))


def test_ten_cases_fill_ten_bins_and_three_fill_three():
    scores = np.arange(1, 11) / 11
    bins = make_reliability_bins(np.ones(10), scores)
    assert [(one.cases, one.predicted, one.observed) for one in bins] == [
        (1, pytest.approx(score), 1.0) for score in scores
    ]
    assert len(make_reliability_bins(np.ones(3), scores[:3])) == 3


def bin_by_hand(labels, scores):
    """Mass, mean score and share of positives of each tenth; the scores are all different."""
    parts = np.array_split(np.argsort(scores), 10)
    return np.array([(len(part), scores[part].mean(), labels[part].mean()) for part in parts]).T


def test_calibration_error_and_parts_of_the_brier_score_are_those_of_tenths():
    generator = np.random.default_rng(0)
    labels, scores = generator.integers(0, 2, 130), generator.random(130)
    mass, predicted, observed = bin_by_hand(labels, scores)
    figures = evaluate(labels, scores, classes=TWO)
    assert figures["ece"] == pytest.approx(np.average(abs(predicted - observed), weights=mass))
    assert figures["brier_reliability"] == pytest.approx(
        np.average((predicted - observed) ** 2, weights=mass)
    )
    prevalence = labels.mean()
    within = np.average(
        [
            scores[part].var() - 2 * np.cov(scores[part], labels[part], ddof=0)[0, 1]
            for part in np.array_split(np.argsort(scores), 10)
        ],
        weights=mass,
    )
    assert figures["brier_resolution"] == pytest.approx(
        np.average((observed - prevalence) ** 2, weights=mass) - within
    )
    assert figures["brier_uncertainty"] == pytest.approx(prevalence * (1 - prevalence))


def test_each_resample_has_bins_of_its_own():
    generator = np.random.default_rng(1)
    labels, scores = generator.integers(0, 2, 60), generator.random(60).round(2)
    weights = generator.integers(0, 4, (3, 60))
    sample = make_sample(labels, scores, weights_RN=weights.astype(float))
    for name in ("ece", "brier_reliability", "brier_resolution"):
        found = metrics_of(TWO)[name](sample)
        for row, value in zip(weights, found, strict=True):
            repeated = evaluate(np.repeat(labels, row), np.repeat(scores, row), classes=TWO)
            assert value == pytest.approx(repeated[name], abs=1e-12), name
