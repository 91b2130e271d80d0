"""AUCs of models on the same cases with their covariance: DeLong, DeLong and Clarke-Pearson (1988).

For clustered cases Obuchowski (1997).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from medimg.evaluation.intervals import CONFIDENCE, Interval

Z = float(norm.ppf((1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Aucs:
    """AUC of each of K models, [K], and their covariance, [K, K].

    The covariance is NaN where a class has fewer than two clusters.
    """

    values: np.ndarray
    covariance: np.ndarray


def estimate_aucs(labels: np.ndarray, scores_NK: np.ndarray, *, groups: np.ndarray | None = None) -> Aucs:
    """AUCs of K models that scored the same N cases.

    Args:
        labels: 0 or 1, [N]; both occur.
        scores_NK: any range; ties count half.
        groups: [N], what is independent of each other (the patient); without them each case is, and the
            result is DeLong's.
    """
    is_positive_N = np.asarray(labels) > 0
    scores_NK = np.asarray(scores_NK, dtype=np.float64)
    _, group_N = np.unique(
        np.arange(len(scores_NK)) if groups is None else np.asarray(groups).astype(str), return_inverse=True
    )
    placements_NK = np.stack(
        [place(scores_N, is_positive_N=is_positive_N) for scores_N in scores_NK.T], axis=1
    )
    values_K = placements_NK[is_positive_N].mean(axis=0)
    count = group_N.max() + 1
    sums = []
    for chosen_N in (is_positive_N, ~is_positive_N):
        deviation_GK = np.zeros((count, scores_NK.shape[1]))
        np.add.at(deviation_GK, group_N[chosen_N], placements_NK[chosen_N] - values_K)
        present = len(np.unique(group_N[chosen_N]))
        # Per case, with the correction for the clusters that hold a case of the class.
        sums.append((deviation_GK / chosen_N.sum(), present / (present - 1) if present > 1 else math.nan))
    (positive_GK, by_positive), (negative_GK, by_negative) = sums
    crossed_KK = positive_GK.T @ negative_GK * count / max(count - 1, 1)
    covariance_KK = (
        positive_GK.T @ positive_GK * by_positive
        + negative_GK.T @ negative_GK * by_negative
        + crossed_KK
        + crossed_KK.T
    )
    return Aucs(values_K, covariance_KK)


def place(scores_N: np.ndarray, *, is_positive_N: np.ndarray) -> np.ndarray:
    """Returns of each case the share of the other class that it is ranked rightly against, ties half, [N].

    These are DeLong's structural components.
    """
    placement_N = np.empty(len(scores_N))
    for chosen_N in (is_positive_N, ~is_positive_N):
        others = np.sort(scores_N[~chosen_N])
        placement_N[chosen_N] = (
            np.searchsorted(others, scores_N[chosen_N], "left")
            + np.searchsorted(others, scores_N[chosen_N], "right")
        ) / 2
        placement_N[chosen_N] /= len(others)
    placement_N[~is_positive_N] = 1 - placement_N[~is_positive_N]
    return placement_N


def auc_interval(labels: np.ndarray, scores: np.ndarray, *, groups: np.ndarray | None = None) -> Interval:
    """The 95 % interval of one AUC by the normal approximation, cut off at 0 and 1.

    No bounds where the variance is not defined.
    """
    aucs = estimate_aucs(labels, np.asarray(scores)[:, None], groups=groups)
    variance = float(aucs.covariance[0, 0])
    if not variance > 0:
        return Interval(math.nan, math.nan, note="no interval: DeLong's variance is not defined or 0 here")
    value, half = float(aucs.values[0]), Z * math.sqrt(variance)
    return Interval(max(0.0, value - half), min(1.0, value + half))
