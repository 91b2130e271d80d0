"""From the checks of single maps to figures with patient-clustered intervals.

Pure: the table of checks is the only source.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from medimg.evaluation.figures import Figure
from medimg.evaluation.gates import OVERALL
from medimg.evaluation.intervals import DEFAULT_BOOTSTRAP, Bootstrap, mean_interval

GRAD_CAM = "grad_cam"
PROTOCOL, LEVEL = "outlined-positives", "image"
TRAINED, RANDOMISED, CHANCE = "trained", "randomised", "chance"
TRUTH_MEASURES = ("pointing", "energy")
LIKENESS_MEASURES = ("rank_correlation", "ssim")
IMAGE_COLUMNS = ["case_id", "role"]


def measure_checks(checks: pd.DataFrame, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP) -> list[Figure]:
    """Returns figures of the first head's positives whose lesions are outlined, one unit per image.

    For each method and for `pointing` and `energy`: `<measure>_<method>` of the trained network,
    `..._randomised` of the network with randomised weights, `..._minus_randomised` and `..._minus_chance` as
    paired differences on the same images, and `<measure>_chance` once. Then `rank_correlation_<method>` and
    `ssim_<method>` of the trained network's maps with the randomised one's: near 1 would mean that the maps
    show the image and nothing that was learned (Adebayo et al. 2018).

    Args:
        checks: a row per image, method and network (`subject`: "trained", "randomised-0" ..., "chance"):
            case_id, group_id, role, head, class, split, method (empty for chance), subject, pointing, energy,
            rank_correlation, ssim; null where a measure does not apply.
    """
    figures: list[Figure] = []
    for (head, split), part in checks.groupby(["head", "split"], sort=True):
        by_chance = average_images(part[part["subject"] == CHANCE])
        columns = {f"{measure}_{CHANCE}": by_chance[measure] for measure in TRUTH_MEASURES}
        for method in sorted(set(part["method"]) - {""}):
            columns |= dict(list_columns(part[part["method"] == method], method=method, by_chance=by_chance))
        clusters = part.drop_duplicates(IMAGE_COLUMNS).set_index(IMAGE_COLUMNS)["group_id"]
        where = str(head), str(split)
        figures += [
            measure_mean(name, one, clusters=clusters, where=where, bootstrap=bootstrap)
            for name, one in columns.items()
        ]
    return figures


def average_images(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean of each measure per image, over the randomised networks if there are several."""
    means: pd.DataFrame = rows.groupby(IMAGE_COLUMNS, sort=True)[[*TRUTH_MEASURES, *LIKENESS_MEASURES]].mean()
    return means


def list_columns(
    rows: pd.DataFrame, *, method: str, by_chance: pd.DataFrame
) -> Iterator[tuple[str, pd.Series]]:
    """Name and values per image of each of a method's figures."""
    trained = average_images(rows[rows["subject"] == TRAINED])
    randomised = average_images(rows[rows["subject"].str.startswith(RANDOMISED)])
    for measure in TRUTH_MEASURES:
        yield f"{measure}_{method}", trained[measure]
        yield f"{measure}_{method}_{RANDOMISED}", randomised[measure]
        yield f"{measure}_{method}_minus_{RANDOMISED}", trained[measure] - randomised[measure]
        yield f"{measure}_{method}_minus_{CHANCE}", trained[measure] - by_chance[measure]
    for measure in LIKENESS_MEASURES:
        yield f"{measure}_{method}", randomised[measure]


def measure_mean(
    name: str, values: pd.Series, *, clusters: pd.Series, where: tuple[str, str], bootstrap: Bootstrap
) -> Figure:
    """Returns the mean over images with its interval; `where` is (head, split).

    Images whose value is undefined are left out and counted in the note.
    """
    head, split = where
    defined = values.dropna()
    groups_N = clusters.loc[defined.index].astype(str).to_numpy()
    interval = mean_interval(defined.to_numpy(dtype=np.float64), groups_N, bootstrap)
    left_out = len(values) - len(defined)
    note = f"{left_out} of {len(values)} images left out: a map without evidence has no likeness to another"
    return Figure(
        name=name,
        head=head,
        slice=OVERALL,
        protocol=PROTOCOL,
        level=LEVEL,
        split=split,
        n=len(defined),
        positives=len(defined),
        groups=len(set(groups_N)),
        value=float(defined.mean()) if len(defined) else math.nan,
        low=interval.low,
        high=interval.high,
        note="; ".join(filter(None, [note if left_out else "", interval.note])),
    )
