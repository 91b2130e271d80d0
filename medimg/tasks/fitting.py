"""What passes between the glue and a task's `fit`: Data in, one Epoch after another, Fitted out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from medimg.evaluation.classification.recalibration import Recalibration

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


@dataclass(frozen=True)
class Data:
    """Cases to train on and to stop by.

    Attributes:
        train, eval: datasets of (inputs, targets), one case each, in a fixed order.
        train_targets, eval_targets: the same targets as arrays over cases, by name; classification: head to
            int64 [N], -1 where missing.
        eval_ids, eval_groups: of eval's cases, text [N].
        clinical_width: values of the `clinical` input, 0 where there is none.
    """

    train: tf.data.Dataset
    eval: tf.data.Dataset
    train_targets: Mapping[str, np.ndarray]
    eval_targets: Mapping[str, np.ndarray]
    eval_ids: np.ndarray
    eval_groups: np.ndarray
    clinical_width: int = 0


@dataclass(frozen=True)
class Epoch:
    """One finished epoch of a member, both counted from 0.

    `figures` by name: `train/loss`, `<head>/auc` on eval; NaN where undefined.
    """

    number: int
    seconds: float
    figures: dict[str, float]
    member: int = 0


@dataclass(frozen=True)
class Member:
    """One trained network.

    Attributes:
        network: that of the best epoch, in float32 also if it was trained in float16.
        best, history: that epoch, and all.
        held_out: answers to the cases of eval, head to float [N, C], each by an epoch that this case had no
            part in choosing; NaN for those that chose.
    """

    network: keras.Model
    best: Epoch
    history: tuple[Epoch, ...]
    held_out: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Fitted:
    """What training hands over for export.

    Attributes:
        members: one network or, in a deep ensemble, several whose mean probability is the prediction.
        recalibrations: by head, what brings the prediction to train's class frequencies.
        figures: of the held-out answers, by name.
        held_out: the members' mean, recalibrated; columns as in Member.
        parts: of eval, as in `medimg.tasks.shared.eval_parts`.
        log_priors: by head, what is then taken off the logits, [C], so that the prediction is as if all
            classes were equally frequent; a head that is not named is left as it is.
        prevalence: the class frequencies that the prediction is meant for: "train", or "balanced" where all
            are alike.
    """

    members: tuple[Member, ...]
    recalibrations: Mapping[str, Recalibration]
    figures: Mapping[str, float]
    held_out: Mapping[str, np.ndarray]
    parts: np.ndarray
    log_priors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    prevalence: str = "train"


Report = Callable[[Epoch], None]
