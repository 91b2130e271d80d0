"""Scores Examples through a SavedModel's signatures and returns the predictions table."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from components.trainer.serving import FACTS_FILE
from medimg.images.colour import measure_colour

BATCH = 32
IMAGE_PREFIX = "image_"
NO_SCALARS = (IMAGE_PREFIX, "mask_", "box_", "polygon_")


def score_examples(model: Path, files: Sequence[str], *, heads: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Returns a row per case: ids, clinical columns, labels, mean colour and the model's probabilities.

    Ids, clinical columns and labels are as in the Example, the mean colour is that of coloured images. The
    columns are those of medimg.evaluation.protocols (`p_`, and `v_` and `m<i>_` where the model has a
    signature `details`) and those of medimg.images.colour.

    Args:
        model: folder of the SavedModel.
        files: TFRecord files, read in this order.
        heads: head to class names, in the order of the model's outputs.
    """
    signatures = tf.saved_model.load(str(model)).signatures
    score = signatures["details" if "details" in signatures else "serving_default"]
    rows: list[dict[str, str | float]] = []
    parts: dict[str, list[np.ndarray]] = defaultdict(list)
    for batch in tf.data.TFRecordDataset(list(files)).batch(BATCH):
        rows += [read_row(serialized) for serialized in batch.numpy()]
        for name, values in score(examples=batch).items():
            parts[name].append(values.numpy().astype(np.float64))
    outputs = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    probabilities = pd.DataFrame(dict(name_outputs(outputs, heads=heads, roles=read_roles(model))))
    return pd.concat([pd.DataFrame(rows), probabilities], axis=1).sort_values("case_id", ignore_index=True)


def read_roles(model: Path) -> list[str]:
    """The views that the model looks at, in the order of its outputs."""
    return list(json.loads((model / FACTS_FILE).read_text(encoding="utf-8"))["roles"])


def name_outputs(
    outputs: Mapping[str, np.ndarray], *, heads: Mapping[str, Sequence[str]], roles: Sequence[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Column and values [N] of each probability.

    Args:
        outputs: of `serving_default` or `details`, each over all cases.
    """
    for head, classes in heads.items():
        for index, name in enumerate(classes):
            yield f"p_{head}_{name}", outputs[head][:, index]
            if f"v/{head}" in outputs:
                yield from (
                    (f"v_{head}_{name}_{role}", outputs[f"v/{head}"][:, view, index])
                    for view, role in enumerate(roles)
                )
            if f"m/{head}" in outputs:
                samples_NK = outputs[f"m/{head}"][:, :, index]
                yield from (
                    (f"m{member}_{head}_{name}", values_N) for member, values_N in enumerate(samples_NK.T)
                )


def read_row(serialized: bytes) -> dict[str, str | float]:
    """What an Example says of its case: its features of one value, and the mean colour of its images."""
    features = tf.train.Example.FromString(serialized).features.feature
    return {**dict(read_scalars(features)), **measure_colour(list_images(features).values())}


def read_scalars(features: Mapping[str, tf.train.Feature]) -> Iterator[tuple[str, str | float]]:
    """Features of one value; images and what is drawn on them are none, though they may have one."""
    for name, feature in features.items():
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
    """PNG or JPEG bytes by case and role, for the named cases only."""
    examples = read_examples(files, case_ids)
    return {
        case_id: list_images(tf.train.Example.FromString(serialized).features.feature)
        for case_id, serialized in examples.items()
    }


def read_examples(files: Sequence[str], case_ids: set[str]) -> dict[str, bytes]:
    """The serialized Examples of the named cases, by case."""
    examples = {}
    for serialized in tf.data.TFRecordDataset(list(files)).as_numpy_iterator() if case_ids else ():
        case_id = (
            tf.train.Example.FromString(serialized).features.feature["case_id"].bytes_list.value[0].decode()
        )
        if case_id in case_ids:
            examples[case_id] = serialized
    return examples


def list_images(features: Mapping[str, tf.train.Feature]) -> dict[str, bytes]:
    """The bytes of each image by role."""
    return {
        name.removeprefix(IMAGE_PREFIX): feature.bytes_list.value[0]
        for name, feature in sorted(features.items())
        if name.startswith(IMAGE_PREFIX) and feature.bytes_list.value
    }
