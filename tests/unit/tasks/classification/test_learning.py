"""Losses, figures, augmentation and the state on disk."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from medimg.errors import MedimgError
from medimg.tasks.classification.augment import augment
from medimg.tasks.classification.losses import MaskedCrossEntropy, class_weights
from medimg.tasks.classification.metrics import is_better, measure_epoch, measure_predictions
from medimg.tasks.classification.settings import Augmentation, Head, ModelSettings
from medimg.tasks.fitting import Epoch
from medimg.tasks.shared.checkpoints import State, load_weights, read_state, write_state

STILL = Augmentation(
    flip_vertical=False,
    flip_horizontal=False,
    rotate_degrees=0,
    shift_fraction=0,
    zoom_fraction=0,
    contrast_fraction=0,
)
SETTINGS = ModelSettings(
    heads=(Head("malignancy", ("Benign", "Malignant")), Head("kind", ("a", "b", "c"))), roles=("image",)
)


def test_a_missing_label_changes_neither_loss_nor_gradient() -> None:
    probabilities = tf.Variable([[0.7, 0.3], [0.2, 0.8], [0.4, 0.6]])
    loss = MaskedCrossEntropy((1.0, 1.0))
    with tf.GradientTape() as tape:
        value = loss(tf.constant([0, -1, 1]), probabilities)
    np.testing.assert_allclose(value, -(np.log(0.7) + np.log(0.6)) / 3, rtol=1e-5)
    np.testing.assert_array_equal(tape.gradient(value, probabilities)[1], [0, 0])


def test_class_weights_make_each_class_count_alike_and_a_case_one_on_average() -> None:
    labels = np.array([0, 0, 0, 1, -1, -1])
    weights = np.array(class_weights(labels, classes=2, balanced=True))
    assert weights[0] * 3 == pytest.approx(weights[1] * 1)
    assert weights[labels[labels >= 0]].mean() == pytest.approx(1)
    assert class_weights(labels, classes=2, balanced=False) == (1, 1)
    assert class_weights(np.array([0, 2]), classes=3, balanced=True)[1] == 1


def test_the_weight_of_a_class_scales_its_loss() -> None:
    probabilities = tf.constant([[0.5, 0.5]])
    plain, heavy = MaskedCrossEntropy((1.0, 1.0)), MaskedCrossEntropy((1.0, 3.0))
    assert float(heavy(tf.constant([1]), probabilities)) == pytest.approx(
        3 * float(plain(tf.constant([1]), probabilities))
    )


def test_figures_leave_out_missing_labels_and_are_undefined_on_one_class() -> None:
    labels = {"malignancy": np.array([0, 1, -1, 1]), "kind": np.array([-1, 1, 1, -1])}
    probabilities = {
        "malignancy": np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0], [0.95, 0.05]]),
        "kind": np.full((4, 3), 1 / 3),
    }
    figures = measure_epoch(labels, probabilities, SETTINGS)
    assert figures["malignancy/auc"] == 0.5
    assert figures["malignancy/loss"] == pytest.approx(-np.log([0.9, 0.8, 0.05]).mean())
    assert np.isnan(figures["kind/auc"])


def test_what_has_diverged_ranks_nothing() -> None:
    labels = {"malignancy": np.array([0, 1]), "kind": np.array([0, 1])}
    figures = measure_epoch(
        labels, {"malignancy": np.full((2, 2), np.nan), "kind": np.full((2, 3), np.nan)}, SETTINGS
    )
    assert all(np.isnan(value) for value in figures.values())


def test_the_answer_has_the_figures_of_the_report_and_none_where_nothing_is_labelled() -> None:
    labels = {"malignancy": np.array([0, 1, -1, 1]), "kind": np.full(4, -1)}
    probabilities = {
        "malignancy": np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0], [0.95, 0.05]]),
        "kind": np.full((4, 3), 1 / 3),
    }
    figures = measure_predictions(labels, probabilities, SETTINGS)
    assert figures["malignancy/accuracy"] == pytest.approx(2 / 3)
    assert figures["malignancy/brier"] == pytest.approx((0.1**2 + 0.2**2 + 0.95**2) / 3)
    assert np.isnan(figures["kind/balanced_accuracy"])
    assert (
        figures.items()
        >= measure_epoch(
            {"malignancy": labels["malignancy"]}, probabilities, ModelSettings(SETTINGS.heads[:1], ("image",))
        ).items()
    )


def test_auc_ranks_epochs_loss_decides_between_equals_and_alone_where_auc_is_undefined() -> None:
    def figures(auc: float, loss: float) -> dict[str, float]:
        return {"m/auc": auc, "m/loss": loss}

    assert is_better(figures(0.9, 5.0), figures(0.8, 0.1), head="m")
    assert is_better(figures(0.9, 0.1), figures(0.9, 0.2), head="m")
    assert not is_better(figures(0.9, 0.2), figures(0.9, 0.2), head="m")
    assert is_better(figures(float("nan"), 0.1), figures(float("nan"), 0.2), head="m")
    assert not is_better(figures(float("nan"), float("nan")), figures(0.1, 9.0), head="m")


def make_images() -> dict[str, tf.Tensor]:
    random = np.random.default_rng(0)
    return {
        "images": tf.constant(random.integers(0, 200, (3, 2, 20, 16, 1), dtype=np.uint8)),
        "view_present": tf.ones((3, 2)),
    }


def test_no_augmentation_leaves_images_as_they_are() -> None:
    inputs = make_images()
    np.testing.assert_array_equal(
        augment(inputs, STILL, tf.constant([1, 2], tf.int64))["images"], inputs["images"]
    )


def test_the_same_seed_augments_alike_and_another_does_not() -> None:
    inputs = make_images()
    first, again, other = (
        augment(inputs, Augmentation(), tf.constant([1, step], tf.int64))["images"].numpy()
        for step in (2, 2, 3)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(("vertical", "axis"), [(True, 0), (False, 1)])
def test_a_flip_mirrors_some_images_exactly_and_leaves_the_others(vertical: bool, axis: int) -> None:
    settings = Augmentation(
        flip_vertical=vertical,
        flip_horizontal=not vertical,
        rotate_degrees=0,
        shift_fraction=0,
        zoom_fraction=0,
        contrast_fraction=0,
    )
    before = make_images()["images"].numpy().reshape(6, 20, 16)
    after = (
        augment(make_images(), settings, tf.constant([1, 2], tf.int64))["images"].numpy().reshape(6, 20, 16)
    )
    outcomes = {
        "same" if (b == a).all() else "mirrored" if (np.flip(b, axis) == a).all() else "other"
        for b, a in zip(before, after, strict=True)
    }
    assert outcomes == {"same", "mirrored"}


def make_network() -> keras.Model:
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    network.compile("adam", "mse")
    return network


def make_epochs(*areas: float) -> tuple[Epoch, ...]:
    return tuple(Epoch(number, 1.0, {"m/auc": area, "m/loss": 1.0}) for number, area in enumerate(areas))


def test_training_ends_after_patience_epochs_without_a_better_one() -> None:
    state = State(make_epochs(0.5, 0.9, 0.8, 0.9))
    best = state.best("m")
    assert best is not None
    assert best.number == 1
    assert state.is_finished(head="m", epochs=10, patience=2)
    assert not state.is_finished(head="m", epochs=10, patience=3)
    assert state.is_finished(head="m", epochs=4, patience=3)


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


def test_an_empty_folder_is_a_fresh_state_and_a_broken_one_is_named(tmp_path: Path) -> None:
    assert read_state(tmp_path) == State()
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(MedimgError, match=r"state\.json: not a training state"):
        read_state(tmp_path)


def test_broken_weights_are_named(tmp_path: Path) -> None:
    network = make_network()
    write_state(tmp_path, State(make_epochs(0.5)), model=network, head="m")
    (tmp_path / "epoch0000.weights.h5").write_bytes(b"half")
    with pytest.raises(MedimgError, match="weights of epoch 1 cannot be loaded"):
        load_weights(tmp_path, 0, model=make_network())
