"""What Data Validation has counted in each split, and what it holds against the schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import tensorflow_data_validation as tfdv
from matplotlib.axes import Axes
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tensorflow_metadata.proto.v0.statistics_pb2 import (
    DatasetFeatureStatistics,
    FeatureNameStatistics,
    NumericStatistics,
    StringStatistics,
)

from medimg.reporting.charts.base import GUIDE, NEGATIVE, POSITIVE, Chart, draw
from medimg.reporting.report_data import make_id
from pipeline.views.drawing import Drawing
from pipeline.views.run import FinishedRun

VALUES = ("label_", "clinical_")
"""Features whose values are shown. The others are ids of patients, and a notebook is passed on."""
LINES = {"train": (GUIDE, "-"), "eval": (NEGATIVE, "--"), "test": (POSITIVE, "-")}
LEGEND: Any = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": len(LINES), "frameon": False}
MOST = 12
"""Values of a text that are drawn."""


def read_statistics(run: FinishedRun) -> dict[str, DatasetFeatureStatistics]:
    """Reads what was counted, by split, in the order of training, choosing and testing."""
    folder = run.output("StatisticsGen", "statistics")
    return {
        split: tfdv.load_stats_binary(str(folder / f"Split-{split}" / "FeatureStats.pb")).datasets[0]
        for split in LINES
    }


def read_schema(run: FinishedRun) -> schema_pb2.Schema:
    """The schema, for `tfdv.display_schema`."""
    return tfdv.load_schema_text(str(run.output("ImportSchemaGen", "schema") / "schema.pbtxt"))


def read_anomalies(run: FinishedRun, split: str) -> anomalies_pb2.Anomalies:
    """A split's anomalies against the schema, for `tfdv.display_anomalies`."""
    return anomalies_pb2.Anomalies.FromString(
        (run.output("ExampleValidator", "anomalies") / f"Split-{split}" / "SchemaDiff.pb").read_bytes()
    )


def tabulate_statistics(run: FinishedRun) -> pd.DataFrame:
    """Tabulates features by split: how many cases have each, and its numbers or most frequent values."""
    rows = [
        {
            "feature": name_feature(feature),
            "split": split,
            **describe_feature(feature, cases=dataset.num_examples),
        }
        for split, dataset in read_statistics(run).items()
        for feature in dataset.features
    ]
    return (
        pd.DataFrame(rows)
        .convert_dtypes()
        .sort_values("feature", kind="stable")
        .set_index(["feature", "split"])
    )


def describe_feature(feature: FeatureNameStatistics, *, cases: int) -> dict[str, float | str]:
    """The columns of `tabulate_statistics` for one feature of one split."""
    present, statistics = count_present(feature), statistics_of(feature)
    row = dict[str, float | str](cases=present, missing=f"{1 - present / cases:.1%}")
    if not present:
        return row
    if is_number(feature):
        return row | {
            "mean": statistics.mean,
            "standard deviation": statistics.std_dev,
            "least": statistics.min,
            "median": statistics.median,
            "most": statistics.max,
        }
    row["different"] = statistics.unique
    if statistics.top_values and name_feature(feature).startswith(VALUES):
        first = statistics.top_values[0]
        row["most frequent"] = f"{first.value} ({first.frequency:.0f})"
    return row


def draw_statistics(run: FinishedRun) -> Drawing:
    """How labels and clinical columns are distributed in each split, one chart per feature.

    One that no case has is in the table alone.
    """
    features: dict[str, dict[str, FeatureNameStatistics]] = {}
    for split, dataset in read_statistics(run).items():
        for feature in dataset.features:
            name = name_feature(feature)
            if name.startswith(VALUES) and count_present(feature):
                features.setdefault(name, {})[split] = feature
    return Drawing({name: draw_feature(name, by_split) for name, by_split in sorted(features.items())})


def draw_feature(name: str, by_split: Mapping[str, FeatureNameStatistics]) -> Chart:
    """Shares per split of a column's values, or of its range in ten parts."""
    drawn = draw_numbers if all(is_number(feature) for feature in by_split.values()) else draw_words
    return drawn(name, {split: statistics_of(feature) for split, feature in by_split.items()})


def draw_numbers(name: str, by_split: Mapping[str, NumericStatistics]) -> Chart:
    """Histograms of a number."""

    def paint(axes: Axes) -> None:
        for split, statistics in by_split.items():
            histogram = next(one for one in statistics.histograms if one.type == one.STANDARD)
            edges = [*(bucket.low_value for bucket in histogram.buckets), histogram.buckets[-1].high_value]
            shares = (
                np.array([bucket.sample_count for bucket in histogram.buckets])
                / statistics.common_stats.num_non_missing
            )
            colour, line = LINES[split]
            axes.stairs(shares, edges, color=colour, linestyle=line, linewidth=1.6, label=split)
        axes.set(ylabel="share of cases")
        axes.legend(**LEGEND)

    words = "; ".join(
        f"{split} {one.mean:.1f} (standard deviation {one.std_dev:.1f})" for split, one in by_split.items()
    )
    return draw(
        make_id("statistics", name),
        title=f"Histogram of {name} by split, mean: {words}",
        size=(4.2, 3.2),
        paint=paint,
    )


def draw_words(name: str, by_split: Mapping[str, StringStatistics]) -> Chart:
    """Shares of a text's most frequent values."""
    by_value: dict[str, pd.Series] = {}
    for split, statistics in by_split.items():
        counts = pd.Series({one.value: one.frequency for one in statistics.top_values}, dtype=float)
        by_value[split] = counts / statistics.common_stats.num_non_missing
    shares = pd.DataFrame(by_value).fillna(0)
    shown = shares.loc[shares.sum(axis=1).sort_values(ascending=False, kind="stable").index[:MOST]]
    different = max(len(shares), *(statistics.unique for statistics in by_split.values()))
    left_out = (
        f", the {len(shown)} most frequent of {different} values or more" if len(shown) < different else ""
    )

    def paint(axes: Axes) -> None:
        places, height = np.arange(len(shown)), 0.8 / len(by_split)
        for number, split in enumerate(by_split):
            axes.barh(
                places + (number - (len(by_split) - 1) / 2) * height,
                shown[split],
                height=0.9 * height,
                color=LINES[split][0],
                label=split,
            )
        axes.set_yticks(places, [str(value) for value in shown.index])
        axes.set(xlabel=f"share of cases{left_out}", ylim=(len(shown) - 0.5, -0.5))
        axes.legend(**LEGEND)

    lines = []
    for value, row in shown.iterrows():
        parts = [f"{split} {row[split]:.0%}" for split in by_split]
        lines.append(f"{value} {', '.join(parts)}")
    words = "; ".join(lines)
    return draw(
        make_id("statistics", name),
        title=f"Shares of {name} by split{left_out}: {words}",
        size=(4.2, 1.6 + 0.4 * len(shown)),
        paint=paint,
    )


def name_feature(feature: FeatureNameStatistics) -> str:
    """A feature's name."""
    return "/".join(feature.path.step)


def is_number(feature: FeatureNameStatistics) -> bool:
    """Whether a feature has numbers; texts otherwise."""
    return bool(feature.HasField("num_stats"))


def statistics_of(feature: FeatureNameStatistics) -> NumericStatistics | StringStatistics:
    """Returns what was counted of a feature's values."""
    return feature.num_stats if is_number(feature) else feature.string_stats


def count_present(feature: FeatureNameStatistics) -> int:
    """The cases that have it."""
    return int(statistics_of(feature).common_stats.num_non_missing)
