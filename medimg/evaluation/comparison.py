"""Two models on the same cases: paired differences with intervals and tests.

Which test a metric gets is in medimg.evaluation.paired_tests. Holm's adjustment covers all rows of one
comparison.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medimg.errors import UsageError
from medimg.evaluation.classification.costs import NO_COSTS
from medimg.evaluation.classification.metrics import evaluate, metrics_of
from medimg.evaluation.classification.weighted_sample import ScoredCases
from medimg.evaluation.figures import MeasurementSettings, Subset, read_units
from medimg.evaluation.paired_tests import adjust_holm, compare_metrics
from medimg.evaluation.protocols import clusters_of, find_gap, roll_up


@dataclass(frozen=True)
class Difference:
    """One metric of two models on the same units.

    Attributes:
        name, head, protocol, level, split: as of a Figure, on the whole split.
        n, groups: units that both models scored, and patients among them.
        first, second: the two values.
        low, high: 95 % interval of second less first; NaN where there is none.
        p_value: two-sided, of no difference; NaN where there is none.
        test: what gave the p-value.
        adjusted: the p-value after Holm (1979), over all rows of the comparison.
        note: why something is missing.
    """

    name: str
    head: str
    protocol: str
    level: str
    split: str
    n: int
    groups: int
    first: float
    second: float
    low: float
    high: float
    p_value: float
    test: str
    adjusted: float = math.nan
    note: str = ""

    @property
    def value(self) -> float:
        """Second less first."""
        return self.second - self.first


def compare_predictions(
    first: pd.DataFrame,
    second: pd.DataFrame,
    settings: MeasurementSettings,
    *,
    costs: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]] = (NO_COSTS, NO_COSTS),
) -> list[Difference]:
    """Returns every metric of two models on the cases that both predicted.

    Args:
        first, second: tables of predictions; see medimg.evaluation.protocols.
        settings: for both models; the whole split is compared, and no slices.
        costs: of each model, head to what its answers cost, see medimg.evaluation.classification.costs. Mean
            costs are compared where both have the same.

    Raises:
        UsageError: the tables share no case of the split, or they label a case differently.
    """
    one, two, note = find_shared_cases(first, second, split=settings.split)
    differences = []
    for head, classes in settings.heads.items():
        check_labels(one, two, head=head)
        for protocol in settings.find_protocols():
            subset = Subset(head, classes, protocol, settings.split)
            gap = find_gap(one, protocol=protocol, head=head, classes=classes)
            if gap := gap or find_gap(two, protocol=protocol, head=head, classes=classes):
                differences.append(undefined_difference(subset, note=gap))
                continue
            pair = align(
                *(roll_up(table, protocol=protocol, head=head, classes=classes) for table in (one, two))
            )
            own = costs[0].get(head), costs[1].get(head)
            found = compare_units(*pair, subset, settings, costs=own)
            differences += [add_note(difference, note) for difference in found]
    adjusted = adjust_holm([difference.p_value for difference in differences])
    return [
        dataclasses.replace(difference, adjusted=value)
        for difference, value in zip(differences, adjusted, strict=True)
    ]


def find_shared_cases(
    first: pd.DataFrame, second: pd.DataFrame, *, split: str
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Returns the cases of a split that both tables hold, in one order, and a note where others are left out.

    Raises:
        UsageError: there is no such case.
    """
    first, second = first[first["split"] == split], second[second["split"] == split]
    shared = set(first["case_id"]) & set(second["case_id"])
    if not shared:
        raise UsageError(
            f"predictions: the two tables share no case of split {split}, "
            "expected models that were scored on the same cases"
        )
    left_out = len(first) + len(second) - 2 * len(shared)
    note = f"{left_out} cases are in one table only and left out" if left_out else ""
    first, second = (
        table[table["case_id"].isin(shared)].sort_values("case_id", ignore_index=True)
        for table in (first, second)
    )
    return first, second, note


def add_note(difference: Difference, note: str) -> Difference:
    """Returns the difference with another note behind its own."""
    return dataclasses.replace(difference, note="; ".join(filter(None, [difference.note, note])))


def check_labels(first: pd.DataFrame, second: pd.DataFrame, *, head: str) -> None:
    """Raises UsageError where two tables of the same cases label one differently."""
    labels = [table[f"label_{head}"].fillna("no label").astype(str) for table in (first, second)]
    for case_id, one, two in zip(first["case_id"], *labels, strict=True):
        if one != two:
            raise UsageError(
                f"predictions: {head} of case {case_id} is {one} in the first table and {two} in the second, "
                "expected the same"
            )


def undefined_difference(subset: Subset, *, note: str) -> Difference:
    """Says why a protocol compares nothing for a head, so that it is not just absent."""
    return Difference(
        name=next(iter(metrics_of(subset.classes))),
        head=subset.head,
        protocol=subset.protocol.name,
        level=subset.protocol.level,
        split=subset.split,
        n=0,
        groups=0,
        first=math.nan,
        second=math.nan,
        low=math.nan,
        high=math.nan,
        p_value=math.nan,
        test="",
        note=note,
    )


def align(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The units that both tables hold, in one order: a view may have been readable for one model only."""
    shared = sorted(set(first["case_id"]) & set(second["case_id"]))
    return first.set_index("case_id").loc[shared], second.set_index("case_id").loc[shared]


def compare_units(
    first: pd.DataFrame,
    second: pd.DataFrame,
    subset: Subset,
    settings: MeasurementSettings,
    *,
    costs: tuple[np.ndarray | None, np.ndarray | None],
) -> list[Difference]:
    """Returns all metrics of one head under one protocol.

    Args:
        first, second: the same units in the same order.
        costs: what an answer of each model costs, [C, C], where that decides.
    """
    classes, groups_N = subset.classes, clusters_of(first)
    (labels_N, one_NC), (_, two_NC) = (
        read_units(units, head=subset.head, classes=classes) for units in (first, second)
    )
    one = ScoredCases(labels_N, one_NC, groups_N, costs[0])
    two = ScoredCases(labels_N, two_NC, groups_N, costs[1])
    one_values, two_values = (
        evaluate(labels_N, each.probabilities, classes=classes, costs_CC=each.costs) for each in (one, two)
    )
    same_costs = costs[0] is not None and costs[1] is not None and np.array_equal(costs[0], costs[1])
    metrics = metrics_of(classes, with_costs=same_costs, prevalence=settings.prevalence)
    tests = compare_metrics(one, two, metrics, settings.bootstrap)
    return [
        Difference(
            name,
            head=subset.head,
            protocol=subset.protocol.name,
            level=subset.protocol.level,
            split=subset.split,
            n=len(first),
            groups=first["group_id"].nunique(),
            first=one_values[name],
            second=two_values[name],
            low=test.interval.low,
            high=test.interval.high,
            p_value=test.p_value,
            test=test.name,
            note=test.interval.note,
        )
        for name, test in tests.items()
    ]
