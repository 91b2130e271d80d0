"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599).

One number per head makes probabilities as sure as they are right. Logits are taken from the probabilities, N
cases by C classes. It mends too much or too little confidence, not a wrong prevalence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

HIGHEST = 20.0
"""Temperatures are sought between 1/20 and 20."""
SMALLEST_PROBABILITY = 1e-30
"""A probability of 0 has no logarithm. Within float32, for the exported model does the same."""


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray, *, balanced: bool = False) -> float:
    """The temperature of least cross-entropy; above 1 it makes the probabilities less sure.

    The targets are those of Platt (1999), (n + 1) / (n + 2) for a class of n cases instead of 1: where cases
    are told apart without an error, the plain minimum lies at a temperature of 0, which is certainty about
    everything.

    Args:
        labels: int [N], class index, -1 where missing.
        probabilities: [N, C].
        balanced: let each class count alike, for probabilities that are meant as if all classes were equally
            frequent; else the temperature would be what suits the common classes.

    Returns:
        1.0 where fewer than two classes are labelled.
    """
    known_N = np.asarray(labels) >= 0
    labels_N, logits_NC = np.asarray(labels)[known_N], to_logits(np.asarray(probabilities)[known_N])
    classes = logits_NC.shape[1]
    counts_C = np.bincount(labels_N, minlength=classes)
    if (counts_C > 0).sum() < 2:
        return 1.0
    # Where each class counts alike, it counts as many cases as a class has on average: by its own count, a
    # class of one case would flatten all.
    smoothing_C = np.full(classes, len(labels_N) / (counts_C > 0).sum()) if balanced else counts_C
    sure_N1 = ((smoothing_C + 1) / (smoothing_C + 2))[labels_N, None]
    weights_N = 1 / counts_C[labels_N] if balanced else None
    targets_NC = np.where(np.arange(classes) == labels_N[:, None], sure_N1, (1 - sure_N1) / (classes - 1))

    def cross_entropy(log_temperature: float) -> float:
        losses_N = -(targets_NC * log_softmax(logits_NC / np.exp(log_temperature), axis=1)).sum(axis=1)
        return float(np.average(losses_N, weights=weights_N))

    return float(
        np.exp(minimize_scalar(cross_entropy, bounds=(-np.log(HIGHEST), np.log(HIGHEST)), method="bounded").x)
    )


def apply_temperature(
    probabilities: np.ndarray, temperature: float, *, log_priors: ArrayLike = 0.0
) -> np.ndarray:
    """Probabilities [N, C] at that temperature; of two classes, the order of cases stays.

    Args:
        log_priors: logarithms [C] of the class frequencies that are then taken out (logit adjustment, Menon
            et al. 2021, arXiv 2007.07314).
    """
    return np.asarray(softmax(to_logits(probabilities) / temperature - np.asarray(log_priors), axis=1))


def to_logits(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms, float64; softmax gives the probabilities back."""
    return np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), SMALLEST_PROBABILITY))
