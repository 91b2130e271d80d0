"""What every training loop needs: devices, precision, reproducible dropout, prediction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from medimg.tasks.fitting import Data


class PrecisionSettings(Protocol):
    """Settings of any task with this field."""

    @property
    def mixed_precision(self) -> str: ...


def evaluation_batches(data: Data, size: int) -> tf.data.Dataset:
    """The inputs of eval in order."""
    return data.eval.map(lambda inputs, _: inputs).batch(size).prefetch(1)


def seed_dropout(network: keras.Model, *, seed: int, epoch: int) -> None:
    """Makes the network's own random draws depend on seed and epoch only.

    Keras saves no seed state with the weights (seen in 3.12).
    """
    for index, variable in enumerate(item for item in network.variables if "seed_generator" in item.path):
        variable.assign(np.array([seed * 1_000_003 + epoch, index], dtype=np.int64) % 2**32)


def predict(network: keras.Model, batches: tf.data.Dataset) -> dict[str, np.ndarray]:
    """Head to probabilities, float32 [N, C]."""
    return {name: np.asarray(values) for name, values in network.predict(batches, verbose=0).items()}


def make_strategy() -> tf.distribute.Strategy:
    """All GPUs of this machine, or the default."""
    return (
        tf.distribute.MirroredStrategy()
        if len(tf.config.list_physical_devices("GPU")) > 1
        else tf.distribute.get_strategy()
    )


@contextmanager
def precision(training: PrecisionSettings) -> Iterator[None]:
    """Lets layers built inside compute in float16 where the settings ask for it.

    With "auto" that is where a GPU is there.
    """
    earlier = keras.config.dtype_policy()
    mixed = training.mixed_precision == "on" or (
        training.mixed_precision == "auto" and bool(tf.config.list_physical_devices("GPU"))
    )
    keras.config.set_dtype_policy("mixed_float16" if mixed else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(earlier)
