"""Gates in the report: what the Evaluator failed is shown as failed."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from tensorflow_model_analysis.proto import validation_result_pb2

from components.report_gen import evaluator_results
from components.report_gen.evaluator_results import list_evaluated, passes, read_evaluation, show
from medimg.evaluation.gates import Gate


def make_validation():
    """As TFMA writes it: AUC is too low on D1 and undefined on D3, and nothing is on D9."""
    validation = validation_result_pb2.ValidationResult(validation_ok=False)
    for source, value in (("D1", 0.4), ("D3", math.nan)):
        part = validation.metric_validations_per_slice.add()
        part.slice_key.single_slice_keys.add(column="clinical_source", bytes_value=source.encode())
        failure = part.failures.add()
        failure.metric_key.name = "cases/auc"
        failure.metric_value.double_value.value = value
    validation.missing_slices.add().feature_values["clinical_source"] = "D9"
    return validation


@pytest.mark.parametrize(
    ("gated", "metric", "passed"),
    [
        ("overall", "auc", True),
        ("source=D1", "auc", False),
        ("source=D1", "accuracy", True),
        ("source=D3", "auc", False),
        ("source=D9", "auc", False),
        ("source=D9", "accuracy", False),
    ],
)
def test_a_gate_is_shown_as_failed_on_a_low_an_undefined_and_an_absent_slice_and_only_there(
    gated, metric, passed
):
    gate = Gate(metric=metric, head="malignancy", lower_bound=0.5, slice=gated)
    assert passes(gate, make_validation(), heads={"malignancy": ("Benign", "Malignant")}) == passed


def test_of_the_evaluators_figures_those_of_cases_are_handed_on_and_undefined_ones_too():
    evaluated = {("malignancy", "cases/auc", "overall"): math.nan, ("malignancy", "loss", "overall"): 0.7}
    assert list(list_evaluated(evaluated)) == [
        {"head": "malignancy", "metric": "auc", "slice": "overall", "value": None}
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [(b"D1", "D1"), (63.0, "63"), (1234567.0, "1234567"), (0.10000000149011612, "0.1"), (7, "7")],
)
def test_a_slice_is_named_as_in_the_figures(value, name):
    assert show(value) == name


@pytest.mark.parametrize(
    ("specs", "asked"),
    [
        ([SimpleNamespace(name="", is_baseline=False)], ""),
        ([SimpleNamespace(name="b", is_baseline=True), SimpleNamespace(name="c", is_baseline=False)], "c"),
    ],
)
@pytest.mark.parametrize(("output", "head"), [("", "malignancy"), ("kind", "kind")])
def test_figures_are_those_of_the_candidate_by_head_metric_and_slice(monkeypatch, specs, asked, output, head):
    slices = [
        ((), {output: {"": {"cases/auc": {"doubleValue": 0.5}, "plot": {"bytesValue": b""}}}}),
        ((("clinical_source", b"D1"),), {output: {"": {"cases/auc": {"doubleValue": "NaN"}}, "1": {}}}),
        ((("clinical_a", 3.0), ("clinical_b", "x")), {output: {"": {"cases/n": {"doubleValue": 7}}}}),
    ]
    names = []

    def load(uri, model_name=None):
        names.append(model_name)
        return SimpleNamespace(slicing_metrics=slices, config=SimpleNamespace(model_specs=specs))

    monkeypatch.setattr(evaluator_results.tfma, "load_eval_result", load)
    found = read_evaluation("uri", only_head="malignancy")
    assert math.isnan(found.pop((head, "cases/auc", "source=D1")))
    assert found == {(head, "cases/auc", "overall"): 0.5, (head, "cases/n", "a=3,b=x"): 7.0}
    assert names[-1] == asked
