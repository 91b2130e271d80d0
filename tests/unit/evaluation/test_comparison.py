import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medimg.errors import UsageError
from medimg.evaluation.classification.metrics import BINARY_METRICS
from medimg.evaluation.comparison import (
    adjust_holm,
    compare_aucs,
    compare_metrics,
    compare_predictions,
    mcnemar,
)
from medimg.evaluation.protocols import find_protocols
from tests.unit.evaluation.predictions import HEADS, draw_predictions
from tests.unit.evaluation.readers import FIRST, LABELS, SECOND

MALIGNANCY = {"malignancy": HEADS["malignancy"]}


def blur(predictions, *, noise, seed=5):
    """The same cases scored by a model that sees less."""
    generator = np.random.default_rng(seed)
    score = predictions.p_malignancy_Malignant
    logit = np.log(score / (1 - score)) + generator.normal(0, noise, len(score))
    blurred = 1 / (1 + np.exp(-logit))
    return predictions.assign(p_malignancy_Malignant=blurred, p_malignancy_Benign=1 - blurred)


@pytest.fixture(scope="module")
def predictions():
    return draw_predictions()


def compare(first, second, protocols=("P1", "P4"), **options):
    chosen = {"heads": MALIGNANCY, "protocols": find_protocols(protocols), "resamples": 200, **options}
    return {(row.name, row.protocol): row for row in compare_predictions(first, second, **chosen)}


def test_two_readers_differ_as_in_proc():
    # roc.test(first, second, method="delong") of pROC 1.18.0: Z 2.126943, p 0.033424816152, 0.0109377677807
    # to 0.2677080655526 for first - second.
    test = compare_aucs(LABELS, SECOND, FIRST)
    assert test.p_value == pytest.approx(0.033424816152, abs=1e-11)
    assert (test.interval.low, test.interval.high) == pytest.approx(
        (0.0109377677807, 0.2677080655526), abs=1e-12
    )


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


def test_with_independent_cases_the_paired_bootstrap_agrees_with_delong(predictions):
    labels = (predictions.label_malignancy == "Malignant").to_numpy().astype(int)
    pair = [
        table[["p_malignancy_Benign", "p_malignancy_Malignant"]].to_numpy()
        for table in (predictions, blur(predictions, noise=1.0))
    ]
    # Under another name it is a metric as any other.
    drawn = compare_metrics(labels, *pair, groups=np.arange(300), metrics={"area": BINARY_METRICS["auc"]})[
        "area"
    ]
    exact = compare_aucs(labels, pair[0][:, 1], pair[1][:, 1])
    assert (drawn.interval.low, drawn.interval.high) == pytest.approx(
        (exact.interval.low, exact.interval.high), abs=0.005
    )


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


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [(4, 12, 0.076812744140625), (12, 21, 0.1637343543), (0, 0, 1.0), (3, 3, 1.0)],
)
def test_mcnemar_is_the_binomial_test_below_25_discordant_cases_and_that_of_r_above(
    only_first, only_second, p_value
):
    # 2 * pbinom(4, 16, 0.5), and mcnemar.test of R 4.2.2, which corrects for continuity: chi-squared 1.9394,
    # p 0.1637.
    right = np.repeat([True, False, True, False], [only_first, only_second, 50, 30])
    other = np.repeat([False, True, True, False], [only_first, only_second, 50, 30])
    assert mcnemar(right, other) == pytest.approx(p_value)


def test_holm_adjusts_step_by_step_and_does_not_count_what_is_undefined():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") of R 4.2.2.
    assert adjust_holm([0.01, 0.04, math.nan, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, math.nan, 0.06, 0.02], nan_ok=True
    )
