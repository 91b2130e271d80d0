import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from medimg.evaluation.classification.calibration import make_reliability_bins
from medimg.evaluation.classification.decision_curve import make_decision_curve
from medimg.evaluation.classification.metrics import METRICS, answered_classes, auc, evaluate, metrics_of
from medimg.evaluation.classification.weighted_sample import ScoredCases, make_sample
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


@pytest.mark.parametrize(
    ("probabilities", "costs", "count"),
    [
        ([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.8, 0.1, 0.1]], None, 1),
        ([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.8, 0.1, 0.1]], None, 2),
        ([[0.1, 0.9, 0.0], [0.6, 0.4, 0.0], [0.2, 0.1, 0.7]], None, 3),
        # To miss the last class costs so much that it is the answer to whatever may be it.
        ([[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.2, 0.1, 0.7]], [[0, 1, 1], [1, 0, 1], [99, 99, 0]], 1),
    ],
)
def test_classes_that_are_an_answer_to_some_case_are_counted(probabilities, costs, count):
    sample = make_sample(
        np.array([0, 1, 2]), np.array(probabilities), costs_CC=None if costs is None else np.array(costs)
    )
    assert answered_classes(sample).tolist() == [count]
    assert math.isnan(answered_classes(make_sample(np.array([], int), np.zeros((0, 3))))[0])


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


@pytest.mark.parametrize(
    ("above", "negatives", "sensitivity"),
    [(1, 10, 1.0), (2, 20, 1.0), (3, 20, 0.0), (2, 10, 0.0), (0, 10, 1.0)],
)
def test_nine_of_ten_negatives_below_count_as_specificity_90_and_fewer_reach_it_nowhere(
    above, negatives, sensitivity
):
    labels = np.r_[np.zeros(negatives), np.ones(3)]
    scores = np.r_[np.full(above, 0.9), np.linspace(0, 0.4, negatives - above), np.full(3, 0.8)]
    assert evaluate(labels, scores, classes=TWO)["sensitivity_at_specificity_90"] == sensitivity


@pytest.mark.parametrize(
    ("found", "positives", "at_90", "at_85_9"),
    [(9, 10, 1.0, 1.0), (18, 20, 1.0, 1.0), (43, 50, 0.0, 1.0), (17, 20, 0.0, 0.0), (859, 1000, 0.0, 1.0)],
)
def test_specificity_is_that_of_a_threshold_that_finds_enough_positives(found, positives, at_90, at_85_9):
    # The others score as low as the negatives, so that no more are found before all are.
    labels = np.r_[np.zeros(10), np.ones(positives)]
    scores = np.r_[np.full(10, 0.2), np.full(found, 0.8), np.full(positives - found, 0.2)]
    figures = evaluate(labels, scores, classes=TWO)
    assert figures["specificity_at_sensitivity_90"] == at_90
    assert figures["specificity_at_sensitivity_85_9"] == at_85_9


@pytest.mark.parametrize(("above", "sensitivity"), [(1, 1.0), (2, 0.0)], ids=["19 of 20", "18 of 20"])
def test_a_class_is_found_at_specificity_95_of_all_others_together(above, sensitivity):
    labels = np.repeat([0, 1, 2], [3, 10, 10])
    first = np.r_[np.full(3, 0.6), np.full(above, 0.7), np.full(20 - above, 0.1)]
    probabilities = np.stack([first, *[(1 - first) / 2] * 2], axis=1)
    assert (
        evaluate(labels, probabilities, classes=("a", "b", "c"))["sensitivity_a_at_specificity_95"]
        == sensitivity
    )


def test_more_classes_give_macro_and_one_against_rest_figures_of_scikit_learn():
    generator = np.random.default_rng(3)
    labels, probabilities = generator.integers(0, 3, 90), generator.dirichlet((1, 1, 1), 90)
    figures = evaluate(labels, probabilities, classes=("a", "b", "c"))
    assert figures["macro_auc"] == pytest.approx(
        sklearn_metrics.roc_auc_score(labels, probabilities, multi_class="ovr"), abs=1e-12
    )
    for index, name in enumerate("abc"):
        is_class, scores = labels == index, probabilities[:, index]
        assert figures[f"auc_{name}"] == pytest.approx(
            sklearn_metrics.roc_auc_score(is_class, scores), abs=1e-12
        )
        assert figures[f"average_precision_{name}"] == pytest.approx(
            sklearn_metrics.average_precision_score(is_class, scores), abs=1e-12
        )
        assert figures[f"sensitivity_{name}"] == pytest.approx(
            sklearn_metrics.recall_score(is_class, probabilities.argmax(1) == index)
        )
        false_positive, true_positive, _ = sklearn_metrics.roc_curve(
            is_class, scores, drop_intermediate=False
        )
        assert figures[f"sensitivity_{name}_at_specificity_95"] == pytest.approx(
            true_positive[false_positive <= 0.05 + 1e-9].max()
        )
    assert figures["accuracy"] == pytest.approx((probabilities.argmax(1) == labels).mean())
    assert figures["balanced_accuracy"] == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(labels, probabilities.argmax(1))
    )
    assert figures["macro_f1"] == pytest.approx(
        sklearn_metrics.f1_score(labels, probabilities.argmax(1), average="macro")
    )


def test_a_class_that_is_never_found_has_an_f1_of_zero_and_one_that_does_not_occur_has_none():
    labels, probabilities = np.array([0, 0, 1, 1]), np.eye(3)[[0, 0, 0, 2]]
    assert evaluate(labels, probabilities, classes=("a", "b", "c"))["macro_f1"] == pytest.approx(
        (2 * 2 / (2 * 2 + 1) + 0) / 2
    )


def test_of_several_classes_those_that_occur_count_and_one_alone_gives_no_mean():
    labels, probabilities = np.array([0, 0, 1, 1, 1]), np.eye(3)[[0, 2, 1, 1, 0]]
    figures = evaluate(labels, probabilities, classes=("a", "b", "c"))
    assert figures["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert figures["macro_f1"] == pytest.approx((2 / 4 + 4 / 5) / 2)
    assert figures["macro_auc"] == pytest.approx((figures["auc_a"] + figures["auc_b"]) / 2)
    alone = evaluate(np.zeros(3, int), probabilities[:3], classes=("a", "b", "c"))
    assert [name for name, value in alone.items() if not math.isnan(value)] == ["accuracy", "sensitivity_a"]
    assert alone["sensitivity_a"] == pytest.approx(1 / 3)


def test_of_equally_likely_classes_the_first_is_predicted_and_of_two_the_positive_one():
    probabilities = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [1 / 3, 1 / 3, 1 / 3]])
    assert make_sample(np.zeros(3), probabilities).predicted.tolist() == [0, 1, 0]
    assert make_sample(np.zeros(3), np.array([0.5, 0.5 - 1e-12, 0.6])).predicted.tolist() == [1, 0, 1]


def test_mean_cost_of_two_classes_is_what_their_answers_cost():
    costs = np.array([[0.0, 1.0], [9.0, 0.0]])
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.05, 0.3, 0.08, 0.6])
    figures = evaluate(labels, scores, classes=TWO, costs_CC=costs)
    assert figures["mean_cost"] == pytest.approx((0 + 1 + 9 + 0) / 4)
    assert list(figures) == [*metrics_of(TWO), "mean_cost"]


@given(st.integers(0, 1000), st.sampled_from([lambda p: p**3, np.sqrt, lambda p: p / (2 - p)]))
def test_what_ranks_is_unchanged_by_a_monotone_change_of_the_probabilities(seed, monotone):
    generator = np.random.default_rng(seed)
    labels = np.r_[0, 1, generator.integers(0, 2, 30)]
    scores = generator.random(32).round(1)
    first, second = (evaluate(labels, changed, classes=TWO) for changed in (scores, monotone(scores)))
    for name in (
        *("auc", "average_precision", "partial_auc_sensitivity_80", "sensitivity_at_specificity_90"),
        *("specificity_at_sensitivity_90", "specificity_at_sensitivity_85_9", "brier_uncertainty"),
    ):
        assert second[name] == pytest.approx(first[name]), name
    turned = evaluate(1 - labels, 1 - scores, classes=TWO)
    assert (turned["auc"], turned["brier"]) == pytest.approx((first["auc"], first["brier"]))
    assert evaluate(labels, 1 - scores, classes=TWO)["auc"] == pytest.approx(1 - first["auc"])


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
    weights = np.random.default_rng(1).integers(0, 3, (3, 60))
    weights[:, np.argsort(-scores)[:4]] = [[0], [2], [0]]  # The surest cases may not be drawn at all.
    weighted = ScoredCases(labels, scores, np.arange(60)).weigh(weights.astype(float))
    for row, once in enumerate(weights):
        repeated = evaluate(np.repeat(labels, once), np.repeat(scores, once), classes=TWO)
        for name, metric in metrics_of(TWO).items():
            assert metric(weighted)[row] == pytest.approx(repeated[name], abs=1e-12), name


def test_weighed_cases_are_answered_by_their_costs():
    costs = np.array([[0.0, 1.0], [9.0, 0.0]])
    cases = ScoredCases(np.array([0, 1, 1]), np.array([0.05, 0.2, 0.05]), np.arange(3), costs)
    sample = cases.weigh(np.array([[1.0, 1, 1], [0, 2, 0]]))
    assert sample.predicted.tolist() == [0, 1, 0]
    assert sample.confidence == pytest.approx([0.95, 0.2, 0.95])
    assert sample.confusion.tolist() == [[[1, 0], [1, 1]], [[0, 0], [0, 2]]]
    assert cases.weigh().weights.tolist() == [[1, 1, 1]]


def test_scores_that_differ_by_little_are_no_tie():
    labels, scores = np.array([0, 1]), np.array([0.5, 0.5 + 1e-12])
    assert auc(labels, scores) == 1.0
    assert auc(labels, np.array([0.5, 0.5])) == 0.5


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
        ([0], [0.5, 0.5], "1 labels for 2"),
        ([-1, 1], [0.1, 0.2], "labels from -1 to 1, expected 0 to 1"),
        ([0, 1], [[0.1, np.nan, 0.9], [np.nan, np.nan, 1]], "2 of 2 predictions are NaN"),
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
