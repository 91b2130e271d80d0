"""Builds the catalogue of a data set: scan, list, settle duplicates, split, write.

Nothing is lost on the way: the counts add up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medimg.archive.receipts import Receipts
from medimg.cases import PHANTOM_FILE, Case, DataSet, Header, Listing, Reject
from medimg.catalogue.duplicates.blank_images import find_constant
from medimg.catalogue.duplicates.exact import (
    ACTIVE,
    DuplicateFindings,
    find_copies,
    find_uid_clashes,
    settle_duplicates,
)
from medimg.catalogue.duplicates.near import NearDuplicates, find_near_duplicates
from medimg.catalogue.index import Scan, Unreadable, scan
from medimg.catalogue.leakage import describe_crossings, tabulate_leakage
from medimg.catalogue.provenance import describe_receipts, find_changed, list_changed_tables
from medimg.catalogue.quality import find_unusable, flag_headers
from medimg.catalogue.split import SPLITS, Assignment, SplitSettings, assign_splits
from medimg.catalogue.summary import (
    count_before_exclusions,
    count_splits,
    count_statuses,
    describe_data_set,
    hash_content,
    list_duplicates,
    list_reasons,
    summarize_search,
)
from medimg.catalogue.tables import (
    CASES,
    IMAGES,
    PAIRS,
    SUMMARY,
    Catalogue,
    is_absent,
    make_cases_table,
    make_images_table,
    make_pairs_table,
    read_catalogue,
    write_catalogue,
)
from medimg.errors import MedimgError, UsageError


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


def build_catalogue(
    data_set: DataSet,
    *,
    data_root: Path,
    to: Path,
    split: SplitSettings,
    previous: Path | None = None,
    index_path: Path | None = None,
    workers: int | None = None,
) -> Catalogue:
    """Reads what is new below `data_root` and writes the catalogue's files to `to`.

    Those are cases.parquet, images.parquet, pairs.parquet and summary.json.

    The same data and settings give the same bytes, wherever the data lie and however many workers read them.
    Images that differ from the receipt that `medimg fetch` wrote of them are quarantined; without receipts
    nothing is compared.

    Args:
        previous: folder of an earlier catalogue of this data set; its groups keep their split.
        index_path: cache of what was read before, see `medimg.catalogue.index`.

    Raises:
        UsageError: no such folder, no image in it, a missing table, a previous catalogue of another data set,
            too few groups.
        MedimgError: the data set's listing loses or doubles a file; the receipts are damaged.
    """
    receipts = Receipts(data_root)
    tables = data_set.list_tables(data_root)
    earlier = read_previous(previous, data_set=data_set, settings=split) if previous else {}
    found = scan(
        data_root,
        index_path=index_path,
        workers=workers,
        skip=[to / name for name in (CASES, IMAGES, PAIRS, SUMMARY)],
    )
    found = quarantine_changed(found, receipts)
    check_any_image(found, data_root)
    usable, listing, rejects = list_checked(data_set, data_root=data_root, headers=found.headers)
    headers = {header.path: header for header in found.headers}
    head = next(iter(data_set.targets))
    blank = find_constant(usable, root=data_root)
    duplicates = settle_duplicates(listing.cases, headers=headers, head=head, blank=blank)
    near = find_near_duplicates(
        duplicates.cases, search=split.near_duplicates, data_root=data_root, workers=workers
    )
    division = divide(
        duplicates, data_set=data_set, settings=split, previous=earlier, root=data_root, near=near
    )
    rejected = [*found.quarantined, *rejects]
    flags = flag_headers(found.headers, blank=blank)
    files = len(found.headers) + len(found.quarantined)
    summary: dict[str, Any] = {
        **describe_data_set(data_set, is_published=listing.is_published),
        "synthetic": (data_root / PHANTOM_FILE).is_file(),
        "content_hash": hash_content(found.content, tables=tables, root=data_root, receipts=receipts),
        **describe_receipts(found.content, receipts),
        "split_settings": asdict(split),
        **count_statuses(duplicates.cases, rejects=rejected, files=files),
        "before_exclusions": count_before_exclusions(listing.cases, head=head, files=files),
        "groups": count_groups(duplicates.cases, assignments=division.assignments),
        "leaks": division.leaks,
        "splits": count_splits(
            duplicates.cases, head=head, assignments=division.assignments, strata=division.strata
        ),
        **{
            status: list_reasons(duplicates.cases, rejects=rejected, status=status)
            for status in ("excluded", "quarantined", "unlabelled")
        },
        "duplicates": list_duplicates(duplicates.duplicates),
        "near_duplicates": summarize_search(
            near, groups={case.case_id: case.group_id for case in duplicates.cases if case.status in ACTIVE}
        ),
        "leakage": tabulate_leakage(
            duplicates.cases, duplicates=duplicates.duplicates, near=near, assignments=division.assignments
        ),
        "quality_flags": dict(
            sorted(Counter(flag.partition(":")[0] for path in flags for flag in flags[path]).items())
        ),
        "anomalies": [
            *list_changed_tables(tables, receipts=receipts, root=data_root),
            *listing.anomalies,
            *duplicates.anomalies,
            *near.anomalies,
            *division.leaks,
            *division.anomalies,
        ],
        "other_files": found.other_files,
    }
    return write_catalogue(
        to,
        cases=make_cases_table(duplicates.cases, assignments=division.assignments, strata=division.strata),
        images=make_images_table(duplicates.cases, rejects=rejected, headers=headers, flags=flags),
        pairs=make_pairs_table(near.pairs),
        summary=summary,
    )


def data_fingerprint(
    data_set: DataSet, *, data_root: Path, index_path: Path | None = None, workers: int | None = None
) -> str:
    """The `content_hash` that a catalogue of these data would have, without building it."""
    receipts = Receipts(data_root)
    tables = data_set.list_tables(data_root)
    found = quarantine_changed(scan(data_root, index_path=index_path, workers=workers), receipts)
    check_any_image(found, data_root)
    return hash_content(found.content, tables=tables, root=data_root, receipts=receipts)


def quarantine_changed(found: Scan, receipts: Receipts) -> Scan:
    """Moves every image that differs from its receipt to the quarantined.

    It is no longer what was fetched.
    """
    changed = find_changed(found.content, receipts)
    images: list[Header | Unreadable] = [*found.headers, *found.quarantined]
    condemned = [
        Unreadable(one.path, "quarantined", changed[one.path], one.size, one.sha256)
        for one in images
        if one.path in changed
    ]
    unreadable = [one for one in found.quarantined if one.path not in changed]
    return replace(
        found,
        headers=[header for header in found.headers if header.path not in changed],
        quarantined=sorted([*unreadable, *condemned], key=lambda one: one.path),
    )


def check_any_image(found: Scan, root: Path) -> None:
    """Raises UsageError if there is nothing to catalogue."""
    if not found.headers:
        why = (
            f" ({len(found.quarantined)} unreadable, first: {found.quarantined[0].reason})"
            if found.quarantined
            else ""
        )
        raise UsageError(
            f"{root}: no readable image among {len(found.quarantined) + found.other_files} "
            f"files{why}; expected DICOM, PNG or JPEG"
        )


def list_checked(
    data_set: DataSet, *, data_root: Path, headers: Sequence[Header]
) -> tuple[list[Header], Listing, list[Reject]]:
    """The data set's listing of the headers that can be trusted.

    Returns:
        the headers that were listed, the listing, and all rejects: unusable files, clashing UIDs, copies, and
        the listing's own.
    """
    rejects = find_unusable(headers)
    usable = without(headers, rejects)
    rejects += find_uid_clashes(usable)
    usable = without(usable, rejects)
    listing = data_set.list_cases(data_root, usable)
    # Listed once with the copies in it, because only that shows whether a table gives two copies different
    # labels.
    owners = {image.path: case.case_id for case in listing.cases for image in (*case.images, *case.masks)}
    if copies := find_copies(usable, owners=owners):
        rejects += copies
        usable = without(usable, copies)
        listing = data_set.list_cases(data_root, usable)
    check_claims(listing, headers=usable, name=data_set.name)
    return usable, listing, [*rejects, *listing.rejects]


def without(headers: Sequence[Header], rejects: Iterable[Reject]) -> list[Header]:
    """The headers whose file is not rejected."""
    rejected = {reject.path for reject in rejects}
    return [header for header in headers if header.path not in rejected]


def check_claims(listing: Listing, *, headers: Sequence[Header], name: str) -> None:
    """Raises MedimgError unless every file is in one case or one reject, and case ids are unique.

    Otherwise the data set's module has a bug.
    """
    claims: dict[str, list[str]] = defaultdict(list)
    for case in listing.cases:
        for path in dict.fromkeys(image.path for image in (*case.images, *case.masks)):
            claims[path].append(f"case {case.case_id}")
    for reject in listing.rejects:
        claims[reject.path].append(f"the rejects ({reject.reason})")
    for path in sorted(header.path for header in headers):
        claimed = claims.pop(path, [])
        if len(claimed) != 1:
            raise MedimgError(
                f"data set {name}: {path} is in {' and '.join(claimed) or 'no case and no reject'}, "
                "expected exactly one"
            )
    if claims:
        raise MedimgError(
            f"data set {name}: {min(claims)} is in {claims[min(claims)][0]}, but no such image was found"
        )
    repeated = [
        case_id for case_id, count in Counter(case.case_id for case in listing.cases).items() if count > 1
    ]
    if repeated:
        raise MedimgError(
            f"data set {name}: case id {min(repeated)} is given to several cases, expected unique ids"
        )


def read_previous(folder: Path, *, data_set: DataSet, settings: SplitSettings) -> dict[str, Assignment]:
    """Assignments of an earlier catalogue by what `name_unit` names.

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
    return {
        name_unit(
            row["case_id"],
            group=row["group_id"],
            official=None if is_absent(row["official_split"]) else row["official_split"],
            by=settings.by,
        ): Assignment(
            row["split"],
            int(row["fold"]) if before["folds"] == settings.folds and not is_absent(row["fold"]) else None,
        )
        for row in rows
        if not is_absent(row["split"])
    }


def name_unit(case_id: str, *, group: str, official: str | None, by: str) -> str:
    """What is dealt as a whole: a group, or the part of it that lies on one side of the publisher's split.

    By case, each case.
    """
    if by == "case":
        return case_id
    return f"{official}/{group}" if official else group


def divide(
    duplicates: DuplicateFindings,
    *,
    data_set: DataSet,
    settings: SplitSettings,
    previous: Mapping[str, Assignment],
    root: Path,
    near: NearDuplicates,
) -> Division:
    """Splits the groups of used and unlabelled cases.

    A group whose every case is excluded belongs to no split.
    """
    head = next(iter(data_set.targets))
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
    alike = [*(pair.cases for pair in duplicates.duplicates), *(pair.cases for pair in near.pairs)]
    pairs = {(units[first], units[second]) for first, second in alike}
    first_of: dict[str, str] = {}
    pairs |= {
        (first_of.setdefault(case.group_id, units[case.case_id]), units[case.case_id])
        for case in duplicates.cases
    }
    return sorted((first, second) for first, second in pairs if first != second)


def describe_unkept(cases: Iterable[Case], *, settings: SplitSettings) -> list[str]:
    """One line if there is an official split that the settings do not keep."""
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
    """One line if groups lie in more than one split: nothing is moved for it, and nobody may overlook it."""
    splits: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        splits[case.group_id].add(assignments[case.case_id].split)
    parted = sorted(group for group, found in splits.items() if len(found) > 1)
    if not parted:
        return []
    why = "split.by is case" if by == "case" else "the official split is kept"
    where = ", ".join(split for split in SPLITS if split in splits[parted[0]])
    return [
        f"leak: {len(parted)} of {len(splits)} groups lie in more than one split (first: {parted[0]}, "
        f"in {where}), as {why}; figures are too good"
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
    """One line for each class of the first head that a split lacks."""
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


def count_groups(cases: Iterable[Case], *, assignments: Mapping[str, Assignment]) -> dict[str, int]:
    """Number of groups in each split."""
    active = {(assignments[case.case_id].split, case.group_id) for case in cases if case.status in ACTIVE}
    counts = Counter(split for split, _ in active)
    return {split: counts[split] for split in SPLITS}
