"""Writes what Trainer reads: TFRecords of drawn cases and a real Transform graph. Tiny and seeded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

Features = dict[str, bytes | float]
"""Raw features of one case by name."""
HEIGHT, WIDTH = 64, 52
CLASSES = ("Benign", "Malignant")
MODEL: dict[str, object] = {
    "heads": [
        {"name": "malignancy", "classes": CLASSES},
        {"name": "abnormality", "classes": ("calcification", "mass", "both"), "weight": 0.2},
    ],
    "roles": ["CC", "MLO"],
    "image_size": [HEIGHT, WIDTH],
    "width": 4,
    "clinical_inputs": ["age_years", "source"],
}
TRAINING: dict[str, object] = {"epochs": 10, "batch_size": 8, "learning_rate": 0.01, "patience": 5, "seed": 3}


def draw_view(bright: bool, random: np.random.Generator) -> bytes:
    """A PNG of noise with a blob, bright or faint, somewhere in the middle."""
    y, x = random.uniform(16, HEIGHT - 16), random.uniform(14, WIDTH - 14)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    blob_HW = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 40.0)
    image_HW = random.normal(60, 8, (HEIGHT, WIDTH)) + (150 if bright else 40) * blob_HW
    return cv2.imencode(".png", np.clip(image_HW, 0, 255).astype(np.uint8))[1].tobytes()


def make_case(number: int, *, seed: int = 0) -> Features:
    """Raw features of one case by name.

    Every seventh lacks its MLO view, every fifth its age, every fourth its second label.
    """
    random = np.random.default_rng((seed, number))
    malignant = number % 2
    case: Features = {
        "case_id": f"P{number:03d}-L".encode(),
        "group_id": f"P{number:03d}".encode(),
        "label_malignancy": CLASSES[malignant].encode(),
        "clinical_source": (b"D1", b"D2")[number % 3 == 0],
        "image_CC": draw_view(bool(malignant), random),
    }
    if number % 7:
        case["image_MLO"] = draw_view(bool(malignant), random)
    if number % 5:
        case["clinical_age_years"] = float(40 + number % 30)
    if number % 4:
        case["label_abnormality"] = (b"calcification", b"mass", b"both")[number % 3]
    return case


def serialize(case: Features) -> bytes:
    """The case as a serialized tf.train.Example."""
    import tensorflow as tf

    def feature(value: bytes | float) -> tf.train.Feature:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    features = tf.train.Features(feature={name: feature(value) for name, value in case.items()})
    return tf.train.Example(features=features).SerializeToString(deterministic=True)


def write_split(folder: Path, cases: list[Features]) -> str:
    """Writes two uncompressed shards and returns the pattern that TFX would hand over."""
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(2):
        with tf.io.TFRecordWriter(str(folder / f"data_tfrecord-{shard:05d}-of-00002")) as writer:
            for case in cases[shard::2]:
                writer.write(serialize(case))
    return str(folder / "*")


def write_transform_graph(to: Path, cases: list[Features], custom_config: dict[str, object]) -> str:
    """Analyses the cases with the product's preprocessing_fn on Beam's local runner, as Transform does."""
    import functools

    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from components.entry_points import preprocessing_fn
    from pipeline.beam.local_runner import LocalRunner

    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in ("case_id", "group_id")}
    spec |= {
        name: tf.io.VarLenFeature(tf.string)
        for name in ("label_malignancy", "label_abnormality", "clinical_source")
    }
    spec["clinical_age_years"] = tf.io.VarLenFeature(tf.float32)
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    rows = []
    for case in cases:
        row = {name: [case[name]] if name in case else None for name in spec}
        rows.append({**row, "case_id": case["case_id"], "group_id": case["group_id"]})
    with beam.Pipeline(runner=LocalRunner()) as pipeline, tft_beam.Context(temp_dir=str(to / "temporary")):
        dataset = pipeline | beam.Create(rows), metadata
        transform_fn = dataset | tft_beam.AnalyzeDataset(
            functools.partial(preprocessing_fn, custom_config=custom_config)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(to / "graph"))
        _ = metadata | tft_beam.WriteMetadata(
            str(to / "graph" / tft.TFTransformOutput.RAW_METADATA_DIR), pipeline=pipeline
        )
    return str(to / "graph")


def make_arguments(root: Path, *, run: str, **custom_config: object) -> SimpleNamespace:
    """What TFX's Trainer hands to run_fn, over the files that the fixtures wrote in `root`.

    `run` names the outputs' folder.
    """
    return SimpleNamespace(
        train_files=[str(root / "train" / "*")],
        eval_files=[str(root / "eval" / "*")],
        transform_graph_path=str(root / "transform" / "graph"),
        transform_output=None,
        serving_model_dir=str(root / run / "Format-Serving"),
        model_run_dir=str(root / run / "model_run"),
        custom_config={
            "task": "classification",
            "model": MODEL,
            "training": TRAINING,
            "code": "abc",
            **custom_config,
        },
    )
