import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medimg.errors import UsageError
from medimg.evaluation.classification.metrics import metrics_of
from medimg.evaluation.comparison import compare_predictions
from medimg.evaluation.figures import MeasurementSettings
from medimg.evaluation.intervals import Bootstrap
from medimg.evaluation.paired_tests import adjust_holm
from tests.unit.evaluation.predictions import HEADS, blur, draw_predictions

MALIGNANCY = {"malignancy": HEADS["malignancy"]}


@pytest.fixture(scope="module")
def predictions():
    return draw_predictions()


def compare(first, second, protocols=("P1", "P4"), *, heads=MALIGNANCY, split="test", **options):
    settings = MeasurementSettings(heads, protocols, split=split, bootstrap=Bootstrap(200))
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
    assert (row.head, row.level, row.split, row.note) == ("malignancy", "breast", "test", "")


def test_swapping_the_models_turns_every_difference_and_the_order_of_rows_changes_nothing(predictions):
    worse = blur(predictions, noise=2.0)
    there = compare(predictions, worse)
    back = compare(worse.sample(frac=1.0, random_state=0), predictions.sample(frac=1.0, random_state=1))
    assert there.keys() == back.keys()
    for key, row in there.items():
        turned = back[key]
        assert (row.first, row.second, row.value) == pytest.approx(
            (turned.second, turned.first, -turned.value)
        )
        assert (row.low, row.high) == pytest.approx((-turned.high, -turned.low), nan_ok=True)
        assert (row.p_value, row.adjusted) == pytest.approx((turned.p_value, turned.adjusted), nan_ok=True)


def test_p_values_are_adjusted_over_all_rows_of_all_heads_and_protocols(predictions):
    settings = MeasurementSettings(HEADS, ["P1", "patient-mean"], bootstrap=Bootstrap(200))
    rows = compare_predictions(predictions, blur(predictions, noise=2.0), settings)
    assert {row.head for row in rows} == set(HEADS)
    assert {row.protocol for row in rows} == {"P1", "patient-mean"}
    assert [row.adjusted for row in rows] == pytest.approx(
        adjust_holm([row.p_value for row in rows]), nan_ok=True
    )
    # Of 200 resamples none is on the other side.
    assert {row.p_value for row in rows if row.name == "brier"} == {2 / 201}


def test_a_head_of_several_classes_is_compared_by_its_own_metrics(predictions):
    second = predictions.assign(
        p_abnormality_mass=predictions.p_abnormality_both, p_abnormality_both=predictions.p_abnormality_mass
    )
    rows = compare(predictions, second, protocols=("P1",), heads={"abnormality": HEADS["abnormality"]})
    assert set(rows) == {(name, "P1") for name in metrics_of(HEADS["abnormality"])}
    assert {row.test for row in rows.values()} == {"paired bootstrap"}
    labelled = predictions[predictions.label_abnormality.notna()]
    is_mass = labelled.label_abnormality == "mass"
    row = rows["auc_mass", "P1"]
    assert (row.first, row.second) == pytest.approx(
        (
            roc_auc_score(is_mass, labelled.p_abnormality_mass),
            roc_auc_score(is_mass, labelled.p_abnormality_both),
        )
    )
    assert row.n == len(labelled)


def test_only_the_measured_split_is_compared(predictions):
    held = blur(predictions, noise=1.0)
    first = pd.concat([predictions, predictions.head(10).assign(split="eval", case_id="eval only")])
    second = pd.concat([held, held.head(4).assign(split="train", case_id="train only")])
    expected, found = compare(predictions, held)["auc", "P1"], compare(first, second)["auc", "P1"]
    assert found == expected
    row = compare(
        *(
            pd.concat([table.head(40).assign(split="eval"), table.tail(260)], ignore_index=True)
            for table in (predictions, held)
        ),
        split="eval",
    )["auc", "P1"]
    assert (row.n, row.split, row.note) == (40, "eval", "")
    assert row.first == pytest.approx(
        roc_auc_score(
            predictions.label_malignancy[:40] == "Malignant", predictions.p_malignancy_Malignant[:40]
        )
    )


def test_patients_who_share_images_are_drawn_as_one_and_counted_as_two(predictions):
    held = blur(predictions, noise=1.0)
    clusters = [f"{int(name[3:]) // 3}" for name in predictions.group_id]
    joined, by_hand = (
        compare(*(table.assign(**{column: clusters}) for table in (predictions, held)))
        for column in ("cluster_id", "group_id")
    )
    for key in (("auc", "P1"), ("auc", "P4"), ("brier", "P1"), ("sensitivity", "P4")):
        assert joined[key].test == by_hand[key].test
        assert (joined[key].low, joined[key].p_value) == (by_hand[key].low, by_hand[key].p_value)
        assert (joined[key].groups, by_hand[key].groups) == (150, 50)


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
    others = {"malignancy": np.array([[0.0, 1.0], [8.0, 0.0]])}
    assert ("mean_cost", "P1") not in compare(
        predictions, predictions, protocols=["P1"], costs=(costs, others)
    )


def test_models_are_not_compared_by_what_their_answers_are_not_meant_for(predictions):
    settings = MeasurementSettings(MALIGNANCY, ["P1"], bootstrap=Bootstrap(200), prevalence="balanced")
    names = {one.name for one in compare_predictions(predictions, blur(predictions, noise=1.0), settings)}
    assert {"auc", "average_precision"} <= names
    assert not names & {"brier", "ece", "accuracy", "net_benefit_10"}


def test_a_model_is_no_better_than_itself(predictions):
    rows = compare(predictions, predictions)
    assert {row.value for row in rows.values()} == {0}
    ranked_alike = {("auc", "P1"), ("auc", "P4")}
    assert {key for key, row in rows.items() if math.isnan(row.p_value)} == ranked_alike
    assert {row.p_value for key, row in rows.items() if key not in ranked_alike} == {1}
    assert all("rank all cases alike" in rows[key].note for key in ranked_alike)


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
    assert row.note.endswith("; 30 cases are in one table only and left out")


def test_a_row_says_both_why_it_has_no_interval_and_what_is_left_out(predictions):
    row = compare(predictions.iloc[:14], predictions.iloc[2:12])["auc", "P1"]
    assert row.note == "no interval: 5 groups, needs 10; 4 cases are in one table only and left out"


def test_a_view_that_only_one_model_scored_is_left_out(predictions):
    views = {f"v_malignancy_{name}_CC": predictions[f"p_malignancy_{name}"] for name in HEADS["malignancy"]}
    both = predictions.assign(**views)
    fewer = both.assign(v_malignancy_Malignant_CC=both.v_malignancy_Malignant_CC.mask(both.index < 40))
    row = compare(both, fewer, ["image"])["auc", "image"]
    assert (row.n, row.value) == (260, 0)


@pytest.mark.parametrize("viewed", [(), (0,), (1,)], ids=["neither", "first", "second"])
def test_a_protocol_that_one_model_has_no_figures_under_compares_nothing_and_says_why(predictions, viewed):
    views = {f"v_malignancy_{name}_CC": predictions[f"p_malignancy_{name}"] for name in HEADS["malignancy"]}
    tables = [predictions.assign(**views) if number in viewed else predictions for number in (0, 1)]
    rows = compare(*tables, ["image", "P1"])
    row = rows["auc", "image"]
    assert (row.n, row.level, math.isnan(row.p_value), row.test) == (0, "image", True, "")
    assert "no probability from one view" in row.note
    assert rows["auc", "P1"].n == 300


def test_a_head_that_a_protocol_has_no_meaning_for_stands_under_its_first_metric(predictions):
    rows = compare(predictions, predictions, ["P4"], heads={"abnormality": HEADS["abnormality"]})
    ((name, protocol),) = rows
    assert (name, protocol, rows[name, protocol].level) == ("macro_auc", "P4", "patient")
    assert "two classes" in rows[name, protocol].note


def test_other_cases_or_other_labels_are_refused(predictions):
    flipped = predictions.assign(
        label_malignancy=predictions.label_malignancy.where(predictions.index != 3, None)
    )
    with pytest.raises(UsageError, match=f"case {predictions.case_id[3]} is .* and no label in the second"):
        compare(predictions, flipped)
    with pytest.raises(
        UsageError, match=f"case {predictions.case_id[3]} is no label in the first table and "
    ):
        compare(flipped, predictions)
    with pytest.raises(UsageError, match="share no case of split test"):
        compare(predictions.head(100), predictions.tail(100))


def test_too_few_patients_give_no_p_value_and_say_why(predictions):
    row = compare(predictions.head(12), blur(predictions.head(12), noise=1.0))["auc", "P1"]
    assert math.isnan(row.p_value)
    assert math.isnan(row.adjusted)
    assert "6 groups" in row.note
