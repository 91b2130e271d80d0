"""Which cases of eval a model is chosen by, and which its probabilities are set right by: never the same.

An epoch that was chosen among thirty by some cases answers these better than it answers others: whatever is
then fitted to its answers (a temperature, a threshold, conformal sets) promises too much.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medimg.evaluation.classification.held_out import CALIBRATE, CHOOSE, CROSS_FITTED

FEWEST_GROUPS = 40
"""Groups, below which half of them would be too few to choose by."""
FOLDS = 2
"""More would be chosen by nearly the same cases: their answers rise and fall together, and sets hold less."""


@dataclass(frozen=True)
class HeldOut:
    """Cases, bool [N], whose answers are those of the epoch that other cases choose."""

    cases: np.ndarray
    chosen_by: np.ndarray


@dataclass(frozen=True)
class EvalParts:
    """The parts of eval.

    Attributes:
        names: what each case does, [N]: CHOOSE, CALIBRATE or CROSS_FITTED.
        choose: cases by which the exported epoch is chosen, bool [N].
        held_out: no case is in two of them.
    """

    names: np.ndarray
    choose: np.ndarray
    held_out: Sequence[HeldOut]

    @property
    def calibrate(self) -> np.ndarray:
        """Cases that have an answer by an epoch that they did not choose, bool [N]."""
        return self.names != CHOOSE


def part_eval(groups: np.ndarray, *, labelled: np.ndarray) -> EvalParts:
    """Parts eval by the hashes of its groups' names: one half to choose by and one to calibrate on.

    Of fewer than 40 groups with a label all choose, and they are calibrated on by cross-fitting: the answers
    to each half of the groups are those of the epoch that the other half would have chosen.

    Args:
        groups: [N].
        labelled: whether a case can choose an epoch, bool [N].
    """
    names, group_N = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    hashes = [hashlib.sha256(f"eval part of {name}".encode()).digest() for name in names]
    if len(np.unique(group_N[labelled])) >= FEWEST_GROUPS:
        choose_N = np.array([digest[0] % 2 == 0 for digest in hashes])[group_N]
        halves = [HeldOut(~choose_N, chosen_by=choose_N)]
        return EvalParts(np.where(choose_N, CHOOSE, CALIBRATE), choose_N, halves)
    everything_N = np.ones(len(group_N), bool)
    if len(names) < 2:
        return EvalParts(np.full(len(group_N), CHOOSE), everything_N, [])
    # By rank: of so few, a half by hash alone might be empty.
    fold_N = (np.argsort(np.argsort(np.array(hashes, dtype="S32"))) % FOLDS)[group_N]
    folds = [HeldOut(fold_N == fold, chosen_by=fold_N != fold) for fold in np.unique(fold_N)]
    return EvalParts(np.full(len(group_N), CROSS_FITTED), everything_N, folds)
