"""From embedded cases to figures: how train and test overlap, how the classes do, and what a split by case would leak.

The table of embedded cases has a row per case and embedding: embedding (PIXELS, MODEL), case_id, group_id,
cluster_id (groups joined where they share images), split, label_<head> (class name or null), vector (float32,
of medimg.evaluation.representation.maps.reduce_vectors), and <map>_x and <map>_y for each of
medimg.evaluation.representation.maps.MAPS.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medimg.catalogue.split import TRAIN
from medimg.evaluation.classification.metrics import METRICS
from medimg.evaluation.classification.weighted_sample import make_sample
from medimg.evaluation.comparison import bootstrap_differences
from medimg.evaluation.figures import Figure
from medimg.evaluation.gates import OVERALL
from medimg.evaluation.intervals import (
    RESAMPLES,
    Interval,
    bootstrap_intervals,
    find_few_groups,
    mean_interval,
)
from medimg.evaluation.representation.leakage_estimate import CLASSIFIERS, FOLDS, estimate_leak
from medimg.evaluation.representation.maps import MAPS, reduce_vectors
from medimg.evaluation.representation.split_overlap import (
    find_class_neighbours,
    measure_discrepancy,
    measure_nearness,
    predict_split_membership,
)

PIXELS, MODEL = "pixels", "model"
PROTOCOL, LEVEL = "embedded", "case"
ALL_EMBEDDED = "all embedded"
"""Stands for the split where every embedded case is scored out of fold."""
METRIC = "balanced_accuracy"
NOTHING_TO_LEAK = "every case is a group of its own: there is nothing to leak"
NO_INTERVAL = Interval(math.nan, math.nan)


@dataclass(frozen=True)
class Measuring:
    """What is measured, and how: the head and its classes, the split that is held against train, and the bootstrap."""

    head: str
    classes: Sequence[str]
    split: str = "test"
    resamples: int = RESAMPLES
    seed: int = 0


@dataclass(frozen=True)
class Embedded:
    """The cases of one embedding, sorted by id.

    Attributes:
        vectors: float32 [N, D].
        splits, groups: text, [N]; groups that share images are one.
        labels: class index, int [N], -1 where there is none.
    """

    vectors: np.ndarray
    splits: np.ndarray
    groups: np.ndarray
    labels: np.ndarray

    def take(self, chosen: np.ndarray) -> Embedded:
        """Some of the cases: a mask, bool [N], or their rows."""
        return Embedded(*(getattr(self, each.name)[chosen] for each in dataclasses.fields(self)))


def tabulate_embedded(
    cases: pd.DataFrame, vectors: Mapping[str, np.ndarray], *, seed: int = 0
) -> pd.DataFrame:
    """The table of embedded cases.

    Args:
        cases: rows with the table's columns of a case; others are left out.
        vectors: [N, D] of the same cases in the same order, as they come, by embedding.
    """
    columns = [
        "case_id",
        "group_id",
        "cluster_id",
        "split",
        *(name for name in cases if str(name).startswith("label_")),
    ]
    parts = []
    for embedding, vectors_ND in vectors.items():
        reduced = reduce_vectors(vectors_ND, seed=seed)
        places = {
            f"{name}_{axis}": axis_N
            for name, draw in MAPS.items()
            for axis, axis_N in zip("xy", draw(reduced, seed=seed).T, strict=True)
        }
        parts.append(cases[columns].assign(embedding=embedding, vector=list(reduced), **places))
    return pd.concat(parts, ignore_index=True)


def read_embedded(table: pd.DataFrame, embedding: str, measuring: Measuring) -> Embedded:
    """The cases of one embedding."""
    rows = table[table["embedding"] == embedding].sort_values("case_id")
    index_of = {name: index for index, name in enumerate(measuring.classes)}
    labels = rows[f"label_{measuring.head}"].map(index_of).fillna(-1)
    return Embedded(
        vectors=np.stack(list(rows["vector"])),
        splits=rows["split"].astype(str).to_numpy(),
        groups=rows["cluster_id"].astype(str).to_numpy(),
        labels=labels.to_numpy(dtype=np.int64),
    )


def measure_embedded(table: pd.DataFrame, measuring: Measuring) -> list[Figure]:
    """All figures of all embeddings: `<name>_<embedding>`, and of pixels what a split by case would leak.

    For the model's own embedding a difference between train and test is overfitting too, and it is not asked
    for a leak: it has seen train's labels.
    """
    figures: list[Figure] = []
    for embedding in dict.fromkeys(table["embedding"]):
        cases = read_embedded(table, embedding, measuring)
        found = [*measure_splits(cases, measuring), *measure_classes(cases, measuring)]
        figures += [dataclasses.replace(figure, name=f"{figure.name}_{embedding}") for figure in found]
        if embedding == PIXELS:
            figures += measure_leak(cases, measuring)
    return figures


def measure_splits(cases: Embedded, measuring: Measuring) -> Iterator[Figure]:
    """Nearest-neighbour shares with what chance would give, discrepancy with its p-value, and the AUC of telling the splits apart."""
    cases = cases.take(np.isin(cases.splits, (TRAIN, measuring.split)))
    is_test = cases.splits == measuring.split
    train, test = cases.take(~is_test), cases.take(is_test)
    groups, name = min(
        (len(np.unique(part.groups)), name) for name, part in ((TRAIN, train), (measuring.split, test))
    )
    if groups < FOLDS:
        note = f"no figure: the {name} split has {groups} groups, needs {FOLDS}"
        yield make_figure(
            "nearest_in_train", test, measuring, math.nan, Interval(math.nan, math.nan, note=note)
        )
        return
    near = measure_nearness(train.vectors, test.vectors, train_groups=train.groups, test_groups=test.groups)
    yield from measure_share("nearest_in_train", near.is_in_train, near.in_train_by_chance, test, measuring)
    yield from measure_share("close_to_train", near.is_close, near.close_by_chance, test, measuring)
    discrepancy = measure_discrepancy(cases.vectors, is_test, groups=cases.groups, seed=measuring.seed)
    yield make_figure("mmd_squared", cases, measuring, discrepancy.value)
    yield make_figure("mmd_p_value", cases, measuring, discrepancy.p_value)
    scores = predict_split_membership(cases.vectors, is_test, groups=cases.groups, seed=measuring.seed)
    yield measure_scores("split_auc", scores, cases, measuring, metric="auc", labels=is_test.astype(int))


def measure_classes(cases: Embedded, measuring: Measuring) -> Iterator[Figure]:
    """The share of other classes among the nearest neighbours of the measured split's cases, and what chance would give."""
    measured, shares_QC = share_classes(cases, measuring)
    if len(shares_QC):
        others_Q = 1 - shares_QC[np.arange(len(shares_QC)), measured.labels]
        labelled = cases.labels[cases.labels >= 0]
        prevalence_C = np.bincount(labelled, minlength=len(measuring.classes)) / len(labelled)
        yield from measure_share(
            "other_class_neighbours",
            others_Q,
            float(1 - prevalence_C[measured.labels].mean()),
            measured,
            measuring,
        )


def tabulate_classes(cases: Embedded, measuring: Measuring) -> np.ndarray:
    """Of each class in the measured split the mean share of each class among its cases' neighbours, [C, C].

    NaN in the row of an absent class.
    """
    measured, shares_QC = share_classes(cases, measuring)
    table_CC = np.full((len(measuring.classes), len(measuring.classes)), math.nan)
    for index in np.unique(measured.labels):
        table_CC[index] = shares_QC[measured.labels == index].mean(axis=0)
    return table_CC


def share_classes(cases: Embedded, measuring: Measuring) -> tuple[Embedded, np.ndarray]:
    """The measured split's labelled cases and the share of each class among their neighbours, [Q, C].

    None where all cases are of one group.
    """
    labelled = cases.take(cases.labels >= 0)
    queries = (
        np.flatnonzero(labelled.splits == measuring.split)
        if len(np.unique(labelled.groups)) > 1
        else np.zeros(0, dtype=np.int64)
    )
    classes = len(measuring.classes)
    if not len(queries):
        return labelled.take(queries), np.zeros((0, classes))
    return labelled.take(queries), find_class_neighbours(
        labelled.vectors, labelled.labels, groups=labelled.groups, queries=queries, classes=classes
    )


def measure_leak(cases: Embedded, measuring: Measuring) -> list[Figure]:
    """Balanced accuracy of each simple classifier in folds by case and by group, and the difference with its paired interval."""
    labelled = cases.take(cases.labels >= 0)
    measuring = dataclasses.replace(measuring, split=ALL_EMBEDDED)
    obstacle = find_no_leak(labelled)
    if obstacle:
        return [
            make_figure(
                f"leak_{name}", labelled, measuring, math.nan, Interval(math.nan, math.nan, note=obstacle)
            )
            for name in CLASSIFIERS
        ]
    estimates = estimate_leak(
        labelled.vectors,
        labelled.labels,
        groups=labelled.groups,
        classes=len(measuring.classes),
        seed=measuring.seed,
    )
    figures = []
    for name, leak in estimates.items():
        pair = [
            measure_scores(
                f"folds_{how}_{name}", scores, labelled, measuring, metric=METRIC, labels=labelled.labels
            )
            for how, scores in (("by_case", leak.by_case), ("by_group", leak.by_group))
        ]
        difference = bootstrap_differences(
            labelled.labels,
            leak.by_group,
            leak.by_case,
            groups=labelled.groups,
            metrics={METRIC: METRICS[METRIC]},
            resamples=measuring.resamples,
            seed=measuring.seed,
        )[METRIC]
        figures += [
            *pair,
            make_figure(
                f"leak_{name}", labelled, measuring, pair[0].value - pair[1].value, difference.interval
            ),
        ]
    return figures


def find_no_leak(labelled: Embedded) -> str:
    """Words for why there is no leak or no estimate of it, empty if there is one."""
    groups = len(np.unique(labelled.groups))
    if groups == len(labelled.groups):
        return NOTHING_TO_LEAK
    if len(np.unique(labelled.labels)) < 2:
        return "no estimate: all cases are of one class"
    few = find_few_groups(labelled.groups)
    return f"no estimate: {few}" if few else ""


def measure_share(
    name: str, values_N: np.ndarray, by_chance: float, cases: Embedded, measuring: Measuring
) -> Iterator[Figure]:
    """The mean of these cases' values with its interval, and what chance would give."""
    interval = mean_interval(values_N, cases.groups, resamples=measuring.resamples, seed=measuring.seed)
    yield make_figure(name, cases, measuring, values_N.mean(), interval)
    yield make_figure(f"{name}_by_chance", cases, measuring, by_chance)


def measure_scores(
    name: str,
    scores_NC: np.ndarray,
    cases: Embedded,
    measuring: Measuring,
    *,
    metric: str,
    labels: np.ndarray,
) -> Figure:
    """A metric of probabilities with its interval; `labels` are class indices, [N]."""
    value = float(METRICS[metric](make_sample(labels, scores_NC))[0])
    resampling: dict[str, Any] = {
        "groups": cases.groups,
        "resamples": measuring.resamples,
        "seed": measuring.seed,
    }
    return make_figure(
        name,
        cases,
        measuring,
        value,
        bootstrap_intervals(labels, scores_NC, metrics={metric: METRICS[metric]}, **resampling)[metric],
    )


def make_figure(
    name: str, cases: Embedded, measuring: Measuring, value: float, interval: Interval = NO_INTERVAL
) -> Figure:
    """A figure of these cases."""
    place = (
        measuring.head,
        OVERALL,
        PROTOCOL,
        LEVEL,
        measuring.split,
        len(cases.groups),
        None,
        len(np.unique(cases.groups)),
    )
    return Figure(name, *place, float(value), interval.low, interval.high, interval.note)
