"""Baselines: what prevalence and shortcuts reach, measured beside the model.

They are measured by the same protocols, on the same cases, with the same resamples. The sources are the table
of predictions and the table of shortcuts alone, so that every figure can be computed again from a report's
folder.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medimg.errors import UsageError
from medimg.evaluation.classification.shortcuts import fit_shortcuts, predict_from_shortcuts
from medimg.evaluation.figures import Figure, MeasurementSettings, measure
from medimg.evaluation.folds import list_fits
from medimg.evaluation.intervals import Bootstrap
from medimg.evaluation.protocols import Protocol

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
    settings: MeasurementSettings,
    *,
    shortcuts: Sequence[str],
) -> list[BaselineFigure]:
    """Returns the figures of every baseline on the cases of `predictions` that are of the settings' split.

    It is fitted on the train split; for cases out of fold, on that of their own fold.

    Args:
        predictions: see medimg.evaluation.protocols; its probabilities have no part in this.
        table: of medimg.evaluation.classification.shortcuts.
        settings: as for `medimg.evaluation.figures.measure`.
        shortcuts: names, in the order in which they are added up.

    Raises:
        UsageError: a case has no row in the table of shortcuts.
    """
    settings = dataclasses.replace(settings, protocols=find_case_protocols(settings))
    cases = predictions[predictions["split"] == settings.split]
    parts = [
        (tested, take_rows(table, tested["case_id"]), fitted_on)
        for tested, fitted_on in list_fits(cases, table, split=settings.split)
    ]
    found = []
    for baseline in list_baselines(shortcuts):
        scored = [
            score_rows(tested, rows, baseline=baseline, fitted_on=fitted_on, heads=settings.heads)
            for tested, rows, fitted_on in parts
        ]
        figures = measure(pd.concat(scored), settings, metrics=METRICS)
        found += [BaselineFigure(baseline.name, figure) for figure in figures]
    return found


def measure_in_sample(
    table: pd.DataFrame, settings: MeasurementSettings, *, shortcuts: Sequence[str]
) -> list[BaselineFigure]:
    """Returns the figures of every baseline, fitted and scored on all cases that have the head's label.

    The cases' status and the settings' split and bootstrap have no part in this: there is no interval.
    """
    settings = dataclasses.replace(
        settings,
        protocols=find_case_protocols(settings),
        split=ALL_LABELLED,
        bootstrap=Bootstrap(resamples=0),
    )
    rows = table.assign(split=ALL_LABELLED)
    found = []
    for baseline in list_baselines(shortcuts):
        scored = score_rows(rows, rows, baseline=baseline, fitted_on=rows, heads=settings.heads)
        figures = measure(scored, settings, metrics=METRICS)
        found += [BaselineFigure(baseline.name, note_in_sample(figure)) for figure in figures]
    return found


def note_in_sample(figure: Figure) -> Figure:
    """The figure with the reason for its missing interval; one without a value has a reason already."""
    return figure if math.isnan(figure.value) else dataclasses.replace(figure, note=IN_SAMPLE)


def tabulate_reach(
    in_sample: Sequence[BaselineFigure], held_out: Sequence[BaselineFigure], *, metric: str = "auc"
) -> list[Reach]:
    """Returns the two columns side by side, in the order of the first.

    A row has figures of one metric that have everything but the split in common.
    """

    def keys(figures: Sequence[BaselineFigure]) -> dict[tuple[str, ...], Figure]:
        # The last part of a figure's key is its split, the one thing in which the columns differ.
        return {
            (one.baseline, *one.figure.key[:-1]): one.figure for one in figures if one.figure.name == metric
        }

    first, second = keys(in_sample), keys(held_out)
    return [Reach(key[0], first[key], second[key]) for key in first if key in second]


def find_case_protocols(settings: MeasurementSettings) -> list[Protocol]:
    """Returns the protocols that baselines have figures under.

    What is known of a case says nothing of a single view.
    """
    return [protocol for protocol in settings.find_protocols() if protocol.aggregate != "views"]


def take_rows(table: pd.DataFrame, case_ids: pd.Series) -> pd.DataFrame:
    """The rows of these cases, in their order."""
    by_id = table.set_index("case_id")
    missing = sorted(set(case_ids) - set(by_id.index))
    if missing:
        raise UsageError(
            f"table of shortcuts: no row for case {missing[0]} ({len(missing)} such cases), "
            "expected one for each prediction"
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
    counts = fitted_on[f"label_{head}"].value_counts().reindex(list(classes), fill_value=0)
    counts_C = counts.to_numpy(dtype=np.float64)
    if baseline.shortcuts and (counts_C > 0).sum() > 1:
        model = fit_shortcuts(fitted_on, baseline.shortcuts, head=head, classes=classes)
        return predict_from_shortcuts(model, rows, baseline.shortcuts, classes=classes)
    shares_C = counts_C / counts_C.sum() if counts_C.sum() else np.full(len(classes), 1 / len(classes))
    return np.tile(shares_C, (len(rows), 1))
