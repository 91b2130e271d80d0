"""Builds the catalogue of a data set: scan, list, settle duplicates, split, write.

Nothing is lost on the way: the counts add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from medimg.archive.receipts import Receipts
from medimg.cases import PHANTOM_FILE, DataSet, Header, Listing, Reject
from medimg.catalogue.division import Division, SplitBasis, divide, main_target, read_previous
from medimg.catalogue.duplicates.blank_images import find_constant
from medimg.catalogue.duplicates.exact import ACTIVE, DuplicateFindings, settle_duplicates
from medimg.catalogue.duplicates.near import NearDuplicates, find_near_duplicates
from medimg.catalogue.index import Reading, Scan, Unreadable, scan
from medimg.catalogue.leakage import tabulate_leakage
from medimg.catalogue.listing import explain_unread, list_checked
from medimg.catalogue.provenance import describe_receipts, find_changed, list_changed_tables
from medimg.catalogue.quality import count_flags, describe_narrow_pictures, flag_headers
from medimg.catalogue.rows import make_cases_table, make_images_table, make_pairs_table
from medimg.catalogue.shared_identity import find_shared_identities
from medimg.catalogue.split import SplitSettings
from medimg.catalogue.split_file import apply_split_file, read_split_file
from medimg.catalogue.summary import (
    count_before_exclusions,
    count_groups,
    count_rows_without_file,
    count_splits,
    count_statuses,
    describe_data_set,
    hash_content,
    list_duplicates,
    list_not_images,
    list_reasons,
    summarize_search,
)
from medimg.catalogue.tables import CASES, IMAGES, PAIRS, SUMMARY, Catalogue, write_catalogue
from medimg.errors import UsageError
from medimg.images.formats import EXPECTED


@dataclass(frozen=True)
class BuildOptions:
    """How a catalogue is built.

    Attributes:
        previous: folder of an earlier catalogue of this data set; its groups keep their split.
        split_file: a table of groups or cases and their split, which is kept as the official one, see
            `medimg.catalogue.split_file`.
        index_path: cache of what was read before, see `medimg.catalogue.index`.
        workers: child processes that read; None for one per core.
    """

    split: SplitSettings
    previous: Path | None = None
    split_file: Path | None = None
    index_path: Path | None = None
    workers: int | None = None


@dataclass(frozen=True)
class _Findings:
    """What a build has found before it writes."""

    tables: Sequence[Path]
    receipts: Receipts
    scanned: Scan
    listing: Listing
    rejects: Sequence[Reject]
    duplicates: DuplicateFindings
    near: NearDuplicates
    division: Division
    flags: Mapping[str, Sequence[str]]


def build_catalogue(data_set: DataSet, *, data_root: Path, to: Path, options: BuildOptions) -> Catalogue:
    """Reads what is new below `data_root` and writes the catalogue's files to `to`.

    Those are cases.parquet, images.parquet, pairs.parquet and summary.json. The same data and settings give
    the same bytes, wherever the data lie and however many workers read them. Images that differ from the
    receipt that `medimg fetch` wrote of them are quarantined; without receipts nothing is compared.

    Raises:
        UsageError: a data set without targets, no such folder, no image in it, a missing table, a previous
            catalogue of another data set, too few groups.
        MedimgError: the data set's listing loses or doubles a file; the receipts are damaged.
    """
    head = main_target(data_set)
    receipts = Receipts(data_root)
    tables = list_tables(data_set, data_root=data_root, split_file=options.split_file)
    brought = read_split_file(options.split_file, data_set=data_set) if options.split_file else None
    previous = options.previous
    earlier = read_previous(previous, data_set=data_set, settings=options.split) if previous else {}
    found = scan(
        data_root,
        index_path=options.index_path,
        workers=options.workers,
        reading=Reading(data_set.published_ids, data_set.scan.follow_links),
        skip=[to / name for name in (CASES, IMAGES, PAIRS, SUMMARY)],
    )
    found = quarantine_changed(found, receipts)
    check_any_image(found, data_root)
    usable, listing, rejects = list_checked(data_set, data_root=data_root, headers=found.headers)
    listing = apply_split_file(listing, brought) if brought else listing
    rejected = [*found.quarantined, *rejects]
    cases = explain_unread(listing.cases, rejects=rejected, not_images=found.not_images, root=data_root)
    listing = replace(listing, cases=cases)
    headers = {header.path: header for header in found.headers}
    blank = find_constant(usable, root=data_root)
    duplicates = settle_duplicates(listing.cases, headers=headers, head=head, blank=blank)
    near = find_near_duplicates(
        duplicates.cases,
        search=options.split.near_duplicates,
        data_root=data_root,
        workers=options.workers,
    )
    basis = SplitBasis(options.split, earlier)
    division = divide(duplicates, near=near, data_set=data_set, basis=basis, root=data_root)
    flags = flag_headers(found.headers, blank=blank)
    findings = _Findings(
        tables, receipts, found, listing, rejected, duplicates, near=near, division=division, flags=flags
    )
    return write_catalogue(
        to,
        cases=make_cases_table(duplicates.cases, assignments=division.assignments, strata=division.strata),
        images=make_images_table(duplicates.cases, rejects=rejected, headers=headers, flags=flags),
        pairs=make_pairs_table(near.pairs),
        summary=_summarize(findings, data_set=data_set, data_root=data_root, options=options),
    )


def _summarize(
    findings: _Findings, *, data_set: DataSet, data_root: Path, options: BuildOptions
) -> dict[str, object]:
    found, division, near = findings.scanned, findings.division, findings.near
    receipts, tables, rejects = findings.receipts, findings.tables, findings.rejects
    cases, assignments = findings.duplicates.cases, division.assignments
    head = main_target(data_set)
    files = len(found.headers) + len(found.quarantined)
    active_groups = {case.case_id: case.group_id for case in cases if case.status in ACTIVE}
    summary: dict[str, object] = {}
    summary.update(describe_data_set(data_set, is_published=findings.listing.is_published))
    summary["synthetic"] = (data_root / PHANTOM_FILE).is_file()
    summary["content_hash"] = hash_content(found.content, tables=tables, root=data_root, receipts=receipts)
    summary.update(describe_receipts(found.content, receipts))
    summary["label_settings"] = asdict(data_set.labels)
    summary["scan_settings"] = asdict(data_set.scan)
    summary["split_settings"] = asdict(options.split)
    summary["split_file"] = options.split_file.name if options.split_file else ""
    summary.update(count_statuses(cases, rejects=rejects, files=files))
    summary["rows_without_file"] = count_rows_without_file(cases, rejects=rejects)
    summary["before_exclusions"] = count_before_exclusions(findings.listing.cases, head=head, files=files)
    summary["groups"] = count_groups(cases, assignments=assignments)
    shared = find_shared_identities(
        cases, headers={header.path: header for header in found.headers}, assignments=assignments
    )
    leaks = [*division.leaks]
    for identity in shared:
        leaks += identity.describe()
    summary["leaks"] = leaks
    summary["splits"] = count_splits(cases, head=head, assignments=assignments, strata=division.strata)
    for status in ("excluded", "quarantined", "unlabelled"):
        summary[status] = list_reasons(cases, rejects=rejects, status=status)
    summary["duplicates"] = list_duplicates(findings.duplicates.duplicates)
    summary["near_duplicates"] = summarize_search(near, groups=active_groups)
    summary["leakage"] = tabulate_leakage(
        cases, duplicates=findings.duplicates.duplicates, near=near, assignments=assignments
    ) + [identity.tabulate() for identity in shared]
    summary["quality_flags"] = count_flags(findings.flags)
    summary["anomalies"] = [
        *leaks,  # First, for the terminal shows the first few only.
        *list_changed_tables(tables, receipts=receipts, root=data_root),
        *findings.listing.anomalies,
        *findings.duplicates.anomalies,
        *near.anomalies,
        *division.anomalies,
        *describe_narrow_pictures(found.headers),
    ]
    summary["other_files"] = found.other_files
    summary["not_images"] = list_not_images(found.not_images)
    return summary


def list_tables(data_set: DataSet, *, data_root: Path, split_file: Path | None) -> list[Path]:
    """The tables that decide the catalogue: the data set's, and the split that the user brings."""
    return [*data_set.list_tables(data_root), *([split_file] if split_file else [])]


def data_fingerprint(
    data_set: DataSet,
    *,
    data_root: Path,
    index_path: Path | None = None,
    workers: int | None = None,
    split_file: Path | None = None,
) -> str:
    """The `content_hash` that a catalogue of these data would have, without building it."""
    receipts = Receipts(data_root)
    tables = list_tables(data_set, data_root=data_root, split_file=split_file)
    reading = Reading(data_set.published_ids, data_set.scan.follow_links)
    scanned = scan(data_root, index_path=index_path, workers=workers, reading=reading)
    found = quarantine_changed(scanned, receipts)
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
        others = "".join(f", {len(paths)} {kind}" for kind, paths in found.not_images.items())
        raise UsageError(
            f"{root}: no readable image among {len(found.quarantined) + found.other_files} "
            f"files{why}{others}; expected {EXPECTED}"
        )
