"""Cases rolled up to a level: two classes by the highest probability, more by the mean."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from components.evaluator.tfma_metrics import (
    AboveShortcut,
    CaseCombiner,
    CaseMetrics,
    CaseRow,
    ShortcutCombiner,
    create_computations,
    create_shortcut_computations,
    roll_up_rows,
)

TWO = [
    CaseRow("b", 0, (0.9, 0.1)),
    CaseRow("a", 0, (0.4, 0.6)),
    CaseRow("a", 1, (0.7, 0.3)),
    CaseRow("b", 0, (0.8, 0.2)),
]
THREE = [
    CaseRow("a", 2, (0.1, 0.2, 0.7)),
    CaseRow("a", 2, (0.3, 0.4, 0.3)),
    CaseRow("b", 0, (0.6, 0.3, 0.1)),
    CaseRow("b", 1, (0.2, 0.7, 0.1)),
    CaseRow("c", 1, (0.2, 0.7, 0.1)),
]


def test_of_two_classes_the_highest_counts_and_a_group_is_positive_if_any_case_is() -> None:
    rolled = roll_up_rows(TWO, how="max", classes=2)
    assert [(row.group, row.label) for row in rolled] == [("a", 1), ("b", 0)]
    np.testing.assert_allclose([row.probabilities for row in rolled], [(0.4, 0.6), (0.8, 0.2)])


def test_of_more_classes_the_mean_counts_and_a_group_of_two_labels_is_left_out() -> None:
    rolled = roll_up_rows(THREE, how="mean", classes=3)
    assert [(row.group, row.label) for row in rolled] == [("a", 2), ("c", 1)]
    np.testing.assert_allclose([row.probabilities for row in rolled], [(0.2, 0.3, 0.5), (0.2, 0.7, 0.1)])


def test_of_two_classes_the_mean_keeps_a_group_of_two_labels() -> None:
    rolled = roll_up_rows(TWO, how="mean", classes=2)
    assert [row.label for row in rolled] == [1, 0]
    np.testing.assert_allclose([row.probabilities for row in rolled], [(0.55, 0.45), (0.85, 0.15)])


def make_combiner(
    *, classes: int = 2, group_key: str | None = None, how: str = "max", metrics: Sequence[str] = ("n",)
) -> CaseCombiner:
    keys, roll_up = {name: name for name in metrics}, (group_key, how)
    return CaseCombiner(["a", "b", "c"][:classes], output=None, keys=keys, roll_up=roll_up, costs=None)


def test_the_highest_of_three_classes_is_no_roll_up() -> None:
    with pytest.raises(ValueError, match="how='max' is defined for two classes, found 3"):
        make_combiner(classes=3, group_key="level_patient")
    make_combiner(classes=3)
    make_combiner(classes=3, group_key="level_patient", how="mean")


@pytest.mark.parametrize(("value", "group"), [([b"P1"], "P1"), ([["P1"]], "P1"), ([7], "7")])
def test_a_case_is_in_the_group_that_its_level_names(value: list[object], group: str) -> None:
    element = SimpleNamespace(features={"level_patient": value})
    assert make_combiner(group_key="level_patient").read_group(element) == group
    assert make_combiner().read_group(element) == ""


def test_a_case_without_its_group_is_named() -> None:
    element = SimpleNamespace(features={"level_patient": []})
    with pytest.raises(ValueError, match="a case without level_patient, which its roll-up needs"):
        make_combiner(group_key="level_patient").read_group(element)


def test_a_model_of_other_outputs_is_named() -> None:
    with pytest.raises(ValueError, match="has 2 values per case, expected 3"):
        make_combiner(classes=3).extract_output(TWO)


def test_groups_are_counted_after_they_are_rolled_up() -> None:
    assert make_combiner().extract_output(TWO) == {"n": 4}
    assert make_combiner(group_key="level_patient").extract_output(TWO) == {"n": 2}
    assert make_combiner().merge_accumulators([TWO[:1], [], TWO[1:]]) == TWO


def test_cases_of_the_second_class_are_positive() -> None:
    both = ("n", "positives")
    assert make_combiner(metrics=both).extract_output(TWO) == {"n": 4, "positives": 1}
    assert make_combiner(metrics=both).extract_output(TWO[:1]) == {"n": 1, "positives": 0}
    assert make_combiner(metrics=both, classes=3).extract_output(THREE) == {"n": 5, "positives": 2}


@pytest.mark.parametrize(
    "metric", [CaseMetrics(["a", "b"], name="x", code="1"), AboveShortcut("y", code="1")]
)
def test_the_hash_of_the_code_is_part_of_a_metrics_configuration(metric) -> None:
    assert metric.get_config()["code"] == "1"


def make_element(*cases: tuple[int, float], shortcut: list[list[float]]) -> SimpleNamespace:
    """An element of TFMA with class index and positive probability of each of its cases."""
    read = [(index, np.array([1 - positive, positive])) for index, positive in cases]
    return SimpleNamespace(cases=read, features={"shortcut_malignancy": shortcut})


def make_shortcut_combiner() -> ShortcutCombiner:
    output = SimpleNamespace(read=lambda element: element.cases)
    return ShortcutCombiner("key", output=output, feature_key="shortcut_malignancy")


def test_of_the_cases_with_a_label_each_is_held_against_its_own_shortcut() -> None:
    combiner = make_shortcut_combiner()
    rows = combiner.create_accumulator()
    for element in (
        make_element((-1, 0.5), (1, 0.75), shortcut=[[0.25]]),
        make_element((0, 0.5), shortcut=[[0.125]]),
        make_element((0, 0.875), shortcut=[[0.0]]),
        make_element((-1, 0.5), shortcut=[]),
    ):
        rows = combiner.add_input(rows, element)
    assert rows == [(1, 0.75, 0.25), (0, 0.5, 0.125), (0, 0.875, 0.0)]
    assert combiner.merge_accumulators([rows[:1], [], rows[1:]]) == rows
    assert combiner.extract_output(rows) == {"key": -0.5}
    assert np.isnan(combiner.extract_output([])["key"])


def test_a_labelled_case_without_a_shortcut_is_named() -> None:
    with pytest.raises(ValueError, match="a case without shortcut_malignancy, expected one in every Example"):
        make_shortcut_combiner().add_input([], make_element((0, 0.5), shortcut=[]))


def test_a_slice_without_a_labelled_case_counts_none() -> None:
    keys = {"n": "n", "positives": "positives", "auc": "auc"}
    for classes in (["a", "b"], ["a", "b", "c"]):
        combiner = CaseCombiner(classes, output=None, keys={"n": "n"}, roll_up=(None, "max"), costs=None)
        assert combiner.extract_output([]) == {"n": 0}
    two = CaseCombiner(["a", "b"], output=None, keys=keys, roll_up=(None, "max"), costs=None)
    found = two.extract_output(TWO)
    assert (found["n"], found["positives"]) == (4, 1)
    assert found["auc"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("make", [create_computations, create_shortcut_computations])
def test_each_output_of_each_model_is_measured_for_itself(make) -> None:
    given = ["a", "b"] if make is create_computations else "shortcut_m"
    several = make(given, model_names=["candidate", "baseline"], output_names=["m", "k"])
    places = [{(key.model_name, key.output_name) for key in one.keys} for one in several]
    assert places == [{(model, head)} for model in ("candidate", "baseline") for head in ("m", "k")]
    (one,) = make(given)
    assert {(key.model_name, key.output_name) for key in one.keys} == {("", "")}


def test_costs_decide_what_a_case_is_called_and_are_its_mean_cost() -> None:
    costs, keys = [[0, 1], [5, 0]], {"mean_cost": "mean_cost"}
    combiner = CaseCombiner(["a", "b"], output=None, keys=keys, roll_up=(None, "max"), costs=costs)
    assert combiner.extract_output(TWO) == {"mean_cost": 0.5}
