from dataclasses import replace

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
    assert not list(find_differences([replace(FIGURE, value=float("nan"))], undefined, protocols=protocols))
