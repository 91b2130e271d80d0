import numpy as np
import pytest
from scipy.stats import binom

from medimg.evaluation.classification.conformal import fit_conformal
from medimg.evaluation.classification.weighted_sample import make_sample


def draw(cases, *, seed, prevalence=(0.7, 0.2, 0.1)):
    """Labels, and probabilities of a model that knows something, the prevalence too, and is too sure."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, cases, p=prevalence)
    logits = generator.normal(0, 1.5, (cases, 3)) + 2 * np.eye(3)[labels] + np.log(prevalence)
    chances = np.exp(2 * logits)
    return labels, chances / chances.sum(axis=1, keepdims=True)


def test_sets_are_those_worked_by_hand():
    # The true classes have 0.9, 0.8, 0.7, 0.3: the ceil(5 * 0.6) = 3rd largest is 0.7, so a class needs 0.7
    # to be in a set.
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.7, 0.3]])
    sets = fit_conformal(np.array([0, 1, 0, 1]), probabilities, coverage=0.6)
    np.testing.assert_allclose(sets.thresholds, [0.7, 0.7])
    assert sets.contains(np.array([[0.75, 0.25], [0.5, 0.5], [0.1, 0.9]])).tolist() == [
        [True, False],
        [False, False],
        [False, True],
    ]
    # By class: 0.9 and 0.7 of the first, 0.8 and 0.3 of the second; the ceil(3 * 0.6) = 2nd largest of each.
    np.testing.assert_allclose(
        fit_conformal(np.array([0, 1, 0, 1]), probabilities, coverage=0.6, by_class=True).thresholds,
        [0.7, 0.3],
    )


def test_the_rank_of_a_threshold_is_not_raised_by_a_rounding_error():
    # 100 * 0.55 is 55.00000000000001 in floating point.
    own = np.arange(1, 100) / 100
    sets = fit_conformal(np.zeros(99, int), np.stack([own, 1 - own], axis=1), coverage=0.55)
    assert sets.thresholds == pytest.approx([0.45, 0.45])


def test_sets_by_class_have_names_of_their_own():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    names = [
        list(
            fit_conformal(np.array([0, 1]), probabilities, coverage=0.95, by_class=by_class).metrics(
                ("a", "b")
            )
        )
        for by_class in (False, True)
    ]
    kinds = ("coverage", "set_size", "coverage_a", "coverage_b")
    assert names == [[f"conformal_95{part}_{kind}" for kind in kinds] for part in ("", "_by_class")]


def test_with_too_few_cases_every_class_is_in_every_set():
    labels, probabilities = draw(8, seed=0)
    assert fit_conformal(labels, probabilities, coverage=0.9).contains(probabilities).all()
    labels, probabilities = draw(9, seed=0)
    own = probabilities[np.arange(9), labels]
    assert fit_conformal(labels, probabilities, coverage=0.9).thresholds == pytest.approx(
        np.full(3, own.min())
    )


def test_figures_are_those_worked_by_hand_and_follow_the_weights():
    sets = fit_conformal(
        np.array([0, 1, 0, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.7, 0.3]]), coverage=0.6
    )
    sample = make_sample(
        np.array([0, 1, 1]),
        np.array([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]]),
        weights_RN=np.array([[1.0, 1, 1], [2, 0, 2], [1, 0, 0]]),
    )
    wide = fit_conformal(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]), coverage=0.9)
    assert wide.metrics(("no", "yes"))["conformal_90_set_size"](sample).tolist() == [2, 2, 2]
    values = {name: metric(sample) for name, metric in sets.metrics(("no", "yes")).items()}
    np.testing.assert_allclose(values["conformal_60_coverage"], [2 / 3, 1, 1])
    np.testing.assert_allclose(values["conformal_60_set_size"], [2 / 3, 1, 1])
    np.testing.assert_allclose(values["conformal_60_coverage_no"], [1, 1, 1])
    np.testing.assert_allclose(values["conformal_60_coverage_yes"], [1 / 2, 1, np.nan])


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_the_stated_coverage_is_reached_within_its_binomial_error(coverage):
    hits, cases = 0, 0
    for seed in range(400):  # One case per calibration: these are independent.
        labels, probabilities = draw(101, seed=seed)
        sets = fit_conformal(labels[1:], probabilities[1:], coverage=coverage)
        hits, cases = hits + sets.contains(probabilities[:1])[0, labels[0]], cases + 1
    # With 100 cases to calibrate on, the chance is between the stated one and 1/101 more.
    assert binom.ppf(0.005, cases, coverage) <= hits <= binom.ppf(0.995, cases, coverage + 1 / 101)


def test_by_class_the_rare_class_is_covered_too():
    labels, probabilities = draw(4000, seed=1)
    later_labels, later = draw(4000, seed=2)
    rare = later_labels == 2
    shared, by_class = (
        fit_conformal(labels, probabilities, coverage=0.9, by_class=by_class) for by_class in (False, True)
    )
    assert shared.contains(later)[rare, 2].mean() < 0.8
    # Calibrated on as many cases of that class as are counted: twice the variance.
    assert by_class.contains(later)[rare, 2].mean() == pytest.approx(
        0.9, abs=3 * np.sqrt(2 * 0.09 / rare.sum())
    )
