"""Baselines: what prevalence and shortcuts reach, measured beside the model by the same protocols, on the same cases, with the same resamples.

The sources are the table of predictions and the table of shortcuts alone, so that every figure can be
computed again from a report's folder.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medimg.errors import UsageError
from medimg.evaluation.classification.metrics import auc, metrics_of
from medimg.evaluation.classification.shortcuts import fit_shortcuts, predict_from_shortcuts
from medimg.evaluation.comparison import bootstrap_differences
from medimg.evaluation.figures import Figure, describe, list_slices, measure
from medimg.evaluation.folds import list_fits
from medimg.evaluation.gates import ABOVE_SHORTCUT
from medimg.evaluation.intervals import RESAMPLES
from medimg.evaluation.protocols import Protocol, clusters_of, find_gap, find_protocols, roll_up

METRICS = ("auc", "average_precision", "brier", "macro_auc")
"""What baselines are measured by: metrics that need no threshold."""
ALL_LABELLED = "all labelled"
"""Stands for the split where a baseline is fitted and scored on every labelled case, before exclusions."""
IN_SAMPLE = "no interval: fitted and scored on the same cases"


@dataclass(frozen=True)
class Baseline:
    """What is known of a case without its pixels: no shortcut at all (the prevalence), one, or several."""

    shortcuts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`prevalence`, `source`, `source + age_years`."""
        return " + ".join(self.shortcuts) or "prevalence"


@dataclass(frozen=True)
class BaselineFigure:
    """A figure of a baseline; its key is that of the model's figure that it stands beside."""

    baseline: str
    figure: Figure


@dataclass(frozen=True)
class Reach:
    """What a shortcut could reach: one row of the small table.

    Attributes:
        baseline: its name.
        all_labelled: fitted and scored on all labelled cases, excluded ones included; no interval, for it
            says nothing of other cases.
        held_out: fitted on the train split, scored on the measured one, with interval.
    """

    baseline: str
    all_labelled: Figure
    held_out: Figure


def list_baselines(shortcuts: Sequence[str]) -> list[Baseline]:
    """The prevalence, each shortcut alone, and each together with all that are named before it.

    The last is the combination of all.
    """
    alone = [Baseline((shortcut,)) for shortcut in shortcuts]
    together = [Baseline(tuple(shortcuts[:count])) for count in range(2, len(shortcuts) + 1)]
    return [Baseline(), *alone, *together]


def measure_baselines(
    predictions: pd.DataFrame,
    table: pd.DataFrame,
    *,
    shortcuts: Sequence[str],
    heads: Mapping[str, Sequence[str]],
    protocols: Sequence[Protocol | str],
    slices: Sequence[str] = (),
    split: str = "test",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[BaselineFigure]:
    """Every baseline, fitted on the train split (of its own fold, for cases out of fold), on the cases of `predictions` that are of `split`.

    Args:
        predictions: see medimg.evaluation.protocols; its probabilities have no part in this.
        table: of medimg.evaluation.classification.shortcuts.
        shortcuts: names, in the order in which they are added up.
        heads, protocols, slices, resamples, seed: as for `medimg.evaluation.figures.measure`.

    Raises:
        UsageError: a case has no row in the table of shortcuts.
    """
    rules = take_rules(protocols)
    cases = predictions[predictions["split"] == split]
    parts = [
        (tested, take_rows(table, tested["case_id"]), fitted_on)
        for tested, fitted_on in list_fits(cases, table, split=split)
    ]
    found = []
    for baseline in list_baselines(shortcuts):
        scored = pd.concat(
            [
                score_rows(tested, rows, baseline=baseline, fitted_on=fitted_on, heads=heads)
                for tested, rows, fitted_on in parts
            ]
        )
        figures = measure(
            scored,
            heads=heads,
            protocols=rules,
            slices=slices,
            metrics=METRICS,
            split=split,
            resamples=resamples,
            seed=seed,
        )
        found += [BaselineFigure(baseline.name, figure) for figure in figures]
    return found


def measure_in_sample(
    table: pd.DataFrame,
    *,
    shortcuts: Sequence[str],
    heads: Mapping[str, Sequence[str]],
    protocols: Sequence[Protocol | str],
    slices: Sequence[str] = (),
) -> list[BaselineFigure]:
    """Every baseline, fitted and scored on all cases that have the head's label, whatever their status.

    Figures without interval.
    """
    rules = take_rules(protocols)
    rows = table.assign(split=ALL_LABELLED)
    found = []
    for baseline in list_baselines(shortcuts):
        scored = score_rows(rows, rows, baseline=baseline, fitted_on=rows, heads=heads)
        figures = measure(
            scored,
            heads=heads,
            protocols=rules,
            slices=slices,
            metrics=METRICS,
            split=ALL_LABELLED,
            resamples=0,
        )
        found += [BaselineFigure(baseline.name, note_in_sample(figure)) for figure in figures]
    return found


def note_in_sample(figure: Figure) -> Figure:
    """The figure with the reason for its missing interval; one without a value has a reason already."""
    return figure if math.isnan(figure.value) else dataclasses.replace(figure, note=IN_SAMPLE)


def tabulate_reach(
    in_sample: Sequence[BaselineFigure], held_out: Sequence[BaselineFigure], *, metric: str = "auc"
) -> list[Reach]:
    """The two columns side by side: figures of one metric that have everything but the split in common, in the order of the first."""

    def keys(figures: Sequence[BaselineFigure]) -> dict[tuple[str, ...], Figure]:
        # The last part of a figure's key is its split, the one thing in which the columns differ.
        return {
            (one.baseline, *one.figure.key[:-1]): one.figure for one in figures if one.figure.name == metric
        }

    first, second = keys(in_sample), keys(held_out)
    return [Reach(key[0], first[key], second[key]) for key in first if key in second]


def take_rules(protocols: Sequence[Protocol | str]) -> list[Protocol]:
    """The protocols that baselines have figures under: what is known of a case says nothing of a single view."""
    rules = [
        protocol if isinstance(protocol, Protocol) else find_protocols([protocol])[0]
        for protocol in protocols
    ]
    return [protocol for protocol in rules if protocol.aggregate != "views"]


def take_rows(table: pd.DataFrame, case_ids: pd.Series) -> pd.DataFrame:
    """The rows of these cases, in their order."""
    by_id = table.set_index("case_id")
    missing = sorted(set(case_ids) - set(by_id.index))
    if missing:
        raise UsageError(
            f"table of shortcuts: no row for case {missing[0]} ({len(missing)} such cases), expected one for each prediction"
        )
    return by_id.loc[case_ids].reset_index()


def score_rows(
    cases: pd.DataFrame,
    rows: pd.DataFrame,
    *,
    baseline: Baseline,
    fitted_on: pd.DataFrame,
    heads: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """The cases with a baseline's probabilities in place of the model's.

    `rows` are the same cases' shortcuts.
    """
    columns: dict[str, np.ndarray] = {}
    for head, classes in heads.items():
        probabilities_NC = predict_baseline(baseline, rows, fitted_on=fitted_on, head=head, classes=classes)
        columns |= {f"p_{head}_{name}": probabilities_NC[:, index] for index, name in enumerate(classes)}
    return cases.assign(**columns)


def predict_baseline(
    baseline: Baseline, rows: pd.DataFrame, *, fitted_on: pd.DataFrame, head: str, classes: Sequence[str]
) -> np.ndarray:
    """Probabilities [N, C] of one head.

    Where all labels are of one class there is nothing to fit, and every baseline is the prevalence.
    """
    counts_C = (
        fitted_on[f"label_{head}"]
        .value_counts()
        .reindex(list(classes), fill_value=0)
        .to_numpy(dtype=np.float64)
    )
    if baseline.shortcuts and (counts_C > 0).sum() > 1:
        model = fit_shortcuts(fitted_on, baseline.shortcuts, head=head, classes=classes)
        return predict_from_shortcuts(model, rows, baseline.shortcuts, classes=classes)
    shares_C = counts_C / counts_C.sum() if counts_C.sum() else np.full(len(classes), 1 / len(classes))
    return np.tile(shares_C, (len(rows), 1))


def measure_above_shortcut(
    predictions: pd.DataFrame,
    *,
    heads: Mapping[str, Sequence[str]],
    protocols: Sequence[Protocol | str],
    slices: Sequence[str] = (),
    split: str = "test",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Figure]:
    """AUC of the model minus AUC of `shortcut_<head>` on the same cases, with a paired bootstrap: both are measured in each resample.

    Heads of more than two classes, and predictions without the column, give no figure. Arguments as for
    `medimg.evaluation.figures.measure`.
    """
    rules = take_rules(protocols)
    rows = predictions[predictions["split"] == split]
    figures = []
    for head, classes in heads.items():
        if len(classes) != 2 or f"shortcut_{head}" not in rows:
            continue
        for protocol in rules:
            if find_gap(rows, protocol=protocol, head=head, classes=classes):
                continue  # The gap is told by the model's own figures.
            for name, units in list_slices(
                pair_scores(rows, protocol=protocol, head=head, classes=classes), slices
            ):
                figures.append(
                    measure_difference(
                        units,
                        where=(head, name, protocol, split),
                        classes=classes,
                        resamples=resamples,
                        seed=seed,
                    )
                )
    return figures


def pair_scores(rows: pd.DataFrame, *, protocol: Protocol, head: str, classes: Sequence[str]) -> pd.DataFrame:
    """The units of a protocol with the shortcuts' probability, rolled up by the same rule, in a column `shortcut_<head>`.

    Raises:
        UsageError: a case has no such probability.
    """
    scores_N = rows[f"shortcut_{head}"].astype("float64")
    if scores_N.isna().any():
        raise UsageError(
            f"predictions: no shortcut_{head} for case {rows.loc[scores_N.isna(), 'case_id'].iloc[0]}, expected one for each case"
        )
    negative, positive = (f"p_{head}_{name}" for name in classes)
    units = roll_up(rows, protocol=protocol, head=head, classes=classes)
    others = roll_up(
        rows.assign(**{negative: 1 - scores_N, positive: scores_N}),
        protocol=protocol,
        head=head,
        classes=classes,
    )
    return units.assign(**{f"shortcut_{head}": others[positive]})


def measure_difference(
    units: pd.DataFrame,
    *,
    where: tuple[str, str, Protocol, str],
    classes: Sequence[str],
    resamples: int,
    seed: int,
) -> Figure:
    """AUC of the model minus AUC of the shortcuts on one slice; `where` is (head, slice, protocol, split)."""
    head, slice_name, protocol, split = where
    labels_N = (units[f"label_{head}"] == classes[-1]).to_numpy(dtype=np.int64)
    shortcut_NC, model_NC = (
        np.stack([1 - scores_N, scores_N], axis=1)
        for scores_N in (
            units[column].to_numpy(dtype=np.float64)
            for column in (f"shortcut_{head}", f"p_{head}_{classes[-1]}")
        )
    )
    value = auc(labels_N, model_NC[:, 1]) - auc(labels_N, shortcut_NC[:, 1])
    metrics = {"auc": metrics_of(classes)["auc"]}
    drawn = bootstrap_differences(
        labels_N,
        shortcut_NC,
        model_NC,
        groups=clusters_of(units),
        metrics=metrics,
        resamples=resamples,
        seed=seed,
    )
    interval = drawn["auc"].interval
    counts = len(units), int(labels_N.sum()), units["group_id"].nunique()
    place = head, slice_name, protocol.name, protocol.level, split
    return Figure(
        ABOVE_SHORTCUT, *place, *counts, value, interval.low, interval.high, describe(value, interval)
    )
