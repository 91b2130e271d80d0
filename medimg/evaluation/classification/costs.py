"""Costs: what a wrong answer costs, by what is true and what is answered.

The predicted class is then that of least expected cost (Elkan 2001).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medimg.errors import UsageError, nearest
from medimg.numeric_types import NonNegative

NO_COSTS: Mapping[str, np.ndarray] = {}
"""Every head's predicted class is the likeliest."""


@dataclass(frozen=True)
class Costs:
    """What wrong answers to one head cost, in units of any one that is not named.

    Attributes:
        head: whose classes they are.
        matrix: true class to answered class to cost, 0 to 1e6. A pair that is not named costs 1, a right
            answer nothing.
    """

    head: str
    matrix: Mapping[str, Mapping[str, NonNegative]]


def check_costs(costs: Iterable[Costs], *, heads: Mapping[str, Sequence[str]], prevalence: str) -> None:
    """Fails early on costs that no decision follows from.

    Args:
        heads: head to classes.
        prevalence: the class frequencies that the model's probabilities are meant for: "train" or "balanced".

    Raises:
        UsageError: an unknown head or class, a head named twice, a cost below 0 or not finite, a right answer
            that costs, an answer that never does and so would be the answer to everything, or probabilities
            as if all classes were equally frequent.
    """
    named: list[str] = []
    for one in costs:
        place = f"evaluation.costs of head {one.head!r}"
        if one.head not in heads:
            raise UsageError(f"{place}: no such head, {nearest(one.head, heads)}")
        if one.head in named:
            raise UsageError(f"{place}: found twice, expected once")
        named.append(one.head)
        check_matrix(one, heads[one.head], place=place)
        if prevalence == "balanced":
            raise UsageError(
                f"{place}: training.logit_adjustment=post_hoc makes probabilities as if all classes were "
                "equally frequent, expected none: an expected cost needs the data's own frequencies"
            )


def check_matrix(costs: Costs, classes: Sequence[str], *, place: str) -> None:
    """Raises UsageError where a class is unknown or a cost makes no sense."""
    for true, row in costs.matrix.items():
        for name in (true, *row):
            if name not in classes:
                raise UsageError(f"{place}: no class {name!r}, {nearest(name, classes)}")
        for answered, cost in row.items():
            if not 0 <= cost < math.inf:
                raise UsageError(f"{place}: {cost:g} for {true} answered as {answered}, expected 0 or more")
            if answered == true and cost:
                raise UsageError(f"{place}: {cost:g} for {true} answered rightly, expected 0")
    dearest = make_cost_matrix(costs, classes).max(axis=0)
    if not dearest.all():
        raise UsageError(
            f"{place}: answering {classes[int(dearest.argmin())]} never costs anything, "
            "expected above 0 for some other true class"
        )


def make_cost_matrix(costs: Costs, classes: Sequence[str]) -> np.ndarray:
    """Returns float64 [C, C]: true class (rows) by answered class (columns), in the order of `classes`."""
    matrix_CC = 1.0 - np.eye(len(classes))
    for row, true in enumerate(classes):
        for column, answered in enumerate(classes):
            matrix_CC[row, column] = costs.matrix.get(true, {}).get(answered, matrix_CC[row, column])
    return matrix_CC


def make_cost_matrices(
    costs: Iterable[Costs], *, heads: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """Head to its matrix, for the heads that have costs."""
    return {one.head: make_cost_matrix(one, heads[one.head]) for one in costs}


def read_cost_matrices(
    costs: Iterable[Mapping[str, Any]], *, heads: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """The same from plain values, as a config's JSON has them."""
    return make_cost_matrices((Costs(**values) for values in costs), heads=heads)
