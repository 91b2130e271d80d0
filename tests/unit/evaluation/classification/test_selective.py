import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

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


def test_cases_as_sure_as_the_last_one_that_fits_count_in_part():
    # Two cases of confidence 0.9, one of them wrong; then five of 0.8, of which two are wrong.
    confidence = np.repeat([0.9, 0.8], [2, 5])
    right = np.array([1, 0, 1, 1, 1, 0, 0])
    labels = np.arange(7) % 2
    scores = np.where(right == labels, confidence, 1 - confidence)
    sample = make_sample(labels, scores)
    for answered, expected in ((2, 1 / 2), (4, (1 + 2 * 3 / 5) / 4), (7, 4 / 7)):
        assert on_confident(sample, metric=accuracy, coverage=answered / 7) == pytest.approx(expected)
    curve = make_risk_coverage(labels, scores)
    np.testing.assert_allclose(curve.coverage, [2 / 7, 1])
    np.testing.assert_allclose(curve.risk, [1 / 2, 3 / 7])
    assert curve.area == pytest.approx((2 * 1 / 2 + 5 * 3 / 7) / 7)


def test_costs_change_the_answers_and_how_sure_they_are():
    # Positive from 0.1 on: the answers are yes, yes, yes, yes at 0.95, 0.1, 0.2 and 0.6.
    curve = make_risk_coverage(LABELS, SCORES, costs_CC=np.array([[0.0, 1.0], [9.0, 0.0]]))
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(curve.risk, [0, 1 / 2, 2 / 3, 1 / 2])


def test_metrics_at_a_coverage_are_those_of_the_most_confident_cases():
    labels, scores = draw(500)
    order = np.argsort(-np.maximum(scores, 1 - scores))
    metrics = selective_metrics(("no", "yes"))
    sample = make_sample(labels, scores)
    for name, count in (("80", 400), ("90", 450)):
        kept = order[:count]
        right = (scores[kept] >= 0.5) == labels[kept]
        assert metrics[f"accuracy_at_coverage_{name}"](sample) == pytest.approx(right.mean())
        assert metrics[f"auc_at_coverage_{name}"](sample) == pytest.approx(
            roc_auc_score(labels[kept], scores[kept])
        )


def test_of_several_classes_the_area_at_a_coverage_is_the_mean_over_classes():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 100)
    probabilities = generator.dirichlet((1, 1, 1), 100)
    kept = np.argsort(-probabilities.max(axis=1))[:90]
    metric = selective_metrics(("a", "b", "c"))["auc_at_coverage_90"]
    assert metric(make_sample(labels, probabilities)) == pytest.approx(
        roc_auc_score(labels[kept], probabilities[kept], multi_class="ovr")
    )


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
