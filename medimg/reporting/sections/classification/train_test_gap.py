"""Seen and unseen: a head's figures on the splits that the model knows beside the measured one.

Its merged classes stand beside it in the same table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from medimg.catalogue.split import TRAIN
from medimg.console.plurals import count
from medimg.evaluation.classification.metrics import METRICS
from medimg.evaluation.figures import Figure
from medimg.reporting.metric_names import name_metric
from medimg.reporting.report_data import ReportData


@dataclass(frozen=True)
class TrainTestGap:
    """One table.

    Attributes:
        figures: by metric, head and split; a metric that not all heads have is absent there.
        heads: in the order of the columns, each with its number of classes.
        splits: those that were scored, in the order of the columns; the last is the measured one.
    """

    figures: Mapping[str, Mapping[str, Mapping[str, Figure]]]
    heads: Mapping[str, int]
    splits: Sequence[str]

    @property
    def first(self) -> Mapping[str, Figure]:
        """By split, a figure of the first head: for counts."""
        return next(iter(self.figures.values()))[next(iter(self.heads))]

    @property
    def has_train(self) -> bool:
        """Whether the train split was scored."""
        return TRAIN in self.splits

    def gap(self, metric: str, head: str) -> float:
        """How far the train split's figure is from the measured one; NaN where one is missing."""
        figures = self.figures[metric].get(head, {})
        return figures[TRAIN].value - figures[self.splits[-1]].value if TRAIN in figures else math.nan


def compare_splits(data: ReportData, head: str) -> TrainTestGap | None:
    """The metrics of a head and of the heads derived from it that are of no single class.

    None where there is nothing to set beside it.

    A derived head is shown beside its own alone.
    """
    facts = data.facts
    heads = [head, *facts.derived_from(head)]
    protocol = data.protocol_of(head)
    if protocol is None or any(head in facts.derived_from(other) for other in facts.heads):
        return None
    measured = [figure for name in heads for figure in data.overall(name) if figure.protocol == protocol.name]
    known = [figure for figure in data.development_figures if figure.head in heads]
    splits = [*dict.fromkeys(figure.split for figure in known), facts.split]
    table: dict[str, dict[str, dict[str, Figure]]] = {}
    for figure in [*measured, *known]:
        if figure.name in METRICS:
            table.setdefault(figure.name, {}).setdefault(figure.head, {})[figure.split] = figure
    if len(splits) == len(heads) == 1 or not table:
        return None
    return TrainTestGap(table, {name: len(facts.heads[name]) for name in heads}, splits)


def describe_gap(table: TrainTestGap) -> str:
    """The first metric with a value on both sides, in words; empty without a scored train split."""
    head = next(iter(table.heads))
    metric = next((name for name in table.figures if not math.isnan(table.gap(name, head))), None)
    if metric is None:
        return ""
    train, measured = (table.figures[metric][head][split] for split in (TRAIN, table.splits[-1]))
    less = round(train.value - measured.value, 3)
    words = f"{abs(less):.3f} {'less' if less > 0 else 'more'}" if less else "the same to three decimals"
    return (
        f"{name_metric(metric)}: {train.value:.3f} on the {count(train.n, train.level)} "
        f"that it was trained on, {measured.value:.3f} on the "
        f"{measured.n} of the {measured.split} split, which is {words}."
    )


def tabulate_gap(table: TrainTestGap) -> pd.DataFrame:
    """A row per metric and head, a column per split, and the gap where there is one."""
    rows = []
    for metric, by_head in table.figures.items():
        for head, by_split in by_head.items():
            row: dict[str, str | float] = {"metric": metric, "head": head}
            for split in table.splits:
                row[split] = by_split[split].value if split in by_split else math.nan
            if table.has_train:
                row[f"{TRAIN} - {table.splits[-1]}"] = table.gap(metric, head)
            rows.append(row)
    return pd.DataFrame(rows)
