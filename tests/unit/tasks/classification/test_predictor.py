"""What the exported model answers and what is behind it, on untrained networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np

from medimg.tasks.classification.model import build_model
from medimg.tasks.classification.predictor import Predictor
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
    dropout=0.5,
    fusion="attention",
)


def make_predictor(
    *, members: int = 1, samples: int = 0, temperature: float = 1.0, **model: object
) -> Predictor:
    settings, epoch = dataclasses.replace(MODEL, **model), Epoch(0, 0.0, {})
    networks = []
    for seed in range(members):
        keras.utils.set_random_seed(seed)
        networks.append(Member(build_model(settings, clinical_width=3), epoch, (epoch,)))
    fitted = Fitted(tuple(networks), {head.name: temperature for head in settings.heads}, {})
    return Predictor(fitted, model=settings, training=TrainingSettings(dropout_samples=samples))


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


def test_members_are_told_as_they_are_and_their_mean_is_made_less_sure_by_the_temperature() -> None:
    inputs = make_inputs(4)
    cold, warm = (
        make_predictor(members=2).details(inputs),
        make_predictor(members=2, temperature=2.0).details(inputs),
    )
    np.testing.assert_allclose(warm["m/malignancy"].numpy(), cold["m/malignancy"].numpy(), atol=1e-6)
    np.testing.assert_allclose(
        cold["malignancy"].numpy(), cold["m/malignancy"].numpy().mean(axis=1), atol=1e-6
    )
    odds = cold["malignancy"].numpy()[:, 1] / cold["malignancy"].numpy()[:, 0]
    np.testing.assert_allclose(
        warm["malignancy"].numpy()[:, 1], np.sqrt(odds) / (1 + np.sqrt(odds)), atol=1e-6
    )
