"""The network: views, masks, probabilities, saving, refusals."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import keras
import numpy as np
import pytest

from medimg.errors import MedimgError, UsageError
from medimg.tasks.classification.backbones import ApplicationInput, load_application
from medimg.tasks.classification.model import FuseViews, build_model, make_embedder, pool
from medimg.tasks.classification.settings import APPLICATIONS, Head, ModelSettings

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
        (
            {"backbone": "InceptionV3"},
            r"model\.backbone InceptionV3 with weights None and images \(64, 52, 3\): Input size must be at",
        ),
    ],
)
def test_a_wrong_backbone_or_weights_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_model(dataclasses.replace(SETTINGS, **change), clinical_width=0)


PRESENT = {"both": (1, 1), "first": (1, 0), "second": (0, 1), "none": (0, 0)}


def fuse(how: str, vectors_BVD: np.ndarray, present_BV: np.ndarray) -> tuple[np.ndarray, FuseViews]:
    layer = FuseViews(how)
    return np.asarray(layer([vectors_BVD.astype(np.float32), present_BV.astype(np.float32)])), layer


@pytest.mark.parametrize("how", ["mean", "max"])
def test_views_are_fused_to_the_mean_or_maximum_of_those_that_are_there(how: str) -> None:
    # All below 0, where an absent view that counted as zeros would be the maximum.
    vectors_BVD = -np.random.default_rng(0).random((4, 2, 5)) - 1
    reduce = {"mean": np.mean, "max": np.max}[how]
    fused_BD, _ = fuse(how, vectors_BVD, np.array(list(PRESENT.values())))
    expected_BD = [
        reduce(vectors_BVD[0], axis=0),
        vectors_BVD[1, 0],
        vectors_BVD[2, 1],
        np.zeros(5),
    ]
    np.testing.assert_allclose(fused_BD, expected_BD, rtol=1e-6)


def test_attention_weighs_the_views_that_are_there_by_their_scores() -> None:
    vectors_BVD = np.random.default_rng(0).normal(size=(4, 2, 5))
    present_BV = np.array(list(PRESENT.values()))
    fused_BD, layer = fuse("attention", vectors_BVD, present_BV)
    (hidden_DH, hidden_H), (score_H1, score_1) = layer.hidden.get_weights(), layer.score.get_weights()
    scores_BV = (np.tanh(vectors_BVD @ hidden_DH + hidden_H) @ score_H1 + score_1)[..., 0]
    weights_BV = present_BV * np.exp(5 * np.tanh(scores_BV))
    weights_BV = weights_BV / np.maximum(weights_BV.sum(axis=1, keepdims=True), 1e-9)
    np.testing.assert_allclose(
        fused_BD, (weights_BV[..., None] * vectors_BVD).sum(axis=1), rtol=1e-4, atol=1e-6
    )
    assert np.abs(weights_BV[0] - 0.5).max() > 0.01


def test_another_fusion_is_refused() -> None:
    with pytest.raises(UsageError, match=r"model\.fusion: found 'sum', expected one of mean, max, attention"):
        FuseViews("sum")


def test_a_map_is_pooled_to_its_mean_and_then_its_maximum() -> None:
    maps_NHWD = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    expected_ND = np.concatenate([maps_NHWD.mean(axis=(1, 2)), maps_NHWD.max(axis=(1, 2))], axis=1)
    np.testing.assert_allclose(pool(maps_NHWD), expected_ND, atol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_dropout_before_the_heads_has_the_rate_of_the_settings(rate: float) -> None:
    model = build_model(dataclasses.replace(SETTINGS, dropout=rate), clinical_width=0)
    assert model.get_layer("dropout").rate == rate
    embedding = model.get_layer("embedding").output
    dropped = keras.Model(embedding, model.get_layer("dropout").output)(np.ones((20, 64)), training=True)
    assert (np.asarray(dropped) == 0).mean() == pytest.approx(rate, abs=0.06)


def test_white_is_one_before_the_first_convolution() -> None:
    backbone = build_model(SETTINGS, clinical_width=0).get_layer("backbone")
    scaled = keras.Model(backbone.input, backbone.get_layer("block0_convolution").input)
    white = np.full((1, 64, 52, 1), 255, np.uint8)
    np.testing.assert_allclose(scaled(white), 1, atol=1e-6)


def test_each_block_halves_the_map_and_doubles_the_channels() -> None:
    backbone = build_model(dataclasses.replace(SETTINGS, width=3), clinical_width=0).get_layer("backbone")
    shapes = [backbone.get_layer(f"block{block}_normalisation").output.shape[1:] for block in range(4)]
    assert shapes == [(32, 26, 3), (16, 13, 6), (8, 6, 12), (4, 3, 24)]


def test_a_block_is_a_convolution_of_three_by_three_without_a_bias_and_a_quick_normalisation() -> None:
    backbone = build_model(dataclasses.replace(SETTINGS, width=3), clinical_width=0).get_layer("backbone")
    channels = (1, 3, 6, 12, 24)
    expected = sum(9 * before * after + 4 * after for before, after in itertools.pairwise(channels))
    assert backbone.count_params() == expected
    assert {backbone.get_layer(f"block{block}_normalisation").momentum for block in range(4)} == {0.9}


@pytest.mark.parametrize(("weights", "kind"), [("imagenet", MedimgError), (None, UsageError)])
@pytest.mark.parametrize(("text", "shown"), [(" \nno route\nto host", "no route"), ("", "Exception")])
def test_what_keras_says_of_a_network_that_it_cannot_make_is_one_line(
    weights: str | None, kind: type[Exception], text: str, shown: str
) -> None:
    def fail(**_: object) -> None:
        raise Exception(text)

    settings = dataclasses.replace(SETTINGS, backbone="ResNet50", weights=weights)
    with pytest.raises(kind, match=rf"[(: ]{shown}(\)|$)") as caught:
        load_application(fail, settings)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is kind


def test_in_half_precision_too_a_case_without_a_view_is_zeros_to_the_maximum() -> None:
    layer = FuseViews("max", dtype="mixed_float16")
    vectors_BVD, present_BV = np.full((2, 2, 3), -1e3, np.float16), np.array([[0, 0], [0, 1]], np.float32)
    np.testing.assert_array_equal(layer([vectors_BVD, present_BV]), [[0] * 3, [-1e3] * 3])


def test_clinical_inputs_are_the_end_of_the_embedding() -> None:
    model = build_model(SETTINGS, clinical_width=3)
    inputs = {**make_inputs(2), "clinical": np.array([[1.0, 2, 3], [4, 5, 6]], np.float32)}
    embedded = np.asarray(make_embedder(model)(inputs))
    assert embedded.shape == (2, 67)
    np.testing.assert_array_equal(embedded[:, 64:], inputs["clinical"])
    without = build_model(SETTINGS, clinical_width=0)
    assert set(without.input) == {"images", "view_present"}


@pytest.mark.parametrize("backbone", APPLICATIONS)
def test_each_backbone_of_keras_has_its_own_preprocessing(backbone: str) -> None:
    family = getattr(keras.applications, backbone).__module__.rsplit(".", 1)[-1]
    colours = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype(np.uint8)
    expected = getattr(keras.applications, family).preprocess_input(colours.astype(np.float32).copy())
    np.testing.assert_allclose(ApplicationInput(family)(colours), expected, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_three_equal_channels_to_a_network_of_keras_and_colour_is_its_own(channels: int) -> None:
    settings = dataclasses.replace(
        SETTINGS, backbone="MobileNetV2", image_size=(64, 64), roles=("CC",), channels=channels
    )
    backbone = build_model(settings, clinical_width=0).get_layer("backbone")
    network = next(layer for layer in backbone.layers if isinstance(layer, keras.Model))
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, channels)).astype(np.uint8)
    expected = np.asarray(network(np.repeat(image, 3 // channels, axis=-1).astype(np.float32) / 127.5 - 1))
    # Untrained, its values are small.
    np.testing.assert_allclose(backbone(image), expected, atol=1e-3 * expected.max())
    assert expected.max() > 0
