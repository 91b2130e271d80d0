"""Training state on disk: which epoch is best, when training ends, and what a kill at any moment leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest

from medimg.errors import MedimgError
from medimg.tasks.fitting import Epoch
from medimg.tasks.shared.checkpoints import State, load_weights, read_state, write_state


def make_network(*, inputs: int = 2) -> keras.Model:
    network = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(1)])
    network.compile("adam", "mse")
    return network


def make_epochs(*areas: float) -> tuple[Epoch, ...]:
    return tuple(Epoch(number, 1.0, {"m/auc": area, "m/loss": 1.0}) for number, area in enumerate(areas))


@pytest.mark.parametrize(
    ("areas", "best"),
    [((0.5,), 0), ((0.5, 0.9, 0.8), 1), ((0.5, 0.9, 0.8, 0.9), 1), ((0.9, 0.8, 0.7), 0), ((0.1, 0.2), 1)],
)
def test_the_best_epoch_is_the_earlier_of_equals(areas: tuple[float, ...], best: int) -> None:
    found = State(make_epochs(*areas)).best("m")
    assert found is not None
    assert found.number == best


def test_before_the_first_epoch_there_is_no_best() -> None:
    assert State().best("m") is None
    assert not State().is_finished(head="m", epochs=1, patience=1)


@pytest.mark.parametrize(
    ("patience", "finished"), [(1, (False, False, True, True)), (2, (False, False, False, True))]
)
def test_training_ends_after_patience_epochs_without_a_better_one(
    patience: int, finished: tuple[bool, ...]
) -> None:
    epochs = make_epochs(0.5, 0.9, 0.8, 0.9)
    ended = [
        State(epochs[:count]).is_finished(head="m", epochs=10, patience=patience) for count in range(1, 5)
    ]
    assert tuple(ended) == finished


@pytest.mark.parametrize(("epochs", "finished"), [(3, True), (4, True), (5, False)])
def test_training_ends_when_all_epochs_are_done(epochs: int, finished: bool) -> None:
    state = State(make_epochs(0.5, 0.6, 0.7, 0.8))
    assert state.is_finished(head="m", epochs=epochs, patience=1) == finished


def test_a_state_comes_back_with_its_weights_and_optimizer_and_only_best_and_last_are_kept(
    tmp_path: Path,
) -> None:
    network = make_network()
    epochs = make_epochs(0.5, 0.9, 0.6, 0.7)
    for count in range(1, 5):
        network.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
        write_state(tmp_path, State(epochs[:count]), model=network, head="m")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch0001.weights.h5",
        "epoch0003.weights.h5",
        "state.json",
    ]
    assert read_state(tmp_path) == State(epochs)
    other = make_network()
    load_weights(tmp_path, 3, model=other)
    np.testing.assert_array_equal(other.get_weights()[0], network.get_weights()[0])
    assert int(other.optimizer.iterations) == int(network.optimizer.iterations) == 4


def test_a_network_in_half_precision_goes_on_with_the_state_of_its_optimizer(tmp_path: Path) -> None:
    networks = []
    for _ in range(2):
        network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, dtype="mixed_float16")])
        network.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1)), "mse")
        networks.append(network)
    networks[0].fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, epochs=3)
    write_state(tmp_path, State(make_epochs(0.5)), model=networks[0], head="m")
    load_weights(tmp_path, 0, model=networks[1])
    for one, other in zip(networks[0].optimizer.variables, networks[1].optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("moment", ["weights", "state"])
def test_a_kill_while_an_epoch_is_saved_leaves_the_epoch_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    network, epochs = make_network(), make_epochs(0.5, 0.9)
    network.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    write_state(tmp_path, State(epochs[:1]), model=network, head="m")
    saved = network.get_weights()[0]
    network.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    if moment == "weights":
        monkeypatch.setattr(network, "save_weights", fail)
    else:
        monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_state(tmp_path, State(epochs), model=network, head="m")
    assert read_state(tmp_path) == State(epochs[:1])
    other = make_network()
    load_weights(tmp_path, 0, model=other)
    np.testing.assert_array_equal(other.get_weights()[0], saved)


def test_an_empty_folder_is_a_fresh_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) == State()
    assert read_state(tmp_path / "nowhere") == State()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"history": [{"number": 0}]}'])
def test_a_broken_state_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(MedimgError, match=r"state\.json: not a training state"):
        read_state(tmp_path)


def test_broken_weights_are_named(tmp_path: Path) -> None:
    network = make_network()
    write_state(tmp_path, State(make_epochs(0.5)), model=network, head="m")
    (tmp_path / "epoch0000.weights.h5").write_bytes(b"half")
    with pytest.raises(MedimgError, match="weights of epoch 1 cannot be loaded"):
        load_weights(tmp_path, 0, model=make_network())


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    write_state(tmp_path, State(make_epochs(0.5)), model=make_network(), head="m")
    with pytest.raises(MedimgError, match="weights of epoch 1 cannot be loaded"):
        load_weights(tmp_path, 0, model=make_network(inputs=3))


def test_a_network_takes_the_weights_of_an_epoch_as_often_as_it_is_asked_to(tmp_path: Path) -> None:
    trained, network = make_network(), make_network()
    trained.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    write_state(tmp_path, State(make_epochs(0.5)), model=trained, head="m")
    for _ in range(2):
        load_weights(tmp_path, 0, model=network)
        np.testing.assert_array_equal(network.get_weights()[0], trained.get_weights()[0])
        assert int(network.optimizer.iterations) == 1


def test_weights_without_the_state_of_the_optimizer_are_named(tmp_path: Path) -> None:
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    write_state(tmp_path, State(make_epochs(0.5)), model=plain, head="m")
    with pytest.raises(MedimgError, match=r"weights of epoch 1 cannot be loaded \(.*optimizer"):
        load_weights(tmp_path, 0, model=make_network())


def test_a_state_that_names_no_member_is_of_the_first(tmp_path: Path) -> None:
    epoch = {"number": 0, "seconds": 1.0, "figures": {}}
    (tmp_path / "state.json").write_text(json.dumps({"history": [epoch]}))
    assert [one.member for one in read_state(tmp_path).history] == [0]
