"""Figures: every metric with its protocol, level, split, slice, counts and interval.

Measured, written and read.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medimg.errors import UsageError
from medimg.evaluation.classification.costs import NO_COSTS
from medimg.evaluation.classification.metrics import (
    FOR_GATES,
    NO_PREVALENCE,
    Metric,
    metrics_of,
    refused_metrics,
)
from medimg.evaluation.classification.weighted_sample import ScoredCases
from medimg.evaluation.gates import OVERALL
from medimg.evaluation.intervals import (
    CONFIDENCE,
    DEFAULT_BOOTSTRAP,
    Bootstrap,
    Interval,
    bootstrap_intervals,
)
from medimg.evaluation.protocols import Protocol, clusters_of, find_gap, find_protocols, require, roll_up


@dataclass(frozen=True)
class Figure:
    """One measured number and all that it takes to compare it.

    Attributes:
        name: the metric.
        head: the label that it is of.
        slice: "overall" or "column=value".
        protocol, level, split: the rule, what carries one prediction, and the data.
        n: units (breasts, patients) with a label; `positives` of them positive, None for more than two
            classes.
        groups: patients among them.
        value, low, high: the figure and its 95 % patient-clustered bootstrap interval; NaN where undefined.
            Groups that share images are drawn as one.
        note: why something is missing, or what to be careful about.
    """

    name: str
    head: str
    slice: str
    protocol: str
    level: str
    split: str
    n: int
    positives: int | None
    groups: int
    value: float
    low: float
    high: float
    note: str = ""

    @property
    def key(self) -> tuple[str, str, str, str, str, str]:
        """What two figures must share to be compared."""
        return self.head, self.name, self.slice, self.protocol, self.level, self.split


@dataclass(frozen=True)
class MeasurementSettings:
    """What is measured of a table of predictions.

    Attributes:
        heads: head to classes, the positive one last. Cases without a label for a head do not count for it.
        protocols: rules or their names in `medimg.evaluation.protocols.PROTOCOLS`.
        slices: clinical columns; each value is a slice. Cases without a value are in none.
        split: the split whose cases count.
        bootstrap: of the intervals.
        prevalence: the class frequencies that the probabilities are meant for: those of "train", or
            "balanced", of which the metrics that need the data's own are refused.
    """

    heads: Mapping[str, Sequence[str]]
    protocols: Sequence[Protocol | str]
    slices: Sequence[str] = ()
    split: str = "test"
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP
    prevalence: str = "train"

    def find_protocols(self) -> list[Protocol]:
        """Returns the protocols as rules.

        Raises:
            UsageError: a name is unknown.
        """
        return [
            protocol if isinstance(protocol, Protocol) else find_protocols([protocol])[0]
            for protocol in self.protocols
        ]


@dataclass(frozen=True)
class Subset:
    """The cases of one head that a figure is measured on; attributes as of a Figure.

    Attributes:
        classes: of the head, the positive one last.
    """

    head: str
    classes: Sequence[str]
    protocol: Protocol
    split: str
    slice: str = OVERALL


def measure(
    predictions: pd.DataFrame,
    settings: MeasurementSettings,
    *,
    metrics: Collection[str] | None = None,
    costs: Mapping[str, np.ndarray] = NO_COSTS,
) -> list[Figure]:
    """Returns all metrics of all heads under all protocols, overall and per slice.

    Args:
        predictions: see medimg.evaluation.protocols.
        metrics: names of the metrics that are wanted; all if None.
        costs: head to what its answers cost, see medimg.evaluation.classification.costs; the heads without
            are answered by the likeliest class.

    Raises:
        UsageError: a column is missing, or a protocol is unknown.
    """
    protocols = settings.find_protocols()
    clinical = [f"clinical_{column}" for column in settings.slices]
    require(predictions, ["case_id", "group_id", "split", *clinical], why="the evaluation")
    rows = predictions[predictions["split"] == settings.split]
    figures: list[Figure] = []
    for head, classes in settings.heads.items():
        known = metrics_of(classes, with_costs=head in costs, prevalence=settings.prevalence)
        refused = refused_metrics(classes, prevalence=settings.prevalence)
        chosen = known
        if metrics is not None:
            offered = {**known, **FOR_GATES}
            chosen = {name: metric for name, metric in offered.items() if name in metrics}
        for protocol in protocols:
            subset = Subset(head, classes, protocol, settings.split)
            if gap := find_gap(rows, protocol=protocol, head=head, classes=classes):
                figures.append(undefined_figure(subset, note=gap))
                continue
            units = roll_up(rows, protocol=protocol, head=head, classes=classes)
            for name, part in list_slices(units, settings.slices):
                figures += measure_slice(
                    part,
                    dataclasses.replace(subset, slice=name),
                    metrics=chosen,
                    costs_CC=costs.get(head),
                    bootstrap=settings.bootstrap,
                )
            figures += [
                undefined_figure(subset, note=NO_PREVALENCE, name=name)
                for name in refused
                if metrics is None or name in metrics
            ]
    return figures


def undefined_figure(subset: Subset, *, note: str, name: str = "") -> Figure:
    """Says why a protocol has no figures for a head, so that they are not just absent.

    Stands for `name` or the head's first metric.
    """
    return Figure(
        name=name or next(iter(metrics_of(subset.classes))),
        head=subset.head,
        slice=subset.slice,
        protocol=subset.protocol.name,
        level=subset.protocol.level,
        split=subset.split,
        n=0,
        positives=None,
        groups=0,
        value=math.nan,
        low=math.nan,
        high=math.nan,
        note=note,
    )


def list_slices(units: pd.DataFrame, slices: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The whole, then each value of each column, in sorted order."""
    yield OVERALL, units
    for column in slices:
        texts = units[f"clinical_{column}"].map(value_text, na_action="ignore")
        for value in sorted(texts.dropna().unique()):
            yield f"{column}={value}", units[texts == value]


def value_text(value: object) -> str:
    """A clinical value as it stands in a slice's name.

    Whole numbers without a point, others with the digits that tell 32-bit floats apart.
    """
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value.is_integer() else str(np.float32(value))


def measure_slice(
    units: pd.DataFrame,
    subset: Subset,
    *,
    metrics: Mapping[str, Metric],
    costs_CC: np.ndarray | None = None,
    bootstrap: Bootstrap,
) -> list[Figure]:
    """Returns the metrics of one head on one slice, whose units these are.

    `costs_CC` is what an answer costs, if that is to decide.
    """
    labels_N, probabilities_NC = read_units(units, head=subset.head, classes=subset.classes)
    cases = ScoredCases(labels_N, probabilities_NC, clusters_of(units), costs_CC)
    sample = cases.weigh()
    values = {name: float(metric(sample)[0]) for name, metric in metrics.items()}
    intervals = bootstrap_intervals(cases, metrics, bootstrap)
    return [
        make_figure(name, units, subset, value=value, interval=intervals[name])
        for name, value in values.items()
    ]


def make_figure(
    name: str, units: pd.DataFrame, subset: Subset, *, value: float, interval: Interval
) -> Figure:
    """Returns a figure of these units with their counts and what to be careful about."""
    positives = None
    if len(subset.classes) == 2:
        positives = int((units[f"label_{subset.head}"] == subset.classes[-1]).sum())
    return Figure(
        name=name,
        head=subset.head,
        slice=subset.slice,
        protocol=subset.protocol.name,
        level=subset.protocol.level,
        split=subset.split,
        n=len(units),
        positives=positives,
        groups=units["group_id"].nunique(),
        value=value,
        low=interval.low,
        high=interval.high,
        note=describe(value, interval),
    )


def read_units(units: pd.DataFrame, *, head: str, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Class index, int [N], and probabilities [N, C] of labelled rows."""
    index_of = {name: index for index, name in enumerate(classes)}
    labels_N = units[f"label_{head}"].map(index_of).to_numpy(dtype=np.int64)
    return labels_N, units[[f"p_{head}_{name}" for name in classes]].to_numpy(dtype=np.float64)


def describe(value: float, interval: Interval) -> str:
    """What to be careful about with a value and its interval."""
    if math.isnan(value):
        return "no value: a class is missing"
    if value < interval.low or value > interval.high:
        # The calibration error above all: every resample repeats cases, which makes its bins look worse
        # calibrated than they are.
        outside = (
            "the value lies outside of its interval: with so few cases this metric is biased under resampling"
        )
        return "; ".join(filter(None, [outside, interval.note]))
    return interval.note


def describe_multiplicity(figures: Iterable[Figure]) -> str:
    """What a reader of many intervals at once must know, by Bonferroni.

    Empty for fewer than two intervals.
    """
    count = sum(not math.isnan(figure.low) for figure in figures)
    if count < 2:
        return ""
    missed, level = count * (1 - CONFIDENCE), 100 * (1 - (1 - CONFIDENCE) / count)
    return (
        f"{count} intervals at 95 %: {missed:.1f} can be expected to miss by chance; "
        f"to hold all together each would need {level:.2f} %"
    )


def write_metrics(to: Path, figures: Iterable[Figure]) -> Path:
    """Writes the figures as a JSON list, NaN as null."""
    rows = [to_plain(figure) for figure in figures]
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return to


def read_metrics(path: Path) -> list[Figure]:
    """The inverse of `write_metrics`.

    Raises:
        UsageError: the file is not such a list.
    """
    figures = []
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        for row in rows:
            numbers = {
                name: math.nan if row[name] is None else row[name] for name in ("value", "low", "high")
            }
            figures.append(Figure(**{**row, **numbers}))
    except (OSError, ValueError, TypeError, KeyError) as error:
        found = str(error).splitlines()[0]
        raise UsageError(
            f"{path}: found {found}, expected the figures that a run writes as metrics.json"
        ) from None
    return figures


def to_plain(figure: Figure) -> dict[str, object]:
    """Returns a figure's fields for JSON, which has no NaN: null stands for it."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in dataclasses.asdict(figure).items()
    }


def format_figure(figure: Figure) -> str:
    """`0.912 (0.850 to 0.960)`; says so where there is no interval, and is a dash where there is no value."""
    if math.isnan(figure.value):
        return "-"
    interval = "no interval" if math.isnan(figure.low) else f"{figure.low:.3f} to {figure.high:.3f}"
    return f"{figure.value:.3f} ({interval})"
