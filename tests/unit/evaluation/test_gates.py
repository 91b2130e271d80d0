import pytest

from medimg.errors import UsageError
from medimg.evaluation.classification.metrics import metrics_of
from medimg.evaluation.gates import ABOVE_SHORTCUT, Gate, check_gates, split_slice

HEADS = {"malignancy": ("Benign", "Malignant"), "finding": ("calcification", "mass", "both")}
DESCRIBES_THE_CASES = {"brier_uncertainty"}
SMALLER_IS_BETTER = {"brier", "brier_reliability", "ece"}


def check(*gates, shortcuts=("source",), slices=("source", "age_band"), prevalence="train"):
    check_gates(gates, heads=HEADS, slices=slices, shortcuts=shortcuts, prevalence=prevalence)


@pytest.mark.parametrize("head", HEADS)
def test_every_metric_where_larger_is_better_can_be_gated(head):
    names = set(metrics_of(HEADS[head])) - SMALLER_IS_BETTER - DESCRIBES_THE_CASES
    check(*(Gate(name, head, 0.5, "source=D1") for name in sorted(names)))


@pytest.mark.parametrize("metric", sorted(SMALLER_IS_BETTER | {"mean_cost"}))
def test_a_metric_where_smaller_is_better_is_no_gate(metric):
    with pytest.raises(UsageError, match=f"gate on '{metric}': smaller is better") as found:
        check(Gate("auc", "malignancy", 0.5), Gate(metric, "malignancy", 0.1))
    offered = str(found.value).split("expected one of ")[1].split(", ")
    assert offered == [
        *(
            name
            for name in metrics_of(HEADS["malignancy"])
            if name not in SMALLER_IS_BETTER | DESCRIBES_THE_CASES
        ),
        ABOVE_SHORTCUT,
    ]


def test_what_describes_the_cases_alone_is_no_gate():
    with pytest.raises(UsageError, match="'brier_uncertainty': it does not depend on the model"):
        check(Gate("brier_uncertainty", "malignancy", 0.1))


def test_how_far_a_model_is_above_its_shortcuts_is_a_gate_of_two_classes_where_there_are_shortcuts():
    check(Gate(ABOVE_SHORTCUT, "malignancy", 0.0))
    with pytest.raises(UsageError, match="the config names no shortcut"):
        check(Gate(ABOVE_SHORTCUT, "malignancy", 0.0), shortcuts=())
    with pytest.raises(UsageError, match="head 'finding' has no such metric"):
        check(Gate(ABOVE_SHORTCUT, "finding", 0.0))
    with pytest.raises(UsageError, match="smaller is better") as found:
        check(Gate("ece", "malignancy", 0.1), shortcuts=())
    assert ABOVE_SHORTCUT not in str(found.value)


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (Gate("auc", "malignant", 0.5), "no such head, did you mean 'malignancy'"),
        (Gate("aucs", "malignancy", 0.5), "head 'malignancy' has no such metric, did you mean 'auc'"),
        (Gate("auc", "finding", 0.5), "head 'finding' has no such metric"),
        (Gate("auc", "malignancy", 0.5, "sorce=D1"), "'sorce' is not sliced by, did you mean 'source'"),
        (Gate("auc", "malignancy", 0.5, "D1=source"), "'D1' is not sliced by"),
        (Gate("auc", "malignancy", 0.5, "source"), "slice 'source': expected 'overall' or column=value"),
    ],
)
def test_a_gate_that_no_run_could_meet_is_refused_wherever_it_stands(gate, words):
    with pytest.raises(UsageError, match=words):
        check(Gate("auc", "malignancy", 0.5), gate)


@pytest.mark.parametrize("metric", ["sensitivity", "accuracy", "net_benefit_10", "brier_resolution"])
def test_a_gate_that_needs_the_datas_frequencies_is_refused_where_answers_are_not_meant_for_them(metric):
    gate = Gate(metric, "malignancy", 0.1)
    check(gate)
    check(Gate("auc", "malignancy", 0.5), prevalence="balanced")
    check(Gate("balanced_accuracy", "finding", 0.5), prevalence="balanced")
    with pytest.raises(UsageError, match=f"{metric}': not measured: .* as if all classes") as found:
        check(gate, prevalence="balanced")
    assert "expected one of auc," in str(found.value)
    assert metric not in str(found.value).partition("expected one of ")[2].split(", ")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("overall", None),
        ("source=D1", ("source", "D1")),
        ("scanner=A=B", ("scanner", "A=B")),
    ],
)
def test_a_slice_is_a_column_and_its_value(name, parts):
    assert split_slice(name) == parts


@pytest.mark.parametrize("name", ["", "=", "source", "source=", "=D1"])
def test_a_slice_without_a_column_or_a_value_is_refused(name):
    with pytest.raises(UsageError, match="expected 'overall' or column=value"):
        split_slice(name)


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (Gate("auc", "malignancy", 0.75), "malignancy: auc at least 0.75 on all measured cases"),
        (
            Gate("auc", "malignancy", 0.75, "source=D1", change=-0.01),
            "malignancy: auc at least 0.75 and at least -0.01 against the baseline on source=D1",
        ),
        (
            Gate("auc", "malignancy", 0.75, change=0.0),
            "malignancy: auc at least 0.75 and at least +0 against the baseline on all measured cases",
        ),
    ],
)
def test_a_gate_says_what_it_asks_for(gate, words):
    assert str(gate) == words
