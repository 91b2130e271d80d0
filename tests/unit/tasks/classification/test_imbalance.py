"""Means against imbalance.

600 dark images and 10 brighter ones that overlap with them, so that a model tuned for accuracy neglects the
brighter ones.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from medimg.errors import UsageError
from medimg.tasks.classification.fit import fit, make_batches
from medimg.tasks.classification.losses import MaskedCrossEntropy, class_log_priors, class_weights
from medimg.tasks.classification.predictor import Predictor
from medimg.tasks.classification.sampling import draw_copies, repeat_cases
from medimg.tasks.classification.settings import (
    Head,
    ModelSettings,
    TrainingSettings,
    check_training,
)
from medimg.tasks.fitting import Data, Epoch, Fitted
from tests.unit.tasks.classification.data import make_fit_data
from tests.unit.tasks.classification.no_augmentation import STILL

MODEL = ModelSettings(
    heads=(Head("kind", ("common", "rare")),), roles=("image",), image_size=(32, 32), width=4, dropout=0.0
)
PLAIN = TrainingSettings(
    epochs=8,
    batch_size=32,
    learning_rate=3e-3,
    mixed_precision="off",
    class_weights=False,
    calibrate=False,
    augmentation=STILL,
)
STRATEGIES: dict[str, dict[str, object]] = {
    "class weights": {"class_weights": True},
    "focal loss with class weights": {"focal_gamma": 2.0, "class_weights": True},
    "balanced sampling": {"sampling": "balanced"},
    "logit-adjusted loss": {"logit_adjustment": "loss"},
}


def draw_cases(*, common: int, rare: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs and labels.

    Only brightness tells the classes apart, and not always; pixels differ so little that no case can be
    learnt by heart.
    """
    generator = np.random.default_rng(seed)
    labels_N = generator.permutation(np.repeat([0, 1], [common, rare]))
    brightness_N = generator.normal(100 + 35 * labels_N, 15)
    images_NVHWC = brightness_N[:, None, None, None, None] + generator.normal(
        0, 2, (len(labels_N), 1, 32, 32, 1)
    )
    return {
        "images": images_NVHWC.clip(0, 255).astype(np.uint8),
        "view_present": np.ones((len(labels_N), 1), np.float32),
    }, labels_N


def make_data() -> Data:
    splits = [draw_cases(common=600, rare=10, seed=seed) for seed in (0, 1)]
    train, evaluation = (
        tf.data.Dataset.from_tensor_slices((inputs, {"kind": labels})) for inputs, labels in splits
    )
    return make_fit_data(train, evaluation, {"kind": splits[0][1]}, {"kind": splits[1][1]})


def train(folder: Path, **changes: object) -> tuple[Fitted, Predictor]:
    training = dataclasses.replace(PLAIN, **changes)
    check_training(MODEL, training)
    fitted = fit(make_data(), model=MODEL, training=training, folder=folder, report=lambda _: None)
    return fitted, Predictor(fitted, model=MODEL, training=training)


def sensitivity(answer: Callable[[dict[str, tf.Tensor]], Mapping[str, tf.Tensor]]) -> float:
    """Share of 200 new rare cases that an answer calls rare."""
    inputs, labels_N = draw_cases(common=1, rare=200, seed=2)
    probabilities_NC = answer({name: tf.constant(values) for name, values in inputs.items()})["kind"].numpy()
    return float((probabilities_NC.argmax(axis=1)[labels_N == 1] == 1).mean())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> float:
    """What is found when nothing is done."""
    return sensitivity(train(tmp_path_factory.mktemp("plain"))[1].predict)


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_each_strategy_learns_more_of_the_rare_class_and_is_answered_at_trains_frequencies(
    tmp_path: Path, plain: float, name: str
) -> None:
    fitted, answer = train(tmp_path, **STRATEGIES[name])
    learnt = sensitivity(fitted.members[0].network)
    assert learnt > plain + 0.1
    assert sensitivity(answer.predict) < learnt
    assert fitted.prevalence == "train"


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"class_weights": True}, {"sampling": "balanced"}])
def test_an_answer_as_if_all_classes_were_equally_frequent_finds_more_of_the_rare_one(
    tmp_path: Path, plain: float, changes: dict[str, object]
) -> None:
    fitted, answer = train(tmp_path, logit_adjustment="post_hoc", **changes)
    assert sensitivity(answer.predict) > plain + 0.1
    assert fitted.prevalence == "balanced"


def test_the_answer_is_adjusted_after_it_is_recalibrated(tmp_path: Path) -> None:
    fitted, answer = train(tmp_path, epochs=1, calibrate=True, logit_adjustment="post_hoc")
    inputs, _ = draw_cases(common=4, rare=4, seed=3)
    tensors = {name: tf.constant(values) for name, values in inputs.items()}
    network_NC = fitted.members[0].network(tensors)["kind"].numpy().astype(np.float64)
    found = fitted.recalibrations["kind"]
    calibrated_NC = network_NC ** (1 / found.temperature) * np.exp(found.bias)
    shares_C = np.array([600, 10]) / 610
    expected_NC = calibrated_NC / shares_C / (calibrated_NC / shares_C).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answer.predict(tensors)["kind"], expected_NC, atol=1e-5)


def test_the_focal_loss_is_that_of_keras() -> None:
    probabilities_NC = np.random.default_rng(0).dirichlet(np.ones(3), 20).astype(np.float32)
    labels_N, weights = np.arange(20) % 3, (1.0, 2.0, 0.5)
    keras_loss = keras.losses.CategoricalFocalCrossentropy(alpha=weights, gamma=2.0)
    ours = MaskedCrossEntropy(weights, focal_gamma=2.0)(labels_N, tf.constant(probabilities_NC))
    np.testing.assert_allclose(
        ours, keras_loss(np.eye(3, dtype=np.float32)[labels_N], probabilities_NC), rtol=1e-5
    )


def test_a_case_without_doubt_has_a_focal_gradient_of_zero_and_not_of_nan() -> None:
    probabilities = tf.Variable([[1.0, 0.0]])
    with tf.GradientTape() as tape:
        value = MaskedCrossEntropy((1.0, 1.0), focal_gamma=0.5)(tf.constant([0]), probabilities)
    np.testing.assert_array_equal(np.isfinite(tape.gradient(value, probabilities)), True)


def test_the_logit_adjusted_loss_is_least_where_the_answer_times_the_frequencies_is_the_truth() -> None:
    priors = class_log_priors(np.repeat([0, 1, -1], [60, 1, 5]), classes=3)
    assert priors == pytest.approx((math.log(60 / 61), math.log(1 / 61), 0.0))
    loss = MaskedCrossEntropy((1.0, 1.0), log_priors=priors[:2])
    labels = np.repeat([0, 1], [60, 1])
    values = [float(loss(labels, tf.constant([[1 - p, p]] * 61))) for p in (0.3, 0.5, 0.7)]
    assert values[1] == min(values), (
        "cases that look alike are of no class more than of another, however frequent the classes are"
    )


def test_a_balanced_epoch_shows_each_class_and_each_case_of_a_class_equally_often() -> None:
    labels_N = np.array([0] * 600 + [1] * 9 + [2] * 34 + [-1] * 8)
    copies_N = draw_copies(labels_N, seed=(0, 3))
    assert [copies_N[labels_N == index].sum() for index in (0, 1, 2, -1)] == [214, 214, 214, 0]
    for index in (0, 1, 2):
        assert np.ptp(copies_N[labels_N == index]) <= 1
    repeated = list(repeat_cases(tf.data.Dataset.range(len(labels_N)), copies_N).as_numpy_iterator())
    assert Counter(repeated) == {position: count for position, count in enumerate(copies_N) if count}


@given(
    labels=st.lists(st.integers(-1, 4), min_size=1, max_size=60).filter(lambda labels: max(labels) >= 0),
    seed=st.integers(0, 5),
)
def test_any_balanced_epoch_gives_each_class_the_same_share(labels: list[int], seed: int) -> None:
    labels_N = np.array(labels)
    copies_N = draw_copies(labels_N, seed=(seed, 0))
    present = np.unique(labels_N[labels_N >= 0])
    share = int((labels_N >= 0).sum()) // len(present)
    assert copies_N[labels_N == -1].sum() == 0
    for index in present:
        assert copies_N[labels_N == index].sum() == share
        assert np.ptp(copies_N[labels_N == index]) <= 1
    np.testing.assert_array_equal(draw_copies(labels_N, seed=(seed, 0)), copies_N)


@given(labels=st.lists(st.integers(-1, 4), min_size=1, max_size=60).filter(lambda labels: max(labels) >= 0))
def test_balanced_weights_count_each_class_alike_and_a_case_one_on_average(labels: list[int]) -> None:
    labels_N = np.array(labels)
    known_N = labels_N[labels_N >= 0]
    weights_C = np.array(class_weights(labels_N, classes=5, balanced=True))
    totals_C = weights_C * np.bincount(known_N, minlength=5)
    np.testing.assert_allclose(totals_C[totals_C > 0], len(known_N) / len(np.unique(known_N)))
    shares_C = np.exp(class_log_priors(labels_N, classes=5))[np.unique(known_N)]
    assert shares_C.sum() == pytest.approx(1)


def test_a_resumed_epoch_is_balanced_with_the_same_cases_and_another_epoch_with_others() -> None:
    data, training = make_data(), dataclasses.replace(PLAIN, sampling="balanced", epochs=2)

    def draw_epoch(epoch: int) -> np.ndarray:
        batches = make_batches(data, model=MODEL, training=training, epoch=epoch, replicas=1)
        return np.concatenate([inputs["images"] for inputs, _ in batches.as_numpy_iterator()])

    np.testing.assert_array_equal(draw_epoch(1), draw_epoch(1))
    assert not np.array_equal(draw_epoch(1), draw_epoch(2))


@pytest.mark.slow
def test_a_balanced_training_that_was_interrupted_gives_the_same_network_as_one_that_was_not(
    tmp_path: Path,
) -> None:
    data, training = make_data(), dataclasses.replace(PLAIN, sampling="balanced", epochs=2)

    def interrupt(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(data, model=MODEL, training=training, folder=tmp_path / "interrupted", report=interrupt)
    resumed, whole = (
        fit(data, model=MODEL, training=training, folder=tmp_path / name, report=lambda _: None)
        for name in ("interrupted", "whole")
    )
    for one, other in zip(
        resumed.members[0].network.get_weights(), whole.members[0].network.get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"class_weights": True, "sampling": "balanced"},
            "found class_weights=true and sampling=balanced, expected one of them at most",
        ),
        (
            {"sampling": "balanced", "logit_adjustment": "loss"},
            "found sampling=balanced and logit_adjustment=loss, expected one of them",
        ),
        (
            {"class_weights": True, "logit_adjustment": "loss"},
            "found class_weights=true and logit_adjustment=loss",
        ),
        (
            {"focal_gamma": 2.0, "logit_adjustment": "loss"},
            r"training\.focal_gamma: found 2 with logit_adjustment=loss, expected 0",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as found:
        check_training(MODEL, dataclasses.replace(PLAIN, **changes))
    assert "\n" not in str(found.value)


def test_batches_are_balanced_for_one_head_only() -> None:
    two = dataclasses.replace(MODEL, heads=(*MODEL.heads, Head("other", ("a", "b"))))
    with pytest.raises(UsageError, match="found balanced with heads kind, other, expected one head"):
        check_training(two, dataclasses.replace(PLAIN, sampling="balanced"))
