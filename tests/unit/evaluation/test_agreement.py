from dataclasses import replace

import pytest

from medimg.evaluation.agreement import find_differences
from medimg.evaluation.figures import Figure
from medimg.evaluation.protocols import find_protocols

FIGURE = Figure("auc", "malignancy", "overall", "P1", "breast", "test", 20, 10, 12, 0.8, 0.7, 0.9)
EVALUATED = [{"head": "malignancy", "metric": "auc", "slice": "overall", "value": 0.7}]


def test_only_protocols_that_count_each_case_once_are_held_against_the_evaluator():
    for name in ("P2", "P3", "P4", "image"):
        assert not list(
            find_differences([replace(FIGURE, protocol=name)], EVALUATED, protocols=find_protocols([name]))
        )
    lines = list(find_differences([FIGURE], EVALUATED, protocols=find_protocols(["P1"])))
    assert lines == ["malignancy auc on overall: the report has 0.800000, the Evaluator 0.700000"]


def test_a_figure_that_only_one_side_can_give_is_a_difference_and_one_that_neither_can_is_none():
    undefined = [{**EVALUATED[0], "value": None}]
    protocols = find_protocols(["P1"])
    assert list(find_differences([FIGURE], undefined, protocols=protocols))
    assert list(find_differences([replace(FIGURE, value=float("nan"))], EVALUATED, protocols=protocols))
    assert not list(find_differences([replace(FIGURE, value=float("nan"))], undefined, protocols=protocols))


@pytest.mark.parametrize(
    ("evaluated", "differ"),
    [(0.8 + 2e-6, True), (0.8 - 2e-6, True), (0.8 + 5e-7, False), (0.8 - 5e-7, False)],
)
def test_figures_agree_to_a_millionth(evaluated, differ):
    rows = [{**EVALUATED[0], "value": evaluated}]
    assert bool(list(find_differences([FIGURE], rows, protocols=find_protocols(["P1"])))) == differ


@pytest.mark.parametrize(
    "other",
    [{"head": "density"}, {"metric": "accuracy"}, {"slice": "source=D1"}],
    ids=lambda other: next(iter(other)),
)
def test_only_figures_of_one_head_metric_and_slice_are_held_against_each_other(other):
    assert not list(find_differences([FIGURE], [{**EVALUATED[0], **other}], protocols=find_protocols(["P1"])))
    sliced = {**EVALUATED[0], "slice": "source=D1", "value": 0.6}
    # One that nothing is held against keeps none after it from being so.
    figures = [replace(FIGURE, name="f1"), FIGURE, replace(FIGURE, slice="source=D1", value=0.6)]
    assert len(list(find_differences(figures, [*EVALUATED, sliced], protocols=find_protocols(["P1"])))) == 1
