"""What the exported model answers and what is behind it, on untrained networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import keras
import numpy as np
import pytest

from medimg.evaluation.classification.recalibration import Recalibration, recalibrate
from medimg.tasks.classification.model import build_model
from medimg.tasks.classification.predictor import Predictor, draw_masks
from medimg.tasks.classification.settings import Head, ModelSettings, TrainingSettings
from medimg.tasks.fitting import Epoch, Fitted, Member

MODEL = ModelSettings(
    heads=(
        Head("malignancy", ("Benign", "Malignant")),
        Head("abnormality", ("calcification", "mass", "both")),
    ),
    roles=("CC", "MLO"),
    image_size=(32, 32),
    width=4,
    dropout=0.3,
    fusion="attention",
)


NONE = {"malignancy": Recalibration(1.0, (0.0, 0.0)), "abnormality": Recalibration(1.0, (0.0, 0.0, 0.0))}
WARM = {"malignancy": Recalibration(2.0, (-0.5, 0.25)), "abnormality": Recalibration(0.5, (0.0, 0.3, -0.3))}
PRIORS = {"abnormality": (-1.5, -0.5, -1.0)}


def make_predictor(
    *,
    members: int = 1,
    samples: int = 0,
    seed: int = 0,
    recalibrations: Mapping[str, Recalibration] = MappingProxyType(NONE),
    log_priors: Mapping[str, tuple[float, ...]] = MappingProxyType({}),
    **model: object,
) -> Predictor:
    settings, epoch = dataclasses.replace(MODEL, **model), Epoch(0, 0.0, {})
    networks = []
    for member in range(members):
        keras.utils.set_random_seed(member)
        networks.append(Member(build_model(settings, clinical_width=3), epoch, (epoch,), {}))
    fitted = Fitted(tuple(networks), recalibrations, {}, {}, np.array([]), log_priors)
    return Predictor(fitted, model=settings, training=TrainingSettings(dropout_samples=samples, seed=seed))


def make_inputs(cases: int, *, views: int = 2) -> dict[str, keras.KerasTensor]:
    random = np.random.default_rng(0)
    inputs = {
        "images": random.integers(0, 256, (cases, views, 32, 32, 1), dtype=np.uint8),
        "view_present": np.ones((cases, views), np.float32),
        "clinical": random.normal(size=(cases, 3)).astype(np.float32),
    }
    return {name: keras.ops.convert_to_tensor(value) for name, value in inputs.items()}


def test_a_single_network_of_one_view_has_nothing_behind_its_answer() -> None:
    assert not make_predictor(roles=("CC",)).has_details
    assert make_predictor(roles=("CC",), members=2).has_details
    assert make_predictor(roles=("CC",), samples=2).has_details
    assert make_predictor().has_details


@pytest.mark.parametrize(
    ("members", "samples", "kinds"), [(1, 0, {"v"}), (2, 0, {"m", "v"}), (1, 2, {"m", "v"}), (1, 1, {"v"})]
)
def test_of_one_network_without_samples_there_is_nothing_beside_the_views(
    members: int, samples: int, kinds: set[str]
) -> None:
    found = make_predictor(members=members, samples=samples).details(make_inputs(2))
    assert {name.partition("/")[0] for name in found if "/" in name} == kinds


def test_a_network_that_is_exported_can_still_be_saved(tmp_path: Path) -> None:
    answer, inputs = make_predictor(), make_inputs(2)
    answer.details(inputs)
    answer.networks[0].save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(inputs)["malignancy"], answer.predict(inputs)["malignancy"], atol=1e-6)


def test_dropout_gives_a_case_the_same_samples_in_any_batch_and_each_time() -> None:
    inputs = make_inputs(4)
    samples = make_predictor(samples=50).details(inputs)["m/malignancy"].numpy()
    alone = (
        make_predictor(samples=50)
        .details({name: value[2:3] for name, value in inputs.items()})["m/malignancy"]
        .numpy()
    )
    assert samples.shape == (4, 50, 2)
    np.testing.assert_allclose(alone[0], samples[2], atol=1e-6)
    assert samples[:, :, 1].std(axis=1).min() > 0.001


def test_samples_scatter_about_the_answer_and_leave_it_as_it_is() -> None:
    inputs = make_inputs(4)
    plain, details = (
        make_predictor().predict(inputs)["abnormality"].numpy(),
        make_predictor(samples=400).details(inputs),
    )
    np.testing.assert_allclose(details["abnormality"].numpy(), plain, atol=1e-6)
    np.testing.assert_allclose(details["m/abnormality"].numpy().mean(axis=1), plain, atol=0.02)


def test_an_ensemble_with_dropout_has_all_samples_of_all_members() -> None:
    details = make_predictor(members=2, samples=3).details(make_inputs(4))
    assert details["m/malignancy"].shape == (4, 6, 2)
    assert details["v/malignancy"].shape == (4, 2, 2)


def test_members_are_told_as_they_are_and_their_mean_is_recalibrated() -> None:
    inputs = make_inputs(4)
    cold, warm = (
        make_predictor(members=2).details(inputs),
        make_predictor(members=2, recalibrations=WARM, log_priors=PRIORS).details(inputs),
    )
    np.testing.assert_allclose(warm["m/malignancy"].numpy(), cold["m/malignancy"].numpy(), atol=1e-6)
    np.testing.assert_allclose(
        cold["malignancy"].numpy(), cold["m/malignancy"].numpy().mean(axis=1), atol=1e-6
    )
    odds = cold["malignancy"].numpy()[:, 1] / cold["malignancy"].numpy()[:, 0]
    odds = np.sqrt(odds) * np.exp(0.75)
    np.testing.assert_allclose(warm["malignancy"].numpy()[:, 1], odds / (1 + odds), atol=1e-6)
    three = cold["abnormality"].numpy() ** 2 * np.exp([0.0, 0.3, -0.3]) / np.exp(PRIORS["abnormality"])
    np.testing.assert_allclose(
        warm["abnormality"].numpy(), three / three.sum(axis=1, keepdims=True), atol=1e-6
    )
    np.testing.assert_allclose(warm["m/abnormality"].numpy(), cold["m/abnormality"].numpy(), atol=1e-6)


@pytest.mark.parametrize("members", [1, 2])
def test_each_head_is_recalibrated_by_its_own_and_adjusted_by_its_priors(members: int) -> None:
    predictor = make_predictor(members=members, recalibrations=WARM, log_priors=PRIORS)
    inputs = make_inputs(4)
    answers = predictor.predict(inputs)
    for head, one in WARM.items():
        mean_NC = np.mean([network(inputs, training=False)[head] for network in predictor.networks], axis=0)
        expected_NC = recalibrate(mean_NC, one, log_priors=PRIORS.get(head, 0.0))
        np.testing.assert_allclose(answers[head], expected_NC, atol=1e-6)


@pytest.mark.parametrize("members", [1, 2])
def test_a_view_alone_is_answered_as_if_the_other_were_absent_and_an_absent_one_not_at_all(
    members: int,
) -> None:
    predictor = make_predictor(members=members, recalibrations=WARM, log_priors=PRIORS)
    inputs = make_inputs(4)
    present_BV = np.array([[1, 1], [1, 0], [0, 1], [1, 1]], np.float32)
    details = predictor.details({**inputs, "view_present": keras.ops.convert_to_tensor(present_BV)})
    for head in WARM:
        for view in range(2):
            only_BV = np.zeros((4, 2), np.float32)
            only_BV[:, view] = 1
            alone_BC = predictor.predict({**inputs, "view_present": keras.ops.convert_to_tensor(only_BV)})[
                head
            ]
            there_B = present_BV[:, view] > 0
            np.testing.assert_allclose(
                details[f"v/{head}"].numpy()[there_B, view], alone_BC.numpy()[there_B], atol=1e-6
            )
            assert np.isnan(details[f"v/{head}"].numpy()[~there_B, view]).all()


def test_a_mask_keeps_its_share_of_an_embedding_and_the_sum() -> None:
    masks_KE = draw_masks(1000, rate=0.3, samples=20, seed=(0, 1))
    assert masks_KE.shape == (20, 1000)
    np.testing.assert_allclose(np.unique(masks_KE), [0, 1 / 0.7])
    assert (masks_KE > 0).mean() == pytest.approx(0.7, abs=0.02)
    np.testing.assert_array_equal(draw_masks(1000, rate=0.3, samples=20, seed=(0, 1)), masks_KE)
    for seed in ((1, 1), (0, 0)):
        assert (draw_masks(1000, rate=0.3, samples=20, seed=seed) != masks_KE).any()
    np.testing.assert_array_equal(draw_masks(5, rate=0.3, samples=0, seed=(0, 1)), np.ones((1, 5)))


def test_samples_stand_by_member_and_each_member_has_masks_of_its_own() -> None:
    inputs = make_inputs(4)
    both = make_predictor(members=2, samples=3).details(inputs)["m/malignancy"].numpy()
    first = make_predictor(members=1, samples=3).details(inputs)["m/malignancy"].numpy()
    np.testing.assert_allclose(both[:, :3], first, atol=1e-6)
    masks = make_predictor(members=2, samples=3)._masks
    assert (masks[0] != masks[1]).any()
    reseeded = make_predictor(samples=3, seed=1).details(inputs)["m/malignancy"].numpy()
    assert np.abs(reseeded - first).max() > 1e-4
