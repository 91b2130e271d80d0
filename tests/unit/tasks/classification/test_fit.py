"""The training loop on synthetic images, without TFX.

Mixed precision, the best epoch, restarts, what is calibrated on what, refusals.
"""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from medimg.errors import MedimgError
from medimg.evaluation.classification.recalibration import Recalibration, fit_recalibration, recalibrate
from medimg.tasks.classification.fit import check_labels, fit
from medimg.tasks.classification.metrics import measure_predictions
from medimg.tasks.classification.model import build_model
from medimg.tasks.classification.settings import Head, ModelSettings, TrainingSettings
from medimg.tasks.fitting import Data, Epoch, Fitted
from tests.unit.tasks.classification.data import make_fit_data
from tests.unit.tasks.classification.no_augmentation import STILL

MODEL = ModelSettings(
    heads=(Head("kind", ("dark", "bright")),), roles=("image",), image_size=(32, 32), width=4
)
TRAINING = TrainingSettings(epochs=2, batch_size=8, mixed_precision="on")


PLAIN = dataclasses.replace(TRAINING, mixed_precision="off")


def make_cases(brightness: np.ndarray, **targets: np.ndarray) -> tf.data.Dataset:
    """Noise, and 120 grey levels more where the case is bright."""
    images_NVHWC = (
        np.random.default_rng(0).integers(0, 60, (len(brightness), 1, 32, 32, 1))
        + 120 * (brightness == 1)[:, None, None, None, None]
    )
    inputs = {
        "images": images_NVHWC.astype(np.uint8),
        "view_present": np.ones((len(brightness), 1), np.float32),
    }
    return tf.data.Dataset.from_tensor_slices((inputs, targets))


def make_data(labels: np.ndarray) -> Data:
    cases = make_cases(labels, kind=labels)
    return make_fit_data(cases, cases, {"kind": labels}, {"kind": labels})


def run(folder: Path, data: Data, *, model: ModelSettings = MODEL, **changes: object) -> Fitted:
    training = dataclasses.replace(PLAIN, **changes)
    return fit(data, model=model, training=training, folder=folder, report=lambda _: None)


def test_a_model_trained_in_mixed_precision_is_handed_over_in_float32(tmp_path: Path) -> None:
    fitted = fit(
        make_data(np.arange(16) % 2), model=MODEL, training=TRAINING, folder=tmp_path, report=lambda _: None
    )
    (member,) = fitted.members
    assert member.network.get_layer("backbone").compute_dtype == "float32"
    assert len(member.history) == 2


def test_a_finished_training_is_not_trained_again_and_gives_the_same_model(tmp_path: Path) -> None:
    data, reported = make_data(np.arange(16) % 2), list[Epoch]()
    first = fit(data, model=MODEL, training=TRAINING, folder=tmp_path, report=reported.append)
    again = fit(data, model=MODEL, training=TRAINING, folder=tmp_path, report=reported.append)
    assert [epoch.number for epoch in reported] == [0, 1]
    assert all(0 < epoch.seconds < 3600 for epoch in reported)
    for one, other in zip(
        first.members[0].network.get_weights(), again.members[0].network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_the_network_of_the_best_epoch_is_handed_over_and_not_that_of_the_last(tmp_path: Path) -> None:
    # Bright cases called dark: the more is learnt, the worse, and of one class only the loss can decide.
    bright, dark = np.ones(16, int), np.zeros(16, int)
    data = dataclasses.replace(
        make_data(np.arange(16) % 2), eval=make_cases(bright, kind=dark), eval_targets={"kind": dark}
    )
    reported = list[Epoch]()
    training = dataclasses.replace(
        PLAIN, epochs=9, patience=2, batch_size=4, learning_rate=0.03, calibrate=False
    )
    fitted = fit(data, model=MODEL, training=training, folder=tmp_path, report=reported.append)
    (member,) = fitted.members
    losses = [epoch.figures["kind/loss"] for epoch in member.history]
    assert member.best.number == int(np.argmin(losses))
    assert len(losses) == member.best.number + 1 + training.patience
    assert reported == list(member.history)
    assert losses[-1] > 1.2 * min(losses)
    inputs = next(iter(data.eval.batch(16)))[0]
    answers_NC = member.network(inputs, training=False)["kind"].numpy()
    assert -np.log(answers_NC[:, 0]).mean() == pytest.approx(min(losses), rel=1e-3)
    assert fitted.figures["kind/loss"] == pytest.approx(min(losses), rel=1e-3)


def test_a_training_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    data, reported = make_data(np.arange(19) % 2), list[Epoch]()
    training = dataclasses.replace(PLAIN, epochs=2)

    def interrupt(epoch: Epoch) -> None:
        reported.append(epoch)
        if epoch.number == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(data, model=MODEL, training=training, folder=tmp_path / "cut", report=interrupt)
    resumed = fit(data, model=MODEL, training=training, folder=tmp_path / "cut", report=reported.append)
    whole = run(tmp_path / "whole", data, epochs=2)
    assert [epoch.number for epoch in reported] == [0, 1]
    for one, other in zip(resumed.members[0].history, whole.members[0].history, strict=True):
        assert one.figures == pytest.approx(other.figures, rel=1e-3)
    for one, other in zip(
        resumed.members[0].network.get_weights(), whole.members[0].network.get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_an_epoch_sees_every_case_once_and_nothing_but_its_report_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, make_data(np.arange(16) % 2), epochs=3)
    with h5py.File(tmp_path / "member0" / "epoch0002.weights.h5") as file:
        assert int(file["optimizer"]["vars"]["0"][()]) == 3 * 16 / PLAIN.batch_size
    assert capsys.readouterr().out == ""


def test_the_first_step_is_as_long_as_the_learning_rate(tmp_path: Path) -> None:
    # Adam's first step has the size of the learning rate, and the biases begin at 0.
    data = make_data(np.arange(8) // 6)
    fitted = run(tmp_path, data, epochs=1, learning_rate=0.02, calibrate=False)
    bias_C = fitted.members[0].network.get_layer("kind").bias.numpy()
    np.testing.assert_allclose(np.abs(bias_C), 0.02, rtol=1e-2)


def test_the_loss_is_the_sum_of_the_heads_losses_by_their_weights(tmp_path: Path) -> None:
    kinds, shades = np.arange(8) % 2, np.arange(8) % 3 - 1
    cases = make_cases(kinds, kind=kinds, shade=shades)
    targets = {"kind": kinds, "shade": shades}
    heads = (Head("kind", ("dark", "bright"), 2.0), Head("shade", ("a", "b"), 3.0))
    model = dataclasses.replace(MODEL, heads=heads, dropout=0.0)
    settings: dict[str, object] = {"augmentation": STILL, "class_weights": False, "seed": 5}
    fitted = run(tmp_path, make_fit_data(cases, cases, targets, targets), model=model, epochs=1, **settings)
    keras.utils.set_random_seed(5)
    network = build_model(model, clinical_width=0)
    answers = network(next(iter(cases.batch(8)))[0], training=True)
    losses = []
    for head, labels_N in targets.items():
        known_N = labels_N >= 0
        losses.append(-np.log(answers[head].numpy()[known_N, labels_N[known_N]]).sum() / 8)
    assert fitted.members[0].history[0].figures["train/loss"] == pytest.approx(
        2 * losses[0] + 3 * losses[1], rel=1e-3
    )


@pytest.mark.parametrize(
    ("changes", "balanced", "adjusted"),
    [
        ({"class_weights": True}, True, False),
        ({"class_weights": True, "logit_adjustment": "post_hoc"}, True, True),
        ({}, False, False),
        ({"logit_adjustment": "post_hoc"}, False, True),
        ({"logit_adjustment": "loss"}, True, False),
        ({"class_weights": True, "calibrate": False}, True, False),
    ],
)
def test_the_mean_of_the_members_is_brought_to_trains_frequencies_and_then_adjusted_by_them(
    tmp_path: Path, changes: dict[str, object], balanced: bool, adjusted: bool
) -> None:
    train, evaluation = np.arange(20) // 15, np.arange(18) // 10
    seen = np.where(np.arange(18) % 4 == 0, 1 - evaluation, evaluation)
    data = make_fit_data(
        make_cases(train, kind=train),
        make_cases(seen, kind=evaluation),
        {"kind": train},
        {"kind": evaluation},
    )
    fitted = run(tmp_path, data, members=2, epochs=1, **changes)
    inputs = next(iter(data.eval.batch(18)))[0]
    answers = [member.network(inputs, training=False)["kind"].numpy() for member in fitted.members]
    mean_NC = np.mean(answers, axis=0)
    shares = np.array([0.75, 0.25])
    known = np.log(shares) if balanced else np.zeros(2)
    expected = fit_recalibration(evaluation, mean_NC, shares=shares, offset=known)
    if not changes.get("calibrate", True):
        expected = Recalibration(1.0, tuple(known))
    found = fitted.recalibrations["kind"]
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-3)
    assert found.bias == pytest.approx(expected.bias, abs=1e-3)
    priors = np.log(shares)
    assert fitted.log_priors == ({"kind": pytest.approx(priors)} if adjusted else {})
    calibrated_NC = recalibrate(mean_NC, found, log_priors=priors if adjusted else 0.0)
    np.testing.assert_allclose(fitted.held_out["kind"], calibrated_NC, atol=1e-4)
    figures = measure_predictions({"kind": evaluation}, {"kind": calibrated_NC}, MODEL)
    assert fitted.figures == pytest.approx(figures, rel=1e-2, nan_ok=True)
    assert fitted.prevalence == ("balanced" if adjusted else "train")


def test_a_model_that_is_surer_than_right_is_made_less_sure(tmp_path: Path) -> None:
    data = make_data(np.arange(64) % 2)
    every_third_is_wrong = np.where(np.arange(64) % 3 == 0, 1 - np.arange(64) % 2, np.arange(64) % 2)
    data = dataclasses.replace(data, eval_targets={"kind": every_third_is_wrong})
    fitted = run(tmp_path, data, epochs=6, learning_rate=0.01)
    as_it_is = run(tmp_path, data, epochs=6, learning_rate=0.01, calibrate=False)
    assert fitted.recalibrations["kind"].temperature > 1.5
    assert as_it_is.recalibrations == {"kind": Recalibration(1.0, (0.0, 0.0))}
    assert fitted.figures["kind/loss"] < as_it_is.figures["kind/loss"]
    assert fitted.figures["kind/auc"] == as_it_is.figures["kind/auc"]


@pytest.mark.parametrize("count", [20, 60])
def test_no_case_has_a_part_in_the_choice_of_the_epoch_by_which_its_held_out_answer_is(
    tmp_path: Path, count: int
) -> None:
    # Labels by a coin: the epoch that seems best is a matter of luck, and one case can decide it.
    generator = np.random.default_rng(3)
    data = make_data(np.arange(count) % 2)
    labels = generator.integers(0, 2, count)
    held_out, chosen = [], []
    for flipped in (None, 4, 7, 9):
        turned = np.where(np.arange(count) == flipped, 1 - labels, labels)
        changed = dataclasses.replace(data, eval_targets={"kind": turned})
        fitted = run(
            tmp_path / str(flipped), changed, epochs=6, patience=6, learning_rate=0.01, calibrate=False
        )
        held_out.append(fitted.members[0].held_out["kind"])
        chosen.append(fitted.parts == "choose")
    for flipped, answers in zip((4, 7, 9), held_out[1:], strict=True):
        np.testing.assert_allclose(answers[flipped], held_out[0][flipped], atol=1e-5)
    np.testing.assert_array_equal(np.isnan(held_out[0][:, 0]), chosen[0])
    assert chosen[0].any() == (count >= 40)
    assert not chosen[0].all()


def test_a_training_that_diverges_is_one_line(tmp_path: Path) -> None:
    training = dataclasses.replace(TRAINING, learning_rate=1e30, mixed_precision="off")
    with pytest.raises(MedimgError, match="training diverged: the loss is not a number in any epoch"):
        fit(
            make_data(np.arange(16) % 2),
            model=MODEL,
            training=training,
            folder=tmp_path,
            report=lambda _: None,
        )


def test_members_differ_and_each_is_what_a_single_network_of_its_seed_is(tmp_path: Path) -> None:
    data, reported = make_data(np.arange(16) % 2), list[Epoch]()
    training = dataclasses.replace(TRAINING, epochs=1, mixed_precision="off")
    ensemble = fit(
        data,
        model=MODEL,
        training=dataclasses.replace(training, members=2),
        folder=tmp_path / "two",
        report=reported.append,
    )
    single = fit(
        data,
        model=MODEL,
        training=dataclasses.replace(training, seed=1),
        folder=tmp_path / "one",
        report=lambda _: None,
    )
    assert [(epoch.member, epoch.number) for epoch in reported] == [(0, 0), (1, 0)]
    first, second = (member.network.get_weights() for member in ensemble.members)
    assert not np.allclose(first[0], second[0])
    for one, other in zip(second, single.members[0].network.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_no_epoch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MedimgError, match=r"training\.epochs is 0, expected 1 or more"):
        run(tmp_path, make_data(np.arange(16) % 2), epochs=0)


NONE, ONE, TWO = (-1, -1), (-1, 1), (1, 0)
TWO_HEADS = dataclasses.replace(MODEL, heads=(*MODEL.heads, Head("shade", ("light", "deep"))))


@pytest.mark.parametrize(
    ("train", "evaluation", "message"),
    [
        ((TWO, TWO), (TWO, TWO), None),
        ((TWO, ONE), (ONE, NONE), None),
        ((TWO, TWO), ((0, 0), TWO), None),
        ((NONE, TWO), (TWO, TWO), "head kind: no labelled case in train, expected cases of two classes"),
        ((TWO, NONE), (TWO, TWO), "head shade: no labelled case in train, expected cases of two classes"),
        ((ONE, TWO), (TWO, TWO), r"head kind: one class only in train \(0 dark, 1 bright\), expected two"),
        ((TWO, TWO), (NONE, TWO), "head kind: no labelled case in eval, expected some to stop training by"),
    ],
)
def test_labels_that_nothing_can_be_learnt_from_are_refused(
    train: tuple[tuple[int, ...], ...], evaluation: tuple[tuple[int, ...], ...], message: str | None
) -> None:
    splits = [
        dict(zip(("kind", "shade"), map(np.array, split), strict=True)) for split in (train, evaluation)
    ]
    data = make_fit_data(make_cases(np.zeros(2)), make_cases(np.zeros(2)), *splits)
    with pytest.raises(MedimgError, match=message) if message else nullcontext():
        check_labels(data, TWO_HEADS)
