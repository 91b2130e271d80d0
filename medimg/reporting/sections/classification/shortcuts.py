"""Compared with shortcuts: what is reached without looking at the images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pandas as pd

from medimg.evaluation.classification.baselines import BaselineFigure, Reach, tabulate_reach
from medimg.evaluation.figures import Figure
from medimg.evaluation.gates import ABOVE_SHORTCUT, OVERALL
from medimg.reporting.charts.base import Chart, draw_intervals
from medimg.reporting.metric_names import name_metric
from medimg.reporting.report_data import ReportData, Section, make_id

TITLE = "Compared with shortcuts"


def describe_shortcuts(data: ReportData) -> Section:
    """Model and shortcuts by head and protocol, each measured by the first metric that they share."""
    if not data.baselines:
        return Section(TITLE, "shortcuts", absent="No shortcut was asked for (evaluation.shortcuts).")
    parts, charts = [], {}
    for figure in list_models(data):
        rows = reach_of(data, figure)
        parts.append((figure, rows, data.find(figure, name=ABOVE_SHORTCUT)))
        charts[name_chart(figure)] = draw_reach(figure, rows)
    tables = {"shortcuts": list_figures([*data.in_sample, *data.baselines])}
    return Section(TITLE, "shortcuts", {"parts": parts}, charts, tables)


def list_models(data: ReportData) -> list[Figure]:
    """The model's figure of each head and protocol that baselines stand beside: of their first metric."""
    names = {
        (one.figure.head, one.figure.protocol): one.figure
        for one in reversed(data.baselines)
        if not math.isnan(one.figure.value)
    }
    figures = [data.find(figure, slice=OVERALL) for figure in names.values()]
    return [figure for figure in reversed(figures) if figure]


def reach_of(data: ReportData, model: Figure) -> list[Reach]:
    """The rows of the small table for one of the model's figures."""
    reach = tabulate_reach(data.in_sample, data.baselines, metric=model.name)
    return [row for row in reach if row.held_out.key == model.key]


def name_chart(figure: Figure) -> str:
    """The chart's name."""
    return make_id("shortcuts", figure.head, figure.protocol)


def draw_reach(model: Figure, rows: Sequence[Reach]) -> Chart:
    """The model and each baseline, fitted on train and scored on the measured split."""
    bars = [("model", model.value, model.low, model.high)]
    bars += [(row.baseline, row.held_out.value, row.held_out.low, row.held_out.high) for row in rows]
    metric = name_metric(model.name)
    return draw_intervals(
        name_chart(model),
        bars,
        title=f"{metric} of model and shortcuts, protocol {model.protocol}",
        unit=f"{metric}, protocol {model.protocol}",
    )


def list_figures(figures: Sequence[BaselineFigure]) -> pd.DataFrame:
    """All figures of baselines as a table."""
    return pd.DataFrame([{"baseline": one.baseline, **dataclasses.asdict(one.figure)} for one in figures])
