"""Views of a run on statistics that Data Validation has taken."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import tensorflow_data_validation as tfdv

from pipeline.views import statistics
from pipeline.views.statistics import (
    describe_feature,
    draw_feature,
    draw_statistics,
    name_feature,
    tabulate_statistics,
)


def take_statistics(table: pd.DataFrame) -> dict[str, Any]:
    """Data Validation's statistics by feature."""
    statistics = tfdv.generate_statistics_from_dataframe(table, n_jobs=1)
    return {name_feature(feature): feature for feature in statistics.datasets[0].features}


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
    [axes] = draw_feature("side", splits).canvas.axes
    middles = [[bar.get_y() + bar.get_height() / 2 for bar in bars] for bars in axes.containers]
    assert [round(place, 6) for place in middles[0]] == [round(-0.8 / 3, 6), round(1 - 0.8 / 3, 6)]
    assert [round(place, 6) for place in middles[1]] == [0, 1]
    assert [round(place, 6) for place in middles[2]] == [round(0.8 / 3, 6), round(1 + 0.8 / 3, 6)]
    assert all(bar.get_height() < 0.8 / 3 for bars in axes.containers for bar in bars)


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
