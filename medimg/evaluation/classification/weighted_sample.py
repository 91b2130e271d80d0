"""Labelled cases with probabilities and weights: what every metric is computed from.

A sample stands for one set of cases or for thousands of resamples at once. Axes: N cases, C classes, R
resamples, U different scores (in falling order), B bins of equal mass. The positive class is the last one.
Everything is float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

CALIBRATION_BINS = 10
THRESHOLD = 0.5
ROUNDING = 1e-9
"""A rate that misses a bound by less than this has reached it: 9 of 10 must count as 90 %."""


@dataclass(frozen=True)
class Bins:
    """Sums of weights in bins of equal mass, [R, B].

    Attributes:
        mass, positives: of all cases, and of the positives.
        scores: of weight times score.
    """

    mass: np.ndarray
    positives: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class ConfusionCurve:
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

    @cached_property
    def sensitivity(self) -> np.ndarray:
        """Share of the positives at or above each score, [R, U]; NaN without positives."""
        return divide(self.true_positives, self.positive_mass[:, None])

    @cached_property
    def false_positive_rate(self) -> np.ndarray:
        """Share of the negatives at or above each score, [R, U]; NaN without negatives."""
        return divide(self.false_positives, self.negative_mass[:, None])

    @cached_property
    def bins(self) -> Bins:
        """Sums in bins of equal mass, each resample with bins of its own."""
        mass_RU = self.positives + self.negatives
        resamples = len(mass_RU)
        cell_RU = bin_by_mass(mass_RU) + CALIBRATION_BINS * np.arange(resamples)[:, None]
        summed = (mass_RU, self.positives, mass_RU * self.scores)
        size = resamples * CALIBRATION_BINS
        return Bins(
            *(
                np.bincount(cell_RU.ravel(), weights=values_RU.ravel(), minlength=size).reshape(resamples, -1)
                for values_RU in summed
            )
        )


@dataclass(frozen=True)
class Sample:
    """Labelled cases and how often each counts in each resample.

    Attributes:
        labels: [N], class index, 0 to C-1.
        probabilities: [N, C], in [0, 1].
        weights: [R, N], weight of each case, one row per resample.
        costs: [C, C], of an answer (columns) by what is true (rows), if the predicted class is to be that of
            least expected cost.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    weights: np.ndarray
    costs: np.ndarray | None = None

    @cached_property
    def curves(self) -> tuple[ConfusionCurve, ...]:
        """One curve per class, that class against the rest."""
        classes = range(self.probabilities.shape[1])
        return tuple(
            make_confusion_curve(self.labels == index, self.probabilities[:, index], weights_RN=self.weights)
            for index in classes
        )

    @cached_property
    def positive(self) -> ConfusionCurve:
        """The curve of the last class."""
        return make_confusion_curve(
            self.labels == self.probabilities.shape[1] - 1, self.probabilities[:, -1], weights_RN=self.weights
        )

    @cached_property
    def predicted(self) -> np.ndarray:
        """Class index of each answer, [N]; see `predict_classes`."""
        return predict_classes(self.probabilities, self.costs)

    @cached_property
    def confusion(self) -> np.ndarray:
        """Weights [R, C, C] by true class (rows) and predicted class (columns)."""
        classes = self.probabilities.shape[1]
        cell_NK = np.eye(classes * classes)[self.labels * classes + self.predicted]
        return (self.weights @ cell_NK).reshape(-1, classes, classes)

    @cached_property
    def confidence(self) -> np.ndarray:
        """Probability of the predicted class, [N].

        Of two classes, without costs, it orders cases as the entropy does.
        """
        return np.asarray(self.probabilities[np.arange(len(self.labels)), self.predicted])

    @cached_property
    def errors(self) -> ConfusionCurve:
        """Wrong answers (as positives) and right ones at each confidence."""
        return make_confusion_curve(self.predicted != self.labels, self.confidence, weights_RN=self.weights)


@dataclass(frozen=True)
class ScoredCases:
    """Labelled cases with one model's probabilities and what is resampled as a whole.

    Attributes:
        labels: int [N], class index.
        probabilities: [N, C], or [N] scores of the positive class of two.
        groups: [N], what is independent of each other and drawn as a whole: the patient.
        costs: see Sample.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    groups: np.ndarray
    costs: np.ndarray | None = None

    def weigh(self, weights_RN: np.ndarray | None = None) -> Sample:
        """Returns their sample, see `make_sample`."""
        return make_sample(self.labels, self.probabilities, weights_RN=weights_RN, costs_CC=self.costs)


def predict_classes(probabilities_NC: np.ndarray, costs_CC: np.ndarray | None = None) -> np.ndarray:
    """Class index of each answer, [N]: the likeliest class, of two the positive one at THRESHOLD or more.

    With costs (see Sample) the class of least expected cost (Elkan 2001), of two the positive one if both
    cost the same.
    """
    if costs_CC is not None:
        expected_NC = probabilities_NC @ costs_CC
        return expected_NC.shape[1] - 1 - expected_NC[:, ::-1].argmin(axis=1)
    return (
        (probabilities_NC[:, 1] >= THRESHOLD).astype(int)
        if probabilities_NC.shape[1] == 2
        else probabilities_NC.argmax(axis=1)
    )


def make_sample(
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    weights_RN: np.ndarray | None = None,
    costs_CC: np.ndarray | None = None,
) -> Sample:
    """A checked sample; without weights every case counts once.

    Args:
        labels: int [N], class index.
        probabilities: [N, C], or [N] scores of the positive class of two.
        costs_CC: see Sample.

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
        raise ValueError(
            f"labels from {labels_N.min()} to {labels_N.max()}, expected 0 to {probabilities_NC.shape[1] - 1}"
        )
    if np.isnan(probabilities_NC).any():
        raise ValueError(
            f"{int(np.isnan(probabilities_NC).any(axis=1).sum())} of {len(labels_N)} predictions are NaN"
        )
    weights_RN = np.ones((1, len(labels_N))) if weights_RN is None else weights_RN
    return Sample(labels_N, probabilities_NC, weights_RN, costs_CC)


def make_confusion_curve(
    is_positive_N: np.ndarray, scores_N: np.ndarray, *, weights_RN: np.ndarray
) -> ConfusionCurve:
    """Sums weights over equal scores, so that ties are handled once for all metrics."""
    if not len(scores_N):
        empty_RU = np.zeros((len(weights_RN), 0))
        return ConfusionCurve(np.zeros(0), empty_RU, empty_RU)
    order_N = np.argsort(-scores_N, kind="stable")
    sorted_N = scores_N[order_N]
    starts_U = np.flatnonzero(np.r_[True, np.diff(sorted_N) != 0])
    weights_RN = weights_RN[:, order_N]
    positives_RN = weights_RN * is_positive_N[order_N]
    negatives_RN = weights_RN - positives_RN
    if len(starts_U) < len(sorted_N):
        positives_RN, negatives_RN = (
            np.add.reduceat(summed_RN, starts_U, axis=1) for summed_RN in (positives_RN, negatives_RN)
        )
    return ConfusionCurve(sorted_N[starts_U], positives_RN, negatives_RN)


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(
        numerator, denominator, out=np.full(shape, np.nan), where=np.broadcast_to(denominator > 0, shape)
    )


def defined(curve: ConfusionCurve, values_R: np.ndarray) -> np.ndarray:
    """The values where both classes occur, else NaN."""
    return np.where((curve.positive_mass > 0) & (curve.negative_mass > 0), values_R, np.nan)


def bin_by_mass(mass_RU: np.ndarray) -> np.ndarray:
    """Index of the equal-mass bin, 0 to 9, that the middle of each score's mass falls into."""
    middle_RU = mass_RU.cumsum(axis=1) - mass_RU / 2
    share_RU = np.nan_to_num(divide(middle_RU, mass_RU.sum(axis=1, keepdims=True)))
    return np.minimum((share_RU * CALIBRATION_BINS + ROUNDING).astype(int), CALIBRATION_BINS - 1)
