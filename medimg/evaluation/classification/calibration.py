"""What the probabilities mean: predicted against observed, in bins of equal mass.

The axes are those of medimg.evaluation.classification.weighted_sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medimg.evaluation.classification.weighted_sample import (
    CALIBRATION_BINS,
    ConfusionCurve,
    bin_by_mass,
    divide,
    make_confusion_curve,
)

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class ReliabilityBin:
    """One of the equal-mass bins.

    Attributes:
        cases, positives: counts.
        predicted: mean probability.
        observed: share of positives, with the 95 % Wilson interval `low` to `high` of independent cases.
    """

    cases: int
    positives: int
    predicted: float
    observed: float
    low: float
    high: float


def make_reliability_bins(labels: np.ndarray, scores: np.ndarray) -> list[ReliabilityBin]:
    """The occupied ones of 10 bins of equal mass, by rising probability.

    Args:
        labels: 0 or 1, [N].
        scores: probability of the positive class, [N].
    """
    scores_N = np.asarray(scores, dtype=np.float64)
    curve = make_confusion_curve(np.asarray(labels) > 0, scores_N, weights_RN=np.ones((1, len(scores_N))))
    mass_U = (curve.positives + curve.negatives)[0]
    bins_U = bin_by_mass(mass_U[None])[0]
    bins = []
    for index in reversed(range(CALIBRATION_BINS)):
        inside_U = bins_U == index
        cases, positives = mass_U[inside_U].sum(), curve.positives[0, inside_U].sum()
        if cases:
            predicted = float((mass_U * curve.scores)[inside_U].sum() / cases)
            bins.append(
                ReliabilityBin(
                    int(cases),
                    int(positives),
                    predicted,
                    float(positives / cases),
                    *wilson_interval(positives, cases),
                )
            )
    return bins


def wilson_interval(positives: float, cases: float) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); stays within [0, 1]."""
    share = positives / cases
    centre = (share + Z_95**2 / (2 * cases)) / (1 + Z_95**2 / cases)
    half = Z_95 / (1 + Z_95**2 / cases) * np.sqrt(share * (1 - share) / cases + Z_95**2 / (4 * cases**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def curve_brier(curve: ConfusionCurve) -> np.ndarray:
    """Mean squared difference between the positive class's probability and 0 or 1 (Brier 1950).

    Defined on one class too.
    """
    squares_RU = curve.positives * (1 - curve.scores) ** 2 + curve.negatives * curve.scores**2
    return divide(squares_RU.sum(axis=1), curve.positive_mass + curve.negative_mass)


def curve_reliability(curve: ConfusionCurve) -> np.ndarray:
    """Returns Murphy's reliability (1973), [R]; 0 is best.

    It is the mean over the bins of (mean probability - share of positives) squared, weighted by mass.
    """
    bins = curve.bins
    return divide(
        np.nansum(divide((bins.scores - bins.positives) ** 2, bins.mass), axis=1), bins.mass.sum(axis=1)
    )


def curve_resolution(curve: ConfusionCurve) -> np.ndarray:
    """How much the share of positives differs from bin to bin, at most the uncertainty.

    Murphy's resolution (1973) with what the probabilities tell within the bins added, the generalised one of
    Stephenson, Coelho and Jolliffe (2008), so that Brier score = reliability - resolution + uncertainty holds
    exactly.
    """
    bins, mass_RU = curve.bins, curve.positives + curve.negatives
    total_R = bins.mass.sum(axis=1)
    between_R = np.nansum(divide(bins.positives**2, bins.mass), axis=1) - divide(
        curve.positive_mass**2, total_R
    )
    variance_R = mass_RU @ curve.scores**2 - np.nansum(divide(bins.scores**2, bins.mass), axis=1)
    covariance_R = curve.positives @ curve.scores - np.nansum(
        divide(bins.positives * bins.scores, bins.mass), axis=1
    )
    return divide(between_R - variance_R + 2 * covariance_R, total_R)


def curve_uncertainty(curve: ConfusionCurve) -> np.ndarray:
    """Prevalence times its complement: the Brier score of always saying the prevalence.

    A property of the cases, not of the model.
    """
    share_R = divide(curve.positive_mass, curve.positive_mass + curve.negative_mass)
    return share_R * (1 - share_R)


def curve_ece(curve: ConfusionCurve) -> np.ndarray:
    """Returns the expected calibration error, [R].

    It is the mean over 10 bins of equal mass of |mean probability - share of positives|, weighted by mass:
    the adaptive binning of Nguyen and O'Connor (2015). Equal scores share a bin: that of their middle rank.
    """
    return divide(np.abs(curve.bins.positives - curve.bins.scores).sum(axis=1), curve.bins.mass.sum(axis=1))
