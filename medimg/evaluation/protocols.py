"""Protocols: named rules of which cases count and at which level, so that a figure can be compared with another.

The table of predictions has a row per case: case_id, group_id, split, level_<name>, clinical_<column>, label_<head> (class name or null)
and p_<head>_<class> in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from medimg.errors import UsageError, nearest


@dataclass(frozen=True)
class Protocol:
    """A rule of what is measured.

    Attributes:
        name: as literature or the config calls it.
        level: what carries one label and one prediction: "breast", "patient"; "case" for whatever the data set's cases are.
        aggregate: "none" takes cases as they are; "mean" and "max" roll them up by their `level_<level>`.
        description: for people.
        where: clinical column to the value that a case must have to count.
    """

    name: str
    level: str
    aggregate: Literal["none", "mean", "max"]
    description: str
    where: Mapping[str, str] = field(default_factory=dict)


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("cases", "case", "none", "every labelled case as it is"),
        Protocol("P1", "breast", "none", "labelled breasts, one prediction per breast from its CC and MLO views"),
        Protocol("P2", "breast", "none", "P1 on the source D1 only, where the source does not give the label away", where={"source": "D1"}),
        Protocol("P4", "patient", "max", "patients: the higher of the two breasts' probabilities; positive if either breast is"),
        Protocol("lesion", "lesion", "mean", "lesions: mean probability of a lesion's images"),
        Protocol("patient-mean", "patient", "mean", "patients: mean probability of a patient's cases; positive if any is"),
    )
}


def find_protocols(names: Iterable[str]) -> list[Protocol]:
    """The protocols of these names.

    Raises:
        UsageError: an unknown name; the nearest is named.
    """
    names = list(names)
    for name in names:
        if name not in PROTOCOLS:
            raise UsageError(f"protocol {name!r}: no such protocol, {nearest(name, PROTOCOLS)}")
    return [PROTOCOLS[name] for name in names]


def applies_to(protocol: Protocol, classes: Sequence[str]) -> bool:
    """Whether the rule is defined for a head: the largest of several class probabilities is no probability of anything."""
    return protocol.aggregate != "max" or len(classes) == 2


def roll_up(predictions: pd.DataFrame, *, protocol: Protocol, head: str, classes: Sequence[str]) -> pd.DataFrame:
    """The rows that count for one head under a protocol, one per unit of its level, in the same columns.

    Cases without a label for the head are left out before rolling up. Of two classes, a unit is positive if any of its cases is. Of more,
    its cases must agree, else it is left out. A clinical value that differs within a unit becomes null, and so is in no slice.

    Args:
        predictions: cases, already of one split.
        classes: of the head, the positive one last.

    Raises:
        UsageError: a column that the protocol needs is missing, a label is not among the classes, or `applies_to` is false.
    """
    require(predictions, [f"label_{head}", *(f"p_{head}_{name}" for name in classes)], why=f"head {head!r}")
    require(predictions, [f"clinical_{column}" for column in protocol.where], why=f"protocol {protocol.name}")
    rows = predictions[predictions[f"label_{head}"].notna()]
    for column, value in protocol.where.items():
        rows = rows[rows[f"clinical_{column}"].astype(str) == value]
    unknown = sorted(set(rows[f"label_{head}"]) - set(classes))
    if unknown:
        raise UsageError(f"predictions: label_{head} holds {unknown[0]!r}, expected one of {', '.join(classes)}")
    if protocol.aggregate == "none":
        return rows.reset_index(drop=True)
    if not applies_to(protocol, classes):
        raise UsageError(f"protocol {protocol.name}: the largest probability is defined for two classes, head {head!r} has {len(classes)}")
    return roll_up_rows(rows, protocol=protocol, head=head, classes=classes)


def roll_up_rows(rows: pd.DataFrame, *, protocol: Protocol, head: str, classes: Sequence[str]) -> pd.DataFrame:
    """One row per unit of the protocol's level."""
    level = f"level_{protocol.level}"
    require(rows, [level], why=f"protocol {protocol.name}")
    units = rows.groupby(level, sort=True)
    first = units.first()
    rolled = pd.DataFrame({"case_id": first.index.astype(str), "group_id": first["group_id"].to_numpy(), level: first.index.astype(str)})
    for column in ("split", "fold", *(name for name in rows.columns if name.startswith("clinical_"))):
        if column in rows:
            rolled[column] = first[column].where(units[column].nunique(dropna=False) == 1).to_numpy()
    for name in classes:
        rolled[f"p_{head}_{name}"] = units[f"p_{head}_{name}"].mean().to_numpy()
    if protocol.aggregate == "max":
        highest = units[f"p_{head}_{classes[-1]}"].max().to_numpy()
        rolled[f"p_{head}_{classes[0]}"], rolled[f"p_{head}_{classes[-1]}"] = 1 - highest, highest
    labels = rows[f"label_{head}"]
    if len(classes) == 2:
        is_positive = (labels == classes[-1]).groupby(rows[level], sort=True).any()
        rolled[f"label_{head}"] = [classes[-1] if positive else classes[0] for positive in is_positive]
        return rolled
    rolled[f"label_{head}"] = first[f"label_{head}"].to_numpy()
    agree = (units[f"label_{head}"].nunique() == 1).to_numpy()
    return rolled[agree].reset_index(drop=True)


def require(predictions: pd.DataFrame, columns: Iterable[str], *, why: str) -> None:
    """Fails if a column is missing.

    Raises:
        UsageError: names the column and what wants it.
    """
    for column in columns:
        if column not in predictions:
            raise UsageError(f"predictions: no column {column!r}, which {why} needs; {nearest(column, predictions.columns)}")
