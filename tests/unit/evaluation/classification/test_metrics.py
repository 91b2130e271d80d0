import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from medimg.evaluation.classification.calibration import make_reliability_bins
from medimg.evaluation.classification.decision_curve import make_decision_curve
from medimg.evaluation.classification.metrics import METRICS, auc, evaluate, metrics_of
from medimg.evaluation.classification.weighted_sample import make_sample
from tests.unit.evaluation.readers import FIRST, LABELS, SECOND, TOMOGRAPHY_LABELS, TOMOGRAPHY_RATINGS

TWO = ("Benign", "Malignant")


def draw(cases=200, *, seed=0, decimals=2):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, cases)
    return labels, np.clip(0.5 + 0.15 * (labels - 0.5) + generator.normal(0, 0.2, cases), 0, 1).round(
        decimals
    )


@pytest.mark.parametrize("decimals", [1, 2, 12])
def test_two_class_figures_are_those_of_scikit_learn_ties_included(decimals):
    labels, scores = draw(decimals=decimals)
    figures = evaluate(labels, scores, classes=TWO)
    predicted = scores >= 0.5
    assert figures["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert figures["average_precision"] == pytest.approx(
        sklearn_metrics.average_precision_score(labels, scores), abs=1e-12
    )
    assert figures["brier"] == pytest.approx(sklearn_metrics.brier_score_loss(labels, scores), abs=1e-12)
    assert figures["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert figures["balanced_accuracy"] == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(labels, predicted)
    )
    assert figures["sensitivity"] == pytest.approx(sklearn_metrics.recall_score(labels, predicted))
    assert figures["specificity"] == pytest.approx(
        sklearn_metrics.recall_score(labels, predicted, pos_label=0)
    )
    assert figures["f1"] == pytest.approx(sklearn_metrics.f1_score(labels, predicted))


def test_operating_points_are_the_best_of_all_thresholds():
    labels, scores = draw()
    false_positive_rate, sensitivity, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    figures = evaluate(labels, scores, classes=TWO)
    assert figures["sensitivity_at_specificity_90"] == pytest.approx(
        sensitivity[false_positive_rate <= 0.1 + 1e-9].max()
    )
    assert figures["specificity_at_sensitivity_90"] == pytest.approx(
        1 - false_positive_rate[sensitivity >= 0.9 - 1e-9].min()
    )
    assert figures["specificity_at_sensitivity_85_9"] == pytest.approx(
        1 - false_positive_rate[sensitivity >= 0.859 - 1e-9].min()
    )


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        (TOMOGRAPHY_LABELS, TOMOGRAPHY_RATINGS, 0.7774585),
        (LABELS, FIRST, 0.8952064),
        (LABELS, SECOND, 0.703776),
    ],
)
def test_partial_auc_is_the_corrected_one_of_proc(labels, scores, expected):
    # auc(roc(..., direction="<"), partial.auc=c(1, .8), partial.auc.focus="sensitivity",
    # partial.auc.correct=TRUE)
    assert evaluate(labels, scores, classes=TWO)["partial_auc_sensitivity_80"] == pytest.approx(
        expected, abs=5e-7
    )


def test_partial_auc_is_one_half_by_chance_and_one_for_a_perfect_ranking():
    labels = np.arange(50) % 2
    assert evaluate(labels, np.full(50, 0.4), classes=TWO)["partial_auc_sensitivity_80"] == pytest.approx(0.5)
    assert evaluate(labels, labels * 0.5, classes=TWO)["partial_auc_sensitivity_80"] == pytest.approx(1)


@pytest.mark.parametrize("decimals", [1, 12])
def test_brier_score_is_reliability_less_resolution_plus_uncertainty(decimals):
    labels, scores = draw(cases=213, decimals=decimals)
    figures = evaluate(labels, scores, classes=TWO)
    assert figures["brier"] == pytest.approx(
        figures["brier_reliability"] - figures["brier_resolution"] + figures["brier_uncertainty"], abs=1e-12
    )


def test_the_parts_of_the_brier_score_are_murphys_where_each_bin_holds_one_probability():
    labels, scores = draw(cases=200, decimals=12)[0], np.repeat(np.arange(1, 11) / 11, 20)
    observed = labels.reshape(10, 20).mean(axis=1)
    figures = evaluate(labels, scores, classes=TWO)
    assert figures["brier_reliability"] == pytest.approx(np.mean((np.arange(1, 11) / 11 - observed) ** 2))
    assert figures["brier_resolution"] == pytest.approx(observed.var())
    assert figures["brier_uncertainty"] == pytest.approx(labels.mean() * (1 - labels.mean()))


def test_probabilistic_f1_is_the_harmonic_mean_of_probabilistic_precision_and_recall():
    labels, scores = draw()
    precision, recall = scores[labels == 1].sum() / scores.sum(), scores[labels == 1].mean()
    assert evaluate(labels, scores, classes=TWO)["probabilistic_f1"] == pytest.approx(
        2 * precision * recall / (precision + recall)
    )


@pytest.mark.parametrize(
    ("name", "threshold"), [("net_benefit_2", 0.02), ("net_benefit_10", 0.1), ("net_benefit_50", 0.5)]
)
def test_net_benefit_weighs_false_alarms_by_the_odds_of_the_threshold(name, threshold):
    labels, scores = draw()
    true, false = (
        ((scores >= threshold) & (labels == 1)).mean(),
        ((scores >= threshold) & (labels == 0)).mean(),
    )
    assert evaluate(labels, scores, classes=TWO)[name] == pytest.approx(
        true - false * threshold / (1 - threshold)
    )


def test_a_decision_curve_begins_with_acting_on_everybody_and_a_perfect_model_keeps_the_prevalence():
    labels, scores = draw()
    thresholds = np.linspace(0.001, 0.99, 40)
    prevalence = labels.mean()
    curve = make_decision_curve(labels, np.maximum(scores, 0.01), thresholds=thresholds)
    assert curve.model[0] == pytest.approx(curve.everybody[0])
    assert curve.everybody == pytest.approx(prevalence - (1 - prevalence) * thresholds / (1 - thresholds))
    assert make_decision_curve(labels, labels, thresholds=thresholds).model == pytest.approx(
        np.full(40, prevalence)
    )


def test_nine_of_ten_negatives_below_count_as_specificity_90():
    labels, scores = np.r_[np.zeros(10), np.ones(1)], np.r_[np.linspace(0, 0.4, 9), 0.9, 0.8]
    assert evaluate(labels, scores, classes=TWO)["sensitivity_at_specificity_90"] == 1.0


def test_more_classes_give_macro_and_one_against_rest_figures_of_scikit_learn():
    generator = np.random.default_rng(3)
    labels, probabilities = generator.integers(0, 3, 90), generator.dirichlet((1, 1, 1), 90)
    figures = evaluate(labels, probabilities, classes=("a", "b", "c"))
    assert figures["macro_auc"] == pytest.approx(
        sklearn_metrics.roc_auc_score(labels, probabilities, multi_class="ovr"), abs=1e-12
    )
    assert figures["auc_b"] == pytest.approx(
        sklearn_metrics.roc_auc_score(labels == 1, probabilities[:, 1]), abs=1e-12
    )
    assert figures["average_precision_b"] == pytest.approx(
        sklearn_metrics.average_precision_score(labels == 1, probabilities[:, 1]), abs=1e-12
    )
    assert figures["sensitivity_b"] == pytest.approx(
        sklearn_metrics.recall_score(labels, probabilities.argmax(1), labels=[1], average=None)[0]
    )
    assert figures["balanced_accuracy"] == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(labels, probabilities.argmax(1))
    )
    assert figures["macro_f1"] == pytest.approx(
        sklearn_metrics.f1_score(labels, probabilities.argmax(1), average="macro")
    )
    false_positive, true_positive, _ = sklearn_metrics.roc_curve(
        labels == 1, probabilities[:, 1], drop_intermediate=False
    )
    assert figures["sensitivity_b_at_specificity_95"] == pytest.approx(
        true_positive[false_positive <= 0.05].max()
    )


def test_a_class_that_is_never_found_has_an_f1_of_zero_and_one_that_does_not_occur_has_none():
    labels, probabilities = np.array([0, 0, 1, 1]), np.eye(3)[[0, 0, 0, 2]]
    assert evaluate(labels, probabilities, classes=("a", "b", "c"))["macro_f1"] == pytest.approx(
        (2 * 2 / (2 * 2 + 1) + 0) / 2
    )


def test_expected_calibration_error_is_the_mean_gap_over_ten_bins_of_equal_mass():
    labels, scores = draw(cases=200, decimals=12)
    order = np.argsort(scores)
    gaps = [abs(scores[part].mean() - labels[part].mean()) for part in np.array_split(order, 10)]
    assert evaluate(labels, scores, classes=TWO)["ece"] == pytest.approx(np.mean(gaps), abs=1e-12)
    assert [one.cases for one in make_reliability_bins(labels, scores)] == [20] * 10


def test_one_value_for_all_cases_is_perfectly_calibrated_at_the_prevalence():
    labels = np.r_[np.ones(30), np.zeros(70)]
    assert evaluate(labels, np.full(100, 0.3), classes=TWO)["ece"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_gives_nan_where_the_metric_needs_two(label):
    figures = evaluate(np.full(8, label), np.linspace(0, 1, 8), classes=TWO)
    undefined = {name for name, value in figures.items() if math.isnan(value)}
    ranking = {"auc", "average_precision", "partial_auc_sensitivity_80", "balanced_accuracy"}
    points = {
        "sensitivity_at_specificity_90",
        "specificity_at_sensitivity_90",
        "specificity_at_sensitivity_85_9",
    }
    assert undefined == ranking | points | (
        {"specificity"} if label else {"sensitivity", "f1", "probabilistic_f1"}
    )


def test_no_cases_give_nan_everywhere():
    assert all(math.isnan(value) for value in evaluate(np.zeros(0), np.zeros((0, 2)), classes=TWO).values())
    assert all(
        math.isnan(value)
        for value in evaluate(np.zeros(0), np.zeros((0, 3)), classes=("a", "b", "c")).values()
    )


def test_a_weight_of_two_is_the_same_as_the_case_twice():
    labels, scores = draw(cases=60)
    weights = np.random.default_rng(1).integers(0, 3, 60)
    weighted = make_sample(labels, scores, weights_RN=weights[None].astype(float))
    repeated = evaluate(np.repeat(labels, weights), np.repeat(scores, weights), classes=TWO)
    for name, metric in metrics_of(TWO).items():
        assert metric(weighted)[0] == pytest.approx(repeated[name], abs=1e-12), name


def test_every_metric_is_unchanged_by_the_order_of_cases():
    labels, scores = draw()
    order = np.random.default_rng(2).permutation(len(labels))
    assert evaluate(labels[order], scores[order], classes=TWO) == pytest.approx(
        evaluate(labels, scores, classes=TWO)
    )


def test_auc_takes_scores_of_any_range():
    assert auc(np.array([0, 1, 1]), np.array([-3.0, 7.0, -3.0])) == 0.75


@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([0, 1], [0.5], "2 labels for 1"),
        ([0, 2], [0.1, 0.2], "0 to 1"),
        ([0, 1], [0.1, np.nan], "1 of 2 predictions are NaN"),
    ],
)
def test_bad_arrays_are_refused(labels, scores, words):
    with pytest.raises(ValueError, match=words):
        make_sample(np.array(labels), np.array(scores))


def test_the_table_holds_every_metric_of_both_kinds_of_heads():
    of_a_class = ("auc_{}", "average_precision_{}", "sensitivity_{}", "sensitivity_{}_at_specificity_95")
    by_class = {metric.format(name) for metric in of_a_class for name in "abc"}
    assert set(metrics_of(TWO)) | set(metrics_of(("a", "b", "c"))) == set(METRICS) | by_class
