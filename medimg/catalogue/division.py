"""The split of a catalogue's cases: which of them are dealt together, to where, and what is odd about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medimg.cases import Case, DataSet
from medimg.catalogue.duplicates.exact import ACTIVE, DuplicateFindings
from medimg.catalogue.duplicates.near import NearDuplicates
from medimg.catalogue.leakage import SIDES, describe_crossings
from medimg.catalogue.rows import is_absent
from medimg.catalogue.split import SPLITS, Assignment, SplitSettings, assign_splits
from medimg.catalogue.tables import read_catalogue
from medimg.datasets.identifiers import fold_id
from medimg.errors import UsageError


@dataclass(frozen=True)
class SplitBasis:
    """What a split follows.

    Attributes:
        previous: assignments of an earlier catalogue by what `name_unit` names; these stay.
    """

    settings: SplitSettings
    previous: Mapping[str, Assignment] = field(default_factory=dict)


@dataclass(frozen=True)
class Division:
    """Where the used and unlabelled cases and their groups went, by case id, with what is odd about it.

    Attributes:
        leaks: one line each if groups or near duplicates lie in more than one split, because that was asked
            for or because the publisher's split parts them.
    """

    strata: dict[str, str]
    assignments: dict[str, Assignment]
    anomalies: list[str]
    leaks: list[str]


def read_previous(folder: Path, *, data_set: DataSet, settings: SplitSettings) -> dict[str, Assignment]:
    """Reads the assignments of an earlier catalogue, by what `name_unit` names.

    Folds only if their number is the same.
    """
    catalogue = read_catalogue(folder)
    if catalogue.summary["data_set"] != data_set.name:
        raise UsageError(
            f"{folder}: a catalogue of {catalogue.summary['data_set']}, expected an earlier one of "
            f"{data_set.name}"
        )
    before = catalogue.summary["split_settings"]
    if before.get("by", "group") != settings.by:
        raise UsageError(
            f"{folder}: a catalogue that is split by {before.get('by', 'group')}, expected one that "
            f"is split by {settings.by}"
        )
    rows = catalogue.cases[["case_id", "group_id", "official_split", "split", "fold"]].to_dict("records")
    previous: dict[str, Assignment] = {}
    for row in rows:
        if is_absent(row["split"]):
            continue
        official = None if is_absent(row["official_split"]) else row["official_split"]
        unit = name_unit(row["case_id"], group=row["group_id"], official=official, by=settings.by)
        has_fold = before["folds"] == settings.folds and not is_absent(row["fold"])
        previous[unit] = Assignment(row["split"], int(row["fold"]) if has_fold else None)
    return previous


def main_target(data_set: DataSet) -> str:
    """Returns the first target, whose classes the split balances; UsageError if the data set has none."""
    if not data_set.targets:
        raise UsageError(f"data set {data_set.name} has no targets, expected at least one label of its cases")
    return next(iter(data_set.targets))


def name_unit(case_id: str, *, group: str, official: str | None, by: str) -> str:
    """Names what is dealt as a whole: a group, or its part on one side of the publisher's split.

    By case, each case.
    """
    if by == "case":
        return case_id
    return f"{official}/{group}" if official else group


def match_earlier(previous: Mapping[str, Assignment], units: Iterable[str]) -> dict[str, Assignment]:
    """The assignments of an earlier catalogue by what is dealt now; an id may be written otherwise there."""
    left: dict[str, list[str]] = defaultdict(list)
    for unit in previous:
        left[fold_unit(unit)].append(unit)
    found = {}
    for unit in units:
        same = left.get(fold_unit(unit), [])
        if unit in previous:
            found[unit] = previous[unit]
        elif len(same) == 1:
            found[unit] = previous[same[0]]
    return found


def fold_unit(unit: str) -> str:
    """What units are compared by: their parts as ids."""
    return "/".join(map(fold_id, unit.split("/")))


def divide(
    duplicates: DuplicateFindings, *, near: NearDuplicates, data_set: DataSet, basis: SplitBasis, root: Path
) -> Division:
    """Splits the groups of used and unlabelled cases.

    A group whose every case is excluded belongs to no split.
    """
    settings, head = basis.settings, main_target(data_set)
    units = {
        case.case_id: name_unit(
            case.case_id, group=case.group_id, official=case.official_split, by=settings.by
        )
        for case in duplicates.cases
    }
    active: dict[str, list[Case]] = defaultdict(list)
    for case in sorted(duplicates.cases, key=lambda case: case.case_id):
        if case.status in ACTIVE:
            active[units[case.case_id]].append(case)
    if not active:
        example = (
            f", e.g. {duplicates.cases[0].case_id}: {duplicates.cases[0].reason}" if duplicates.cases else ""
        )
        raise UsageError(f"{root}: none of {len(duplicates.cases)} cases can be used{example}")
    strata = {
        unit: name_stratum(cases, head=head, columns=data_set.stratify_by) for unit, cases in active.items()
    }
    official = {unit: cases[0].official_split for unit, cases in active.items() if cases[0].official_split}
    links = list_links(duplicates, near=near, units=units) if settings.by == "group" else []
    previous = match_earlier(basis.previous, strata)
    dealt = assign_splits(strata, settings=settings, previous=previous, official=official, links=links)
    by_case = {case.case_id: units[case.case_id] for case in duplicates.cases if units[case.case_id] in dealt}
    assignments = {case_id: dealt[unit] for case_id, unit in by_case.items()}
    classes = data_set.targets[head] or (data_set.list_classes(root)[head] if data_set.list_classes else ())
    used = [case for cases in active.values() for case in cases]
    return Division(
        strata={case_id: strata[unit] for case_id, unit in by_case.items()},
        assignments=assignments,
        anomalies=[
            *describe_unkept(used, settings=settings),
            *describe_parted_duplicates(duplicates, assignments=assignments, by=settings.by),
            *find_missing_classes(used, head=head, classes=classes, assignments=assignments),
        ],
        leaks=[
            *describe_leaks(used, assignments=assignments, by=settings.by),
            *describe_crossings(near, assignments=assignments, by=settings.by),
        ],
    )


def list_links(
    duplicates: DuplicateFindings, *, near: NearDuplicates, units: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Lists pairs of units that must stay together as far as the publisher's split lets them.

    They share pixels or the group, or are near duplicates.
    """
    alike = [pair.cases for pair in duplicates.duplicates]
    alike += [pair.cases for pair in near.pairs]
    pairs = {(units[first], units[second]) for first, second in alike}
    first_of: dict[str, str] = {}
    for case in duplicates.cases:
        unit = units[case.case_id]
        pairs.add((first_of.setdefault(case.group_id, unit), unit))
    return sorted((first, second) for first, second in pairs if first != second)


def describe_unkept(cases: Iterable[Case], *, settings: SplitSettings) -> list[str]:
    """Describes an official split that the settings do not keep."""
    groups = {case.group_id for case in cases if case.official_split}
    if not groups or settings.test_fold is None:
        return []
    return [f"{len(groups)} groups have an official split, which a cross-validation does not keep"]


def describe_parted_duplicates(
    duplicates: DuplicateFindings, *, assignments: Mapping[str, Assignment], by: str
) -> list[str]:
    """Describes each two groups that share pixels but had been put into different splits.

    By an earlier catalogue or by the publisher.
    """
    lines: dict[str, None] = {}
    for pair in duplicates.duplicates:
        splits = [assignments[case_id].split for case_id in pair.cases if case_id in assignments]
        if by == "group" and pair.groups[0] != pair.groups[1] and len(set(splits)) > 1:
            first, second = pair.groups
            lines[
                f"groups {first} and {second} share pixels but were in {splits[0]} and {splits[1]} "
                "before; neither is moved"
            ] = None
    return list(lines)


def describe_leaks(cases: Sequence[Case], *, assignments: Mapping[str, Assignment], by: str) -> list[str]:
    """Describes groups in more than one split in one line: nothing is moved for them."""
    splits: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        splits[case.group_id].add(assignments[case.case_id].split)
    parted = sorted(group for group, found in splits.items() if len(found) > 1)
    if not parted:
        return []
    why = "split.by is case" if by == "case" else "the official split is kept"
    where = ", ".join(split for split in SPLITS if split in splits[parted[0]])
    pairs = []
    for one, other in SIDES:
        count = sum({one, other} <= splits[group] for group in parted)
        pairs += [f"{count} in {one} and {other}"] if count else []
    return [
        f"leak: {len(parted)} of {len(splits)} groups lie in more than one split: {', '.join(pairs)} "
        f"(first: {parted[0]}, in {where}), as {why}; figures are too good"
    ]


def name_stratum(cases: Sequence[Case], *, head: str, columns: Sequence[str]) -> str:
    """Names what is balanced, "Benign+Malignant, D1": the group's labels and its stratifying values."""
    labelled = [case for case in cases if head in case.labels]
    parts = ["+".join(sorted({case.labels[head] for case in labelled})) or "unlabelled"]
    for column in columns:
        parts.append("+".join(sorted({str(case.clinical.get(column)) for case in labelled or cases})))
    return ", ".join(parts)


def find_missing_classes(
    cases: Sequence[Case], *, head: str, classes: Sequence[str], assignments: Mapping[str, Assignment]
) -> list[str]:
    """Describes each class of the first head that a split lacks."""
    present = {
        (assignments[case.case_id].split, case.labels[head])
        for case in cases
        if case.status == "used" and head in case.labels
    }
    return [
        f"split {split}: no used case with {head} {name}"
        for split in SPLITS
        for name in classes
        if (split, name) not in present
    ]
