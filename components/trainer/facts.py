"""What is written beside a trained model: facts for its readers, its history, the answers to eval."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from medimg.evaluation.classification.held_out import CHOOSE, PART_COLUMN
from medimg.tasks.fitting import Data, Fitted, Member

HISTORY_FILE = "history.json"
CALIBRATION_FILE = "calibration.parquet"
"""Beside the history and not beside the model, for it names cases."""


def describe_member(member: Member) -> dict[str, object]:
    """Returns a member's epochs, for `history.json`."""
    return {
        "best_epoch": member.best.number,
        "history": [dataclasses.asdict(epoch) for epoch in member.history],
    }


def describe_fitted(fitted: Fitted) -> dict[str, object]:
    """Returns what a reader of the exported model needs of its training, for `medimg.json`."""
    log_priors = {head: list(values) for head, values in fitted.log_priors.items()}
    calibration = {}
    for head, one in fitted.recalibrations.items():
        calibration[head] = {**dataclasses.asdict(one), "at_bound": one.is_at_bound}
    return {
        "eval": dict(fitted.figures),
        "calibration": calibration,
        "log_priors": log_priors,
        "prevalence": fitted.prevalence,
        "networks": [model_file(index) for index in range(len(fitted.members))],
    }


def list_bounds(fitted: Fitted) -> Iterator[str]:
    """A line for each head whose temperature is the least or the most that is sought."""
    for head, one in fitted.recalibrations.items():
        if one.is_at_bound:
            which = "most" if one.temperature > 1 else "least"
            yield (
                f"head {head}: temperature {one.temperature:g} is the {which} that is sought: "
                "its probabilities are not to be relied on"
            )


def describe_parts(fitted: Fitted) -> str:
    """`120 of 241 cases of eval`, those that chose no epoch."""
    count = int((fitted.parts != CHOOSE).sum())
    return f"{count} of {len(fitted.parts)} cases of eval"


def table_held_out(fitted: Fitted, data: Data, heads: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The held-out answers: case_id, eval_part, and a column `c_<head>_<class>` for each class."""
    columns = {}
    for head, classes in heads.items():
        for index, name in enumerate(classes):
            columns[f"c_{head}_{name}"] = fitted.held_out[head][:, index]
    return pd.DataFrame({"case_id": data.eval_ids, PART_COLUMN: fitted.parts, **columns})


def model_file(index: int) -> str:
    """The file of a member's bare network: `model.keras`, `model1.keras` ..."""
    return f"model{index or ''}.keras"


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Writes indented JSON, the folder included; an undefined figure becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(undefined_to_none(value), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def undefined_to_none(value: object) -> object:
    """The same nested value with None for NaN, which is not JSON."""
    if isinstance(value, dict):
        return {key: undefined_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [undefined_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
