"""Two models on the same cases: paired differences with intervals and tests.

The test follows the design. AUC: DeLong, for patients with several cases Obuchowski's clustered form.
Sensitivity and specificity of independent cases: McNemar. Everything else: the paired bootstrap that draws
whole patients. Holm's adjustment covers all rows of one comparison.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy.stats import binomtest, chi2, norm

from medimg.errors import UsageError
from medimg.evaluation.classification.costs import NO_COSTS
from medimg.evaluation.classification.delong import Z, estimate_aucs
from medimg.evaluation.classification.metrics import Metric, evaluate, metrics_of
from medimg.evaluation.classification.weighted_sample import make_sample, predict_classes
from medimg.evaluation.figures import read_units
from medimg.evaluation.intervals import RESAMPLES, Interval, draw_weights, find_obstacle, take_percentiles
from medimg.evaluation.protocols import Protocol, clusters_of, find_gap, roll_up

PairOfCosts: TypeAlias = tuple[np.ndarray | None, np.ndarray | None]

EXACT_BELOW = 25
"""Discordant pairs below which McNemar's test is the exact binomial one."""


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


@dataclass(frozen=True)
class PairedTest:
    """Interval of a difference and the p-value that goes with it."""

    interval: Interval
    p_value: float
    name: str


def compare_predictions(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    heads: Mapping[str, Sequence[str]],
    protocols: Iterable[Protocol],
    costs: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]] = (NO_COSTS, NO_COSTS),
    split: str = "test",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Difference]:
    """Every metric of two models on the cases that both predicted.

    Args:
        first, second: tables of predictions; see medimg.evaluation.protocols.
        heads: head to classes, the positive one last; of both models.
        costs: of each model, head to what its answers cost, see medimg.evaluation.classification.costs. Mean
            costs are compared where both have the same.

    Raises:
        UsageError: the tables share no case of the split, or they label a case differently.
    """
    tables = [table[table["split"] == split] for table in (first, second)]
    shared = set(tables[0]["case_id"]) & set(tables[1]["case_id"])
    if not shared:
        raise UsageError(
            f"predictions: the two tables share no case of split {split}, expected models that were scored on the same cases"
        )
    left_out = len(tables[0]) + len(tables[1]) - 2 * len(shared)
    note = f"{left_out} cases are in one table only and left out" if left_out else ""
    one, two = (
        table[table["case_id"].isin(shared)].sort_values("case_id", ignore_index=True) for table in tables
    )
    differences = []
    for head, classes in heads.items():
        check_labels(one, two, head=head)
        for protocol in protocols:
            place = (head, protocol, split)
            if gap := next(
                filter(
                    None,
                    (find_gap(table, protocol=protocol, head=head, classes=classes) for table in (one, two)),
                ),
                "",
            ):
                differences.append(undefined_difference(place, classes=classes, note=gap))
                continue
            pair = align(
                *(roll_up(table, protocol=protocol, head=head, classes=classes) for table in (one, two))
            )
            own = costs[0].get(head), costs[1].get(head)
            differences += compare_units(
                *pair, where=place, classes=classes, costs=own, resamples=resamples, seed=seed, note=note
            )
    adjusted = adjust_holm([difference.p_value for difference in differences])
    return [
        dataclasses.replace(difference, adjusted=value)
        for difference, value in zip(differences, adjusted, strict=True)
    ]


def check_labels(first: pd.DataFrame, second: pd.DataFrame, *, head: str) -> None:
    """Raises UsageError where two tables of the same cases label one differently."""
    labels = [table[f"label_{head}"].fillna("no label").astype(str) for table in (first, second)]
    for case_id, one, two in zip(first["case_id"], *labels, strict=True):
        if one != two:
            raise UsageError(
                f"predictions: {head} of case {case_id} is {one} in the first table and {two} in the second, expected the same"
            )


def undefined_difference(
    where: tuple[str, Protocol, str], *, classes: Sequence[str], note: str
) -> Difference:
    """Says why a protocol compares nothing for a head, so that it is not just absent."""
    head, protocol, split = where
    name = next(iter(metrics_of(classes)))
    undefined = dict.fromkeys(("first", "second", "low", "high", "p_value"), math.nan)
    return Difference(name, head, protocol.name, protocol.level, split, 0, 0, **undefined, test="", note=note)


def align(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The units that both tables hold, in one order: a view may have been readable for one model only."""
    shared = sorted(set(first["case_id"]) & set(second["case_id"]))
    return first.set_index("case_id").loc[shared], second.set_index("case_id").loc[shared]


def compare_units(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    where: tuple[str, Protocol, str],
    classes: Sequence[str],
    costs: PairOfCosts,
    resamples: int,
    seed: int,
    note: str,
) -> list[Difference]:
    """All metrics of one head under one protocol; the tables hold the same units in the same order."""
    head, protocol, split = where
    (labels_N, one_NC), (_, two_NC) = (
        read_units(units, head=head, classes=classes) for units in (first, second)
    )
    groups_N = clusters_of(first)
    values = [
        evaluate(labels_N, each_NC, classes=classes, costs_CC=costs_CC)
        for each_NC, costs_CC in zip((one_NC, two_NC), costs, strict=True)
    ]
    same_costs = costs[0] is not None and costs[1] is not None and np.array_equal(costs[0], costs[1])
    metrics = metrics_of(classes, with_costs=same_costs)
    tests = compare_metrics(
        labels_N,
        one_NC,
        two_NC,
        groups=groups_N,
        metrics=metrics,
        costs=costs,
        resamples=resamples,
        seed=seed,
    )
    place = (head, protocol.name, protocol.level, split, len(first), len(np.unique(groups_N)))
    return [
        Difference(
            name,
            *place,
            first=values[0][name],
            second=values[1][name],
            low=test.interval.low,
            high=test.interval.high,
            p_value=test.p_value,
            test=test.name,
            note="; ".join(filter(None, [test.interval.note, note])),
        )
        for name, test in tests.items()
    ]


def compare_metrics(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    groups: np.ndarray,
    metrics: Mapping[str, Metric],
    costs: PairOfCosts = (None, None),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, PairedTest]:
    """Interval and test of second less first for each metric.

    Args:
        labels: class index, [N].
        first, second: probabilities of the same cases, [N, C].
        groups: [N], what is drawn as a whole.
        costs: what answers cost, of each model, where that decides the predicted class.
    """
    tests = bootstrap_differences(
        labels, first, second, groups=groups, metrics=metrics, costs=costs, resamples=resamples, seed=seed
    )
    if first.shape[1] != 2 or find_obstacle(labels, first, groups=groups):
        return tests
    if "auc" in tests:
        tests["auc"] = compare_aucs(labels, first[:, 1], second[:, 1], groups=groups)
    if len(np.unique(groups)) == len(groups):
        right = [
            predict_classes(each_NC, costs_CC) == labels
            for each_NC, costs_CC in zip((first, second), costs, strict=True)
        ]
        for name, chosen_N in (("sensitivity", labels == 1), ("specificity", labels == 0)):
            if name in tests:
                p_value = mcnemar(right[0][chosen_N], right[1][chosen_N])
                tests[name] = PairedTest(tests[name].interval, p_value, "McNemar")
    return tests


def bootstrap_differences(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    groups: np.ndarray,
    metrics: Mapping[str, Metric],
    costs: PairOfCosts = (None, None),
    resamples: int,
    seed: int,
) -> dict[str, PairedTest]:
    """Percentile intervals and two-sided p-values over the same resamples of groups for both models.

    Arguments as for `compare_metrics`.
    """
    name_of_test = "paired bootstrap"
    obstacle = find_obstacle(labels, first, groups=groups)
    if obstacle:
        return {
            name: PairedTest(
                Interval(math.nan, math.nan, note=f"no interval: {obstacle}"), math.nan, name_of_test
            )
            for name in metrics
        }
    parts: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
    for weights_RN in draw_weights(groups, resamples=resamples, seed=seed):
        pair = zip((first, second), costs, strict=True)
        samples = [
            make_sample(labels, each_NC, weights_RN=weights_RN, costs_CC=costs_CC)
            for each_NC, costs_CC in pair
        ]
        for name, metric in metrics.items():
            parts[name].append(metric(samples[1]) - metric(samples[0]))
    tests = {}
    for name, values in parts.items():
        interval = take_percentiles(values_R := np.concatenate(values))
        tests[name] = PairedTest(interval, bootstrap_p_value(values_R, interval), name_of_test)
    return tests


def bootstrap_p_value(differences_R: np.ndarray, interval: Interval) -> float:
    """Twice the share of resamples on the rarer side of 0, the observed one counted in (Davison and Hinkley 1997, 4.11); NaN without interval."""
    if math.isnan(interval.low):
        return math.nan
    kept_R = differences_R[~np.isnan(differences_R)]
    rarer = min((kept_R <= 0).sum(), (kept_R >= 0).sum())
    return float(min(1.0, 2 * (rarer + 1) / (len(kept_R) + 1)))


def compare_aucs(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, *, groups: np.ndarray | None = None
) -> PairedTest:
    """DeLong's test of the difference of two AUCs; arguments as for `estimate_aucs`."""
    clustered = groups is not None and len(np.unique(groups)) < len(groups)
    name = "DeLong, clustered (Obuchowski)" if clustered else "DeLong"
    aucs = estimate_aucs(labels, np.stack([first, second], axis=1), groups=groups)
    difference = float(aucs.values[1] - aucs.values[0])
    variance = float(aucs.covariance[0, 0] + aucs.covariance[1, 1] - 2 * aucs.covariance[0, 1])
    if not variance > 0:
        return PairedTest(
            Interval(
                math.nan,
                math.nan,
                note="no interval: the two models rank all cases alike, or too few to tell",
            ),
            math.nan,
            name,
        )
    error = math.sqrt(variance)
    return PairedTest(
        Interval(difference - Z * error, difference + Z * error),
        float(2 * norm.sf(abs(difference) / error)),
        name,
    )


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> float:
    """Two-sided p-value of McNemar's test (1947) that two models are right equally often on the same independent cases.

    Exact below 25 discordant cases, else chi-squared with Edwards's correction for continuity (1948).

    Args:
        first_right, second_right: whether each model decided rightly, [N], at whatever operating point.
    """
    only_first = int((first_right & ~second_right).sum())
    discordant = only_first + int((second_right & ~first_right).sum())
    if not discordant:
        return 1.0
    if discordant < EXACT_BELOW:
        return float(binomtest(only_first, discordant).pvalue)
    return float(chi2.sf((abs(2 * only_first - discordant) - 1) ** 2 / discordant, df=1))


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """P-values that keep the chance of any false finding among them at their level (Holm 1979).

    NaN stays and is not counted.
    """
    adjusted = np.full(len(p_values), math.nan)
    order = [index for index in np.argsort(p_values, kind="stable") if not math.isnan(p_values[index])]
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted.tolist()
