import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from medimg.evaluation.classification.conformal import fit_conformal
from medimg.evaluation.classification.metrics import evaluate
from medimg.evaluation.classification.selective import make_risk_coverage
from medimg.evaluation.classification.uncertainty import add_uncertainty, measure_uncertainty
from medimg.evaluation.figures import MeasurementSettings
from medimg.evaluation.intervals import Bootstrap
from medimg.reporting.charts.classification import draw_risk_coverage, draw_set_sizes
from tests.unit.evaluation.predictions import HEADS, draw_predictions

KIND = {"kind": ("no", "yes")}
MALIGNANCY = {"malignancy": HEADS["malignancy"]}


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


def test_of_several_classes_the_deviation_is_that_of_the_class_that_the_members_hold_likeliest():
    members = np.array([[[0.6, 0.3, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], [[0.1, 0.1, 0.8]] * 3])
    columns = {
        f"m{member}_kind_{name}": members[:, member, index]
        for member in range(3)
        for index, name in enumerate("abc")
    }
    columns |= {f"p_kind_{name}": members.mean(axis=1)[:, index] for index, name in enumerate("abc")}
    table = add_uncertainty(pd.DataFrame(columns), heads={"kind": ("a", "b", "c")})
    # Of the first case b: 0.467 in the mean, of which the members have 0.3, 0.3 and 0.8.
    np.testing.assert_allclose(table.u_kind_standard_deviation, [np.std([0.3, 0.3, 0.8]), 0], atol=1e-12)
    np.testing.assert_allclose(
        table.u_kind_mutual_information,
        entropy(members.mean(axis=1), axis=1) - entropy(members, axis=2).mean(axis=1),
        atol=1e-12,
    )


def test_what_members_do_not_agree_on_is_never_below_nothing():
    yes = np.random.default_rng(0).random(500)
    columns = {
        f"{part}_kind_{name}": value
        for part in ("p", "m0", "m1", "m2")
        for name, value in (("no", 1 - yes), ("yes", yes))
    }
    assert add_uncertainty(pd.DataFrame(columns), heads=KIND).u_kind_mutual_information.min() == 0


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
    without = {(one.head, one.protocol) for one in figures if math.isnan(one.low)}
    assert without == {("abnormality", "P4")}
    assert all(one.low <= one.high for one in figures if (one.head, one.protocol) not in without)


def test_a_head_that_a_protocol_has_no_meaning_for_has_one_figure_that_says_so(figures):
    (missing,) = [one for one in figures if (one.head, one.protocol) == ("abnormality", "P4")]
    assert (missing.name, missing.n, missing.split) == ("aurc", 0, "test")
    assert math.isnan(missing.value)
    assert "takes the largest probability, which is defined for two classes" in missing.note


@pytest.mark.parametrize("viewed", ["test", "eval"])
def test_without_figures_of_one_split_there_are_none_of_the_other(viewed):
    table = draw_two_splits()
    unlabelled = table.index % 7 == 0
    table = table.assign(
        image_count=2,
        label_malignancy=table.label_malignancy.mask(unlabelled & (table.split == viewed), None),
    )
    (figure, *others) = measure_uncertainty(
        table, MeasurementSettings(MALIGNANCY, ["P3", "cases"], bootstrap=Bootstrap(resamples=0))
    )
    assert {one.protocol for one in others} == {"cases"}
    assert figure.n == 0
    assert "none was scored (examples.unlabelled writes them)" in figure.note


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
    assert {one.name for one in figures if one.note.startswith("sets calibrated")} == {
        one.name for one in figures if one.name.startswith("conformal")
    }


def test_sets_are_calibrated_on_the_other_split_and_scored_on_the_measured_one():
    table = pd.concat(
        [
            draw_predictions(seed=1, patients=40),
            draw_predictions(seed=2, patients=30, effect=0.2).assign(split="eval"),
        ]
    )
    settings = MeasurementSettings(MALIGNANCY, ["cases"], bootstrap=Bootstrap(resamples=0))
    found = {one.name: one for one in measure_uncertainty(table, settings, coverage=0.8)}
    labels, probabilities = {}, {}
    for split in ("test", "eval"):
        rows = table[table.split == split]
        labels[split] = (rows.label_malignancy == "Malignant").to_numpy().astype(int)
        probabilities[split] = rows[["p_malignancy_Benign", "p_malignancy_Malignant"]].to_numpy()
    for by_class, name in ((False, "conformal_80"), (True, "conformal_80_by_class")):
        sets = fit_conformal(labels["eval"], probabilities["eval"], coverage=0.8, by_class=by_class)
        contained = sets.contains(probabilities["test"])
        covered = contained[np.arange(80), labels["test"]]
        assert found[f"{name}_coverage"].value == pytest.approx(covered.mean())
        assert found[f"{name}_coverage_Malignant"].value == pytest.approx(covered[labels["test"] == 1].mean())
        assert found[f"{name}_set_size"].value == pytest.approx(contained.sum(axis=1).mean())
        assert found[f"{name}_coverage"].note == (
            "sets calibrated on 60 units of eval; no interval: none is asked for"
        )
    assert found["aurc"].note == "no interval: none is asked for"


def test_costs_decide_what_is_answered_and_the_sets_do_not_depend_on_them():
    table, costs = draw_two_splits(), np.array([[0.0, 1.0], [9.0, 0.0]])
    settings = MeasurementSettings(MALIGNANCY, ["cases"], bootstrap=Bootstrap(resamples=0))
    plain, decided = (
        {one.name: one.value for one in measure_uncertainty(table, settings, costs=chosen)}
        for chosen in ({}, {"malignancy": costs})
    )
    rows = table[table.split == "test"]
    curve = make_risk_coverage(
        rows.label_malignancy == "Malignant", rows.p_malignancy_Malignant.to_numpy(), costs_CC=costs
    )
    assert decided["aurc"] == pytest.approx(curve.area)
    assert decided["excess_aurc"] == pytest.approx(curve.excess)
    assert decided["aurc"] != pytest.approx(plain["aurc"])
    assert {name for name in plain if name.startswith("conformal") and plain[name] != decided[name]} == set()


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
