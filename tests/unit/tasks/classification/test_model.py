"""The network: views, masks, probabilities, saving, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from medimg.errors import MedimgError, UsageError
from medimg.tasks.classification.model import build_model
from medimg.tasks.classification.settings import APPLICATIONS, Head, ModelSettings, check_settings

SETTINGS = ModelSettings(
    heads=(
        Head("malignancy", ("Benign", "Malignant")),
        Head("abnormality", ("calcification", "mass", "both")),
    ),
    roles=("CC", "MLO"),
    image_size=(64, 52),
    width=4,
)


def make_inputs(cases: int, *, channels: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    images_NVHWC = random.integers(0, 256, (cases, 2, 64, 52, channels), dtype=np.uint8)
    return {"images": images_NVHWC, "view_present": np.ones((cases, 2), np.float32)}


def predict(model: keras.Model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in model(inputs, training=False).items()}


@pytest.mark.parametrize("fusion", ["mean", "max", "attention"])
def test_the_pixels_of_an_absent_view_have_no_influence(fusion: str) -> None:
    model = build_model(dataclasses.replace(SETTINGS, fusion=fusion), clinical_width=0)
    inputs = make_inputs(4)
    inputs["view_present"][:, 1] = 0
    other = {**inputs, "images": inputs["images"].copy()}
    other["images"][:, 1] = 255 - other["images"][:, 1]
    np.testing.assert_array_equal(predict(model, inputs)["malignancy"], predict(model, other)["malignancy"])
    present = {**other, "view_present": np.ones((4, 2), np.float32)}
    assert not np.allclose(
        predict(model, inputs)["malignancy"], predict(model, present)["malignancy"], atol=1e-7
    )


@pytest.mark.parametrize("fusion", ["mean", "max", "attention"])
def test_a_case_without_any_view_still_gets_finite_probabilities(fusion: str) -> None:
    model = build_model(dataclasses.replace(SETTINGS, fusion=fusion), clinical_width=0)
    inputs = {**make_inputs(2), "view_present": np.zeros((2, 2), np.float32)}
    assert np.isfinite(predict(model, inputs)["malignancy"]).all()


def test_each_head_gives_float32_probabilities_that_sum_to_one_also_in_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build_model(SETTINGS, clinical_width=3)
    finally:
        keras.config.set_dtype_policy("float32")
    outputs = predict(model, {**make_inputs(3), "clinical": np.zeros((3, 3), np.float32)})
    assert {name: (value.shape, value.dtype.name) for name, value in outputs.items()} == {
        "malignancy": ((3, 2), "float32"),
        "abnormality": ((3, 3), "float32"),
    }
    np.testing.assert_allclose(outputs["abnormality"].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("backbone", "fusion"), [("small_cnn", "attention"), ("MobileNetV3Small", "mean")])
def test_a_saved_model_answers_as_before(tmp_path: Path, backbone: str, fusion: str) -> None:
    model = build_model(dataclasses.replace(SETTINGS, backbone=backbone, fusion=fusion), clinical_width=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        predict(loaded, make_inputs(2))["malignancy"], predict(model, make_inputs(2))["malignancy"], atol=1e-6
    )


def test_feature_map_and_embedding_are_found_by_name() -> None:
    model = build_model(SETTINGS, clinical_width=0)
    assert model.get_layer("backbone").output.shape == (None, 4, 3, 32)
    assert model.get_layer("embedding").output.shape == (None, 64)


def test_weights_from_a_file_are_loaded(tmp_path: Path) -> None:
    network = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(64, 52, 3))
    network.save_weights(tmp_path / "own.weights.h5")
    settings = dataclasses.replace(
        SETTINGS, backbone="MobileNetV3Small", weights=str(tmp_path / "own.weights.h5")
    )
    loaded = next(
        layer
        for layer in build_model(settings, clinical_width=0).get_layer("backbone").layers
        if isinstance(layer, keras.Model)
    )
    for ours, theirs in zip(loaded.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_imagenet_weights_that_cannot_be_downloaded_end_in_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refuse_download)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(
        MedimgError, match=r"weights of MobileNetV3Small could not be had .*name its path in model.weights"
    ) as caught:
        build_model(
            dataclasses.replace(
                SETTINGS, backbone="MobileNetV3Small", weights="imagenet", image_size=(64, 64)
            ),
            clinical_width=0,
        )
    assert "\n" not in str(caught.value)


def refuse_download(*_: object, **__: object) -> None:
    from urllib.error import URLError

    raise URLError("no route to host")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "EfficientNetB00"}, "did you mean 'EfficientNetB0'"),
        ({"backbone": "smal_cnn"}, "did you mean 'small_cnn'"),
        ({"weights": "imagenet"}, "small_cnn is trained from scratch"),
        ({"backbone": "ResNet50", "weights": "nowhere.h5"}, "no file nowhere.h5"),
    ],
)
def test_a_wrong_backbone_or_weights_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_model(dataclasses.replace(SETTINGS, **change), clinical_width=0)


def test_the_backbones_by_name_are_those_that_keras_has() -> None:
    assert set(APPLICATIONS) == {name for name in vars(keras.applications) if name[:1].isupper()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": ()}, "expected at least one of each"),
        ({"heads": (Head("malignancy", ("Benign",)),)}, "expected two or more"),
        ({"roles": ("CC", "CC")}, "'CC' is named 2 times"),
        ({"image_size": (64, 8)}, "at least 32 pixels"),
    ],
)
def test_settings_that_make_no_network_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_settings(dataclasses.replace(SETTINGS, **change))
