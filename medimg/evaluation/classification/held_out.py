"""Held-out answers: those by which a model's probabilities are set right and its sets calibrated.

A case must not be asked twice: one that had a part in choosing the model has been answered too well. The
table of predictions says in `eval_part` which case of eval did what, and has `c_<head>_<class>`, the answers
to those that are calibrated on, each by a network that this case had no part in choosing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

CHOOSE, CALIBRATE, CROSS_FITTED = "choose", "calibrate", "cross-fitted"
"""What a case of eval did: it chose the epoch, it calibrates, or, where cases are few, each in its turn."""
PART_COLUMN = "eval_part"


def add_held_out(predictions: pd.DataFrame, held_out: pd.DataFrame) -> pd.DataFrame:
    """The predictions with the columns `eval_part` and `c_<head>_<class>`, empty for cases of other splits.

    Args:
        held_out: case_id and those columns.
    """
    return predictions.merge(held_out, on="case_id", how="left", validate="one_to_one")


def take_calibration_cases(
    predictions: pd.DataFrame, *, split: str, heads: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """The cases of a split that may be calibrated on, their held-out answers in `p_<head>_<class>`.

    A case without a label chose nothing: the model's own answer to it counts, unless its group chose.
    """
    rows = predictions[predictions["split"] == split]
    if PART_COLUMN not in rows:
        return rows
    chose = rows.loc[rows[PART_COLUMN] == CHOOSE, "group_id"]
    rows = rows[~rows["group_id"].isin(set(chose))]
    columns = {
        f"p_{head}_{name}": rows[f"c_{head}_{name}"].fillna(rows[f"p_{head}_{name}"])
        for head, classes in heads.items()
        for name in classes
    }
    return rows.assign(**columns)
