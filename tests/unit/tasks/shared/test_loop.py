"""Precision and dropout of every training loop."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from medimg.tasks.classification.settings import TrainingSettings
from medimg.tasks.shared.loop import make_strategy, precision, seed_dropout


@pytest.mark.parametrize(
    ("asked", "gpus", "policy"),
    [
        ("on", 0, "mixed_float16"),
        ("on", 1, "mixed_float16"),
        ("off", 0, "float32"),
        ("off", 1, "float32"),
        ("auto", 0, "float32"),
        ("auto", 1, "mixed_float16"),
    ],
)
def test_layers_compute_in_half_precision_where_asked_or_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, asked: str, gpus: int, policy: str
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["device"] * gpus * (kind == "GPU"))
    with precision(TrainingSettings(mixed_precision=asked)):
        assert keras.layers.Dense(1).dtype_policy.name == policy
    assert keras.config.dtype_policy().name == "float32"


def test_a_failure_leaves_the_precision_as_it_was() -> None:
    with pytest.raises(ZeroDivisionError), precision(TrainingSettings(mixed_precision="on")):
        raise ZeroDivisionError
    assert keras.config.dtype_policy().name == "float32"


def draw_dropout(*, seed: int, epoch: int) -> np.ndarray:
    """What two dropout layers side by side leave of ones, in an epoch of a network made by chance."""
    one = keras.Input((64,))
    network = keras.Model(one, [keras.layers.Dropout(0.5)(one), keras.layers.Dropout(0.5)(one)])
    seed_dropout(network, seed=seed, epoch=epoch)
    return np.stack(network(np.ones((1, 64)), training=True))


def test_dropout_is_drawn_by_seed_and_epoch_alone() -> None:
    first = draw_dropout(seed=3, epoch=1)
    np.testing.assert_array_equal(first, draw_dropout(seed=3, epoch=1))
    assert (first != draw_dropout(seed=3, epoch=2)).any()
    assert (first != draw_dropout(seed=4, epoch=1)).any()


def test_no_epoch_of_a_long_training_drops_what_an_earlier_one_did() -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)])
    [state] = [one for one in network.variables if "seed_generator" in one.path]
    seen = set()
    for seed in (3, 4):
        for epoch in range(300):
            seed_dropout(network, seed=seed, epoch=epoch)
            seen.add(tuple(np.array(state).tolist()))
    assert len(seen) == 600


def test_two_layers_drop_different_values() -> None:
    one, other = draw_dropout(seed=3, epoch=1)
    assert (one != other).any()


@pytest.mark.parametrize(("gpus", "all_of_them"), [(0, False), (1, False), (2, True)])
def test_training_is_on_all_gpus_where_there_are_several(
    monkeypatch: pytest.MonkeyPatch, gpus: int, all_of_them: bool
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["device"] * gpus * (kind == "GPU"))
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: "mirrored")
    assert (make_strategy() == "mirrored") == all_of_them
