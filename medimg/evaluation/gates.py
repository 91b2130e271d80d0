"""Gates: lower bounds on figures that a model must meet to be blessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medimg.errors import UsageError, nearest
from medimg.evaluation.classification.metrics import (
    ANSWERED_CLASSES,
    FOR_GATES,
    NO_PREVALENCE,
    metrics_of,
    refused_metrics,
)
from medimg.numeric_types import Finite

OVERALL = "overall"
ABOVE_SHORTCUT = "auc_above_shortcut"
"""AUC of the model minus that of the shortcuts on the same cases.

A metric of heads with two classes where shortcuts are asked for.
"""


@dataclass(frozen=True)
class Gate:
    """One bound. A figure that is not defined (NaN, an absent slice) fails it.

    Attributes:
        metric: a name of `metrics_of` the head's classes ("auc", "macro_auc",
            "sensitivity_at_specificity_90") or ABOVE_SHORTCUT. Larger must mean better.
        head: the label that the metric is of.
        lower_bound: smallest value that passes, in the metric's unit, -1e6 to 1e6.
        slice: "overall", or a clinical column and its value: "source=D1".
        change: smallest difference to the baseline model that passes (-0.01: at most one hundredth worse),
            -1e6 to 1e6; not checked without a baseline.
    """

    metric: str
    head: str
    lower_bound: Finite
    slice: str = OVERALL
    change: Finite | None = None

    def __str__(self) -> str:
        if self.metric == ANSWERED_CLASSES:
            return f"{self.head}: {self.lower_bound:g} or more classes are the answer to some case"
        change = "" if self.change is None else f" and at least {self.change:+g} against the baseline"
        return f"{self.head}: {self.metric} at least {self.lower_bound:g}{change} on {split_name(self.slice)}"


def require_answers(gates: Sequence[Gate], *, head: str, without: Sequence[str]) -> tuple[Gate, ...]:
    """The gates with the one that no model passes which gives the same answer to every case.

    Args:
        head: whose answers.
        without: metrics of gates that are not added.
    """
    required = Gate(ANSWERED_CLASSES, head, 2.0)
    if ANSWERED_CLASSES in without or required in gates:
        return tuple(gates)
    return (*gates, required)


LOWER_IS_BETTER = frozenset({"brier", "brier_reliability", "ece", "mean_cost"})
OF_THE_CASES = frozenset({"brier_uncertainty"})
"""Figures that describe the cases alone, and not the model."""


def split_name(slice_name: str) -> str:
    """Words for a slice: "all measured cases", "source=D1"."""
    return "all measured cases" if slice_name == OVERALL else slice_name


def split_slice(slice_name: str) -> tuple[str, str] | None:
    """`source=D1` to ("source", "D1"); None for "overall".

    Raises:
        UsageError: neither.
    """
    if slice_name == OVERALL:
        return None
    column, _, value = slice_name.partition("=")
    if not (column and value):
        raise UsageError(f"slice {slice_name!r}: expected {OVERALL!r} or column=value, such as source=D1")
    return column, value


def check_gates(
    gates: Iterable[Gate],
    *,
    heads: Mapping[str, Sequence[str]],
    slices: Sequence[str],
    shortcuts: Sequence[str] = (),
    prevalence: str = "train",
) -> None:
    """Fails early on a gate that no run could meet.

    Args:
        gates: what is asked for.
        heads: head to classes, the positive one last.
        slices: clinical columns that are sliced by.
        shortcuts: of the evaluation's settings.
        prevalence: the class frequencies that the probabilities are meant for: "train" or "balanced".

    Raises:
        UsageError: unknown head, metric or slice column, or a metric where smaller is better; names the
            nearest right one.
    """
    for gate in gates:
        if gate.head not in heads:
            raise UsageError(f"gate on head {gate.head!r}: no such head, {nearest(gate.head, heads)}")
        classes = heads[gate.head]
        found = metrics_of(classes, prevalence=prevalence)
        known = [name for name in found if name not in LOWER_IS_BETTER | OF_THE_CASES]
        if gate.metric in FOR_GATES and gate.slice == OVERALL:
            continue
        if len(classes) == 2 and shortcuts:
            known.append(ABOVE_SHORTCUT)
        if gate.metric == ABOVE_SHORTCUT and not shortcuts:
            raise UsageError(
                f"gate on {gate.metric!r}: the config names no shortcut, expected evaluation.shortcuts"
            )
        if gate.metric in LOWER_IS_BETTER:
            raise UsageError(
                f"gate on {gate.metric!r}: smaller is better there, a gate is a lower bound; "
                f"expected one of {', '.join(known)}"
            )
        if gate.metric in OF_THE_CASES:
            raise UsageError(
                f"gate on {gate.metric!r}: it does not depend on the model; "
                f"expected one of {', '.join(known)}"
            )
        if gate.metric in refused_metrics(classes, prevalence=prevalence):
            raise UsageError(f"gate on {gate.metric!r}: {NO_PREVALENCE}; expected one of {', '.join(known)}")
        if gate.metric not in known:
            raise UsageError(
                f"gate on metric {gate.metric!r}: head {gate.head!r} has no such metric, "
                f"{nearest(gate.metric, known)}"
            )
        column_and_value = split_slice(gate.slice)
        if column_and_value and column_and_value[0] not in slices:
            raise UsageError(
                f"gate on slice {gate.slice!r}: {column_and_value[0]!r} is not sliced by, "
                f"{nearest(column_and_value[0], slices)}"
            )
