"""Embeds cases of all splits with the exported network and as plain pixels.

The report's sections on the data use these vectors.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from components.report_gen.scoring import list_records
from components.trainer.exported_model import Exported, open_exported
from medimg.catalogue.duplicates.thumbnails import embed_pixels
from medimg.catalogue.split import SPLITS
from medimg.catalogue.tables import Catalogue, find_clusters
from medimg.evaluation.representation.figures import MODEL, PIXELS, tabulate_embedded
from medimg.reporting.bundle import EMBEDDINGS_FILE
from medimg.tasks import find_task

BATCH = 32


def embed_splits(
    report: Path, *, config: Mapping[str, Any], model: Path, examples: str, catalogue: Catalogue
) -> pd.DataFrame | None:
    """Writes embeddings.parquet into the report's folder: at most `evaluation.embedded_cases` cases.

    Nothing if that is 0, or for a task that has none.

    Args:
        config: the RunConfig as plain values.
        examples: URI of all splits' Examples.

    Returns:
        the table as written, None without one.
    """
    count, task = config["evaluation"]["embedded_cases"], find_task(config["task"])
    if not count or task.embed is None:
        return None
    began = time.monotonic()
    exported = open_exported(model, config=config)
    cases = choose_cases(catalogue, count=count)
    files = [file for split in SPLITS for file in list_records(examples, split)]
    names, vectors = embed_cases(
        files, list(cases["case_id"]), exported=exported, embedder=task.embed(exported.network)
    )
    embedded = time.monotonic()
    table = tabulate_embedded(cases.set_index("case_id").loc[names].reset_index(), vectors)
    table.to_parquet(report / EMBEDDINGS_FILE, index=False)
    mapping_seconds = time.monotonic() - embedded
    print(
        f"embedded {len(names)} cases in {embedded - began:.1f} s, mapped them in {mapping_seconds:.1f} s",
        flush=True,
    )
    return table


def choose_cases(catalogue: Catalogue, *, count: int) -> pd.DataFrame:
    """Returns at most `count` used cases with their clusters, sorted by id.

    Clusters are taken whole; which ones depends on their names alone.
    """
    cases = catalogue.cases
    cases = cases[(cases["status"] == "used") & cases["split"].isin(SPLITS)].sort_values(
        "case_id", ignore_index=True
    )
    cases = cases.assign(cluster_id=cases["group_id"].map(find_clusters(catalogue)))
    sizes = cases["cluster_id"].value_counts()
    order = sorted(sizes.index, key=lambda cluster: hashlib.sha256(str(cluster).encode()).digest())
    chosen = [
        cluster
        for cluster, total in zip(order, itertools.accumulate(sizes[order]), strict=True)
        if total <= count
    ]
    return cases[cases["cluster_id"].isin(chosen)].reset_index(drop=True)


def embed_cases(
    files: Sequence[str], case_ids: Sequence[str], *, exported: Exported, embedder: keras.Model
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Returns ids and vectors [N, D] by embedding of those of these cases that were written as Examples.

    PIXELS are all views' side by side, an absent one black. MODEL is the output of `embedder` for the
    network's inputs. Ids and vectors are in the order of the files.
    """
    chosen = tf.constant(case_ids)
    examples = tf.data.TFRecordDataset(list(files)).filter(
        lambda example: tf.reduce_any(read_ids(example[None]) == chosen)
    )
    batches = examples.batch(BATCH).map(
        lambda batch: (read_ids(batch), exported.read(batch)), num_parallel_calls=tf.data.AUTOTUNE
    )
    names: list[str] = []
    parts: dict[str, list[np.ndarray]] = {PIXELS: [], MODEL: []}
    for ids, inputs in batches.prefetch(1):
        names += [name.decode() for name in ids.numpy()]
        images_BVHWC = inputs["images"].numpy()
        views = embed_pixels(
            image[..., 0] if image.shape[-1] == 1 else image for case in images_BVHWC for image in case
        )
        parts[PIXELS].append(views.reshape(len(images_BVHWC), -1))
        parts[MODEL].append(embedder.predict_on_batch(inputs))
    return names, {embedding: np.concatenate(arrays) for embedding, arrays in parts.items()}


def read_ids(examples: tf.Tensor) -> tf.Tensor:
    """The case ids of serialized Examples, [B]."""
    return tf.io.parse_example(examples, {"case_id": tf.io.FixedLenFeature([], tf.string)})["case_id"]
