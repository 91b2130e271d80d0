"""Protocols: named rules of which cases count and at which level, so that figures can be compared.

The table of predictions has a row per case, labelled or not: case_id, group_id, cluster_id (groups joined
where they share images; what is resampled; group_id where it is absent), split, image_count, level_<name>,
clinical_<column>, label_<head> (class name or null), p_<head>_<class> in [0, 1], and v_<head>_<class>_<role>,
the probability from one view alone, where the model returns it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from medimg.errors import UsageError, nearest


@dataclass(frozen=True)
class Protocol:
    """A rule of what is measured.

    Attributes:
        name: as literature or the config calls it.
        level: what carries one label and one prediction: "breast", "patient"; "case" for whatever the data
            set's cases are.
        aggregate: "none" takes cases as they are; "mean" and "max" roll them up by their `level_<level>`;
            "views" takes each view alone.
        description: for people.
        where: clinical column to the value that a case must have to count.
        unlabelled_as: class that a case without a label counts as; empty leaves it out.
        images_per_group: images that a group's cases must hold together for the group to count; 0 takes every
            group.
    """

    name: str
    level: str
    aggregate: Literal["none", "mean", "max", "views"]
    description: str
    where: Mapping[str, str] = field(default_factory=dict)
    unlabelled_as: str = ""
    images_per_group: int = 0

    @property
    def takes_every_case(self) -> bool:
        """Whether each labelled case counts once, as it is, and nothing else does."""
        return self.aggregate == "none" and not (self.where or self.unlabelled_as or self.images_per_group)


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("cases", "case", "none", "every labelled case as it is"),
        Protocol(
            "P1", "breast", "none", "labelled breasts, one prediction per breast from its CC and MLO views"
        ),
        Protocol(
            "P2",
            "breast",
            "none",
            "P1 on the source D1 only, where the source does not give the label away",
            where={"source": "D1"},
        ),
        Protocol(
            "P3",
            "breast",
            "none",
            "breasts of patients with four views, the unlabelled opposite breast as negative; "
            "comparable with Velarde et al. (2024) alone",
            unlabelled_as="Benign",
            images_per_group=4,
        ),
        Protocol(
            "P4",
            "patient",
            "max",
            "patients: the higher of the two breasts' probabilities; positive if either breast is",
        ),
        Protocol(
            "image", "image", "views", "each view alone with the label of its case; a diagnostic, no result"
        ),
        Protocol("lesion", "lesion", "mean", "lesions: mean probability of a lesion's images"),
        Protocol(
            "isic2018",
            "image",
            "none",
            "the official test images of the ISIC 2018 challenge, task 3: comparable with its entries",
            where={"collection": "ISIC2018_Task3_Test"},
        ),
        Protocol(
            "patient-mean",
            "patient",
            "mean",
            "patients: mean probability of a patient's cases; positive if any is",
        ),
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


def find_gap(predictions: pd.DataFrame, *, protocol: Protocol, head: str, classes: Sequence[str]) -> str:
    """Words for why a protocol has no meaning for a head or these predictions; empty if it has.

    Args:
        predictions: cases, already of one split.
        classes: of the head, the positive one last.

    Raises:
        UsageError: a column of the head or of the protocol is missing.
    """
    require(predictions, [f"label_{head}", *(f"p_{head}_{name}" for name in classes)], why=f"head {head!r}")
    if protocol.aggregate == "max" and len(classes) != 2:
        return (
            f"{protocol.name} takes the largest probability, which is defined for two classes; "
            f"this head has {len(classes)}"
        )
    if protocol.aggregate == "views" and not list_views(predictions, head=head, classes=classes):
        return f"{protocol.name} takes each view alone; the model returns no probability from one view"
    unlabelled = f"{protocol.name} counts cases without a label as {protocol.unlabelled_as}"
    if protocol.unlabelled_as and protocol.unlabelled_as not in classes:
        return f"{unlabelled}, which is no class of this head"
    if protocol.unlabelled_as and predictions[f"label_{head}"].notna().all():
        return f"{unlabelled}; none was scored (examples.unlabelled writes them)"
    if protocol.where and choose_cases(predictions, protocol=protocol, head=head).empty:
        conditions = " and ".join(f"{column} {value}" for column, value in protocol.where.items())
        return f"{protocol.name} counts cases with {conditions}; none of them was scored"
    return ""


def roll_up(
    predictions: pd.DataFrame, *, protocol: Protocol, head: str, classes: Sequence[str]
) -> pd.DataFrame:
    """The rows that count for one head under a protocol, one per unit of its level, in the same columns.

    Cases that do not count are left out before rolling up. Of two classes, a unit is positive if any of its
    cases is. Of more, its cases must agree, else it is left out. A clinical value that differs within a unit
    becomes null, and so is in no slice.

    Args:
        predictions: cases, already of one split.
        classes: of the head, the positive one last.

    Raises:
        UsageError: a column that the protocol needs is missing, a label is not among the classes, or
            `find_gap` finds one.
    """
    gap = find_gap(predictions, protocol=protocol, head=head, classes=classes)
    if gap:
        raise UsageError(f"head {head!r}: {gap}")
    rows = choose_cases(predictions, protocol=protocol, head=head)
    unknown = sorted(set(rows[f"label_{head}"]) - set(classes))
    if unknown:
        raise UsageError(
            f"predictions: label_{head} holds {unknown[0]!r}, expected one of {', '.join(classes)}"
        )
    if protocol.aggregate == "none":
        return rows.reset_index(drop=True)
    if protocol.aggregate == "views":
        return split_views(rows, head=head, classes=classes)
    return roll_up_rows(rows, protocol=protocol, head=head, classes=classes)


def choose_cases(predictions: pd.DataFrame, *, protocol: Protocol, head: str) -> pd.DataFrame:
    """The cases that count, each with a label."""
    require(predictions, [f"clinical_{column}" for column in protocol.where], why=f"protocol {protocol.name}")
    rows = predictions
    if protocol.images_per_group:
        require(rows, ["image_count"], why=f"protocol {protocol.name}")
        rows = rows[rows.groupby("group_id")["image_count"].transform("sum") == protocol.images_per_group]
    for column, value in protocol.where.items():
        rows = rows[rows[f"clinical_{column}"].astype(str) == value]
    if protocol.unlabelled_as:
        return rows.assign(**{f"label_{head}": rows[f"label_{head}"].fillna(protocol.unlabelled_as)})
    return rows[rows[f"label_{head}"].notna()]


def list_views(predictions: pd.DataFrame, *, head: str, classes: Sequence[str]) -> list[str]:
    """Roles for which the model returned a probability from that view alone, sorted."""
    prefix = f"v_{head}_{classes[-1]}_"
    return sorted(
        str(column).removeprefix(prefix) for column in predictions.columns if str(column).startswith(prefix)
    )


def split_views(rows: pd.DataFrame, *, head: str, classes: Sequence[str]) -> pd.DataFrame:
    """Returns one row per view that was scored, `<case_id>-<role>`.

    Its own probabilities are in the columns of the case's.
    """
    parts = []
    for role in list_views(rows, head=head, classes=classes):
        columns = {f"p_{head}_{name}": rows[f"v_{head}_{name}_{role}"] for name in classes}
        part = rows.assign(case_id=rows["case_id"].astype(str) + f"-{role}", **columns)
        parts.append(part[part[f"p_{head}_{classes[-1]}"].notna()])
    return pd.concat(parts).sort_values("case_id", ignore_index=True)


def clusters_of(units: pd.DataFrame) -> np.ndarray:
    """What is independent of each other and so resampled as a whole, as text, [N]."""
    return units["cluster_id" if "cluster_id" in units else "group_id"].astype(str).to_numpy()


def roll_up_rows(
    rows: pd.DataFrame, *, protocol: Protocol, head: str, classes: Sequence[str]
) -> pd.DataFrame:
    """One row per unit of the protocol's level."""
    level = f"level_{protocol.level}"
    require(rows, [level], why=f"protocol {protocol.name}")
    units = rows.groupby(level, sort=True)
    first = units.first()
    rolled = pd.DataFrame(
        {
            "case_id": first.index.astype(str),
            "group_id": first["group_id"].to_numpy(),
            level: first.index.astype(str),
        }
    )
    if "cluster_id" in first:
        rolled["cluster_id"] = first["cluster_id"].to_numpy()
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
            raise UsageError(
                f"predictions: no column {column!r}, which {why} needs; "
                f"{nearest(column, predictions.columns)}"
            )
