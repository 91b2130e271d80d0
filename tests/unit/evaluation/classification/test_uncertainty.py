import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.classification.conformal import fit_conformal
from medimg.evaluation.classification.metrics import evaluate
from medimg.evaluation.classification.uncertainty import add_uncertainty, measure_uncertainty
from medimg.evaluation.figures import MeasurementSettings
from medimg.evaluation.intervals import Bootstrap
from medimg.reporting.charts.classification import draw_risk_coverage, draw_set_sizes
from tests.unit.evaluation.predictions import HEADS, draw_predictions

KIND = {"kind": ("no", "yes")}


def test_entropy_is_highest_at_one_half_and_zero_where_certain():
    table = add_uncertainty(
        pd.DataFrame({"p_kind_no": [0.5, 0.0, 0.9], "p_kind_yes": [0.5, 1.0, 0.1]}), heads=KIND
    )
    expected = [np.log(2), 0, -0.9 * np.log(0.9) - 0.1 * np.log(0.1)]
    np.testing.assert_allclose(table.u_kind_entropy, expected, atol=1e-12)
    assert "u_kind_mutual_information" not in table


def test_members_that_are_certain_of_opposite_things_are_told_from_members_that_are_all_unsure():
    # First both are unsure, then each is certain of the other class, then both are certain.
    yes = np.array([[0.5, 0.0, 1.0], [0.5, 1.0, 1.0]])
    table = pd.DataFrame({"p_kind_no": 1 - yes.mean(axis=0), "p_kind_yes": yes.mean(axis=0)})
    for index, member in enumerate(yes):
        table[f"m{index}_kind_no"], table[f"m{index}_kind_yes"] = 1 - member, member
    table = add_uncertainty(table, heads=KIND)
    np.testing.assert_allclose(table.u_kind_mutual_information, [0, np.log(2), 0], atol=1e-12)
    np.testing.assert_allclose(table.u_kind_standard_deviation, [0, 0.5, 0], atol=1e-12)


def draw_two_splits():
    return pd.concat(
        [draw_predictions(seed=1), draw_predictions(seed=2).assign(split="eval")], ignore_index=True
    )


@pytest.fixture(scope="module")
def figures():
    return measure_uncertainty(
        draw_two_splits(), MeasurementSettings(HEADS, ["cases", "P4"], bootstrap=Bootstrap(resamples=200))
    )


def test_each_figure_has_its_protocol_its_split_and_an_interval(figures):
    assert {(one.head, one.protocol, one.level) for one in figures} == {
        ("malignancy", "cases", "case"),
        ("malignancy", "P4", "patient"),
        ("abnormality", "cases", "case"),
        ("abnormality", "P4", "patient"),
    }
    assert {one.split for one in figures} == {"test"}
    for one in figures:
        assert one.low <= one.high or "the largest probability" in one.note, one


def test_all_figures_of_a_head_are_there(figures):
    names = [one.name for one in figures if (one.head, one.protocol) == ("malignancy", "P4")]
    assert names == [
        *(
            "aurc",
            "excess_aurc",
            "accuracy_at_coverage_80",
            "auc_at_coverage_80",
            "accuracy_at_coverage_90",
            "auc_at_coverage_90",
        ),
        *(
            "conformal_90_coverage",
            "conformal_90_set_size",
            "conformal_90_coverage_Benign",
            "conformal_90_coverage_Malignant",
        ),
        *("conformal_90_by_class_coverage", "conformal_90_by_class_set_size"),
        *("conformal_90_by_class_coverage_Benign", "conformal_90_by_class_coverage_Malignant"),
    ]


def test_sets_say_on_how_many_units_they_are_calibrated_and_come_near_their_coverage(figures):
    (coverage,) = [
        one
        for one in figures
        if (one.name, one.protocol, one.head) == ("conformal_90_coverage", "P4", "malignancy")
    ]
    assert coverage.note.startswith("sets calibrated on 150 units of eval")
    assert coverage.low <= 0.9 <= coverage.high


def test_leaving_out_unsure_cases_is_better_than_answering_all(figures):
    table = draw_two_splits()
    rows = table[table.split == "test"]
    whole = evaluate(
        rows.label_malignancy == "Malignant",
        rows.p_malignancy_Malignant.to_numpy(),
        classes=HEADS["malignancy"],
    )
    found = {one.name: one.value for one in figures if (one.head, one.protocol) == ("malignancy", "cases")}
    assert found["accuracy_at_coverage_80"] > found["accuracy_at_coverage_90"] > whole["accuracy"]


def test_charts_say_their_figures_in_words():
    labels, probabilities = (
        np.array([0, 1, 1, 0]),
        np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.45, 0.55]]),
    )
    chart = draw_risk_coverage("risk", labels, probabilities)
    assert "0.00 of the more confident half, 0.50 of all 4 cases" in chart.title
    sets = fit_conformal(labels, probabilities, coverage=0.6)
    assert (
        "3 with 1, 1 of them without the true class"
        in draw_set_sizes("sets", labels, probabilities, sets=sets).title
    )
