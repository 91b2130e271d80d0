"""Conformal sets: an answer of one or more classes that holds the true one with a stated chance.

This is true of any model. Axes as in medimg.evaluation.classification.weighted_sample.

MAPIE 1.6 gives the same sets, but takes an estimator instead of probabilities and has none by class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from medimg.evaluation.classification.metrics import Metric
from medimg.evaluation.classification.weighted_sample import ROUNDING, Sample, divide


@dataclass(frozen=True)
class ConformalSets:
    """A rule that answers with a set of classes, which holds the true one with the stated chance.

    Attributes:
        coverage: the stated chance.
        by_class: whether it is kept for each class, not only over all cases.
        thresholds: [C], the smallest probability with which a class is in the set. A set can be empty:
            nothing fits.
    """

    coverage: float
    by_class: bool
    thresholds: np.ndarray

    def contains(self, probabilities: np.ndarray) -> np.ndarray:
        """Whether each class is in a case's set, bool [N, C]."""
        return np.asarray(probabilities) >= self.thresholds

    def metrics(self, classes: Sequence[str]) -> dict[str, Metric]:
        """Returns the metrics by name.

        They are the share of cases whose set holds the true class, overall and for each class, and the mean
        size of a set.
        """
        prefix = f"conformal_{100 * self.coverage:g}{'_by_class' if self.by_class else ''}"
        metrics: dict[str, Metric] = {
            f"{prefix}_coverage": self.coverage_of,
            f"{prefix}_set_size": self.set_size_of,
        }
        return metrics | {
            f"{prefix}_coverage_{name}": partial(self.coverage_of, label=index)
            for index, name in enumerate(classes)
        }

    def coverage_of(self, sample: Sample, *, label: int | None = None) -> np.ndarray:
        """Share of the cases, or of those of one class, whose set holds the true class, [R]."""
        covered_N = self.contains(sample.probabilities)[np.arange(len(sample.labels)), sample.labels]
        counted_N = np.ones(len(covered_N), bool) if label is None else sample.labels == label
        return divide(sample.weights @ (covered_N & counted_N), sample.weights @ counted_N)

    def set_size_of(self, sample: Sample) -> np.ndarray:
        """Mean number of classes in a set, [R]."""
        return divide(
            sample.weights @ self.contains(sample.probabilities).sum(axis=1), sample.weights.sum(axis=1)
        )


def fit_conformal(
    labels: np.ndarray, probabilities: np.ndarray, *, coverage: float, by_class: bool = False
) -> ConformalSets:
    """Fits sets of least ambiguity (Sadinle, Lei and Wasserman 2019, arXiv 1609.00451).

    They are calibrated on cases that the model did not learn from. The chance is over draws of calibration
    and later cases that are exchangeable. With too few cases, under 9 for 90 %, every class is in every set.

    Args:
        labels: int [N], class index.
        probabilities: [N, C].
        by_class: calibrates each class on its own cases (Vovk 2012, arXiv 1209.2673).
    """
    labels_N, probabilities_NC = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    own_N = probabilities_NC[np.arange(len(labels_N)), labels_N]
    classes = range(probabilities_NC.shape[1])
    thresholds = [
        smallest_probability(own_N[labels_N == index] if by_class else own_N, coverage) for index in classes
    ]
    return ConformalSets(coverage, by_class, np.array(thresholds))


def smallest_probability(own_N: np.ndarray, coverage: float) -> float:
    """The ceil((N + 1) coverage)-th largest of the true classes' probabilities.

    0 where that is more than there are.
    """
    rank = math.ceil((len(own_N) + 1) * coverage - ROUNDING)
    return float(np.sort(own_N)[-rank]) if rank <= len(own_N) else 0.0
