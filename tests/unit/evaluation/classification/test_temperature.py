import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from scipy.stats import norm

from medimg.evaluation.classification.metrics import auc, evaluate
from medimg.evaluation.classification.temperature import apply_temperature, fit_temperature


def draw(cases, *, classes=2, overconfidence=3.0, seed=0):
    """Labels drawn from probabilities, and these probabilities with their logits multiplied."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1, (cases, classes))
    chances = softmax(logits, axis=1)
    labels = (generator.random(cases)[:, None] > chances.cumsum(axis=1)).sum(axis=1)
    return labels, softmax(overconfidence * logits, axis=1)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 3.0])
def test_the_factor_by_which_a_model_is_too_sure_is_found(classes, overconfidence):
    labels, probabilities = draw(4000, classes=classes, overconfidence=overconfidence)
    assert fit_temperature(labels, probabilities) == pytest.approx(overconfidence, rel=0.12)


def cross_entropy(labels, probabilities, temperature, *, targets, weights):
    """Of Platt's targets, case by case; `targets` is what the true class of each case is to have."""
    total = 0.0
    for label, row, target, weight in zip(labels, probabilities, targets, weights, strict=True):
        raised = row ** (1 / temperature)
        shares = raised / raised.sum()
        for index, share in enumerate(shares):
            total -= weight * (target if index == label else (1 - target) / (len(row) - 1)) * np.log(share)
    return total / sum(weights)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("counts", [(9, 4), (9, 4, 2), (9, 0, 3)])
def test_the_temperature_is_of_least_cross_entropy_with_platts_targets(counts, balanced):
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(len(counts)), counts)
    probabilities = generator.dirichlet(np.ones(len(counts)), len(labels))
    probabilities = 0.5 * probabilities + 0.5 * np.eye(len(counts))[labels]
    present = sum(count > 0 for count in counts)
    number = {label: len(labels) / present if balanced else count for label, count in enumerate(counts)}
    targets = [(number[label] + 1) / (number[label] + 2) for label in labels]
    weights = [1 / counts[label] if balanced else 1.0 for label in labels]
    least = minimize_scalar(
        lambda log: cross_entropy(labels, probabilities, np.exp(log), targets=targets, weights=weights),
        bounds=(-3, 3),
        method="bounded",
    )
    found = fit_temperature(labels, probabilities, balanced=balanced)
    assert found == pytest.approx(np.exp(least.x), rel=1e-3)
    assert 0.06 < found < 15


def test_temperatures_up_to_twenty_are_found_and_none_beyond():
    labels, probabilities = draw(3000, overconfidence=12.0)
    assert fit_temperature(labels, probabilities) == pytest.approx(12, rel=0.12)
    labels, probabilities = draw(3000, overconfidence=60.0)
    assert fit_temperature(labels, probabilities) == pytest.approx(20, rel=0.01)
    labels, probabilities = draw(3000, overconfidence=0.01)
    assert fit_temperature(labels, probabilities) == pytest.approx(1 / 20, rel=0.01)


def test_a_temperature_raises_probabilities_and_priors_are_taken_out_after_it():
    probabilities = np.array([[0.64, 0.36], [1 - 1e-12, 1e-12]])
    np.testing.assert_allclose(apply_temperature(probabilities, 1.0), probabilities, rtol=1e-6)
    np.testing.assert_allclose(apply_temperature(probabilities[:1], 2.0), [[0.8 / 1.4, 0.6 / 1.4]])
    priors = np.array([0.8, 0.2])
    without = np.array([1.0, 3.0])  # 0.8 / 0.8 and 0.6 / 0.2.
    np.testing.assert_allclose(
        apply_temperature(probabilities[:1], 2.0, log_priors=np.log(priors)), [without / without.sum()]
    )


def test_calibration_error_falls_on_other_cases_and_the_auc_stays():
    labels, probabilities = draw(300)
    later_labels, later = draw(2000, seed=1)
    calibrated = apply_temperature(later, fit_temperature(labels, probabilities))
    before, after = (evaluate(later_labels, values, classes=("no", "yes")) for values in (later, calibrated))
    assert after["ece"] < before["ece"] / 3
    assert after["brier"] < before["brier"]
    assert auc(later_labels, calibrated[:, 1]) == auc(later_labels, later[:, 1])


def test_a_few_cases_told_apart_without_an_error_do_not_make_the_model_certain():
    labels = np.array([0, 0, 0, 1, 1, 1])
    probabilities = np.stack([[0.7, 0.8, 0.6, 0.4, 0.3, 0.2], [0.3, 0.2, 0.4, 0.6, 0.7, 0.8]], axis=1)
    calibrated = apply_temperature(probabilities, fit_temperature(labels, probabilities))
    assert calibrated[:3, 0].min() > 0.6
    assert calibrated.max() < 0.95


def test_without_two_labelled_classes_nothing_is_changed():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    assert fit_temperature(np.array([1, -1, 1]), probabilities) == 1.0
    assert fit_temperature(np.array([-1, -1, -1]), probabilities) == 1.0
    np.testing.assert_allclose(apply_temperature(probabilities, 1.0), probabilities)


def test_cases_without_a_label_have_no_say():
    labels, probabilities = draw(200)
    more = np.concatenate([probabilities, np.full((50, 2), 0.5)])
    assert fit_temperature(np.r_[labels, np.full(50, -1)], more) == fit_temperature(labels, probabilities)


def test_a_probability_of_zero_stays_finite():
    certain = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    calibrated = apply_temperature(certain, fit_temperature(np.array([0, 1, 1, 1]), certain))
    assert np.isfinite(calibrated).all()
    assert 0.5 < calibrated[0, 0] < 1


def test_probabilities_of_balanced_classes_are_calibrated_as_such_whatever_the_cases_frequencies() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60_000, 1000])
    data = generator.normal(np.where(labels == 1, 1.0, -1.0), np.where(labels == 1, 2.0, 1.0))
    common, rare = norm.pdf(data, -1.0, 1.0), norm.pdf(data, 1.0, 2.0)
    probabilities = (
        np.stack([common, rare], axis=1) / (common + rare)[:, None]
    )  # Bayes' rule for classes that are equally frequent.
    assert fit_temperature(labels, probabilities, balanced=True) == pytest.approx(1.0, rel=0.1)
    assert abs(fit_temperature(labels, probabilities) - 1.0) > 0.3, (
        "held against the real frequencies they seem wrong"
    )


def test_a_class_of_one_case_does_not_make_balanced_probabilities_unsure_of_all() -> None:
    labels = np.repeat([0, 1, 2], [100, 15, 1])
    probabilities = np.full((len(labels), 3), 0.05)
    probabilities[np.arange(len(labels)), labels] = 0.9
    assert fit_temperature(labels, probabilities, balanced=True) < 1.0, "all are told apart without an error"
