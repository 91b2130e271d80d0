"""What the probabilities mean: predicted against observed, in the same bins as the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medimg.evaluation.metrics import CALIBRATION_BINS, bin_by_mass, make_tally

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
    tally = make_tally(np.asarray(labels) > 0, scores_N, weights_RN=np.ones((1, len(scores_N))))
    mass_U = (tally.positives + tally.negatives)[0]
    bins_U = bin_by_mass(mass_U[None])[0]
    bins = []
    for index in reversed(range(CALIBRATION_BINS)):
        inside_U = bins_U == index
        cases, positives = mass_U[inside_U].sum(), tally.positives[0, inside_U].sum()
        if cases:
            predicted = float((mass_U * tally.scores)[inside_U].sum() / cases)
            bins.append(ReliabilityBin(int(cases), int(positives), predicted, float(positives / cases), *wilson_interval(positives, cases)))
    return bins


def wilson_interval(positives: float, cases: float) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); stays within [0, 1]."""
    share = positives / cases
    centre = (share + Z_95**2 / (2 * cases)) / (1 + Z_95**2 / cases)
    half = Z_95 / (1 + Z_95**2 / cases) * np.sqrt(share * (1 - share) / cases + Z_95**2 / (4 * cases**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))
