"""What one epoch shows: every case once or balanced, in an order and with changes of seed and epoch alone."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from medimg.tasks.classification.fit import make_batches
from medimg.tasks.classification.inputs import case_bytes
from medimg.tasks.classification.settings import Augmentation, Head, ModelSettings, TrainingSettings
from medimg.tasks.fitting import Data
from medimg.tasks.shared.loop import evaluation_batches
from tests.unit.tasks.classification.data import make_fit_data
from tests.unit.tasks.classification.no_augmentation import STILL

CASES = 19
MODEL = ModelSettings(
    heads=(Head("kind", ("a", "b")),), roles=("left", "right"), image_size=(32, 40), channels=1
)
PLAIN = TrainingSettings(batch_size=4, augmentation=STILL, class_weights=False)
Batches = list[tuple[np.ndarray, np.ndarray]]


def make_data(*, equal: bool = False) -> Data:
    """Cases whose pixels are their number, the last five of class b, or all of one grey."""
    numbers_N = np.arange(CASES)
    grey_N = np.full(CASES, 90) if equal else numbers_N
    images_NVHWC = np.broadcast_to(grey_N[:, None, None, None, None], (CASES, 2, 32, 40, 1))
    labels_N = (numbers_N >= 14).astype(np.int64)
    inputs = {"images": images_NVHWC.astype(np.uint8), "view_present": np.ones((CASES, 2), np.float32)}
    cases = tf.data.Dataset.from_tensor_slices((inputs, {"kind": labels_N}))
    return make_fit_data(cases, cases, {"kind": labels_N}, {"kind": labels_N})


def read_batches(data: Data, *, epoch: int = 0, replicas: int = 1, **changes: object) -> Batches:
    training = dataclasses.replace(PLAIN, **changes)
    batches = make_batches(data, model=MODEL, training=training, epoch=epoch, replicas=replicas)
    return [(inputs["images"], targets["kind"]) for inputs, targets in batches.as_numpy_iterator()]


def numbers(batches: Batches) -> list[int]:
    """The cases' numbers in the order in which they are shown."""
    return [int(number) for images, _ in batches for number in images[:, 0, 0, 0, 0]]


@pytest.mark.parametrize(("replicas", "sizes"), [(1, [4, 4, 4, 4, 3]), (2, [8, 8, 3])])
def test_every_case_is_shown_once_in_batches_of_the_size_per_replica(replicas: int, sizes: list[int]) -> None:
    batches = read_batches(make_data(), replicas=replicas)
    assert [len(images) for images, _ in batches] == sizes
    assert sorted(numbers(batches)) == list(range(CASES))
    for images, labels in batches:
        np.testing.assert_array_equal(labels, images[:, 0, 0, 0, 0] >= 14)


def test_the_order_is_one_of_all_cases_and_of_seed_and_epoch() -> None:
    data = make_data()
    orders = [
        numbers(read_batches(data, epoch=epoch, seed=seed))
        for epoch, seed in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3
    for order in orders:
        assert order != sorted(order)
        assert max(order[:4]) > 8


def test_each_batch_of_each_epoch_and_seed_is_changed_in_its_own_way() -> None:
    data = make_data(equal=True)
    shown = [
        read_batches(data, augmentation=Augmentation(), epoch=epoch, seed=seed)
        for epoch, seed in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    first, second = shown[0][0][0], shown[0][1][0]
    np.testing.assert_array_equal(first, shown[1][0][0])
    for other in (second, shown[2][0][0], shown[3][0][0]):
        assert (first != other).any()


def test_balanced_epochs_differ_by_seed_and_epoch_in_their_cases() -> None:
    data = make_data()
    chosen = [
        Counter(numbers(read_batches(data, sampling="balanced", epoch=epoch, seed=seed)))
        for epoch, seed in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    assert chosen[0] == chosen[1]
    assert chosen[2] != chosen[0] != chosen[3]
    for counts in chosen:
        assert sum(counts[number] for number in range(14)) == sum(counts[number] for number in range(14, 19))


def test_a_case_has_the_bytes_of_all_its_views() -> None:
    assert case_bytes(MODEL) == 2 * 32 * 40
    assert case_bytes(dataclasses.replace(MODEL, channels=3, roles=("left",))) == 32 * 40 * 3


def test_eval_is_read_in_order_and_whole() -> None:
    batches = list(evaluation_batches(make_data(), 8).as_numpy_iterator())
    assert [len(inputs["images"]) for inputs in batches] == [8, 8, 3]
    assert np.concatenate([inputs["images"][:, 0, 0, 0, 0] for inputs in batches]).tolist() == [*range(CASES)]


@pytest.mark.parametrize(("held", "buffer"), [(6, 6), (1, 4)])
def test_as_many_cases_are_shuffled_together_as_memory_holds_but_a_batch_at_least(
    monkeypatch: pytest.MonkeyPatch, held: int, buffer: int
) -> None:
    monkeypatch.setattr("medimg.tasks.classification.fit.SHUFFLE_BYTES", held * case_bytes(MODEL))
    ahead = [
        max(np.array(numbers(read_batches(make_data(), seed=seed))) - np.arange(CASES)) for seed in range(9)
    ]
    assert max(ahead) == buffer - 1
