"""What a catalogue says of itself: counts that add up, exclusions with reasons, anomalies.

As JSON and for people.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medimg.archive.receipts import Receipt
from medimg.cases import Case, DataSet, Reject, Status
from medimg.catalogue.duplicates.exact import ACTIVE, ExactDuplicates
from medimg.catalogue.duplicates.near import NearDuplicates
from medimg.catalogue.leakage import SIDES
from medimg.catalogue.provenance import PROVENANCE, name_provenance
from medimg.catalogue.split import SPLITS, Assignment, gather_clusters
from medimg.console.terminal import say
from medimg.errors import MedimgError, one_line
from medimg.files import hash_file

STATUSES: tuple[str, ...] = get_args(Status)
NAMES_SHOWN = 10
REASONS_SHOWN = 200


def hash_content(
    images: Iterable[tuple[str, str]], *, tables: Sequence[Path], root: Path, receipts: Iterable[Receipt] = ()
) -> str:
    """Hashes all data with one sha256: images, clinical tables, and what their receipts say.

    Of images and tables it covers paths and contents; of receipts the content and where it comes from.

    Times, the order of the receipts and the place of the root are not in it.

    Args:
        images: (path, sha256) of every image, unreadable ones included.
    """
    lines = sorted(f"{path}\0{sha256}\n" for path, sha256 in images)
    lines += sorted(
        f"table {path.relative_to(root) if path.is_relative_to(root) else path.name}\0{hash_file(path)}\n"
        for path in tables
    )
    describe = attrgetter("path", "sha256", *PROVENANCE)
    lines += sorted("receipt " + "\0".join(describe(one)) + "\n" for one in receipts)
    return hashlib.sha256("".join(lines).encode("utf-8", "backslashreplace")).hexdigest()


def count_statuses(cases: Sequence[Case], *, rejects: Sequence[Reject], files: int) -> dict[str, object]:
    """Cases and image files by status.

    Raises:
        MedimgError: the counts do not add up to `files`; a file was lost or counted twice.
    """
    status_by_path: dict[str, str] = {
        image.path: case.status for case in cases for image in (*case.images, *case.masks)
    }
    status_by_path.update({reject.path: reject.status for reject in rejects})
    images: Counter[str] = Counter(status_by_path.values())
    if sum(images.values()) != files:
        counts = ", ".join(f"{images[status]} {status}" for status in STATUSES)
        raise MedimgError(
            f"catalogue: {counts}: that is {sum(images.values())} image files, expected {files}"
        )
    return {
        "input": {"images": files, "cases": len(cases)},
        "images": {status: images[status] for status in STATUSES},
        "cases": _count_by_status(cases),
    }


def count_rows_without_file(cases: Iterable[Case], *, rejects: Iterable[Reject]) -> int:
    """Counts quarantined cases that no quarantined file stands for: it is absent, or no image at all."""
    quarantined = {reject.path for reject in rejects if reject.status == "quarantined"}
    lost = [case for case in cases if case.status == "quarantined" and not case.images]
    return sum(quarantined.isdisjoint(case.unread) for case in lost)


def count_quarantined(summary: Mapping[str, Any]) -> int:
    """Counts what cannot be used: quarantined files, and rows whose file is none of these."""
    return int(summary["images"]["quarantined"]) + int(summary.get("rows_without_file", 0))


def _count_by_status(cases: Iterable[Case]) -> dict[str, int]:
    counts: Counter[str] = Counter(case.status for case in cases)
    return {status: counts[status] for status in STATUSES}


def count_before_exclusions(cases: Sequence[Case], *, head: str, files: int) -> dict[str, object]:
    """What the data set holds before anything is left out: to compare with what its publisher states."""
    labelled = [case for case in cases if head in case.labels]
    images = {image.path: head in case.labels for case in cases for image in case.images}
    groups = {case.group_id for case in cases}
    classes = Counter(case.labels[head] for case in labelled)
    return {
        "groups": len(groups),
        "images": files,
        "labelled_cases": len(labelled),
        "unlabelled_cases": len(cases) - len(labelled),
        "classes": dict(sorted(classes.items())),
        "labelled_images": sum(images.values()),
        "unlabelled_images": len(images) - sum(images.values()),
    }


def count_splits(
    cases: Sequence[Case], *, head: str, assignments: Mapping[str, Assignment], strata: Mapping[str, str]
) -> list[dict[str, object]]:
    """Counts used and unlabelled cases and groups per split, stratum and class of the first head.

    The class is None for unlabelled cases.
    """
    cells: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for case in cases:
        if case.status in ("used", "unlabelled"):
            cells[
                assignments[case.case_id].split, strata[case.case_id], case.labels.get(head, ""), case.status
            ].append(case.group_id)
    return [
        {
            "split": split,
            "stratum": stratum,
            "class": name or None,
            "status": status,
            "cases": len(groups),
            "groups": len(set(groups)),
        }
        for (split, stratum, name, status), groups in sorted(cells.items())
    ]


def count_groups(cases: Iterable[Case], *, assignments: Mapping[str, Assignment]) -> dict[str, int]:
    """Counts the groups in each split."""
    active = {(assignments[case.case_id].split, case.group_id) for case in cases if case.status in ACTIVE}
    counts = Counter(split for split, _ in active)
    return {split: counts[split] for split in SPLITS}


def list_reasons(cases: Sequence[Case], *, rejects: Sequence[Reject], status: str) -> dict[str, object]:
    """Reasons of one status with the cases and files they hit, most frequent first.

    Names are capped, totals are not.
    """
    by_reason: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"cases": [], "files": []})
    for case in cases:
        if case.status == status:
            by_reason[case.reason]["cases"].append(case.case_id)
    for reject in rejects:
        if reject.status == status:
            by_reason[reject.reason]["files"].append(reject.path)
    # Most frequent first.
    ordered = sorted(by_reason, key=lambda reason: (-sum(map(len, by_reason[reason].values())), reason))
    rows = [
        {
            "reason": reason,
            "cases": _cap_names(by_reason[reason]["cases"]),
            "files": _cap_names(by_reason[reason]["files"]),
        }
        for reason in ordered
    ]
    return {"total": len(rows), "reasons": rows[:REASONS_SHOWN]}


def list_not_images(paths: Mapping[str, Sequence[str]]) -> list[dict[str, object]]:
    """Lists the files that are no images and are known as something else, by kind; names are capped."""
    return [{"kind": kind, "files": _cap_names(found)} for kind, found in paths.items()]


def _cap_names(names: Sequence[str]) -> dict[str, object]:
    return {"total": len(names), "names": sorted(names)[:NAMES_SHOWN]}


def list_duplicates(duplicates: Sequence[ExactDuplicates]) -> list[dict[str, object]]:
    """The pairs of cases with identical pixels."""
    return [
        {
            "cases": list(pair.cases),
            "labels": list(pair.labels),
            "images": pair.images,
            "label_conflict": pair.label_conflict,
        }
        for pair in duplicates
    ]


def summarize_search(near: NearDuplicates, *, groups: Mapping[str, str]) -> dict[str, object]:
    """Summarises the search for near duplicates: how, how many pairs, and the groups that they join.

    The pairs themselves are in their own table.

    Args:
        groups: group by case, of the used and unlabelled cases.
    """
    links = [(groups[pair.cases[0]], groups[pair.cases[1]]) for pair in near.pairs]
    clusters = gather_clusters(dict.fromkeys(groups.values(), ""), links=links)
    return {
        "search": near.search,
        "images": near.compared,
        "without_contrast": near.without_contrast,
        "pairs": len(near.pairs),
        "groups": len(set(groups.values())),
        "clusters": len(clusters),
        "largest_cluster": max(len(cluster) for cluster in clusters),
    }


def describe_data_set(data_set: DataSet, *, is_published: bool) -> dict[str, object]:
    """Describes where the data come from, their terms of use, and what their groups are called.

    The terms are unknown unless the data are the published ones.
    """
    terms = {name: getattr(data_set, name) if is_published else "" for name in ("title", "licence", "doi")}
    return {
        "data_set": data_set.name,
        "is_published": is_published,
        **terms,
        "group_noun": data_set.group_noun,
    }


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """Counts, exclusions with reasons and anomalies for people; long lists are cut, and say so."""
    licence = ", ".join(
        part for part in (summary["licence"], summary["doi"] and f"doi {summary['doi']}") if part
    )
    title = escape(summary["title"] or summary["data_set"])
    console.print(f"[bold]{title}[/bold]{f' ({escape(licence)})' if licence else ''}")
    for row in summary["provenance"]:
        console.print(f"data: {escape(one_line(name_provenance(row)))}", highlight=False, soft_wrap=True)
    if summary["provenance"]:
        counts = summary["receipts"]
        compared = (
            f"{counts['with']:,} as their receipt says, {counts['without']:,} without one, "
            f"{counts['changed']:,} changed since they were fetched"
        )
        console.print(f"images: {compared}", highlight=False, soft_wrap=True)
    table = Table("", *STATUSES, "total")
    for what in ("cases", "images"):
        table.add_row(
            what, *(f"{summary[what][status]:,}" for status in STATUSES), f"{summary['input'][what]:,}"
        )
    console.print(table)
    console.print(make_split_table(summary))
    for status in ("excluded", "quarantined"):
        for row in summary[status]["reasons"][:NAMES_SHOWN]:
            names = row["cases"]["names"] + row["files"]["names"]
            shown = shorten_names(names, total=row["cases"]["total"] + row["files"]["total"])
            console.print(
                f"{status}: {escape(one_line(row['reason']))}: {escape(shown)}",
                highlight=False,
                soft_wrap=True,
            )
        if summary[status]["total"] > NAMES_SHOWN:
            console.print(
                f"{status}: {summary[status]['total']:,} reasons in all, see reason in the tables "
                "`cases` and `images`",
                highlight=False,
                soft_wrap=True,
            )
    for line in describe_others_and_flags(summary):
        console.print(escape(line), highlight=False, soft_wrap=True)
    conflicts = sum(pair["label_conflict"] for pair in summary["duplicates"])
    pairs = len(summary["duplicates"])
    console.print(
        f"{pairs:,} pairs of cases with identical pixels, {conflicts:,} of them with different labels",
        highlight=False,
        soft_wrap=True,
    )
    console.print(describe_search(summary["near_duplicates"]), highlight=False, soft_wrap=True)
    console.print(make_leakage_table(summary))
    print_anomalies(summary["anomalies"], console, most=NAMES_SHOWN)


def print_anomalies(
    anomalies: Sequence[str], console: Console, *, most: int, where: str = "summary.json"
) -> None:
    """Prints the first anomalies, and how many there are in all and where."""
    for anomaly in anomalies[:most]:
        say(console, f"anomaly: {anomaly}")
    if len(anomalies) > most:
        say(console, f"anomaly: {len(anomalies):,} in all, see `anomalies` in {where}")


def describe_others_and_flags(summary: Mapping[str, Any]) -> list[str]:
    """One line for each kind of file that is no image, and one on the images that are flagged."""
    lines = []
    for row in summary.get("not_images", ()):
        shown = shorten_names(row["files"]["names"], total=row["files"]["total"])
        lines.append(f"excluded, not images: {row['files']['total']:,} {one_line(row['kind'])}: {shown}")
    if flagged := summary.get("quality_flags"):
        counts = ", ".join(f"{count:,} {one_line(name)}" for name, count in flagged.items())
        lines.append(f"images flagged: {counts}; see flags in the table `images`")
    return lines


def shorten_names(names: Sequence[str], *, total: int) -> str:
    """The first three names and how many more there are, on one line."""
    return one_line(", ".join(names[:3]) + (f" and {total - 3:,} more" if total > 3 else ""))


def make_split_table(summary: Mapping[str, Any]) -> Table:
    """Used cases per split and class, with the number of groups."""
    cells: dict[str, Counter[str]] = defaultdict(Counter)
    for row in summary["splits"]:
        if row["status"] == "used":
            cells[row["split"]][row["class"]] += row["cases"]
    classes = sorted({name for counts in cells.values() for name in counts})
    table = Table("split", "groups", *(escape(one_line(name)) for name in classes))
    for split, groups in summary["groups"].items():
        table.add_row(split, f"{groups:,}", *(f"{cells[split][name]:,}" for name in classes))
    return table


def describe_search(found: Mapping[str, Any]) -> str:
    """One sentence on the search for near duplicates."""
    if found["search"] == "off":
        return "near duplicates were not searched (near_duplicates is off)"
    flat = f", {found['without_contrast']:,} of them without contrast" if found["without_contrast"] else ""
    means = "hash" if found["search"] == "hash" else "hash or keypoints"
    pairs = (
        f"{found['pairs']:,} pairs of cases are near duplicates by {means}, among {found['images']:,} "
        f"images{flat}"
    )
    if found["clusters"] == found["groups"]:
        return f"{pairs}; none of them joins groups"
    return (
        f"{pairs}; they join {found['groups']:,} groups to {found['clusters']:,}, the largest of "
        f"{found['largest_cluster']:,} groups"
    )


def make_leakage_table(summary: Mapping[str, Any]) -> Table:
    """Pairs of cases that have something in common and lie in different splits."""
    table = Table("pairs of cases with", *(f"{one} and {other}" for one, other in SIDES))
    for row in summary["leakage"]:
        counts = (
            ["not searched"] * len(SIDES)
            if row["pairs"] is None
            else [f"{row['pairs'][f'{one}-{other}']:,}" for one, other in SIDES]
        )
        table.add_row(row["common"], *counts)
    return table
