"""Exact metrics over all thresholds, for one set of cases or for thousands of its weighted resamples at once.

Axes as in medimg.evaluation.classification.weighted_sample. The report, its intervals and the Evaluator call
the same functions, listed in METRICS. Undefined is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from medimg.evaluation.classification.calibration import (
    curve_brier,
    curve_ece,
    curve_reliability,
    curve_resolution,
    curve_uncertainty,
)
from medimg.evaluation.classification.decision_curve import curve_net_benefit
from medimg.evaluation.classification.weighted_sample import (
    ROUNDING,
    ConfusionCurve,
    Sample,
    defined,
    divide,
    make_confusion_curve,
    make_sample,
)

RADIOLOGISTS = 0.859
"""Sensitivity of the radiologists in the DREAM challenge, at which its models are compared.

Schaffter et al., JAMA Netw Open 2020;3:e200265.
"""
LEAST_SENSITIVITY = 0.8
"""Of the partial AUC: a screening test that finds less is of no use, however specific it is."""

Metric = Callable[[Sample], np.ndarray]


def curve_auc(curve: ConfusionCurve) -> np.ndarray:
    """Returns the area under the ROC curve, [R]; NaN on one class.

    It is P(score of a positive > of a negative) + P(equal) / 2 (Hanley and McNeil 1982).
    """
    higher_RU = curve.true_positives - curve.positives / 2
    return divide((curve.negatives * higher_RU).sum(axis=1), curve.positive_mass * curve.negative_mass)


def curve_average_precision(curve: ConfusionCurve) -> np.ndarray:
    """Sum over thresholds of precision times gain in recall, without interpolation (as scikit-learn).

    NaN on one class.
    """
    selected_RU = curve.true_positives + curve.false_positives
    precision_RU = np.nan_to_num(divide(curve.true_positives, selected_RU))
    average_R = divide((curve.positives * precision_RU).sum(axis=1), curve.positive_mass)
    return np.where(curve.negative_mass > 0, average_R, np.nan)


def curve_partial_auc(curve: ConfusionCurve) -> np.ndarray:
    """Returns the area under the part of the ROC curve with a sensitivity of 80 % or more, [R].

    It is 0.5 for chance, 1 for a perfect ranking and NaN on one class. Specificity is integrated over
    sensitivity and scaled by McClish's correction (1989): (1 + (area - chance) / (perfect - chance)) / 2.
    """
    origin_R1 = np.zeros((len(curve.positives), 1))
    end_RU, false_RU = curve.sensitivity, curve.false_positive_rate
    start_RU, false_start_RU = (
        np.hstack([origin_R1, end_RU])[:, :-1],
        np.hstack([origin_R1, false_RU])[:, :-1],
    )
    low_RU = np.maximum(start_RU, LEAST_SENSITIVITY)
    rise_RU = np.maximum(end_RU - low_RU, 0.0)
    # Where a piece of the curve begins below the bound, its false positive rate at the bound lies on the line
    # between its ends.
    share_RU = np.divide(rise_RU, end_RU - start_RU, out=np.zeros_like(rise_RU), where=rise_RU > 0)
    false_middle_RU = false_RU - (false_RU - false_start_RU) * share_RU / 2
    area_R = (rise_RU * (1 - false_middle_RU)).sum(axis=1)
    perfect, chance = 1 - LEAST_SENSITIVITY, (1 - LEAST_SENSITIVITY) ** 2 / 2
    return defined(curve, (1 + (area_R - chance) / (perfect - chance)) / 2)


def sensitivity_at_specificity(curve: ConfusionCurve, *, specificity: float) -> np.ndarray:
    """Largest sensitivity of any threshold with at least this specificity. NaN on one class."""
    reached_RU = np.where(curve.false_positive_rate <= 1 - specificity + ROUNDING, curve.sensitivity, 0.0)
    return defined(curve, reached_RU.max(axis=1, initial=0.0))


def specificity_at_sensitivity(curve: ConfusionCurve, *, sensitivity: float) -> np.ndarray:
    """Largest specificity of any threshold with at least this sensitivity. NaN on one class."""
    reached_RU = np.where(curve.sensitivity >= sensitivity - ROUNDING, 1 - curve.false_positive_rate, 0.0)
    return defined(curve, reached_RU.max(axis=1, initial=0.0))


def curve_probabilistic_f1(curve: ConfusionCurve) -> np.ndarray:
    """Returns F1 with probabilities in place of decisions (Yacouby and Axman 2020), [R].

    It is the score of RSNA's 2022 mammography challenge; NaN without positives. Precision is sum(p of
    positives) / sum(p), recall sum(p of positives) / positives; their harmonic mean needs no threshold.
    """
    found_R = curve.positives @ curve.scores
    f1_R = divide(2 * found_R, curve.positive_mass + found_R + curve.negatives @ curve.scores)
    return np.where(curve.positive_mass > 0, f1_R, np.nan)


def f1(sample: Sample) -> np.ndarray:
    """Harmonic mean of precision and sensitivity of the positive class of two. NaN without positives."""
    return class_f1s(sample)[:, 1]


def class_f1s(sample: Sample) -> np.ndarray:
    """F1 of each class against the rest, [R, C]: 2 TP / (2 TP + FN + FP).

    NaN where a class does not occur, 0 where it is never found.
    """
    found_RC = np.diagonal(sample.confusion, axis1=1, axis2=2)
    true_RC, predicted_RC = sample.confusion.sum(axis=2), sample.confusion.sum(axis=1)
    return np.where(true_RC > 0, divide(2 * found_RC, true_RC + predicted_RC), np.nan)


def macro_f1(sample: Sample) -> np.ndarray:
    """Mean F1 of the classes that occur; NaN if fewer than two do."""
    return mean_of_defined(class_f1s(sample))


def recalls(sample: Sample) -> np.ndarray:
    """Share of each class that is predicted as such, [R, C]; NaN where a class does not occur."""
    return divide(np.diagonal(sample.confusion, axis1=1, axis2=2), sample.confusion.sum(axis=2))


def balanced_accuracy(sample: Sample) -> np.ndarray:
    """Mean recall of the classes that occur, as ISIC 2018 Task 3; NaN if fewer than two do."""
    return mean_of_defined(recalls(sample))


def accuracy(sample: Sample) -> np.ndarray:
    """Share of cases whose predicted class is the true one."""
    return divide(np.trace(sample.confusion, axis1=1, axis2=2), sample.confusion.sum(axis=(1, 2)))


def mean_cost(sample: Sample) -> np.ndarray:
    """Mean cost of a case's answer.

    Raises:
        ValueError: the sample has no costs.
    """
    if sample.costs is None:
        raise ValueError("mean cost of a sample without costs")
    return divide((sample.confusion * sample.costs).sum(axis=(1, 2)), sample.confusion.sum(axis=(1, 2)))


def macro_auc(sample: Sample) -> np.ndarray:
    """Mean of the one-against-rest AUCs of the classes that occur; NaN if fewer than two do."""
    return mean_of_defined(np.stack([curve_auc(curve) for curve in sample.curves], axis=1))


def mean_of_defined(values_RC: np.ndarray) -> np.ndarray:
    """Mean over the classes without NaN, NaN where fewer than two classes are left."""
    is_defined_RC = ~np.isnan(values_RC)
    count_R = is_defined_RC.sum(axis=1)
    return np.where(
        count_R > 1, np.where(is_defined_RC, values_RC, 0.0).sum(axis=1) / np.maximum(count_R, 1), np.nan
    )


BINARY_METRICS: Mapping[str, Metric] = {
    "auc": lambda sample: curve_auc(sample.positive),
    "average_precision": lambda sample: curve_average_precision(sample.positive),
    "partial_auc_sensitivity_80": lambda sample: curve_partial_auc(sample.positive),
    "sensitivity_at_specificity_90": lambda sample: sensitivity_at_specificity(
        sample.positive, specificity=0.9
    ),
    "specificity_at_sensitivity_90": lambda sample: specificity_at_sensitivity(
        sample.positive, sensitivity=0.9
    ),
    "specificity_at_sensitivity_85_9": lambda sample: specificity_at_sensitivity(
        sample.positive, sensitivity=RADIOLOGISTS
    ),
    "sensitivity": lambda sample: recalls(sample)[:, 1],
    "specificity": lambda sample: recalls(sample)[:, 0],
    "balanced_accuracy": balanced_accuracy,
    "accuracy": accuracy,
    "f1": f1,
    "probabilistic_f1": lambda sample: curve_probabilistic_f1(sample.positive),
    # Where BI-RADS 4A (2 %), 4B (10 %) and 4C (50 %) begin: the probabilities of cancer at which a biopsy is
    # discussed.
    "net_benefit_2": lambda sample: curve_net_benefit(sample.positive, threshold=0.02),
    "net_benefit_10": lambda sample: curve_net_benefit(sample.positive, threshold=0.1),
    "net_benefit_50": lambda sample: curve_net_benefit(sample.positive, threshold=0.5),
    "brier": lambda sample: curve_brier(sample.positive),
    "brier_reliability": lambda sample: curve_reliability(sample.positive),
    "brier_resolution": lambda sample: curve_resolution(sample.positive),
    "brier_uncertainty": lambda sample: curve_uncertainty(sample.positive),
    "ece": lambda sample: curve_ece(sample.positive),
}
MULTI_CLASS_METRICS: Mapping[str, Metric] = {
    "macro_auc": macro_auc,
    "balanced_accuracy": balanced_accuracy,
    "accuracy": accuracy,
    "macro_f1": macro_f1,
}
METRICS: Mapping[str, Metric] = {**BINARY_METRICS, **MULTI_CLASS_METRICS}


ANSWERED_CLASSES = "answered_classes"


def answered_classes(sample: Sample) -> np.ndarray:
    """How many classes are the answer to some case, [R]; NaN without a case."""
    answered_RC = sample.confusion.sum(axis=1) > 0
    return np.where(sample.weights.sum(axis=1) > 0, answered_RC.sum(axis=1), np.nan)


FOR_GATES: Mapping[str, Metric] = {ANSWERED_CLASSES: answered_classes}
"""Measured for any head where they are asked for by name: a bound on them decides, nobody reports them."""
AT_PREVALENCE = frozenset(
    {
        *("sensitivity", "specificity", "balanced_accuracy", "accuracy", "f1", "probabilistic_f1"),
        *("net_benefit_2", "net_benefit_10", "net_benefit_50", "ece"),
        *("brier", "brier_reliability", "brier_resolution", "brier_uncertainty"),
    }
)
"""Metrics of two classes that mean something only of probabilities at the data's own class frequencies.

They are what the probabilities say, and what follows from a threshold of 0.5.
"""
NO_PREVALENCE = (
    "not measured: it needs probabilities at the data's own class frequencies, and these are as if all "
    "classes were equally frequent"
)


def metrics_of(
    classes: Sequence[str], *, with_costs: bool = False, prevalence: str = "train"
) -> dict[str, Metric]:
    """The metrics of a head by name: those of two classes, or those of more with each class against the rest.

    Args:
        with_costs: adds `mean_cost`.
        prevalence: the class frequencies that the probabilities are meant for; where it is "balanced",
            AT_PREVALENCE are not among the metrics.
    """
    costs = {"mean_cost": mean_cost} if with_costs else {}
    if len(classes) > 2:
        return {**MULTI_CLASS_METRICS, **costs, **one_against_rest(classes)}
    refused = refused_metrics(classes, prevalence=prevalence)
    return {**{name: metric for name, metric in BINARY_METRICS.items() if name not in refused}, **costs}


def refused_metrics(classes: Sequence[str], *, prevalence: str) -> list[str]:
    """The names of those that are not measured of probabilities meant for these class frequencies."""
    if len(classes) > 2 or prevalence != "balanced":
        return []
    return [name for name in BINARY_METRICS if name in AT_PREVALENCE]


def one_against_rest(classes: Sequence[str]) -> dict[str, Metric]:
    """Returns the metrics of each class against the rest, by name.

    They are `auc_<class>`, `average_precision_<class>`, `sensitivity_<class>` and
    `sensitivity_<class>_at_specificity_95`.
    """
    return {
        name.format(one): partial(function, index=index)
        for name, function in ONE_AGAINST_REST.items()
        for index, one in enumerate(classes)
    }


def class_auc(sample: Sample, *, index: int) -> np.ndarray:
    """AUC of one class against the rest; NaN if it does not occur or nothing else does."""
    return curve_auc(sample.curves[index])


def class_average_precision(sample: Sample, *, index: int) -> np.ndarray:
    """Average precision of one class against the rest; NaN if it does not occur or nothing else does."""
    return curve_average_precision(sample.curves[index])


def class_sensitivity(sample: Sample, *, index: int) -> np.ndarray:
    """Share of a class that is predicted as such; NaN if it does not occur."""
    return recalls(sample)[:, index]


def class_sensitivity_at_specificity_95(sample: Sample, *, index: int) -> np.ndarray:
    """Returns the largest sensitivity for one class against the rest at a specificity of 95 % or more, [R].

    It is that of any threshold on the class's probability.
    """
    return sensitivity_at_specificity(sample.curves[index], specificity=0.95)


ONE_AGAINST_REST: Mapping[str, Callable[..., np.ndarray]] = {
    "auc_{}": class_auc,
    "average_precision_{}": class_average_precision,
    "sensitivity_{}": class_sensitivity,
    "sensitivity_{}_at_specificity_95": class_sensitivity_at_specificity_95,
}
"""What a head of more than two classes has for each class.

Name with a place for the class, to function of (sample, index).
"""


def evaluate(
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    classes: Sequence[str],
    costs_CC: np.ndarray | None = None,
) -> dict[str, float]:
    """All metrics of a head over labelled cases; arguments as for `make_sample`."""
    sample = make_sample(labels, probabilities, costs_CC=costs_CC)
    metrics = metrics_of(classes, with_costs=costs_CC is not None)
    return {name: float(metric(sample)[0]) for name, metric in metrics.items()}


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve of 0/1 labels and scores of any range; see `curve_auc`."""
    scores_N = np.asarray(scores, dtype=np.float64).reshape(-1)
    return float(
        curve_auc(
            make_confusion_curve(
                np.asarray(labels).reshape(-1) > 0, scores_N, weights_RN=np.ones((1, len(scores_N)))
            )
        )[0]
    )
