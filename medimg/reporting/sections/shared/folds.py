"""The folds of a cross-validation: how much the figures vary from one model and its cases to the next."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from medimg.evaluation.figures import Figure
from medimg.evaluation.folds import measure_folds
from medimg.reporting.metric_names import name_metric
from medimg.reporting.report_data import ReportData, Section, make_id

METRICS = ("auc", "macro_auc", "average_precision", "balanced_accuracy", "brier", "ece")


def describe_folds(data: ReportData, head: str) -> Section:
    """A few metrics of each fold under the head's first protocol; mean and range beside the pooled figure.

    No standard error: the models share most of their training cases, and no unbiased estimate of the variance
    over folds exists (Bengio and Grandvalet 2004).
    """
    title, protocol = f"Folds: {head}", data.protocol_of(head)
    if protocol is None:
        return Section(title, "folds", absent="No protocol has a unit of this head.")
    heads = {head: data.facts.heads[head]}
    by_fold = measure_folds(
        data.predictions,
        heads=heads,
        protocol=protocol,
        metrics=METRICS,
        costs=data.facts.cost_matrices,
    )
    pooled = {
        figure.name: figure
        for figure in data.overall(head)
        if figure.protocol == protocol.name and figure.name in METRICS
    }
    table = tabulate_folds(by_fold, list(pooled))
    rows = [
        (name_metric(name), table[name].tolist(), *summarise(table[name].to_numpy()), figure)
        for name, figure in pooled.items()
    ]
    first = next(iter(pooled.values()), None)
    return Section(
        title,
        "folds",
        {"protocol": protocol, "table": table, "rows": rows, "first": first},
        tables={make_id("folds", head): table},
    )


def tabulate_folds(by_fold: dict[int, list[Figure]], metrics: list[str]) -> pd.DataFrame:
    """A row per fold: its number, units, positives and groups, and the metrics."""
    rows = []
    for fold, figures in by_fold.items():
        values = {figure.name: figure.value for figure in figures}
        counts = {"n": figures[0].n, "positives": figures[0].positives, "groups": figures[0].groups}
        rows.append({"fold": fold, **counts, **{name: values.get(name, math.nan) for name in metrics}})
    return pd.DataFrame(rows)


def summarise(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, lowest and highest of the folds where the metric is defined; NaN where it is in none."""
    defined = values[~np.isnan(values)]
    return (
        (float(defined.mean()), float(defined.min()), float(defined.max()))
        if len(defined)
        else (math.nan,) * 3
    )
