"""Scores Examples through a SavedModel's `serving_default` and returns the predictions table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf

BATCH = 32
IMAGE_PREFIX = "image_"
NO_SCALARS = (IMAGE_PREFIX, "mask_", "box_", "polygon_")


def score_examples(model: Path, files: Sequence[str], *, heads: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """One row per case: ids, clinical columns and labels as in the Example, and `p_<head>_<class>` in [0, 1].

    Args:
        model: folder of the SavedModel.
        files: TFRecord files, read in this order.
        heads: head to class names, in the order of the model's outputs.
    """
    signature = tf.saved_model.load(str(model)).signatures["serving_default"]
    rows: list[dict[str, Any]] = []
    for batch in tf.data.TFRecordDataset(list(files)).batch(BATCH):
        outputs = {head: values.numpy() for head, values in signature(examples=batch).items()}
        for position, serialized in enumerate(batch.numpy()):
            row = dict(read_scalars(serialized))
            for head, classes in heads.items():
                row |= {f"p_{head}_{name}": float(outputs[head][position, index]) for index, name in enumerate(classes)}
            rows.append(row)
    return pd.DataFrame(rows).sort_values("case_id", ignore_index=True)


def read_scalars(serialized: bytes) -> Iterator[tuple[str, str | float]]:
    """An Example's features of one value; images and what is drawn on them are none, though they may have one."""
    for name, feature in tf.train.Example.FromString(serialized).features.feature.items():
        if name.startswith(NO_SCALARS):
            continue
        kind = feature.WhichOneof("kind")
        values = getattr(feature, kind).value if kind else []
        if len(values) == 1:
            yield name, values[0].decode() if kind == "bytes_list" else values[0]


def list_records(uri: str, split: str) -> list[str]:
    """The TFRecord files of a split, sorted."""
    return sorted(tf.io.gfile.glob(f"{uri}/Split-{split}/*"))


def read_images(files: Sequence[str], case_ids: set[str]) -> dict[str, dict[str, bytes]]:
    """PNG bytes by case and role, for the named cases only."""
    images: dict[str, dict[str, bytes]] = {}
    for serialized in tf.data.TFRecordDataset(list(files)).as_numpy_iterator():
        features = tf.train.Example.FromString(serialized).features.feature
        case_id = features["case_id"].bytes_list.value[0].decode()
        if case_id in case_ids:
            images[case_id] = {
                name.removeprefix(IMAGE_PREFIX): feature.bytes_list.value[0]
                for name, feature in sorted(features.items())
                if name.startswith(IMAGE_PREFIX) and feature.bytes_list.value
            }
    return images
