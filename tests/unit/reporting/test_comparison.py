import io
import json
import math

import pandas as pd
import pytest

from medimg.evaluation.figures import format_figure, measure
from medimg.evaluation.paired_tests import adjust_holm
from medimg.reporting.comparison import Side, compare, tabulate
from medimg.reporting.comparison_sheets import (
    make_overview,
    make_settings_sheet,
    make_sheets,
    render_comparison,
)
from tests.unit.evaluation.predictions import HEADS, blur
from tests.unit.reporting.report_data import drawn_predictions, make_facts

SETTINGS = {
    "heads": {"malignancy": HEADS["malignancy"]},
    "protocols": ["P1", "P4"],
    "slices": ["source"],
    "resamples": 50,
}
AUC = ("malignancy", "auc", "overall", "P1", "breast", "test")


def make_side(name, predictions, **changes):
    facts = make_facts(**{**SETTINGS, **changes})
    figures = measure(predictions, facts.measurement_settings, costs=facts.cost_matrices)
    return Side(name, facts, figures, predictions)


@pytest.fixture(scope="module")
def sides():
    first = drawn_predictions()
    return [
        make_side("good", first),
        make_side("bad", blur(first, noise=3.0)),
        make_side("ugly", blur(first, noise=0.3)),
    ]


@pytest.fixture(scope="module")
def compared(sides):
    return compare(sides)


def rows_of(comparison):
    return {row.key: row for row in comparison.rows}


def test_runs_share_a_row_only_where_all_parts_of_the_key_are_equal(sides):
    other = make_side("other", sides[0].predictions, protocols=["P4"])
    comparison = compare([sides[0], other])
    for row in comparison.rows:
        assert all(figure is None or figure.key == row.key for figure in row.figures)
        assert (row.figures[1] is None) == (row.key[3] == "P1")
    assert len(rows_of(comparison)) == len(comparison.rows)


def test_each_later_run_is_tested_against_the_first_where_both_have_the_whole_split(compared):
    row = rows_of(compared)[AUC]
    for figure, test in zip(row.figures[1:], row.tests, strict=True):
        assert test.value == pytest.approx(figure.value - row.figures[0].value)
        assert test.test.startswith("DeLong")
    assert row.tests[0].high < 0
    assert all(not any(row.tests) for row in compared.rows if row.key[2] != "overall")


def test_holm_goes_over_all_tests_of_the_table(compared):
    # The table's order is run by run.
    tests = [row.tests[number] for number in range(2) for row in compared.rows if row.tests[number]]
    assert [test.adjusted for test in tests] == pytest.approx(
        adjust_holm([test.p_value for test in tests]), nan_ok=True
    )
    total = sum(not math.isnan(test.p_value) for test in tests)
    assert any(note.startswith(f"{total} paired tests") for note in compared.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.iloc[10:], "different test cases: 290 are in both, 10 in one only"),
        (
            lambda table: table.assign(
                label_malignancy=table.label_malignancy.replace("Benign", "Malignant")
            ),
            "expected the same",
        ),
    ],
)
def test_where_cases_or_labels_differ_there_is_no_test_and_the_notes_say_why(sides, change, words):
    comparison = compare([sides[0], make_side("other", change(sides[0].predictions))])
    assert not any(test for row in comparison.rows for test in row.tests)
    assert any(note.startswith("no paired test of B with A") and words in note for note in comparison.notes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": {"abnormality": HEADS["abnormality"]}}, "no head in common"),
        ({"protocols": ["cases"]}, "no protocol in common"),
        ({"heads": {"malignancy": HEADS["malignancy"][::-1]}}, "head malignancy has other classes"),
    ],
)
def test_runs_that_measure_something_else_are_not_tested(sides, changes, words):
    comparison = compare([sides[0], make_side("other", sides[0].predictions, **changes)])
    assert [note for note in comparison.notes if words in note]


def test_figures_without_a_p_value_are_counted_with_the_reason_once_for_all_runs(sides):
    notes = compare([sides[0], sides[0], sides[0]]).notes
    reason = "no interval: the two models rank all cases alike, or too few to tell"
    told = f"no p-value of B, C against A for 1 figure of malignancy, P1: {reason}"
    assert [note for note in notes if reason in note and ", P1:" in note] == [told]


def test_a_sheet_is_of_one_protocol_level_and_split(compared):
    sheets = list(make_sheets(compared))
    assert [sheet.title for sheet in sheets] == [
        "malignancy, P1: breasts, test split",
        "malignancy, P4: patients, test split",
    ]
    assert sheets[0].columns[2:5] == (
        "A: 300 breasts of 150 patients",
        "B: 300 breasts of 150 patients",
        "C: 300 breasts of 150 patients",
    )
    assert {len(row) for row in sheets[0].rows} == {len(sheets[0].columns)}
    cells = dict(zip(sheets[0].columns, sheets[0].rows[0], strict=True))
    assert cells["metric"] == "AUC"
    assert cells["B - A"].startswith("-0.")
    assert cells["p (Holm)"]


def test_the_table_keeps_every_digit_of_figures_and_tests(compared):
    table = pd.read_csv(io.StringIO(tabulate(compared).to_csv(index=False)))
    row = table[(table.metric == "auc") & (table.slice == "overall") & (table.protocol == "P1")].iloc[0]
    known = rows_of(compared)[AUC]
    assert row["C"] == pytest.approx(known.figures[2].value, rel=1e-15)
    assert row["C - A p_value"] == pytest.approx(known.tests[1].p_value, rel=1e-12)
    assert row["C - A"] == pytest.approx(row["C"] - row["A"], rel=1e-12)
    assert len(table) == len(compared.rows)


def test_a_page_shows_all_sheets_and_escapes_names(sides):
    bad = Side("<script>", sides[1].facts, sides[1].figures, sides[1].predictions)
    page = render_comparison(compare([sides[0], bad]))
    assert "<script>" not in page
    assert page.count("<table>") == 3, "the overview and two protocols; no setting differs"
    assert page.count("<tr>") == len(compare([sides[0], bad]).rows) + 2 + (1 + 2), (
        "each table has a head, the overview a row per run"
    )


def test_the_overview_has_a_row_per_run_and_what_any_of_them_is_gated_by(sides):
    gates = [
        {"metric": "sensitivity_at_specificity_90", "head": "malignancy"},
        {"metric": "auc", "head": "other"},
    ]
    gated = make_side(
        "gated",
        sides[0].predictions,
        config_name="cmmd-gated",
        config={"evaluation.gates": json.dumps(gates)},
    )
    overview = make_overview(compare([sides[1], gated]))
    assert overview.columns == (
        "run",
        "AUC",
        "sensitivity at 90 % specificity",
        "balanced accuracy",
        "accuracy",
        "F1",
    )
    assert [row[0] for row in overview.rows] == ["A: cmmd-demo", "B: cmmd-gated"]
    auc = next(figure for figure in gated.figures if figure.key == AUC)
    assert overview.rows[1][1] == format_figure(auc)


def test_runs_that_decide_by_different_costs_say_so(sides):
    costs = {"malignancy": [[0, 1], [9, 0]]}
    other = make_side("costs", sides[0].predictions, costs=costs, config={"evaluation.costs": "[...]"})
    comparison = compare([sides[0], other])
    assert any("malignancy: B and A decide by different costs" in note for note in comparison.notes)
    assert not any("costs" in note for note in compare([other, other]).notes)
    assert make_settings_sheet(comparison).rows == [["evaluation.costs", "", "[...]"]]
