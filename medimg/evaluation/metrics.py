"""Exact metrics over all thresholds, for one set of cases or for thousands of weighted resamples of it at once.

Axes: N cases, C classes, R resamples, U different scores (in falling order). The positive class is the last one. Everything is float64.
The report, its intervals and the Evaluator call the same functions, listed in METRICS. Undefined is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

CALIBRATION_BINS = 10
OPERATING_POINT = 0.9
THRESHOLD = 0.5
ROUNDING = 1e-9
"""A rate that misses an operating point by less than this has reached it: 9 of 10 must count as 90 %."""


@dataclass(frozen=True)
class Tally:
    """Weights of positives and negatives at each different score.

    Attributes:
        scores: [U], the different scores, falling.
        positives, negatives: [R, U], sums of weights.
    """

    scores: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray

    @cached_property
    def positive_mass(self) -> np.ndarray:
        """Weight of all positives, [R]."""
        return self.positives.sum(axis=1)

    @cached_property
    def negative_mass(self) -> np.ndarray:
        """Weight of all negatives, [R]."""
        return self.negatives.sum(axis=1)

    @cached_property
    def true_positives(self) -> np.ndarray:
        """Positives at or above each score, [R, U]."""
        return self.positives.cumsum(axis=1)

    @cached_property
    def false_positives(self) -> np.ndarray:
        """Negatives at or above each score, [R, U]."""
        return self.negatives.cumsum(axis=1)


@dataclass(frozen=True)
class Sample:
    """Labelled cases and how often each counts in each resample.

    Attributes:
        labels: [N], class index, 0 to C-1.
        probabilities: [N, C], in [0, 1].
        weights: [R, N], weight of each case, one row per resample.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    weights: np.ndarray

    @cached_property
    def tallies(self) -> tuple[Tally, ...]:
        """One tally per class, that class against the rest."""
        classes = range(self.probabilities.shape[1])
        return tuple(make_tally(self.labels == index, self.probabilities[:, index], weights_RN=self.weights) for index in classes)

    @cached_property
    def positive(self) -> Tally:
        """The tally of the last class."""
        return make_tally(self.labels == self.probabilities.shape[1] - 1, self.probabilities[:, -1], weights_RN=self.weights)

    @cached_property
    def confusion(self) -> np.ndarray:
        """Weights [R, C, C] by true class (rows) and predicted class (columns): the likeliest class, of two the positive one at 0.5 or more."""
        classes = self.probabilities.shape[1]
        predicted_N = (self.probabilities[:, 1] >= THRESHOLD).astype(int) if classes == 2 else self.probabilities.argmax(axis=1)
        cell_NK = np.eye(classes * classes)[self.labels * classes + predicted_N]
        return (self.weights @ cell_NK).reshape(-1, classes, classes)


Metric = Callable[[Sample], np.ndarray]


def make_sample(labels: np.ndarray, probabilities: np.ndarray, *, weights_RN: np.ndarray | None = None) -> Sample:
    """A checked sample; without weights every case counts once.

    Args:
        labels: int [N], class index.
        probabilities: [N, C], or [N] scores of the positive class of two.

    Raises:
        ValueError: lengths differ, a label is no class index, a probability is NaN.
    """
    labels_N = np.asarray(labels).astype(np.int64).reshape(-1)
    probabilities_NC = np.asarray(probabilities, dtype=np.float64)
    if probabilities_NC.ndim == 1:
        probabilities_NC = np.stack([1.0 - probabilities_NC, probabilities_NC], axis=1)
    if len(labels_N) != len(probabilities_NC):
        raise ValueError(f"{len(labels_N)} labels for {len(probabilities_NC)} predictions")
    if len(labels_N) and not 0 <= labels_N.min() <= labels_N.max() < probabilities_NC.shape[1]:
        raise ValueError(f"labels from {labels_N.min()} to {labels_N.max()}, expected 0 to {probabilities_NC.shape[1] - 1}")
    if np.isnan(probabilities_NC).any():
        raise ValueError(f"{int(np.isnan(probabilities_NC).any(axis=1).sum())} of {len(labels_N)} predictions are NaN")
    weights_RN = np.ones((1, len(labels_N))) if weights_RN is None else weights_RN
    return Sample(labels_N, probabilities_NC, weights_RN)


def make_tally(is_positive_N: np.ndarray, scores_N: np.ndarray, *, weights_RN: np.ndarray) -> Tally:
    """Sums weights over equal scores, so that ties are handled once for all metrics."""
    if not len(scores_N):
        empty_RU = np.zeros((len(weights_RN), 0))
        return Tally(np.zeros(0), empty_RU, empty_RU)
    order_N = np.argsort(-scores_N, kind="stable")
    sorted_N = scores_N[order_N]
    starts_U = np.flatnonzero(np.r_[True, np.diff(sorted_N) != 0])
    weights_RN = weights_RN[:, order_N]
    positives_RN = weights_RN * is_positive_N[order_N]
    return Tally(sorted_N[starts_U], np.add.reduceat(positives_RN, starts_U, axis=1), np.add.reduceat(weights_RN - positives_RN, starts_U, axis=1))


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=np.broadcast_to(denominator > 0, shape))


def tally_auc(tally: Tally) -> np.ndarray:
    """Area under the ROC curve: P(score of a positive > of a negative) + P(equal) / 2 (Hanley and McNeil 1982). NaN on one class."""
    higher_RU = tally.true_positives - tally.positives / 2
    return divide((tally.negatives * higher_RU).sum(axis=1), tally.positive_mass * tally.negative_mass)


def tally_average_precision(tally: Tally) -> np.ndarray:
    """Sum over thresholds of precision times gain in recall, without interpolation (as scikit-learn). NaN on one class."""
    selected_RU = tally.true_positives + tally.false_positives
    precision_RU = np.nan_to_num(divide(tally.true_positives, selected_RU))
    average_R = divide((tally.positives * precision_RU).sum(axis=1), tally.positive_mass)
    return np.where(tally.negative_mass > 0, average_R, np.nan)


def sensitivity_at_specificity(tally: Tally) -> np.ndarray:
    """Largest sensitivity of any threshold with a specificity of 90 % or more. NaN on one class."""
    sensitivity_RU = divide(tally.true_positives, tally.positive_mass[:, None])
    false_positive_rate_RU = divide(tally.false_positives, tally.negative_mass[:, None])
    reached_RU = np.where(false_positive_rate_RU <= 1 - OPERATING_POINT + ROUNDING, sensitivity_RU, 0.0)
    return defined(tally, reached_RU.max(axis=1, initial=0.0))


def specificity_at_sensitivity(tally: Tally) -> np.ndarray:
    """Largest specificity of any threshold with a sensitivity of 90 % or more. NaN on one class."""
    sensitivity_RU = divide(tally.true_positives, tally.positive_mass[:, None])
    specificity_RU = 1 - divide(tally.false_positives, tally.negative_mass[:, None])
    reached_RU = np.where(sensitivity_RU >= OPERATING_POINT - ROUNDING, specificity_RU, 0.0)
    return defined(tally, reached_RU.max(axis=1, initial=0.0))


def defined(tally: Tally, values_R: np.ndarray) -> np.ndarray:
    """The values where both classes occur, else NaN."""
    return np.where((tally.positive_mass > 0) & (tally.negative_mass > 0), values_R, np.nan)


def tally_brier(tally: Tally) -> np.ndarray:
    """Mean squared difference between the positive class's probability and 0 or 1 (Brier 1950). Defined on one class too."""
    squares_RU = tally.positives * (1 - tally.scores) ** 2 + tally.negatives * tally.scores**2
    return divide(squares_RU.sum(axis=1), tally.positive_mass + tally.negative_mass)


def tally_ece(tally: Tally) -> np.ndarray:
    """Expected calibration error: mean over 10 bins of equal mass of |mean probability - share of positives|, weighted by mass.

    The adaptive binning of Nguyen and O'Connor (2015). Equal scores share a bin: that of their middle rank.
    """
    mass_RU = tally.positives + tally.negatives
    bins_RU = bin_by_mass(mass_RU)
    resamples = len(mass_RU)
    cell_RU = bins_RU + CALIBRATION_BINS * np.arange(resamples)[:, None]
    gap_RU = tally.positives - mass_RU * tally.scores
    gap_RB = np.bincount(cell_RU.ravel(), weights=gap_RU.ravel(), minlength=resamples * CALIBRATION_BINS).reshape(resamples, -1)
    return divide(np.abs(gap_RB).sum(axis=1), mass_RU.sum(axis=1))


def bin_by_mass(mass_RU: np.ndarray) -> np.ndarray:
    """Index of the equal-mass bin, 0 to 9, that the middle of each score's mass falls into."""
    middle_RU = mass_RU.cumsum(axis=1) - mass_RU / 2
    share_RU = np.nan_to_num(divide(middle_RU, mass_RU.sum(axis=1, keepdims=True)))
    return np.minimum((share_RU * CALIBRATION_BINS + ROUNDING).astype(int), CALIBRATION_BINS - 1)


def recalls(sample: Sample) -> np.ndarray:
    """Share of each class that is predicted as such, [R, C]; NaN where a class does not occur."""
    return divide(np.diagonal(sample.confusion, axis1=1, axis2=2), sample.confusion.sum(axis=2))


def balanced_accuracy(sample: Sample) -> np.ndarray:
    """Mean recall of the classes that occur, as ISIC 2018 Task 3; NaN if fewer than two do."""
    return mean_of_defined(recalls(sample))


def accuracy(sample: Sample) -> np.ndarray:
    """Share of cases whose predicted class is the true one."""
    return divide(np.trace(sample.confusion, axis1=1, axis2=2), sample.confusion.sum(axis=(1, 2)))


def macro_auc(sample: Sample) -> np.ndarray:
    """Mean of the one-against-rest AUCs of the classes that occur; NaN if fewer than two do."""
    return mean_of_defined(np.stack([tally_auc(tally) for tally in sample.tallies], axis=1))


def mean_of_defined(values_RC: np.ndarray) -> np.ndarray:
    """Mean over the classes without NaN, NaN where fewer than two classes are left."""
    is_defined_RC = ~np.isnan(values_RC)
    count_R = is_defined_RC.sum(axis=1)
    return np.where(count_R > 1, np.where(is_defined_RC, values_RC, 0.0).sum(axis=1) / np.maximum(count_R, 1), np.nan)


BINARY_METRICS: Mapping[str, Metric] = {
    "auc": lambda sample: tally_auc(sample.positive),
    "average_precision": lambda sample: tally_average_precision(sample.positive),
    "sensitivity_at_specificity_90": lambda sample: sensitivity_at_specificity(sample.positive),
    "specificity_at_sensitivity_90": lambda sample: specificity_at_sensitivity(sample.positive),
    "sensitivity": lambda sample: recalls(sample)[:, 1],
    "specificity": lambda sample: recalls(sample)[:, 0],
    "balanced_accuracy": balanced_accuracy,
    "accuracy": accuracy,
    "brier": lambda sample: tally_brier(sample.positive),
    "ece": lambda sample: tally_ece(sample.positive),
}
MULTI_CLASS_METRICS: Mapping[str, Metric] = {"macro_auc": macro_auc, "balanced_accuracy": balanced_accuracy, "accuracy": accuracy}
METRICS: Mapping[str, Metric] = {**BINARY_METRICS, **MULTI_CLASS_METRICS}


def metrics_of(classes: Sequence[str]) -> dict[str, Metric]:
    """The metrics of a head by name: those of two classes, or those of more with `auc_<class>` for each."""
    if len(classes) == 2:
        return dict(BINARY_METRICS)
    return {**MULTI_CLASS_METRICS, **{f"auc_{name}": partial(class_auc, index=index) for index, name in enumerate(classes)}}


def class_auc(sample: Sample, *, index: int) -> np.ndarray:
    """AUC of one class against the rest; NaN if it does not occur or nothing else does."""
    return tally_auc(sample.tallies[index])


def evaluate(labels: np.ndarray, probabilities: np.ndarray, *, classes: Sequence[str]) -> dict[str, float]:
    """All metrics of a head over labelled cases; arguments as for `make_sample`."""
    sample = make_sample(labels, probabilities)
    return {name: float(metric(sample)[0]) for name, metric in metrics_of(classes).items()}


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve of 0/1 labels and scores of any range; see `tally_auc`."""
    scores_N = np.asarray(scores, dtype=np.float64).reshape(-1)
    return float(tally_auc(make_tally(np.asarray(labels).reshape(-1) > 0, scores_N, weights_RN=np.ones((1, len(scores_N)))))[0])
