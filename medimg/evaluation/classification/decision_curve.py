"""What acting on the probabilities is worth: net benefit and the decision curve (Vickers and Elkin 2006)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medimg.evaluation.classification.weighted_sample import (
    ROUNDING,
    ConfusionCurve,
    divide,
    make_confusion_curve,
)


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit per case at each threshold, [T]; recalling nobody has 0 everywhere.

    Attributes:
        thresholds: probabilities at which one would act, rising.
        model: of acting on the cases at or above the threshold.
        everybody: of acting on all cases.
    """

    thresholds: np.ndarray
    model: np.ndarray
    everybody: np.ndarray


def curve_net_benefit(curve: ConfusionCurve, *, threshold: float) -> np.ndarray:
    """True positives per case, less false positives per case weighted by the odds of the threshold.

    The threshold says how many false alarms one finding is worth: at 0.02, 49. The figure holds for the
    prevalence of these cases only.
    """
    chosen = int(np.searchsorted(-curve.scores, -threshold + ROUNDING, side="right"))
    true_R = curve.positives[:, :chosen].sum(axis=1)
    false_R = curve.negatives[:, :chosen].sum(axis=1)
    return divide(true_R - false_R * threshold / (1 - threshold), curve.positive_mass + curve.negative_mass)


def make_decision_curve(labels: np.ndarray, scores: np.ndarray, *, thresholds: np.ndarray) -> DecisionCurve:
    """The decision curve of one set of cases.

    Args:
        labels: 0 or 1, [N].
        scores: probability of the positive class, [N].
        thresholds: [T], over 0 and below 1.
    """
    is_positive_N, scores_N = np.asarray(labels) > 0, np.asarray(scores, dtype=np.float64)
    weights_RN = np.ones((1, len(scores_N)))
    model = make_confusion_curve(is_positive_N, scores_N, weights_RN=weights_RN)
    everybody = make_confusion_curve(is_positive_N, np.ones_like(scores_N), weights_RN=weights_RN)
    model_T = np.array([curve_net_benefit(model, threshold=threshold)[0] for threshold in thresholds])
    everybody_T = np.array([curve_net_benefit(everybody, threshold=threshold)[0] for threshold in thresholds])
    return DecisionCurve(np.asarray(thresholds, dtype=np.float64), model_T, everybody_T)
