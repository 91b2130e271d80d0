"""From embedded cases to figures: overlap of train and test and of the classes, leakage of a split by case.

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

import numpy as np
import pandas as pd

from medimg.catalogue.split import TRAIN
from medimg.evaluation.classification.metrics import METRICS
from medimg.evaluation.classification.weighted_sample import ScoredCases
from medimg.evaluation.figures import Figure
from medimg.evaluation.gates import OVERALL
from medimg.evaluation.intervals import (
    DEFAULT_BOOTSTRAP,
    Bootstrap,
    Interval,
    bootstrap_intervals,
    find_few_groups,
    mean_interval,
)
from medimg.evaluation.paired_tests import bootstrap_differences
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
class EmbeddingSettings:
    """What is measured of embedded cases.

    Attributes:
        head, classes: the label and its classes in order.
        split: what is held against train.
        bootstrap: of the intervals; its seed is that of all other random draws too.
    """

    head: str
    classes: Sequence[str]
    split: str = "test"
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP


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
        """Returns some of the cases, chosen by a mask, bool [N], or by their rows."""
        return Embedded(self.vectors[chosen], self.splits[chosen], self.groups[chosen], self.labels[chosen])

    def score(self, probabilities_NC: np.ndarray) -> ScoredCases:
        """Returns the cases with these probabilities; all must have a label."""
        return ScoredCases(self.labels, probabilities_NC, self.groups)


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


def read_embedded(table: pd.DataFrame, embedding: str, settings: EmbeddingSettings) -> Embedded:
    """The cases of one embedding."""
    rows = table[table["embedding"] == embedding].sort_values("case_id")
    index_of = {name: index for index, name in enumerate(settings.classes)}
    labels = rows[f"label_{settings.head}"].map(index_of).fillna(-1)
    return Embedded(
        vectors=np.stack(list(rows["vector"])),
        splits=rows["split"].astype(str).to_numpy(),
        groups=rows["cluster_id"].astype(str).to_numpy(),
        labels=labels.to_numpy(dtype=np.int64),
    )


def measure_embedded(table: pd.DataFrame, settings: EmbeddingSettings) -> list[Figure]:
    """All figures of all embeddings: `<name>_<embedding>`, and of pixels what a split by case would leak.

    For the model's own embedding a difference between train and test is overfitting too, and it is not asked
    for a leak: it has seen train's labels.
    """
    figures: list[Figure] = []
    for embedding in dict.fromkeys(table["embedding"]):
        cases = read_embedded(table, embedding, settings)
        found = [*measure_splits(cases, settings), *measure_classes(cases, settings)]
        figures += [dataclasses.replace(figure, name=f"{figure.name}_{embedding}") for figure in found]
        if embedding == PIXELS:
            figures += measure_leak(cases, settings)
    return figures


def measure_splits(cases: Embedded, settings: EmbeddingSettings) -> Iterator[Figure]:
    """Yields how train and the measured split overlap.

    These are nearest-neighbour shares with what chance would give, the discrepancy with its p-value, and the
    AUC of a classifier that tells the splits apart.
    """
    cases = cases.take(np.isin(cases.splits, (TRAIN, settings.split)))
    is_test = cases.splits == settings.split
    train, test = cases.take(~is_test), cases.take(is_test)
    groups, name = min(
        (len(np.unique(part.groups)), name) for name, part in ((TRAIN, train), (settings.split, test))
    )
    if groups < FOLDS:
        note = f"no figure: the {name} split has {groups} groups, needs {FOLDS}"
        missing = Interval(math.nan, math.nan, note=note)
        yield make_figure("nearest_in_train", test, settings, math.nan, missing)
        return
    near = measure_nearness(train.vectors, test.vectors, train_groups=train.groups, test_groups=test.groups)
    yield from measure_share("nearest_in_train", near.is_in_train, near.in_train_by_chance, test, settings)
    yield from measure_share("close_to_train", near.is_close, near.close_by_chance, test, settings)
    discrepancy = measure_discrepancy(
        cases.vectors, is_test, groups=cases.groups, seed=settings.bootstrap.seed
    )
    yield make_figure("mmd_squared", cases, settings, discrepancy.value)
    yield make_figure("mmd_p_value", cases, settings, discrepancy.p_value)
    scores = predict_split_membership(
        cases.vectors, is_test, groups=cases.groups, seed=settings.bootstrap.seed
    )
    by_split = dataclasses.replace(cases, labels=is_test.astype(int))
    yield measure_scores("split_auc", scores, by_split, settings, metric="auc")


def measure_classes(cases: Embedded, settings: EmbeddingSettings) -> Iterator[Figure]:
    """Yields the share of other classes among the neighbours of the measured split's cases.

    With it comes what chance would give.
    """
    measured, shares_QC = share_classes(cases, settings)
    if len(shares_QC):
        others_Q = 1 - shares_QC[np.arange(len(shares_QC)), measured.labels]
        labelled = cases.labels[cases.labels >= 0]
        prevalence_C = np.bincount(labelled, minlength=len(settings.classes)) / len(labelled)
        by_chance = float(1 - prevalence_C[measured.labels].mean())
        yield from measure_share("other_class_neighbours", others_Q, by_chance, measured, settings)


def tabulate_classes(cases: Embedded, settings: EmbeddingSettings) -> np.ndarray:
    """Of each class in the measured split the mean share of each class among its cases' neighbours, [C, C].

    NaN in the row of an absent class.
    """
    measured, shares_QC = share_classes(cases, settings)
    table_CC = np.full((len(settings.classes), len(settings.classes)), math.nan)
    for index in np.unique(measured.labels):
        table_CC[index] = shares_QC[measured.labels == index].mean(axis=0)
    return table_CC


def share_classes(cases: Embedded, settings: EmbeddingSettings) -> tuple[Embedded, np.ndarray]:
    """The measured split's labelled cases and the share of each class among their neighbours, [Q, C].

    None where all cases are of one group.
    """
    labelled = cases.take(cases.labels >= 0)
    queries = (
        np.flatnonzero(labelled.splits == settings.split)
        if len(np.unique(labelled.groups)) > 1
        else np.zeros(0, dtype=np.int64)
    )
    classes = len(settings.classes)
    if not len(queries):
        return labelled.take(queries), np.zeros((0, classes))
    return labelled.take(queries), find_class_neighbours(
        labelled.vectors, labelled.labels, groups=labelled.groups, queries=queries, classes=classes
    )


def measure_leak(cases: Embedded, settings: EmbeddingSettings) -> list[Figure]:
    """Returns the balanced accuracy of each simple classifier in folds by case and by group.

    With both comes the difference with its paired interval.
    """
    labelled = cases.take(cases.labels >= 0)
    settings = dataclasses.replace(settings, split=ALL_EMBEDDED)
    obstacle = find_no_leak(labelled)
    if obstacle:
        missing = Interval(math.nan, math.nan, note=obstacle)
        return [make_figure(f"leak_{name}", labelled, settings, math.nan, missing) for name in CLASSIFIERS]
    estimates = estimate_leak(
        labelled.vectors,
        labelled.labels,
        groups=labelled.groups,
        classes=len(settings.classes),
        seed=settings.bootstrap.seed,
    )
    figures = []
    for name, leak in estimates.items():
        by_case = measure_scores(f"folds_by_case_{name}", leak.by_case, labelled, settings, metric=METRIC)
        by_group = measure_scores(f"folds_by_group_{name}", leak.by_group, labelled, settings, metric=METRIC)
        tests = bootstrap_differences(
            labelled.score(leak.by_group),
            labelled.score(leak.by_case),
            {METRIC: METRICS[METRIC]},
            settings.bootstrap,
        )
        difference, interval = by_case.value - by_group.value, tests[METRIC].interval
        figures += [by_case, by_group, make_figure(f"leak_{name}", labelled, settings, difference, interval)]
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
    name: str, values_N: np.ndarray, by_chance: float, cases: Embedded, settings: EmbeddingSettings
) -> Iterator[Figure]:
    """The mean of these cases' values with its interval, and what chance would give."""
    interval = mean_interval(values_N, cases.groups, settings.bootstrap)
    yield make_figure(name, cases, settings, values_N.mean(), interval)
    yield make_figure(f"{name}_by_chance", cases, settings, by_chance)


def measure_scores(
    name: str, scores_NC: np.ndarray, cases: Embedded, settings: EmbeddingSettings, *, metric: str
) -> Figure:
    """Returns a metric of probabilities of the cases' labels with its interval."""
    scored = cases.score(scores_NC)
    value = float(METRICS[metric](scored.weigh())[0])
    intervals = bootstrap_intervals(scored, {metric: METRICS[metric]}, settings.bootstrap)
    return make_figure(name, cases, settings, value, intervals[metric])


def make_figure(
    name: str, cases: Embedded, settings: EmbeddingSettings, value: float, interval: Interval = NO_INTERVAL
) -> Figure:
    """Returns a figure of these cases."""
    return Figure(
        name=name,
        head=settings.head,
        slice=OVERALL,
        protocol=PROTOCOL,
        level=LEVEL,
        split=settings.split,
        n=len(cases.groups),
        positives=None,
        groups=len(np.unique(cases.groups)),
        value=float(value),
        low=interval.low,
        high=interval.high,
        note=interval.note,
    )
