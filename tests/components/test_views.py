"""Views of a run on statistics that Data Validation has taken."""

from __future__ import annotations

from typing import Any

import pandas as pd
import tensorflow_data_validation as tfdv

from pipeline.views.statistics import describe_feature, draw_feature, name_feature


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
