"""Cases to train on as `fit` takes them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from medimg.tasks.fitting import Data


def make_fit_data(
    train: tf.data.Dataset,
    evaluation: tf.data.Dataset,
    train_targets: Mapping[str, np.ndarray],
    eval_targets: Mapping[str, np.ndarray],
) -> Data:
    """Each case of eval is a group of its own."""
    count = len(next(iter(eval_targets.values())))
    names = np.array([f"case-{number}" for number in range(count)])
    return Data(train, evaluation, train_targets, eval_targets, eval_ids=names, eval_groups=names)
