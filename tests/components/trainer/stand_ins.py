"""Stand-ins for what Transform and a training hand to the export, small enough to be exported in a second."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from components.trainer.run import read_settings
from components.trainer.serving import Serving
from medimg.tasks import find_task
from medimg.tasks.classification.settings import ModelSettings
from tests.components.examples import MODEL, Features

TASK = find_task("classification")
SOURCES = ("D1", "D2")
OLDEST = 100.0


def read_model(**changes: object) -> ModelSettings:
    """The settings of the Trainer's tests: two views, and age and source as inputs."""
    return read_settings(TASK.model_settings, {**MODEL, **changes}, section="model")


class Transformed:
    """In the place of TFTransformOutput: ages are shares of the oldest, sources are of two."""

    def raw_feature_spec(self) -> dict[str, object]:
        text = tf.io.VarLenFeature(tf.string)
        return {
            "case_id": tf.io.FixedLenFeature([], tf.string),
            "image_CC": text,
            "mask_CC": text,
            "label_malignancy": text,
            "clinical_source": text,
            "clinical_age_years": tf.io.VarLenFeature(tf.float32),
        }

    def transformed_feature_spec(self) -> dict[str, object]:
        kinds = {"clinical_source": tf.int64, "clinical_age_years": tf.float32}
        return {name: SimpleNamespace(dtype=kind) for name, kind in kinds.items()}

    def vocabulary_size_by_name(self, name: str) -> int:
        return {"clinical_source": len(SOURCES)}[name]

    def transform_features_layer(self):
        return self.transform

    def transform(self, features: dict[str, tf.SparseTensor]) -> dict[str, tf.Tensor]:
        found = {}
        if "clinical_age_years" in features:
            ages = tf.sparse.to_dense(features["clinical_age_years"], default_value=-OLDEST)[:, :1]
            shares = tf.where(ages < 0, tf.zeros_like(ages), ages / OLDEST)
            found["clinical_age_years"] = tf.concat([shares, tf.cast(ages < 0, tf.float32)], axis=1)
        for name, values in (("clinical_source", SOURCES), ("label_malignancy", ("Benign", "Malignant"))):
            if name in features:
                text = tf.sparse.to_dense(features[name], default_value="")
                places = [tf.where(text == value, index, -1) for index, value in enumerate(values)]
                found[name] = tf.cast(tf.maximum(*places), tf.int64)
        return found


def transform_clinical(case: Features) -> np.ndarray:
    """What a network is given of a case's age and source after that, written down a second time."""
    age, is_first = case.get("clinical_age_years"), case["clinical_source"] == b"D1"
    return np.array([(age or 0) / OLDEST, age is None, is_first, not is_first, 0], np.float32)


class Mirror(tf.Module):
    """In the place of a predictor: answers with the inputs that it is given, each as it is."""

    def __init__(self, *, has_details: bool = True) -> None:
        super().__init__()
        self.has_details = has_details

    def predict(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {name: tf.identity(values) for name, values in inputs.items()}

    def details(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {**self.predict(inputs), "behind": tf.reduce_sum(inputs["view_present"], axis=1)}


def make_serving(*, has_details: bool = True, **changes: object) -> Serving:
    """What is exported of a model that mirrors its inputs."""
    predictor = Mirror(has_details=has_details)
    return Serving(predictor, task=TASK, settings=read_model(**changes), transform_output=Transformed())
