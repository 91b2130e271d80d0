"""Labels, clinical columns and views on their way into the network.

Analysed by TensorFlow Transform on Beam's local runner.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import tensorflow as tf

from medimg.errors import UsageError
from medimg.tasks.classification.inputs import decode_case
from medimg.tasks.classification.preprocess import preprocess, targets
from medimg.tasks.classification.settings import Head, ModelSettings
from medimg.tasks.shared.clinical_columns import clinical_inputs, clinical_sizes

if TYPE_CHECKING:
    from tensorflow_transform import TFTransformOutput

SETTINGS = ModelSettings(
    heads=(Head("malignancy", ("Benign", "Malignant")),),
    roles=("CC", "MLO"),
    image_size=(32, 40),
    clinical_inputs=("age_years", "source", "count", "dose", "side"),
)
SPEC = {
    "label_malignancy": tf.io.VarLenFeature(tf.string),
    "clinical_age_years": tf.io.VarLenFeature(tf.float32),
    "clinical_source": tf.io.VarLenFeature(tf.string),
    "clinical_count": tf.io.VarLenFeature(tf.int64),
    "clinical_dose": tf.io.FixedLenFeature([], tf.float32),
    "clinical_side": tf.io.FixedLenFeature([], tf.string),
}
ALWAYS_THERE = {"clinical_dose": 2.0, "clinical_side": b"L"}
TRAIN: list[dict[str, object]] = [
    {
        "label_malignancy": [b"Benign"],
        "clinical_age_years": [40.0],
        "clinical_source": [b"D1"],
        "clinical_count": [3],
        "clinical_dose": 1.0,
        "clinical_side": b"L",
    },
    {
        "label_malignancy": [b"Malignant"],
        "clinical_age_years": [60.0],
        "clinical_source": [b"D1"],
        "clinical_count": [5],
        "clinical_dose": 3.0,
        "clinical_side": b"R",
    },
    {
        "label_malignancy": None,
        "clinical_age_years": None,
        "clinical_source": [b"D2"],
        "clinical_count": None,
        "clinical_dose": 2.0,
        "clinical_side": b"R",
    },
]


@pytest.fixture(scope="module")
def transform_output(tmp_path_factory: pytest.TempPathFactory) -> TFTransformOutput:
    """The Transform graph that TRAIN gives."""
    import apache_beam as beam
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from pipeline.beam.local_runner import LocalRunner

    to = tmp_path_factory.mktemp("transform")
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(SPEC))
    with beam.Pipeline(runner=LocalRunner()) as pipeline, tft_beam.Context(temp_dir=str(to / "temporary")):
        dataset = pipeline | beam.Create(TRAIN), metadata
        transform_fn = dataset | tft_beam.AnalyzeDataset(lambda inputs: preprocess(inputs, SETTINGS))
        _ = transform_fn | tft_beam.WriteTransformFn(str(to / "graph"))
    return tft.TFTransformOutput(str(to / "graph"))


def transform(transform_output: TFTransformOutput, *cases: dict[str, object]) -> dict[str, tf.Tensor]:
    def sparse(name: str, dtype: tf.DType) -> tf.SparseTensor:
        places = [(row, 0) for row, case in enumerate(cases) if name in case]
        values = tf.constant([case[name] for case in cases if name in case], dtype)
        return tf.SparseTensor(
            np.array(places, np.int64).reshape(-1, 2), values, [len(cases), 1 if places else 0]
        )

    raw = {
        name: sparse(name, spec.dtype) for name, spec in SPEC.items() if isinstance(spec, tf.io.VarLenFeature)
    }
    for name, usual in ALWAYS_THERE.items():
        raw[name] = tf.constant([case.get(name, usual) for case in cases], SPEC[name].dtype)
    return dict(transform_output.transform_features_layer()(raw))


def test_a_label_becomes_its_place_among_the_classes_and_minus_one_where_missing_or_unknown(
    transform_output: TFTransformOutput,
) -> None:
    transformed = transform(
        transform_output,
        {"label_malignancy": b"Malignant"},
        {},
        {"label_malignancy": b"Benign"},
        {"label_malignancy": b"malignant"},
    )
    assert transformed["label_malignancy"].numpy().tolist() == [[1], [-1], [0], [-1]]
    assert targets(transformed, SETTINGS)["malignancy"].numpy().tolist() == [1, -1, 0, -1]


def test_a_number_becomes_its_z_score_and_a_missing_one_the_mean_with_a_mark(
    transform_output: TFTransformOutput,
) -> None:
    transformed = transform(transform_output, {"clinical_age_years": 60.0}, {}, {"clinical_age_years": 50.0})
    np.testing.assert_allclose(transformed["clinical_age_years"], [[1, 0], [0, 1], [0, 0]], atol=1e-6)


def test_a_whole_number_is_scaled_as_any_number(transform_output: TFTransformOutput) -> None:
    transformed = transform(transform_output, {"clinical_count": 5}, {}, {"clinical_count": 4})
    np.testing.assert_allclose(transformed["clinical_count"], [[1, 0], [0, 1], [0, 0]], atol=1e-6)


def test_a_column_that_no_case_may_lack_is_never_missing(transform_output: TFTransformOutput) -> None:
    cases = ({"clinical_dose": 3.0, "clinical_side": b"R"}, {"clinical_side": b"L"}, {"clinical_side": b"B"})
    transformed = transform(transform_output, *cases)
    np.testing.assert_allclose(transformed["clinical_dose"], [[np.sqrt(1.5), 0], [0, 0], [0, 0]], atol=1e-6)
    assert transformed["clinical_side"].numpy().tolist() == [[0], [1], [2]]


def test_clinical_inputs_stand_side_by_side_in_the_order_of_the_settings(
    transform_output: TFTransformOutput,
) -> None:
    case = {
        "clinical_age_years": 60.0,
        "clinical_source": b"D2",
        "clinical_count": 3,
        "clinical_dose": 2.0,
        "clinical_side": b"R",
    }
    sizes = clinical_sizes(transform_output, SETTINGS)
    inputs = clinical_inputs(transform(transform_output, case), SETTINGS, sizes)
    np.testing.assert_allclose(inputs["clinical"], [[1, 0, 0, 1, 0, -1, 0, 0, 0, 1, 0, 0]], atol=1e-6)
    assert inputs["clinical"].dtype == tf.float32


def test_without_clinical_columns_there_is_no_such_input(transform_output: TFTransformOutput) -> None:
    without = dataclasses.replace(SETTINGS, clinical_inputs=())
    assert clinical_sizes(transform_output, without) == {}
    assert clinical_inputs(transform(transform_output, {}), without, {}) == {}


def test_unknown_and_missing_strings_share_the_last_place(transform_output: TFTransformOutput) -> None:
    sizes = clinical_sizes(transform_output, SETTINGS)
    assert sizes == {
        "clinical_age_years": 2,
        "clinical_source": 3,
        "clinical_count": 2,
        "clinical_dose": 2,
        "clinical_side": 3,
    }
    cases = ({"clinical_source": b"D1"}, {"clinical_source": b"D2"}, {"clinical_source": b"D9"}, {})
    clinical = clinical_inputs(transform(transform_output, *cases), SETTINGS, sizes)["clinical"]
    np.testing.assert_array_equal(clinical[:, 2:5], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])


def test_a_column_or_label_that_is_not_there_is_named() -> None:
    features = {"label_malignancy": tf.constant(["Benign"]), "clinical_side": tf.constant(["L"])}
    features["clinical_dose"] = tf.constant([0.1])
    found = r"feature clinical_age_years is not in the schema; found clinical_dose, clinical_side$"
    with pytest.raises(UsageError, match=found):
        preprocess(features, SETTINGS)
    with pytest.raises(UsageError, match=r"feature label_malignancy is not in the schema; found none$"):
        preprocess({}, SETTINGS)


def encode(image_HW: np.ndarray) -> bytes:
    return cv2.imencode(".png", image_HW)[1].tobytes()


def test_views_come_in_the_order_of_the_roles_and_an_absent_one_is_zeros_marked_absent() -> None:
    image_HW = np.random.default_rng(0).integers(1, 256, (32, 40), dtype=np.uint8)
    decoded = decode_case({"image_CC": tf.constant(""), "image_MLO": tf.constant(encode(image_HW))}, SETTINGS)
    assert decoded["images"].dtype == tf.uint8
    np.testing.assert_array_equal(decoded["images"][1, :, :, 0], image_HW)
    np.testing.assert_array_equal(decoded["images"][0], 0)
    np.testing.assert_array_equal(decoded["view_present"], [0, 1])


def test_sixteen_bit_images_reach_the_network_with_their_high_byte(tmp_path: Path) -> None:
    image_HW = np.random.default_rng(0).integers(0, 65536, (32, 40), dtype=np.uint16)
    decoded = decode_case({"image_CC": tf.constant(encode(image_HW)), "image_MLO": tf.constant("")}, SETTINGS)
    np.testing.assert_allclose(decoded["images"][0, :, :, 0], image_HW >> 8, atol=1)
