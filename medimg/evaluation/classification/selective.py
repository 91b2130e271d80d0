"""Selective prediction: what is gained when the model leaves the cases that it is least sure of to a reader.

Axes as in medimg.evaluation.classification.weighted_sample.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import xlog1py

from medimg.evaluation.classification.metrics import Metric, accuracy, curve_auc, macro_auc
from medimg.evaluation.classification.weighted_sample import ConfusionCurve, Sample, divide, make_sample

COVERAGES = (0.8, 0.9)
"""Shares of cases that are answered."""


@dataclass(frozen=True)
class RiskCoverage:
    """Share of wrong answers among the most confident share of cases, for each different confidence.

    El-Yaniv and Wiener 2010.

    Attributes:
        coverage, risk: [U], coverage rising to 1.
        area, excess: under the curve, and how much that is above the best order of the same answers; see
            `aurc` and `excess_aurc`.
    """

    coverage: np.ndarray
    risk: np.ndarray
    area: float
    excess: float


def make_risk_coverage(
    labels: np.ndarray, probabilities: np.ndarray, *, costs_CC: np.ndarray | None = None
) -> RiskCoverage:
    """The curve of one set of cases; arguments as for `make_sample`."""
    sample = make_sample(labels, probabilities, costs_CC=costs_CC)
    curve = sample.errors
    answered_U = (curve.true_positives + curve.false_positives)[0]
    return RiskCoverage(
        answered_U / answered_U[-1:], risk(curve)[0], float(aurc(sample)[0]), float(excess_aurc(sample)[0])
    )


def selective_metrics(classes: Sequence[str]) -> dict[str, Metric]:
    """Returns the metrics by name.

    They are the area under the risk-coverage curve, its excess, and accuracy and AUC (the mean one of more
    than two classes) at each coverage.
    """
    area = macro_auc if len(classes) > 2 else lambda sample: curve_auc(sample.positive)
    metrics: dict[str, Metric] = {"aurc": aurc, "excess_aurc": excess_aurc}
    for coverage in COVERAGES:
        metrics[f"accuracy_at_coverage_{coverage:.0%}".rstrip("%")] = partial(
            on_confident, metric=accuracy, coverage=coverage
        )
        metrics[f"auc_at_coverage_{coverage:.0%}".rstrip("%")] = partial(
            on_confident, metric=area, coverage=coverage
        )
    return metrics


def aurc(sample: Sample) -> np.ndarray:
    """Returns the area under the risk-coverage curve, [R]; 0 is best.

    It is the mean over cases of the error rate among those at least as confident.
    """
    curve = sample.errors
    mass_RU = curve.positives + curve.negatives
    return divide((mass_RU * np.nan_to_num(risk(curve))).sum(axis=1), mass_RU.sum(axis=1))


def excess_aurc(sample: Sample) -> np.ndarray:
    """Returns the excess area under the risk-coverage curve, [R]; 0 is best.

    It is `aurc` less that of an order with all wrong answers last, r + (1 - r) ln(1 - r) at error rate r
    (Geifman et al. 2019, arXiv 1805.08206).
    """
    error_R = 1 - accuracy(sample)
    return aurc(sample) - (error_R + xlog1py(1 - error_R, -error_R))


def on_confident(sample: Sample, *, metric: Metric, coverage: float) -> np.ndarray:
    """A metric on the most confident share of each resample.

    Cases as confident as the last one that fits count in part, all alike.
    """
    curve = sample.errors
    mass_RU = curve.positives + curve.negatives
    room_RU = coverage * mass_RU.sum(axis=1, keepdims=True) - (mass_RU.cumsum(axis=1) - mass_RU)
    kept_RU = np.nan_to_num(divide(np.clip(room_RU, 0, mass_RU), mass_RU))
    index_N = np.searchsorted(-curve.scores, -sample.confidence)
    return metric(dataclasses.replace(sample, weights=sample.weights * kept_RU[:, index_N]))


def risk(curve: ConfusionCurve) -> np.ndarray:
    """Error rate among the cases at least as confident, [R, U]; NaN where a resample has none."""
    return divide(curve.true_positives, curve.true_positives + curve.false_positives)
