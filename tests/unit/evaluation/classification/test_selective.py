import numpy as np
import pytest

from medimg.evaluation.classification.metrics import accuracy, auc
from medimg.evaluation.classification.selective import (
    aurc,
    excess_aurc,
    make_risk_coverage,
    on_confident,
    selective_metrics,
)
from medimg.evaluation.classification.weighted_sample import make_sample

# Four cases from the surest to the least sure: right, wrong, right, wrong.
LABELS = np.array([1, 1, 0, 0])
SCORES = np.array([0.95, 0.1, 0.2, 0.6])


def draw(cases, *, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, cases)
    return labels, 1 / (1 + np.exp(-generator.normal(3 * labels - 1.5, 1.5)))


def test_the_curve_of_four_cases_is_that_worked_by_hand():
    curve = make_risk_coverage(LABELS, SCORES)
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(curve.risk, [0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert curve.excess == pytest.approx(curve.area - (0.5 + 0.5 * np.log(0.5)))


def test_leaving_out_the_least_sure_half_keeps_the_other_half():
    sample = make_sample(LABELS, SCORES)
    assert on_confident(sample, metric=accuracy, coverage=0.5) == pytest.approx(0.5)
    assert on_confident(sample, metric=accuracy, coverage=0.25) == pytest.approx(1.0)
    assert on_confident(sample, metric=accuracy, coverage=1.0) == pytest.approx(accuracy(sample))


def test_a_resample_that_draws_a_case_twice_counts_it_twice():
    weights = np.array([[2.0, 0.0, 1.0, 1.0]])
    weighted, repeated = (
        make_sample(LABELS, SCORES, weights_RN=weights),
        make_sample(LABELS[[0, 0, 2, 3]], SCORES[[0, 0, 2, 3]]),
    )
    for name, metric in selective_metrics(("no", "yes")).items():
        np.testing.assert_allclose(metric(weighted), metric(repeated), err_msg=name)


def test_equally_sure_cases_count_alike_whatever_their_order():
    labels, scores = draw(200)
    scores, order = scores.round(1), np.random.default_rng(1).permutation(200)
    for name, metric in selective_metrics(("no", "yes")).items():
        np.testing.assert_allclose(
            metric(make_sample(labels, scores)),
            metric(make_sample(labels[order], scores[order])),
            err_msg=name,
        )


def test_a_model_that_knows_when_it_is_wrong_comes_close_to_the_best_order():
    labels, scores = draw(2000)
    wrong = (scores >= 0.5) != labels
    confident = np.where(wrong, np.where(labels == 1, 0.49, 0.51), np.where(labels == 1, 0.99, 0.01))
    shuffled = np.where(confident >= 0.5, 1, 0) * np.random.default_rng(2).uniform(0.51, 0.99, 2000)
    shuffled = np.where(confident >= 0.5, shuffled, 1 - np.random.default_rng(3).uniform(0.51, 0.99, 2000))
    knows, guesses = make_sample(labels, confident), make_sample(labels, shuffled)
    assert abs(excess_aurc(knows)[0]) < 0.03
    assert excess_aurc(guesses)[0] > 3 * abs(excess_aurc(knows)[0])
    assert aurc(guesses)[0] == pytest.approx(wrong.mean(), rel=0.15)


def test_answering_fewer_cases_raises_accuracy_and_auc_of_a_model_that_is_sure_where_right():
    labels, scores = draw(3000)
    sample, metrics = make_sample(labels, scores), selective_metrics(("no", "yes"))
    values = {name: metric(sample)[0] for name, metric in metrics.items()}
    assert values["accuracy_at_coverage_80"] > values["accuracy_at_coverage_90"] > accuracy(sample)[0]
    assert values["auc_at_coverage_80"] > values["auc_at_coverage_90"] > auc(labels, scores)
