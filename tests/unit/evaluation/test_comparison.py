import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medimg.errors import UsageError
from medimg.evaluation.comparison import compare_predictions
from medimg.evaluation.figures import MeasurementSettings
from medimg.evaluation.intervals import Bootstrap
from tests.unit.evaluation.predictions import HEADS, blur, draw_predictions

MALIGNANCY = {"malignancy": HEADS["malignancy"]}


@pytest.fixture(scope="module")
def predictions():
    return draw_predictions()


def compare(first, second, protocols=("P1", "P4"), **options):
    settings = MeasurementSettings(MALIGNANCY, protocols, bootstrap=Bootstrap(200))
    rows = compare_predictions(first, second, settings, **options)
    return {(row.name, row.protocol): row for row in rows}


def test_a_difference_holds_both_values_and_the_second_less_the_first(predictions):
    worse = blur(predictions, noise=2.0)
    row = compare(predictions, worse)["auc", "P1"]
    labels = predictions.label_malignancy == "Malignant"
    assert row.first == pytest.approx(roc_auc_score(labels, predictions.p_malignancy_Malignant))
    assert row.second == pytest.approx(roc_auc_score(labels, worse.p_malignancy_Malignant))
    assert row.low < row.value < row.high < 0
    assert row.p_value < row.adjusted < 0.05
    assert (row.n, row.groups) == (300, 150)


def test_models_that_differ_by_chance_alone_are_not_told_apart(predictions):
    rows = compare(blur(predictions, noise=0.5, seed=1), blur(predictions, noise=0.5, seed=2)).values()
    assert all(row.adjusted > 0.05 for row in rows)
    assert sum(row.low <= 0 <= row.high for row in rows) >= 0.9 * len(rows)


def test_each_model_decides_by_its_own_costs_and_mean_costs_are_compared_where_these_are_the_same(
    predictions,
):
    costs = {"malignancy": np.array([[0.0, 1.0], [9.0, 0.0]])}
    alone = compare(predictions, predictions, protocols=["P1"], costs=({}, costs))
    assert alone["sensitivity", "P1"].second > alone["sensitivity", "P1"].first
    assert alone["sensitivity", "P1"].p_value < 0.05
    assert alone["auc", "P1"].second == alone["auc", "P1"].first
    assert ("mean_cost", "P1") not in alone
    both = compare(predictions, blur(predictions, noise=3.0), protocols=["P1"], costs=(costs, costs))
    assert both["mean_cost", "P1"].value > 0


def test_a_model_is_no_better_than_itself(predictions):
    for row in compare(predictions, predictions).values():
        assert row.value == 0
        assert math.isnan(row.p_value) or row.p_value == 1


def test_the_test_follows_the_design(predictions):
    rows = compare(predictions, blur(predictions, noise=1.0))
    assert "clustered" in rows["auc", "P1"].test
    assert rows["auc", "P4"].test == "DeLong"
    assert [rows["sensitivity", protocol].test for protocol in ("P1", "P4")] == [
        "paired bootstrap",
        "McNemar",
    ]
    assert rows["brier", "P4"].test == "paired bootstrap"


def test_only_cases_of_both_tables_count_and_the_others_are_named(predictions):
    row = compare(predictions.iloc[:-20], predictions.iloc[10:])["auc", "P1"]
    assert row.n == 270
    assert "30 cases are in one table only" in row.note


def test_a_view_that_only_one_model_scored_is_left_out(predictions):
    views = {f"v_malignancy_{name}_CC": predictions[f"p_malignancy_{name}"] for name in HEADS["malignancy"]}
    both = predictions.assign(**views)
    fewer = both.assign(v_malignancy_Malignant_CC=both.v_malignancy_Malignant_CC.mask(both.index < 40))
    row = compare(both, fewer, ["image"])["auc", "image"]
    assert (row.n, row.value) == (260, 0)


def test_a_protocol_that_compares_nothing_says_why(predictions):
    row = compare(predictions, predictions, ["image"])["auc", "image"]
    assert (row.n, math.isnan(row.p_value)) == (0, True)
    assert "no probability from one view" in row.note


def test_other_cases_or_other_labels_are_refused(predictions):
    flipped = predictions.assign(
        label_malignancy=predictions.label_malignancy.where(predictions.index != 3, None)
    )
    with pytest.raises(UsageError, match=f"case {predictions.case_id[3]} is .* and no label"):
        compare(predictions, flipped)
    with pytest.raises(UsageError, match="share no case of split test"):
        compare(predictions.head(100), predictions.tail(100))


def test_too_few_patients_give_no_p_value_and_say_why(predictions):
    row = compare(predictions.head(12), blur(predictions.head(12), noise=1.0))["auc", "P1"]
    assert math.isnan(row.p_value)
    assert math.isnan(row.adjusted)
    assert "6 groups" in row.note
