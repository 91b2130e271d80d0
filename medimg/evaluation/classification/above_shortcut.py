"""How far the model's AUC is above that of the shortcuts, on the same cases with the same resamples."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from medimg.errors import UsageError
from medimg.evaluation.classification.baselines import find_case_protocols
from medimg.evaluation.classification.metrics import auc, metrics_of
from medimg.evaluation.classification.weighted_sample import ScoredCases
from medimg.evaluation.figures import Figure, MeasurementSettings, Subset, list_slices, make_figure
from medimg.evaluation.gates import ABOVE_SHORTCUT
from medimg.evaluation.intervals import Bootstrap
from medimg.evaluation.paired_tests import bootstrap_differences
from medimg.evaluation.protocols import clusters_of, find_gap, roll_up


def measure_above_shortcut(predictions: pd.DataFrame, settings: MeasurementSettings) -> list[Figure]:
    """Returns AUC of the model minus AUC of `shortcut_<head>` on the same cases, with a paired bootstrap.

    Both are measured in each resample. Heads of more than two classes, and predictions without the column,
    give no figure. Arguments as for `medimg.evaluation.figures.measure`.
    """
    protocols = find_case_protocols(settings)
    rows = predictions[predictions["split"] == settings.split]
    figures = []
    for head, classes in settings.heads.items():
        if len(classes) != 2 or f"shortcut_{head}" not in rows:
            continue
        for protocol in protocols:
            if find_gap(rows, protocol=protocol, head=head, classes=classes):
                continue  # The model's own figures report the gap.
            subset = Subset(head, classes, protocol, settings.split)
            for name, units in list_slices(pair_scores(rows, subset), settings.slices):
                part = dataclasses.replace(subset, slice=name)
                figures.append(measure_difference(units, part, settings.bootstrap))
    return figures


def pair_scores(rows: pd.DataFrame, subset: Subset) -> pd.DataFrame:
    """Returns the units of a protocol with the shortcuts' probability in a column `shortcut_<head>`.

    It is rolled up by the same rule.

    Raises:
        UsageError: a case has no such probability.
    """
    head, classes, protocol = subset.head, subset.classes, subset.protocol
    scores_N = rows[f"shortcut_{head}"].astype("float64")
    if scores_N.isna().any():
        case_id = rows.loc[scores_N.isna(), "case_id"].iloc[0]
        raise UsageError(f"predictions: no shortcut_{head} for case {case_id}, expected one for each case")
    negative, positive = (f"p_{head}_{name}" for name in classes)
    units = roll_up(rows, protocol=protocol, head=head, classes=classes)
    by_shortcut = rows.assign(**{negative: 1 - scores_N, positive: scores_N})
    others = roll_up(by_shortcut, protocol=protocol, head=head, classes=classes)
    return units.assign(**{f"shortcut_{head}": others[positive]})


def measure_difference(units: pd.DataFrame, subset: Subset, bootstrap: Bootstrap) -> Figure:
    """Returns AUC of the model minus AUC of the shortcuts on one slice, whose units these are."""
    head, positive = subset.head, subset.classes[-1]
    labels_N = (units[f"label_{head}"] == positive).to_numpy(dtype=np.int64)
    groups_N = clusters_of(units)
    shortcut = ScoredCases(labels_N, stack_scores(units[f"shortcut_{head}"]), groups_N)
    model = ScoredCases(labels_N, stack_scores(units[f"p_{head}_{positive}"]), groups_N)
    value = auc(labels_N, model.probabilities[:, 1]) - auc(labels_N, shortcut.probabilities[:, 1])
    metrics = {"auc": metrics_of(subset.classes)["auc"]}
    interval = bootstrap_differences(shortcut, model, metrics, bootstrap)["auc"].interval
    return make_figure(ABOVE_SHORTCUT, units, subset, value=value, interval=interval)


def stack_scores(scores: pd.Series) -> np.ndarray:
    """Returns the probabilities of both classes, [N, 2], from those of the positive one."""
    scores_N = scores.to_numpy(dtype=np.float64)
    return np.stack([1 - scores_N, scores_N], axis=1)
