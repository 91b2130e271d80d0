"""Bias-corrected temperature scaling (Alexandari, Kundaje and Shrikumar 2020, arXiv 1901.06852).

A temperature makes probabilities as sure as they are right (Guo et al. 2017, arXiv 1706.04599); a bias per
class brings them to the class frequencies of the training data. Logits are taken from the probabilities, N
cases by C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

HIGHEST = 20.0
"""Temperatures are sought between 1/20 and 20."""
BIAS_SCALE = 1.0
"""Standard deviation, in logits, of the normal prior of a bias: a few cases say little about it."""
SMALLEST_PROBABILITY = 1e-30
"""A probability of 0 has no logarithm. Within float32, for the exported model does the same."""


@dataclass(frozen=True)
class Recalibration:
    """What is done to the logits of a head: divided by the temperature, then the bias is added.

    Attributes:
        temperature: above 1 it makes the probabilities less sure.
        bias: by class.
    """

    temperature: float
    bias: tuple[float, ...]

    @property
    def is_at_bound(self) -> bool:
        """Whether the best temperature lies outside of what is sought: the fit says little."""
        return bool(abs(np.log(self.temperature)) >= np.log(HIGHEST) * (1 - 1e-6))


def fit_recalibration(
    labels: np.ndarray, probabilities: np.ndarray, *, shares: ArrayLike, offset: ArrayLike = 0.0
) -> Recalibration:
    """Fits temperature and biases of least cross-entropy to cases of other class frequencies than the data's.

    The targets are those of Platt (1999), (n + 1) / (n + 2) for a class of n cases instead of 1: where cases
    are told apart without an error, the plain minimum lies at a temperature of 0, and the model would be
    certain of every case.

    Args:
        labels: int [N], class index, -1 where missing.
        probabilities: [N, C].
        shares: [C], class frequencies that the answers are to be meant for: those of train. A case counts by
            how frequent its class should be; those of a class with a share of 0 do not count.
        offset: [C], the bias that is known without a look at the cases, towards which a bias from few cases
            is drawn.

    Returns:
        Temperature 1 and the offset where fewer than two classes are labelled.
    """
    probabilities_NC, shares_C = np.asarray(probabilities, dtype=np.float64), np.asarray(shares, np.float64)
    classes = probabilities_NC.shape[1]
    offset_C = np.broadcast_to(np.asarray(offset, dtype=np.float64), [classes])
    labels_N = np.asarray(labels)
    counted_N = (labels_N >= 0) & (shares_C[labels_N] > 0)
    labels_N, logits_NC = labels_N[counted_N], to_logits(probabilities_NC[counted_N])
    counts_C = np.bincount(labels_N, minlength=classes)
    if (counts_C > 0).sum() < 2:
        return Recalibration(1.0, tuple(offset_C.tolist()))
    weights_N = (shares_C / np.maximum(counts_C, 1))[labels_N]
    weights_N1 = (weights_N / weights_N.mean())[:, None]
    sure_N1 = ((counts_C + 1) / (counts_C + 2))[labels_N, None]
    targets_NC = np.where(np.arange(classes) == labels_N[:, None], sure_N1, (1 - sure_N1) / (classes - 1))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_temperature, bias_C = parameters[0], parameters[1:]
        scaled_NC = logits_NC / np.exp(log_temperature)
        logs_NC = log_softmax(scaled_NC + offset_C + bias_C, axis=1)
        difference_NC = weights_N1 * (np.exp(logs_NC) - targets_NC)
        value = -(weights_N1 * targets_NC * logs_NC).sum() + (bias_C**2).sum() / (2 * BIAS_SCALE**2)
        of_bias_C = difference_NC.sum(axis=0) + bias_C / BIAS_SCALE**2
        return value, np.concatenate([[-(difference_NC * scaled_NC).sum()], of_bias_C])

    bound = float(np.log(HIGHEST))
    found = minimize(
        loss,
        np.zeros(classes + 1),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-bound, bound), *[(None, None)] * classes],
        options={"ftol": 1e-12, "gtol": 1e-8, "maxiter": 1000},
    ).x
    return Recalibration(float(np.exp(found[0])), tuple((offset_C + found[1:]).tolist()))


def recalibrate(
    probabilities: np.ndarray, recalibration: Recalibration, *, log_priors: ArrayLike = 0.0
) -> np.ndarray:
    """Probabilities [N, C] with that temperature and bias; of two classes, the order of cases stays.

    Args:
        log_priors: logarithms [C] of the class frequencies that are then taken out (logit adjustment, Menon
            et al. 2021, arXiv 2007.07314).
    """
    logits_NC = to_logits(probabilities) / recalibration.temperature + np.asarray(recalibration.bias)
    return np.asarray(softmax(logits_NC - np.asarray(log_priors), axis=1))


def to_logits(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms, float64; softmax gives the probabilities back."""
    return np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), SMALLEST_PROBABILITY))
