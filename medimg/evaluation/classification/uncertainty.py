"""How sure the model is of each case, and the figures that say whether rightly so.

Axes: N cases, K members or dropout samples, C classes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import entr

from medimg.evaluation.classification.conformal import fit_conformal
from medimg.evaluation.classification.costs import NO_COSTS
from medimg.evaluation.classification.held_out import take_calibration_cases
from medimg.evaluation.classification.metrics import Metric
from medimg.evaluation.classification.selective import selective_metrics
from medimg.evaluation.figures import (
    Figure,
    MeasurementSettings,
    Subset,
    measure_slice,
    read_units,
    undefined_figure,
)
from medimg.evaluation.protocols import find_gap, roll_up


def add_uncertainty(predictions: pd.DataFrame, *, heads: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The same table with columns per head; entropies in nats.

    `u_<head>_entropy`: of the prediction. With columns of members or dropout samples also
    `u_<head>_mutual_information`: entropy of their mean less their mean entropy, what they do not agree on
    (Houlsby et al. 2011, arXiv 1112.5745); and `u_<head>_standard_deviation`: of their probabilities of the
    class that their mean holds likeliest.
    """
    columns: dict[str, np.ndarray] = {}
    for head, classes in heads.items():
        columns[f"u_{head}_entropy"] = entropy(
            predictions[[f"p_{head}_{name}" for name in classes]].to_numpy(dtype=np.float64)
        )
        members = count_members(predictions, head, classes)
        if members:
            names = [f"m{index}_{head}_{name}" for index in range(members) for name in classes]
            members_NKC = predictions[names].to_numpy(dtype=np.float64).reshape(-1, members, len(classes))
            mean_NC = members_NKC.mean(axis=1)
            columns[f"u_{head}_mutual_information"] = np.maximum(
                entropy(mean_NC) - entropy(members_NKC).mean(axis=1), 0.0
            )
            columns[f"u_{head}_standard_deviation"] = members_NKC.std(axis=1)[
                np.arange(len(mean_NC)), mean_NC.argmax(axis=1)
            ]
    return predictions.assign(**columns)


def count_members(predictions: pd.DataFrame, head: str, classes: Sequence[str]) -> int:
    """How many members or dropout samples the table has."""
    return next(index for index in itertools.count() if f"m{index}_{head}_{classes[0]}" not in predictions)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Shannon entropy over the last axis, in nats."""
    return np.asarray(entr(probabilities).sum(axis=-1))


def measure_uncertainty(
    predictions: pd.DataFrame,
    settings: MeasurementSettings,
    *,
    calibration_split: str = "eval",
    coverage: float = 0.9,
    costs: Mapping[str, np.ndarray] = NO_COSTS,
) -> list[Figure]:
    """Returns the figures of selective prediction and conformal sets of all heads under all protocols.

    Args:
        predictions: see medimg.evaluation.protocols; cases of both splits.
        settings: as for `medimg.evaluation.figures.measure`; the whole split is measured, and no slices.
        coverage: that the conformal sets are to have, calibrated on `calibration_split` under the same
            protocol: on its held-out answers, see medimg.evaluation.classification.held_out.
        costs: as for `medimg.evaluation.figures.measure`; the sets do not depend on them.
    """
    figures: list[Figure] = []
    measured = predictions[predictions["split"] == settings.split]
    calibrated = take_calibration_cases(predictions, split=calibration_split, heads=settings.heads)
    for head, classes in settings.heads.items():
        for protocol in settings.find_protocols():
            subset = Subset(head, classes, protocol, settings.split)
            gap = find_gap(measured, protocol=protocol, head=head, classes=classes)
            if gap := gap or find_gap(calibrated, protocol=protocol, head=head, classes=classes):
                figures.append(undefined_figure(subset, note=gap, name="aurc"))
                continue
            units, earlier = (
                roll_up(rows, protocol=protocol, head=head, classes=classes)
                for rows in (measured, calibrated)
            )
            conformal = fit_conformal_metrics(earlier, subset, coverage=coverage)
            found = measure_slice(
                units,
                subset,
                metrics={**selective_metrics(classes), **conformal},
                costs_CC=costs.get(head),
                bootstrap=settings.bootstrap,
            )
            note = f"sets calibrated on {len(earlier)} units of {calibration_split}"
            figures += [add_note(one, note) if one.name in conformal else one for one in found]
    return figures


def fit_conformal_metrics(units: pd.DataFrame, subset: Subset, *, coverage: float) -> dict[str, Metric]:
    """Returns the metrics of conformal sets calibrated on these units, over all cases and then by class."""
    labels_N, probabilities_NC = read_units(units, head=subset.head, classes=subset.classes)
    metrics: dict[str, Metric] = {}
    for by_class in (False, True):
        sets = fit_conformal(labels_N, probabilities_NC, coverage=coverage, by_class=by_class)
        metrics |= sets.metrics(subset.classes)
    return metrics


def add_note(figure: Figure, note: str) -> Figure:
    """Returns the figure with another note before its own."""
    return dataclasses.replace(figure, note="; ".join(filter(None, [note, figure.note])))
