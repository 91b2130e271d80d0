"""A figure over time: in every report that ML Metadata remembers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.dates
import pandas as pd
from matplotlib.axes import Axes
from ml_metadata import MetadataStore

from components.artifacts import Report
from medimg.console.plurals import make_plural
from medimg.evaluation.figures import Figure
from medimg.reporting.charts.base import GUIDE, NEGATIVE, POSITIVE, draw
from medimg.reporting.metric_names import name_metric
from pipeline.local.run_directory import read_run_file
from pipeline.metadata.lineage import live_artifacts, properties_of
from pipeline.views.drawing import Drawing
from pipeline.views.run import open_metadata

KEY = ("head", "name", "slice", "protocol", "level", "split")
SHOWN = ("value", "low", "high", "n", "groups")
COLOURS = (POSITIVE, NEGATIVE, GUIDE)


def tabulate_history(runs: Iterable[Path], figure: Figure) -> pd.DataFrame:
    """Lists the reports of the runs, oldest first: when each was made (UTC), in which run, and the figure.

    A run's folder that was run several times has several reports. Only a figure of the same head, metric,
    slice, protocol, level and split counts; a report without it has NaN.
    """
    rows: list[dict[str, Any]] = []
    for run in runs:
        with open_metadata(run) as store:
            rows += list_reports(store, run, figure)
    return pd.DataFrame(rows).sort_values(["made", "run", "report"], ignore_index=True)


def list_reports(store: MetadataStore, run: Path, figure: Figure) -> Iterable[dict[str, Any]]:
    """The rows of one run."""
    wanted = {name: value for name, value in dataclasses.asdict(figure).items() if name in KEY}
    for artifact in live_artifacts(store, Report.TYPE_NAME, pipeline=read_run_file(run)["pipeline"]):
        figures = json.loads(str(properties_of(artifact)["metrics"]))
        found: dict[str, Any] = next((one for one in figures if wanted.items() <= one.items()), {})
        made = pd.to_datetime(artifact.create_time_since_epoch, unit="ms").floor("s")
        yield {
            "made": made,
            "run": run.name,
            "report": artifact.id,
            **{name: found.get(name) for name in SHOWN},
        }


def draw_history(history: pd.DataFrame, figure: Figure) -> Drawing:
    """Value and interval over time, each run in a colour and with a marker of its own.

    Reports without the figure are left out.
    """
    shown = history.dropna(subset=["value"])
    metric = name_metric(figure.name)

    def paint(axes: Axes) -> None:
        for number, (run, rows) in enumerate(shown.groupby("run")):
            colour, marker = COLOURS[number % len(COLOURS)], "osD^v"[number % 5]
            axes.vlines(rows.made, rows.low, rows.high, color=colour, linewidth=2)
            axes.plot(rows.made, rows.value, color=colour, marker=marker, linewidth=1, label=str(run))
        locator = axes.xaxis.get_major_locator()
        axes.xaxis.set_major_formatter(matplotlib.dates.ConciseDateFormatter(locator))
        axes.set(xlabel="made (UTC)", ylabel=f"{metric} ({figure.protocol})")
        axes.grid(axis="y", color="#e5e7eb")
        axes.margins(x=0.08)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False)

    words = "; ".join(
        f"{run} at {made}: {value:.3f}"
        for run, made, value in zip(shown.run, shown.made, shown.value, strict=True)
    )
    chart = draw("history", title=f"{metric} of {figure.head} over time: {words}", size=(8, 3.6), paint=paint)
    return Drawing(
        {f"{figure.head}, {figure.slice}, {make_plural(figure.level)} of the {figure.split} split": chart}
    )
