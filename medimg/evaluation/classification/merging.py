"""Merged classes: a head whose classes are unions of another's, measured beside it.

Nothing is trained for it: probabilities of a union add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from medimg.errors import UsageError, nearest
from medimg.evaluation.classification.uncertainty import count_members
from medimg.evaluation.protocols import list_views


@dataclass(frozen=True)
class Merge:
    """A derived head: classes that are one thing for a reader, though the labels tell them apart.

    Attributes:
        name: of the derived head: "organ".
        head: that it is derived from.
        classes: merged class to the classes that it unites; those of the head that none names stay as they
            are.
    """

    name: str
    head: str
    classes: Mapping[str, tuple[str, ...]]


def check_merges(merges: Iterable[Merge], *, heads: Mapping[str, Sequence[str]]) -> None:
    """Fails early on a merge that cannot be measured.

    Raises:
        UsageError: a name that is taken, an unknown head or class, a class in two unions, a union called as a
            class outside of it, or one class left.
    """
    taken = set(heads)
    for merge in merges:
        place = f"evaluation.merge {merge.name!r}"
        if merge.name in taken:
            raise UsageError(f"{place}: there is a head of that name already, expected another one")
        taken.add(merge.name)
        if merge.head not in heads:
            raise UsageError(f"{place}: no head {merge.head!r}; {nearest(merge.head, heads)}")
        united = [name for names in merge.classes.values() for name in names]
        for name in united:
            if name not in heads[merge.head]:
                raise UsageError(
                    f"{place}: head {merge.head} has no class {name!r}; {nearest(name, heads[merge.head])}"
                )
            if united.count(name) > 1:
                raise UsageError(
                    f"{place}: class {name!r} is merged {united.count(name)} times, expected once"
                )
        if clash := sorted(set(merge.classes) & (set(heads[merge.head]) - set(united))):
            raise UsageError(
                f"{place}: union {clash[0]!r} is called as a class that it does not hold, "
                "expected another name"
            )
        if len(merged := merge_classes(merge, heads[merge.head])) < 2:
            raise UsageError(f"{place}: one class is left ({', '.join(merged)}), expected two or more")


def merge_classes(merge: Merge, classes: Sequence[str]) -> dict[str, list[str]]:
    """Class of the derived head to those of its head, in the order of the latter."""
    union_of = {name: union for union, names in merge.classes.items() for name in names}
    merged: dict[str, list[str]] = {}
    for name in classes:
        merged.setdefault(union_of.get(name, name), []).append(name)
    return merged


def merge_heads(heads: Mapping[str, Sequence[str]], merges: Iterable[Merge]) -> dict[str, list[str]]:
    """The heads with the derived ones after them, each with its classes."""
    derived = {merge.name: list(merge_classes(merge, heads[merge.head])) for merge in merges}
    return {**{head: list(classes) for head, classes in heads.items()}, **derived}


def merge_predictions(
    predictions: pd.DataFrame, merges: Iterable[Merge], *, heads: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Returns the table with the derived heads' columns.

    These are the label's union, and the sums of `p_` and `c_`, of `v_` by view and of `m<i>_` by member.

    Args:
        predictions: see medimg.evaluation.protocols.
        heads: without the derived ones.
    """
    columns: dict[str, pd.Series] = {}
    for merge in merges:
        classes = heads[merge.head]
        members = [(f"m{index}", "") for index in range(count_members(predictions, merge.head, classes))]
        views = [("v", f"_{role}") for role in list_views(predictions, head=merge.head, classes=classes)]
        held_out = [("c", "")] if f"c_{merge.head}_{classes[0]}" in predictions else []
        merged = merge_classes(merge, classes)
        for union, names in merged.items():
            for kind, view in (("p", ""), *held_out, *members, *views):
                parts = [f"{kind}_{merge.head}_{name}{view}" for name in names]
                columns[f"{kind}_{merge.name}_{union}{view}"] = (
                    predictions[parts].sum(axis=1, min_count=1).clip(upper=1.0)
                )
        union_of = {name: union for union, names in merged.items() for name in names}
        columns[f"label_{merge.name}"] = predictions[f"label_{merge.head}"].map(union_of)
    return predictions.assign(**columns)
