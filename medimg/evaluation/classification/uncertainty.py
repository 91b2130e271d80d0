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
from medimg.evaluation.classification.selective import selective_metrics
from medimg.evaluation.figures import Figure, measure_slice, read_units, undefined_figure
from medimg.evaluation.gates import OVERALL
from medimg.evaluation.intervals import RESAMPLES
from medimg.evaluation.protocols import find_gap, find_protocols, roll_up


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
    *,
    heads: Mapping[str, Sequence[str]],
    protocols: Sequence[str],
    split: str = "test",
    calibration_split: str = "eval",
    coverage: float = 0.9,
    costs: Mapping[str, np.ndarray] = NO_COSTS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Figure]:
    """Selective prediction and conformal sets of all heads under all protocols, overall.

    Args:
        predictions: see medimg.evaluation.protocols; cases of both splits.
        coverage: that the conformal sets are to have, calibrated on `calibration_split` under the same
            protocol. The model was chosen on that split and its temperature fitted there, so they may fall a
            little short; the figures say what they reach.
        costs: as for `medimg.evaluation.figures.measure`; the sets do not depend on them.
    """
    figures: list[Figure] = []
    for head, classes in heads.items():
        for protocol in find_protocols(protocols):
            both = [predictions[predictions["split"] == name] for name in (split, calibration_split)]
            if gap := next(
                filter(
                    None, (find_gap(rows, protocol=protocol, head=head, classes=classes) for rows in both)
                ),
                "",
            ):
                figures.append(
                    undefined_figure(head, classes, protocol=protocol, split=split, note=gap, name="aurc")
                )
                continue
            units, earlier = (roll_up(rows, protocol=protocol, head=head, classes=classes) for rows in both)
            labels_N, probabilities_NC = read_units(earlier, head=head, classes=classes)
            sets = [
                fit_conformal(labels_N, probabilities_NC, coverage=coverage, by_class=by_class)
                for by_class in (False, True)
            ]
            conformal = {**sets[0].metrics(classes), **sets[1].metrics(classes)}
            metrics = {**selective_metrics(classes), **conformal}
            where = (head, OVERALL, protocol, split)
            found = measure_slice(
                units,
                where=where,
                classes=classes,
                metrics=metrics,
                costs_CC=costs.get(head),
                resamples=resamples,
                seed=seed,
            )
            note = f"sets calibrated on {len(earlier)} units of {calibration_split}"
            figures += [
                dataclasses.replace(one, note="; ".join(filter(None, [note, one.note])))
                if one.name in conformal
                else one
                for one in found
            ]
    return figures
