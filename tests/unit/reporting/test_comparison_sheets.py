"""Runs side by side in words: cells, counts, p-values, the overview, and the table with every digit."""

import dataclasses
import json
import math

import pytest

from medimg.evaluation.comparison import Difference
from medimg.evaluation.figures import Figure, format_figure
from medimg.reporting.comparison import Comparison, ComparisonRow, Side, compare, list_numbers, tabulate
from medimg.reporting.comparison_sheets import (
    describe_counts,
    format_difference,
    format_p_value,
    list_cells,
    make_overview,
    make_settings_sheet,
    make_sheets,
)
from tests.unit.evaluation.predictions import blur, draw_predictions
from tests.unit.reporting.report_data import make_facts

FIRST = Figure("auc", "malignancy", "overall", "P1", "breast", "test", 25, 17, 24, 0.8, 0.7, 0.9)
SECOND = dataclasses.replace(FIRST, value=0.85, low=0.75, high=0.95)
TEST = Difference(
    *("auc", "malignancy", "P1", "breast", "test", 25, 24),
    *(0.8, 0.85, -0.031, 0.102, 0.0312, "DeLong"),
    adjusted=0.0624,
    note="a note",
)
KEY = FIRST.key


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "-"),
        (0.0, "<0.001"),
        (0.00099, "<0.001"),
        (0.001, "0.001"),
        (0.0499, "0.050"),
        (1.0, "1.000"),
    ],
)
def test_a_p_value_has_three_digits(value, words):
    assert format_p_value(value) == words


def test_a_difference_has_its_sign_and_its_interval_where_there_is_a_test():
    assert format_difference(FIRST, SECOND, TEST) == "+0.050 (-0.031 to +0.102)"
    assert format_difference(SECOND, FIRST, None) == "-0.050"
    assert format_difference(FIRST, SECOND, dataclasses.replace(TEST, low=math.nan)) == "+0.050"
    assert format_difference(None, SECOND, TEST) == format_difference(FIRST, None, None) == ""
    assert format_difference(FIRST, dataclasses.replace(SECOND, value=math.nan), TEST) == ""


def test_a_row_has_each_runs_figure_with_its_units_only_where_they_differ_and_each_test():
    row = ComparisonRow(KEY, [FIRST, SECOND, None], [TEST, None])
    assert list(list_cells(row)) == [
        *("AUC", "overall", "0.800 (0.700 to 0.900)", "0.850 (0.750 to 0.950)", ""),
        *("+0.050 (-0.031 to +0.102)", "0.031", "0.062", "", "", ""),
    ]
    fewer = ComparisonRow(KEY, [FIRST, dataclasses.replace(SECOND, n=20)], [None])
    assert list(list_cells(fewer))[2:4] == ["0.800 (0.700 to 0.900) n=25", "0.850 (0.750 to 0.950) n=20"]


def test_every_number_of_a_row_is_in_the_table_under_its_runs_letter():
    row = ComparisonRow(KEY, [FIRST, SECOND, None], [TEST, None])
    assert dict(list_numbers(row, "ABC")) == {
        "A": 0.8,
        "A low": 0.7,
        "A high": 0.9,
        "A n": 25,
        "A groups": 24,
        "B": 0.85,
        "B low": 0.75,
        "B high": 0.95,
        "B n": 25,
        "B groups": 24,
        "C": None,
        "C low": None,
        "C high": None,
        "C n": None,
        "C groups": None,
        "B - A": pytest.approx(0.05),
        "B - A low": -0.031,
        "B - A high": 0.102,
        "B - A p_value": 0.0312,
        "B - A adjusted": 0.0624,
        "B - A test": "DeLong",
        "B - A note": "a note",
        "C - A": None,
        "C - A low": None,
        "C - A high": None,
        "C - A p_value": None,
        "C - A adjusted": None,
        "C - A test": None,
        "C - A note": None,
    }
    table = tabulate(Comparison([make_side(name) for name in "abc"], [row], []))
    assert list(table.iloc[0, :6]) == list(KEY)
    assert list(table.columns[:6]) == ["head", "metric", "slice", "protocol", "level", "split"]


def test_counts_are_those_of_the_whole_split():
    slice_ = dataclasses.replace(FIRST, slice="source=D1", n=9, groups=9)
    assert (
        describe_counts([None, slice_, FIRST], level="breast", noun="patient") == "25 breasts of 24 patients"
    )
    assert describe_counts([slice_, FIRST], level="patient", noun="patient") == "25 patients"
    assert describe_counts([None, slice_], level="breast", noun="patient") == "-"


def make_side(name, *figures, **changes):
    table = draw_predictions(patients=12)
    return Side(name, make_facts(heads={"malignancy": ("Benign", "Malignant")}, **changes), figures, table)


def test_the_overview_has_summing_up_and_gated_metrics_of_the_whole_split_and_accuracies_of_known_splits():
    figures = [
        dataclasses.replace(FIRST, name=name)
        for name in ("auc", "brier", "sensitivity", "specificity_at_sensitivity_90", "f1")
    ]
    figures += [
        dataclasses.replace(FIRST, slice="source=D1"),
        dataclasses.replace(FIRST, protocol="P4"),
        dataclasses.replace(FIRST, name="accuracy", split="train", value=0.99),
        dataclasses.replace(FIRST, name="auc", split="train", value=0.98),
        dataclasses.replace(FIRST, name="accuracy", split="eval", value=0.9),
    ]
    gates = [{"head": "malignancy", "metric": "sensitivity"}, {"head": "other", "metric": "brier"}]
    gated = make_side("a", *figures, config={"evaluation.gates": json.dumps(gates)})
    plain = make_side("b", *figures[:1], config={"evaluation.gates": "[]"})
    sheet = make_overview(compare([gated, plain]))
    assert sheet.title == "In short: malignancy, P1: breasts, test split"
    assert sheet.columns == (
        *("run", "AUC", "sensitivity", "F1"),
        "accuracy, train (seen in training)",
        "accuracy, eval (the epoch was chosen on it)",
    )
    shown = format_figure(FIRST)
    assert sheet.rows == [
        ["A: cmmd-demo", shown, shown, shown, "0.990", "0.900"],
        ["B: cmmd-demo", shown, "", "", "-", "-"],
    ]
    titles = [one.title for one in make_sheets(compare([gated, plain]))]
    assert titles == [
        "malignancy, P1: breasts, test split",
        "malignancy, P4: breasts, test split",
        "malignancy, P1: breasts, train split, seen in training",
        "malignancy, P1: breasts, eval split, the epoch was chosen on it",
    ]
    (sheet,) = make_sheets(compare([gated, plain]), wanted=lambda row: row.key[3] == "P4")
    assert len(sheet.rows) == 1


def test_only_settings_that_differ_stand_side_by_side():
    sides = [
        make_side("a", FIRST, config={"seed": "1", "width": "8"}),
        make_side("b", FIRST, config={"seed": "1", "width": "9", "depth": "2"}),
        make_side("c", FIRST, config={"seed": "1", "width": "8"}),
    ]
    sheet = make_settings_sheet(compare(sides))
    assert sheet.columns == ("setting", "A", "B", "C")
    assert sheet.rows == [["width", "8", "9", "8"], ["depth", "", "2", ""]]


def test_runs_on_different_splits_are_not_tested_and_reasons_are_told_once_with_all_letters():
    first, second = make_side("a", FIRST), make_side("b", FIRST, split="eval")
    notes = compare([first, second, first, second]).notes
    assert notes[0] == "no paired test of B, D with A: measured on split test and eval"
    assert "no p-value of C against A for 1 figure of malignancy, P1" in notes[1]


def test_costs_are_compared_for_each_head_that_both_runs_have():
    sides = [
        make_side("a", FIRST, costs={"malignancy": [[0, 1], [9, 0]]}),
        make_side("b", FIRST, costs={"malignancy": [[0, 1], [9, 0]]}),
        make_side("c", FIRST, costs={"other": [[0, 1], [9, 0]]}),
        make_side("d", FIRST, costs={"malignancy": [[0, 1], [8, 0]]}),
    ]
    notes = [note for note in compare(sides).notes if "different costs" in note]
    assert [note[:15] for note in notes] == ["malignancy: C a", "malignancy: D a"]


def test_a_pair_shares_the_heads_and_protocols_that_both_have():
    table = draw_predictions(patients=40)
    both = make_facts(slices=[], resamples=20)
    second = make_facts(heads={"malignancy": both.heads["malignancy"]}, protocols=["P4", "cases"], slices=[])
    comparison = compare([Side("a", both, [], table), Side("b", second, [], blur(table, noise=1.0))])
    (note,) = comparison.notes
    # Of 20 metrics under P4; no figure is shown, since the sides have none.
    assert note.startswith("20 paired tests of the whole split")
