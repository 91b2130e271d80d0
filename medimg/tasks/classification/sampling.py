"""Balanced epochs: each class as often as any other.

The choice depends on seed and epoch alone, so that a resumed training sees the same cases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def draw_copies(labels: np.ndarray, *, seed: Sequence[int]) -> np.ndarray:
    """How often each case is shown in a balanced epoch, int64 [N].

    The epoch is as long as the labelled cases are many, but for a remainder.

    Each class that occurs gets an equal share of it. All cases of a class are shown equally often, but for a
    remainder that is drawn; of a class with more cases than its share, each is shown once or not at all.

    Args:
        labels: int [N], -1 where missing; such a case is not shown.
    """
    present, counts = np.unique(labels[labels >= 0], return_counts=True)
    share = counts.sum() // len(present)
    generator = np.random.default_rng(seed)
    copies_N = np.zeros(len(labels), np.int64)
    for index, count in zip(present, counts, strict=True):
        members = np.flatnonzero(labels == index)
        copies_N[members] = share // count
        copies_N[generator.choice(members, size=share % count, replace=False)] += 1
    return copies_N


def repeat_cases(cases: tf.data.Dataset, copies: np.ndarray) -> tf.data.Dataset:
    """Each case as often as `copies`, int [N], says, in one pass; the copies follow each other."""
    counted = tf.data.Dataset.zip(cases, tf.data.Dataset.from_tensor_slices(copies))
    repeated = counted.flat_map(lambda case, count: tf.data.Dataset.from_tensors(case).repeat(count))
    return repeated.apply(tf.data.experimental.assert_cardinality(int(copies.sum())))
