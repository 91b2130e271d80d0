"""Views of a run on statistics that Data Validation has taken."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from tensorflow_metadata.proto.v0 import anomalies_pb2

from pipeline.views import statistics
from pipeline.views.drawing import Drawing
from pipeline.views.statistics import (
    LINES,
    describe_feature,
    draw_feature,
    draw_statistics,
    name_feature,
    read_anomalies,
    read_schema,
    read_statistics,
    tabulate_statistics,
)


def take_statistics(table: pd.DataFrame) -> dict[str, Any]:
    """Data Validation's statistics by feature."""
    statistics = tfdv.generate_statistics_from_dataframe(table, n_jobs=1)
    return {name_feature(feature): feature for feature in statistics.datasets[0].features}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """What components have written of a run, a case more in each split; a slice beside the whole."""
    for number, split in enumerate(("train", "eval", "test"), start=3):
        table = pd.DataFrame({"label_b": ["x"] * number})
        whole = tfdv.generate_statistics_from_dataframe(table, n_jobs=1)
        whole.datasets.add(name="a slice", num_examples=1)
        found = anomalies_pb2.Anomalies(anomaly_name_format=number % 2)
        found.anomaly_info["label_b"].description = split
        for component, name, message in (
            ("StatisticsGen/statistics", "FeatureStats.pb", whole),
            ("ExampleValidator/anomalies", "SchemaDiff.pb", found),
        ):
            folder = tmp_path / component / f"Split-{split}"
            folder.mkdir(parents=True)
            (folder / name).write_bytes(message.SerializeToString())
    (tmp_path / "ImportSchemaGen/schema").mkdir(parents=True)
    (tmp_path / "ImportSchemaGen/schema/schema.pbtxt").write_text('feature { name: "label_b" }')
    return SimpleNamespace(output=lambda component, channel: tmp_path / component / channel)


def test_what_validation_has_written_is_read_by_split(run: Any) -> None:
    counted = [(split, dataset.num_examples) for split, dataset in read_statistics(run).items()]
    assert counted == [("train", 3), ("eval", 4), ("test", 5)]
    assert [feature.name for feature in read_schema(run).feature] == ["label_b"]
    for split in ("train", "eval", "test"):
        assert read_anomalies(run, split).anomaly_info["label_b"].description == split


def test_a_drawing_shows_its_charts_in_a_cell_and_is_short_as_a_text(run: Any) -> None:
    chart = SimpleNamespace(svg="<svg/>")
    drawing = Drawing({"one & two": chart})  # type: ignore[dict-item]
    figure = '<figure style="margin:0"><figcaption>one &amp; two</figcaption><svg/></figure>'
    assert figure in drawing._repr_html_()
    assert repr(drawing) == "Drawing()"


def expect_legend(axes: Axes, labels: list[str]) -> None:
    """The legend is a row in the middle above the axes, without a frame."""
    axes.figure.canvas.draw()
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == labels
    found, below = legend.get_window_extent(), axes.get_window_extent()
    assert 0 <= found.y0 - below.y1 < 15
    np.testing.assert_allclose(found.x0 + found.x1, below.x0 + below.x1, atol=2)
    heights = [text.get_window_extent().y0 for text in legend.get_texts()]
    assert max(heights) - min(heights) < 5
    assert not legend.get_frame_on()


def test_the_share_of_each_part_of_a_range_is_drawn_in_the_colours_of_the_splits() -> None:
    ages = {"train": [30.0, 31.0, 39.0, 40.0], "eval": [30.0, 40.0], "test": [35.0, 45.0]}
    splits = {split: take_statistics(pd.DataFrame({"age": rows}))["age"] for split, rows in ages.items()}
    chart = draw_feature("age", splits)
    [axes] = chart.canvas.axes
    for split, drawn in zip(ages, axes.patches, strict=True):
        [counted] = [one for one in splits[split].num_stats.histograms if one.type == one.STANDARD]
        counts = np.array([bucket.sample_count for bucket in counted.buckets])
        np.testing.assert_allclose(drawn.get_data().values, counts / len(ages[split]))
        np.testing.assert_allclose(
            drawn.get_data().edges, np.linspace(min(ages[split]), max(ages[split]), 11)
        )
        assert (to_hex(drawn.get_edgecolor()), drawn.get_linestyle()) == LINES[split]
        assert drawn.get_linewidth() == 1.6
    assert len({LINES[split] for split in ages}) == 3
    assert axes.get_ylabel() == "share of cases"
    expect_legend(axes, list(ages))
    np.testing.assert_allclose(chart.canvas.get_size_inches(), (4.2, 3.2))


def test_a_number_is_drawn_as_a_histogram_per_split():
    splits = {
        split: take_statistics(pd.DataFrame({"age": [30.0 + start, 40.0, 50.0 + start]}))["age"]
        for split, start in (("train", 0), ("test", 9))
    }
    chart = draw_feature("age", splits)
    assert chart.title == (
        "Histogram of age by split, mean: "
        "train 40.0 (standard deviation 8.2); test 46.0 (standard deviation 9.2)"
    )


def test_a_text_is_drawn_with_the_share_of_each_value_in_each_split():
    splits = {
        split: take_statistics(pd.DataFrame({"side": values}))["side"]
        for split, values in (("train", ["L", "L", "L", "R"]), ("eval", ["R"]))
    }
    assert (
        draw_feature("side", splits).title
        == "Shares of side by split: R train 25%, eval 100%; L train 75%, eval 0%"
    )


def test_the_bars_of_a_value_stand_side_by_side_about_its_place():
    values = {"train": ["L", "L", "R"], "eval": ["R"], "test": ["L"]}
    splits = {name: take_statistics(pd.DataFrame({"side": side}))["side"] for name, side in values.items()}
    chart = draw_feature("side", splits)
    [axes] = chart.canvas.axes
    np.testing.assert_allclose(
        [[bar.get_width() for bar in bars] for bars in axes.containers],
        [[2 / 3, 1 / 3], [0, 1], [1, 0]],
    )
    assert [to_hex(bars[0].get_facecolor()) for bars in axes.containers] == [one for one, _ in LINES.values()]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["L", "R"]
    assert list(axes.get_yticks()) == [0, 1]
    assert (axes.get_xlabel(), axes.get_ylim()) == ("share of cases", (1.5, -0.5))
    expect_legend(axes, ["train", "eval", "test"])
    np.testing.assert_allclose(chart.canvas.get_size_inches(), (4.2, 2.4))
    middles = [[bar.get_y() + bar.get_height() / 2 for bar in bars] for bars in axes.containers]
    assert [round(place, 6) for place in middles[0]] == [round(-0.8 / 3, 6), round(1 - 0.8 / 3, 6)]
    assert [round(place, 6) for place in middles[1]] == [0, 1]
    assert [round(place, 6) for place in middles[2]] == [round(0.8 / 3, 6), round(1 + 0.8 / 3, 6)]
    assert all(0.2 < bar.get_height() < 0.8 / 3 for bars in axes.containers for bar in bars)


def test_labels_and_clinical_columns_are_drawn_by_name_and_nothing_else(monkeypatch: pytest.MonkeyPatch):
    table = pd.DataFrame({"label_b": ["x"], "group_id": ["g"], "clinical_z": [1.0], "clinical_a": ["u"]})
    empty = pd.DataFrame({"label_b": ["y"], "clinical_none": [None]})
    taken = {
        split: tfdv.generate_statistics_from_dataframe(rows, n_jobs=1).datasets[0]
        for split, rows in (("train", table), ("test", empty))
    }
    monkeypatch.setattr(statistics, "read_statistics", lambda run: taken)
    charts = draw_statistics(None).charts
    assert list(charts) == ["clinical_a", "clinical_z", "label_b"]
    assert (
        charts["label_b"].title == "Shares of label_b by split: x train 100%, test 0%; y train 0%, test 100%"
    )


def test_what_is_left_out_of_a_drawing_is_counted():
    scanner = take_statistics(pd.DataFrame({"scanner": [f"scanner {number}" for number in range(40)]}))[
        "scanner"
    ]
    assert ", the 12 most frequent of 40 values or more" in draw_feature("scanner", {"train": scanner}).title


def test_values_of_an_identifier_are_not_told():
    features = take_statistics(
        pd.DataFrame({"group_id": ["D1-0001", "D1-0001"], "clinical_source": ["D1", "D1"]})
    )
    assert "most frequent" not in describe_feature(features["group_id"], cases=2)
    assert describe_feature(features["clinical_source"], cases=2)["most frequent"] == "D1 (2)"


def test_a_number_is_told_by_its_moments_and_a_text_by_how_many_values_it_has():
    table = pd.DataFrame({"clinical_age": [30.0, 40.0, 50.0, None], "label_kind": ["x", "x", "y", None]})
    features = take_statistics(table)
    assert describe_feature(features["clinical_age"], cases=4) == {
        "cases": 3,
        "missing": "25.0%",
        "mean": 40.0,
        "standard deviation": pytest.approx(8.165, abs=1e-3),
        "least": 30.0,
        "median": 40.0,
        "most": 50.0,
    }
    assert describe_feature(features["label_kind"], cases=4) == {
        "cases": 3,
        "missing": "25.0%",
        "different": 2,
        "most frequent": "x (2)",
    }
    nobody = take_statistics(pd.DataFrame({"clinical_none": [None, None]}))["clinical_none"]
    assert describe_feature(nobody, cases=2) == {"cases": 0, "missing": "100.0%"}


def test_features_are_tabulated_by_name_each_with_its_splits_in_their_order(monkeypatch: pytest.MonkeyPatch):
    table = pd.DataFrame({"label_b": ["x", "y"], "clinical_a": [1.0, 2.0]})
    taken = {
        split: tfdv.generate_statistics_from_dataframe(rows, n_jobs=1).datasets[0]
        for split, rows in (("train", table), ("eval", table[:1]), ("test", table))
    }
    monkeypatch.setattr(statistics, "read_statistics", lambda run: taken)
    found = tabulate_statistics(None)
    splits = ["train", "eval", "test"]
    assert list(found.index) == [(name, split) for name in ("clinical_a", "label_b") for split in splits]
    assert found.cases.tolist() == [2, 1, 2, 2, 1, 2]
    assert found.index.names == ["feature", "split"]
