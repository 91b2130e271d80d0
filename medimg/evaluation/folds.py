"""Cross-validation: every case is scored by the one model that was trained and chosen without its fold.

All cases are measured together. The table of predictions then has each case once, in the split OUT_OF_FOLD,
with the number of its `fold`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from medimg.catalogue.split import name_split
from medimg.evaluation.classification.costs import NO_COSTS
from medimg.evaluation.figures import Figure, MeasurementSettings, measure
from medimg.evaluation.intervals import Bootstrap
from medimg.evaluation.protocols import Protocol

OUT_OF_FOLD = "out of fold"
"""Stands for the split of pooled predictions."""


def note_folds(figures: Iterable[Figure], folds: int) -> list[Figure]:
    """The figures, each with the number of models behind it; 0 for a single one, which needs no words."""
    if not folds:
        return list(figures)
    note = f"{folds} folds pooled, each scored by a model that was trained without it"
    return [
        dataclasses.replace(figure, note="; ".join(filter(None, [note, figure.note]))) for figure in figures
    ]


def list_fits(
    cases: pd.DataFrame, table: pd.DataFrame, *, split: str
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Cases of a split, with the rows of the table of shortcuts that a baseline of theirs may be fitted on.

    That is the train split; of cases out of fold what was the train split when their fold was tested, so that
    the table must have a `fold`.
    """
    if split != OUT_OF_FOLD:
        yield cases, train_rows(table)
        return
    folds = int(table["fold"].max()) + 1
    dealt = table[table["fold"].notna()]
    for test_fold in range(folds):
        splits = [name_split(int(fold), test_fold=test_fold, folds=folds) for fold in dealt["fold"]]
        yield cases[cases["fold"] == test_fold], train_rows(dealt.assign(split=splits))


def measure_folds(
    predictions: pd.DataFrame,
    *,
    heads: Mapping[str, Sequence[str]],
    protocol: Protocol,
    metrics: Collection[str],
    costs: Mapping[str, np.ndarray] = NO_COSTS,
) -> dict[int, list[Figure]]:
    """The figures of each fold alone, by its number.

    Without intervals: the folds say how much the figures vary, each has few cases.
    """
    pooled = predictions[predictions["split"] == OUT_OF_FOLD]
    settings = MeasurementSettings(heads, [protocol], split=OUT_OF_FOLD, bootstrap=Bootstrap(resamples=0))
    return {
        fold: measure(pooled[pooled["fold"] == fold], settings, metrics=metrics, costs=costs)
        for fold in sorted(pooled["fold"].unique().tolist())
    }


def train_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that a model was trained on."""
    return table[(table["status"] == "used") & (table["split"] == "train")]
