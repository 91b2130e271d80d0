"""Paired tests of two models on the same cases.

The test follows the design. AUC: DeLong, for patients with several cases Obuchowski's clustered form.
Sensitivity and specificity of independent cases: McNemar. Everything else: the paired bootstrap that draws
whole patients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, chi2, norm

from medimg.evaluation.classification.delong import Z, estimate_aucs
from medimg.evaluation.classification.metrics import Metric
from medimg.evaluation.classification.weighted_sample import ScoredCases, predict_classes
from medimg.evaluation.intervals import (
    DEFAULT_BOOTSTRAP,
    Bootstrap,
    Interval,
    draw_weights,
    find_obstacle,
    take_percentiles,
)

EXACT_BELOW = 25
"""Discordant pairs below which McNemar's test is the exact binomial one."""


@dataclass(frozen=True)
class PairedTest:
    """Interval of a difference and the p-value that goes with it."""

    interval: Interval
    p_value: float
    name: str


def compare_metrics(
    first: ScoredCases,
    second: ScoredCases,
    metrics: Mapping[str, Metric],
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> dict[str, PairedTest]:
    """Returns interval and test of second less first for each metric.

    Args:
        first, second: the same cases in the same order, with probabilities [N, C] of each model.
    """
    tests = bootstrap_differences(first, second, metrics, bootstrap)
    if first.probabilities.shape[1] != 2 or find_obstacle(first):
        return tests
    labels_N, groups_N = first.labels, first.groups
    if "auc" in tests:
        tests["auc"] = compare_aucs(
            labels_N, first.probabilities[:, 1], second.probabilities[:, 1], groups=groups_N
        )
    if len(np.unique(groups_N)) == len(groups_N):
        right = [predict_classes(each.probabilities, each.costs) == labels_N for each in (first, second)]
        for name, chosen_N in (("sensitivity", labels_N == 1), ("specificity", labels_N == 0)):
            if name in tests:
                p_value = mcnemar(right[0][chosen_N], right[1][chosen_N])
                tests[name] = PairedTest(tests[name].interval, p_value, "McNemar")
    return tests


def bootstrap_differences(
    first: ScoredCases, second: ScoredCases, metrics: Mapping[str, Metric], bootstrap: Bootstrap
) -> dict[str, PairedTest]:
    """Returns percentile intervals and two-sided p-values, over the same resamples of groups for both models.

    Arguments as for `compare_metrics`.
    """
    name_of_test = "paired bootstrap"
    obstacle = find_obstacle(first)
    if obstacle:
        no_interval = Interval(math.nan, math.nan, note=f"no interval: {obstacle}")
        return {name: PairedTest(no_interval, math.nan, name_of_test) for name in metrics}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
    for weights_RN in draw_weights(first.groups, bootstrap):
        first_sample, second_sample = first.weigh(weights_RN), second.weigh(weights_RN)
        for name, metric in metrics.items():
            parts[name].append(metric(second_sample) - metric(first_sample))
    tests = {}
    for name, values in parts.items():
        values_R = np.concatenate(values)
        interval = take_percentiles(values_R)
        tests[name] = PairedTest(interval, compute_bootstrap_p_value(values_R, interval), name_of_test)
    return tests


def compute_bootstrap_p_value(differences_R: np.ndarray, interval: Interval) -> float:
    """Returns twice the share of resamples on the rarer side of 0; NaN without interval.

    The observed value is counted in (Davison and Hinkley 1997, 4.11).
    """
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
        note = "no interval: the two models rank all cases alike, or too few to tell"
        return PairedTest(Interval(math.nan, math.nan, note=note), math.nan, name)
    error = math.sqrt(variance)
    interval = Interval(difference - Z * error, difference + Z * error)
    return PairedTest(interval, float(2 * norm.sf(abs(difference) / error)), name)


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> float:
    """Returns the two-sided p-value of McNemar's test (1947) of two models on the same independent cases.

    The hypothesis is that they are right equally often. Exact below 25 discordant cases, else chi-squared
    with Edwards's correction for continuity (1948).

    Args:
        first_right, second_right: whether each model decided rightly, [N], at any operating point.
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
