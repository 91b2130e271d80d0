"""Simulated screening cohorts whose true AUC is known.

Two breasts per patient, two views per breast, correlated in truth and in score.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

BREASTS, VIEWS = 2, 2
EFFECT = 1.2
PATIENT, BREAST, VIEW = 0.6, 0.7, 0.5
"""Standard deviations of what a patient, a breast and a view alone add to the score."""
LABEL_CORRELATION = 0.5
"""Of the normal variables that make the two breasts of a patient malignant where they are above 0."""


@dataclass(frozen=True)
class Cohort:
    """One row per view, in the order of patients and breasts, [N].

    Label 0 or 1, score, patient and breast as numbers.
    """

    labels: np.ndarray
    scores: np.ndarray
    patients: np.ndarray
    breasts: np.ndarray

    def by_breast(self) -> "Cohort":
        """One row per breast: the mean of its views."""
        return Cohort(
            self.labels[::VIEWS],
            self.scores.reshape(-1, VIEWS).mean(axis=1),
            self.patients[::VIEWS],
            self.breasts[::VIEWS],
        )


def draw_cohort(patients: int, *, seed: int) -> Cohort:
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), BREASTS * VIEWS)
    breast = np.repeat(np.arange(patients * BREASTS), VIEWS)
    shared, own = generator.normal(size=patients), generator.normal(size=patients * BREASTS)
    labels = (
        np.sqrt(LABEL_CORRELATION) * shared[patient] + np.sqrt(1 - LABEL_CORRELATION) * own[breast] > 0
    ).astype(int)
    parts = (
        (PATIENT, patients, patient),
        (BREAST, patients * BREASTS, breast),
        (VIEW, len(breast), np.arange(len(breast))),
    )
    scores = EFFECT * labels + sum(
        scale * generator.normal(size=count)[index] for scale, count, index in parts
    )
    return Cohort(labels, scores, patient, breast)


def true_auc(*, views: int) -> float:
    """AUC between units of different patients, for single views (1) or means of a breast's views."""
    return float(norm.cdf(EFFECT / np.sqrt(2 * (PATIENT**2 + BREAST**2 + VIEW**2 / views))))
