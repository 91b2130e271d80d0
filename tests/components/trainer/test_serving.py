"""The exported signatures: pictures and clinical columns as in training, and what is there to be called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.trainer.serving import Serving, decode_batch, export, raw_spec
from tests.components.examples import HEIGHT, WIDTH, Features, make_case, serialize
from tests.components.trainer.stand_ins import TASK, Transformed, make_serving, read_model, transform_clinical

NUMBERS = (0, 1, 3, 5, 7)
"""Of cases: the first and the last lack a view, the first and the last but one the age."""


@pytest.fixture(scope="module")
def serving() -> Serving:
    return make_serving()


def encode(*cases: Features) -> tf.Tensor:
    return tf.constant([serialize(case) for case in cases])


def expect_inputs(found: dict[str, tf.Tensor], cases: list[Features]) -> None:
    """The inputs are those that the task makes of each case by itself."""
    for place, case in enumerate(cases):
        pictures = {f"image_{role}": case.get(f"image_{role}", b"") for role in ("CC", "MLO")}
        expected = TASK.decode_case(
            {name: tf.constant(value) for name, value in pictures.items()}, read_model()
        )
        assert set(found) == {"images", "view_present", "clinical"}
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name][place], values)
        np.testing.assert_allclose(found["clinical"][place], transform_clinical(case), rtol=1e-6)


def test_a_case_is_served_as_the_task_decodes_it_with_its_clinical_columns_and_without_a_label(
    serving: Serving,
) -> None:
    cases = [make_case(number) for number in NUMBERS]
    bare = [{key: value for key, value in case.items() if not key.startswith("label_")} for case in cases]
    for served in (cases, bare):
        expect_inputs(dict(serving.serve(encode(*served))), cases)


def test_the_details_are_of_the_same_inputs(serving: Serving) -> None:
    cases = [make_case(number) for number in NUMBERS]
    found = dict(serving.details(encode(*cases)))
    assert found.pop("behind").numpy().tolist() == [1, 2, 2, 2, 1]
    expect_inputs(found, cases)


def test_a_network_without_clinical_inputs_needs_none_in_its_examples() -> None:
    serving = make_serving(clinical_inputs=())  # Its functions do not keep it.
    served = serving.serve(encode({"case_id": b"a"}, make_case(1)))
    assert set(served) == {"images", "view_present"}
    assert served["view_present"].numpy().tolist() == [[0, 0], [1, 1]]
    assert served["images"].shape == (2, 2, HEIGHT, WIDTH, 1)


def test_the_transformed_features_have_the_labels_and_the_clinical_inputs(serving: Serving) -> None:
    found = serving.transform(encode(*(make_case(number) for number in NUMBERS)))
    assert set(found) == {"label_malignancy", "clinical_source", "clinical_age_years"}
    assert found["label_malignancy"].numpy().tolist() == [[number % 2] for number in NUMBERS]
    assert found["clinical_source"].numpy().tolist() == [[int(number % 3 == 0)] for number in NUMBERS]


def test_of_the_raw_features_all_but_images_and_masks_are_parsed_for_transform() -> None:
    assert set(raw_spec(Transformed())) == {
        "case_id", "label_malignancy", "clinical_source", "clinical_age_years"
    }  # fmt: skip


@pytest.mark.parametrize("has_details", [True, False])
def test_details_are_exported_where_the_predictor_has_them(tmp_path: Path, has_details: bool) -> None:
    export(make_serving(has_details=has_details), str(tmp_path))
    signatures = tf.saved_model.load(str(tmp_path)).signatures
    details = {"details"} if has_details else set()
    assert set(signatures) == {"serving_default", "transform_features", *details}
    cases = [make_case(number) for number in NUMBERS]
    expect_inputs(signatures["serving_default"](examples=encode(*cases)), cases)
    assert "label_malignancy" in signatures["transform_features"](examples=encode(*cases))
    if has_details:
        assert "behind" in signatures["details"](examples=encode(*cases))


def test_the_shape_of_a_decoded_case_is_known_before_there_is_one() -> None:
    @tf.function(
        input_signature=[{f"image_{role}": tf.TensorSpec([None], tf.string) for role in ("CC", "MLO")}]
    )
    def decode(images: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return decode_batch(images, task=TASK, settings=read_model())

    shapes = {
        name: tensor.shape for name, tensor in decode.get_concrete_function().structured_outputs.items()
    }
    assert shapes["images"].as_list() == [None, 2, HEIGHT, WIDTH, 1]
    assert shapes["view_present"].as_list() == [None, 2]
