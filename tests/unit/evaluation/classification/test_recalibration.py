import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from medimg.evaluation.classification.metrics import auc, evaluate
from medimg.evaluation.classification.recalibration import Recalibration, fit_recalibration, recalibrate


def draw(cases, *, classes=2, overconfidence=3.0, seed=0):
    """Labels drawn from probabilities, and these probabilities with their logits multiplied."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1, (cases, classes))
    chances = softmax(logits, axis=1)
    labels = (generator.random(cases)[:, None] > chances.cumsum(axis=1)).sum(axis=1)
    return labels, softmax(overconfidence * logits, axis=1)


def shares_of(labels, classes):
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    return counts / counts.sum()


def fit(labels, probabilities, **settings):
    """To the frequencies of the cases themselves."""
    shares = shares_of(labels, probabilities.shape[1])
    return fit_recalibration(labels, probabilities, **{"shares": shares, **settings})


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 3.0])
def test_the_factor_by_which_a_model_is_too_sure_is_found_and_no_bias_where_there_is_none(
    classes, overconfidence
):
    found = fit(*draw(4000, classes=classes, overconfidence=overconfidence))
    assert found.temperature == pytest.approx(overconfidence, rel=0.12)
    assert np.ptp(found.bias) < 0.2
    assert not found.is_at_bound


@pytest.mark.parametrize("prevalence", [0.05, 0.3])
def test_answers_learnt_from_balanced_classes_are_brought_to_the_frequencies_of_train(prevalence):
    labels, balanced = draw(20_000, overconfidence=1.0)
    generator = np.random.default_rng(1)
    kept = generator.random(len(labels)) < np.where(labels == 1, prevalence / (1 - prevalence), 1.0)
    labels, balanced = labels[kept], balanced[kept]
    shares = shares_of(labels, 2)
    found = fit(labels, balanced)
    assert found.bias[1] - found.bias[0] == pytest.approx(np.log(shares[1] / shares[0]), abs=0.12)
    answers = recalibrate(balanced, found)
    assert answers[:, 1].mean() == pytest.approx(labels.mean(), abs=0.003)


def test_frequencies_are_those_that_are_named_and_not_those_of_the_cases_that_are_fitted_to():
    labels, probabilities = draw(6000, overconfidence=1.0)
    found = fit_recalibration(labels, probabilities, shares=[0.9, 0.1])
    half = labels.mean()
    assert found.bias[1] - found.bias[0] == pytest.approx(np.log((0.1 / half) / (0.9 / (1 - half))), abs=0.15)


def cross_entropy(labels, probabilities, parameters, *, weights, offset):
    """Of Platt's targets, case by case, with the prior of the biases."""
    temperature, biases = np.exp(parameters[0]), parameters[1:]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    total = sum(bias**2 / 2 for bias in biases)
    for label, row, weight in zip(labels, probabilities, weights, strict=True):
        raised = row ** (1 / temperature) * np.exp(offset + biases)
        target = (counts[label] + 1) / (counts[label] + 2)
        for index, share in enumerate(raised / raised.sum()):
            total -= weight * (target if index == label else (1 - target) / (len(row) - 1)) * np.log(share)
    return total


@pytest.mark.parametrize("counts", [(9, 4), (9, 4, 2), (9, 0, 3)])
def test_temperature_and_biases_are_of_least_cross_entropy_with_platts_targets(counts):
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(len(counts)), counts)
    probabilities = generator.dirichlet(np.ones(len(counts)), len(labels))
    probabilities = 0.5 * probabilities + 0.5 * np.eye(len(counts))[labels]
    shares, offset = np.arange(1, len(counts) + 1) / 10, np.linspace(-0.5, 0.3, len(counts))
    raw = np.array([shares[label] / counts[label] for label in labels])
    least = minimize(
        lambda parameters: cross_entropy(
            labels, probabilities, parameters, weights=raw / raw.mean(), offset=offset
        ),
        np.zeros(len(counts) + 1),
        method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-10, "maxiter": 20_000, "maxfev": 20_000},
    ).x
    found = fit_recalibration(labels, probabilities, shares=shares, offset=offset)
    assert found.temperature == pytest.approx(np.exp(least[0]), rel=1e-3)
    assert np.array(found.bias) == pytest.approx(offset + least[1:], abs=1e-3)
    assert 0.06 < found.temperature < 15


def test_a_bias_from_a_few_cases_is_small_and_from_many_it_is_what_they_say():
    labels, probabilities = draw(40_000, overconfidence=1.0)
    kept = (labels == 0) | (np.arange(len(labels)) % 5 == 0)
    labels, probabilities = labels[kept], probabilities[kept]
    gaps = []
    for count in (12, 120, 10_000):
        found = fit(labels[:count], probabilities[:count])
        gaps.append(abs(found.bias[1] - found.bias[0]))
    assert gaps[0] < 0.8 * gaps[2]
    assert gaps[2] == pytest.approx(np.log(5), abs=0.15)


def test_temperatures_up_to_twenty_are_found_and_none_beyond_and_that_is_said():
    assert fit(*draw(3000, overconfidence=12.0)).temperature == pytest.approx(12, rel=0.12)
    for factor, bound in ((60.0, 20), (0.01, 1 / 20)):
        found = fit(*draw(3000, overconfidence=factor))
        assert found.temperature == pytest.approx(bound, rel=0.01)
        assert found.is_at_bound


def test_a_temperature_raises_probabilities_a_bias_multiplies_them_and_priors_are_taken_out_last():
    probabilities = np.array([[0.64, 0.36], [1 - 1e-12, 1e-12]])
    same = Recalibration(1.0, (0.0, 0.0))
    np.testing.assert_allclose(recalibrate(probabilities, same), probabilities, rtol=1e-6)
    warm = Recalibration(2.0, (0.0, 0.0))
    np.testing.assert_allclose(recalibrate(probabilities[:1], warm), [[0.8 / 1.4, 0.6 / 1.4]])
    warm = Recalibration(2.0, (0.0, np.log(2.0)))
    np.testing.assert_allclose(recalibrate(probabilities[:1], warm), [[0.4, 0.6]])
    priors = np.array([0.8, 0.2])
    without = np.array([1.0, 6.0])  # 0.8 / 0.8 and 2 * 0.6 / 0.2.
    np.testing.assert_allclose(
        recalibrate(probabilities[:1], warm, log_priors=np.log(priors)), [without / without.sum()]
    )


def test_calibration_error_falls_on_other_cases_and_the_auc_stays():
    labels, probabilities = draw(300)
    later_labels, later = draw(2000, seed=1)
    calibrated = recalibrate(later, fit(labels, probabilities))
    before, after = (evaluate(later_labels, values, classes=("no", "yes")) for values in (later, calibrated))
    assert after["ece"] < before["ece"] / 3
    assert after["brier"] < before["brier"]
    assert auc(later_labels, calibrated[:, 1]) == auc(later_labels, later[:, 1])


def test_a_few_cases_told_apart_without_an_error_do_not_make_the_model_certain():
    labels = np.array([0, 0, 0, 1, 1, 1])
    probabilities = np.stack([[0.7, 0.8, 0.6, 0.4, 0.3, 0.2], [0.3, 0.2, 0.4, 0.6, 0.7, 0.8]], axis=1)
    calibrated = recalibrate(probabilities, fit(labels, probabilities))
    assert calibrated[:3, 0].min() > 0.6
    assert calibrated.max() < 0.95


def test_without_two_labelled_classes_nothing_but_what_is_known_is_changed():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    for labels in ([1, -1, 1], [-1, -1, -1]):
        found = fit_recalibration(np.array(labels), probabilities, shares=[0.5, 0.5])
        assert found == Recalibration(1.0, (0.0, 0.0))
    found = fit_recalibration(np.array([1, -1, 1]), probabilities, shares=[0.5, 0.5], offset=[-1.0, 2.0])
    assert found == Recalibration(1.0, (-1.0, 2.0))


def test_cases_without_a_label_or_of_a_class_that_train_does_not_know_have_no_say():
    labels, probabilities = draw(200)
    more = np.concatenate([probabilities, np.full((50, 2), 0.5)])
    assert fit(np.r_[labels, np.full(50, -1)], more) == fit(labels, probabilities)
    labels, probabilities = draw(300, classes=3)
    known = labels < 2
    one, other = (
        fit_recalibration(labels[kept], probabilities[kept], shares=[0.7, 0.3, 0.0])
        for kept in (known, np.ones(300, bool))
    )
    assert one == other


def test_a_probability_of_zero_stays_finite():
    certain = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    calibrated = recalibrate(certain, fit(np.array([0, 1, 1, 1]), certain))
    assert np.isfinite(calibrated).all()
    assert 0.5 < calibrated[3, 1] < 1


def test_a_class_of_one_case_does_not_make_the_model_unsure_of_all():
    labels = np.repeat([0, 1, 2], [100, 15, 1])
    probabilities = np.full((len(labels), 3), 0.05)
    probabilities[np.arange(len(labels)), labels] = 0.9
    found = fit_recalibration(labels, probabilities, shares=[1 / 3, 1 / 3, 1 / 3])
    answers = recalibrate(probabilities, found)
    assert (answers.argmax(axis=1) == labels).all(), "all are told apart without an error"
    assert found.temperature < 1.0
