"""The training loop on synthetic images, without TFX.

Mixed precision, one-class refusals, restart with nothing left to do.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from medimg.errors import MedimgError
from medimg.tasks.classification.fit import fit
from medimg.tasks.classification.settings import Head, ModelSettings, TrainingSettings
from medimg.tasks.fitting import Data, Epoch

MODEL = ModelSettings(
    heads=(Head("kind", ("dark", "bright")),), roles=("image",), image_size=(32, 32), width=4
)
TRAINING = TrainingSettings(epochs=2, batch_size=8, mixed_precision="on")


def make_data(labels: np.ndarray) -> Data:
    images_NVHWC = (
        np.random.default_rng(0).integers(0, 60, (len(labels), 1, 32, 32, 1))
        + 120 * (labels == 1)[:, None, None, None, None]
    )
    inputs = {"images": images_NVHWC.astype(np.uint8), "view_present": np.ones((len(labels), 1), np.float32)}
    cases = tf.data.Dataset.from_tensor_slices((inputs, {"kind": labels}))
    return Data(cases, cases, {"kind": labels}, {"kind": labels})


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
    for one, other in zip(
        first.members[0].network.get_weights(), again.members[0].network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_model_that_is_surer_than_right_is_made_less_sure(tmp_path: Path) -> None:
    data = make_data(np.arange(64) % 2)
    every_third_is_wrong = np.where(np.arange(64) % 3 == 0, 1 - np.arange(64) % 2, np.arange(64) % 2)
    data = dataclasses.replace(data, eval_targets={"kind": every_third_is_wrong})
    training = dataclasses.replace(TRAINING, epochs=6, learning_rate=0.01, mixed_precision="off")
    fitted = fit(data, model=MODEL, training=training, folder=tmp_path, report=lambda _: None)
    as_it_is = fit(
        data,
        model=MODEL,
        training=dataclasses.replace(training, calibrate=False),
        folder=tmp_path,
        report=lambda _: None,
    )
    assert fitted.temperatures["kind"] > 1.5
    assert as_it_is.temperatures == {"kind": 1.0}
    assert as_it_is.figures["kind/loss"] == pytest.approx(
        as_it_is.members[0].best.figures["kind/loss"], rel=1e-3
    )
    assert fitted.figures["kind/loss"] < as_it_is.figures["kind/loss"]
    assert fitted.figures["kind/auc"] == as_it_is.figures["kind/auc"]


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


def test_no_epoch_and_no_labelled_eval_case_are_refused(tmp_path: Path) -> None:
    data = make_data(np.arange(16) % 2)
    with pytest.raises(MedimgError, match=r"training\.epochs is 0"):
        fit(
            data,
            model=MODEL,
            training=dataclasses.replace(TRAINING, epochs=0),
            folder=tmp_path,
            report=lambda _: None,
        )
    unlabelled = dataclasses.replace(data, eval_targets={"kind": np.full(16, -1)})
    with pytest.raises(MedimgError, match="no labelled case in eval"):
        fit(unlabelled, model=MODEL, training=TRAINING, folder=tmp_path, report=lambda _: None)
