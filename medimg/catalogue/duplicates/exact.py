"""Repeated files and identical pixels, found by content alone: no list of known errata is needed.

Exact only: the same bytes, the same SOPInstanceUID, or the same decoded pixels (which survive another
transfer syntax or new headers).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy.cluster.hierarchy import DisjointSet

from medimg.cases import Case, Header, Reject

ACTIVE = ("used", "unlabelled")


@dataclass(frozen=True)
class ExactDuplicates:
    """Two cases that hold identical pixels.

    Attributes:
        cases, groups, labels: of the two, in the order of case ids; a label is that of the first head, None
            if there is none.
        images: number of pixel hashes that both hold.
        label_conflict: both are labelled, and differently.
    """

    cases: tuple[str, str]
    groups: tuple[str, str]
    labels: tuple[str | None, str | None]
    images: int

    @property
    def label_conflict(self) -> bool:
        return None not in self.labels and self.labels[0] != self.labels[1]


@dataclass(frozen=True)
class DuplicateFindings:
    """Cases in their given order with the duplicates' statuses settled, the pairs, and any surprises.

    Surprises are `anomalies`, one line each.
    """

    cases: list[Case]
    duplicates: list[ExactDuplicates]
    anomalies: list[str]


def find_uid_clashes(headers: Iterable[Header]) -> list[Reject]:
    """Files with one SOPInstanceUID but other pixels: none of them can be trusted, so all are quarantined.

    DICOM PS3.3 C.12.1: a SOP instance UID names one object for ever. Files with the same pixels, in another
    transfer syntax or with other headers, are copies.
    """
    by_uid: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        if header.tags.get("SOPInstanceUID"):
            by_uid[str(header.tags["SOPInstanceUID"])].append(header)
    rejects = []
    for uid, sharing in by_uid.items():
        for header in sharing:
            others = [other.path for other in sharing if _differ(header, other)]
            if others:
                reason = f"SOPInstanceUID {uid} also in {min(others)}, with other content"
                rejects.append(Reject(header.path, "quarantined", reason))
    return sorted(rejects, key=lambda reject: reject.path)


def _differ(first: Header, second: Header) -> bool:
    same_pixels = bool(first.pixel_hash) and first.pixel_hash == second.pixel_hash
    return first.sha256 != second.sha256 and not same_pixels


def find_copies(headers: Iterable[Header], *, owners: Mapping[str, str]) -> list[Reject]:
    """Files with the same bytes as another, or with its SOPInstanceUID and pixels; of such files one stays.

    That is one that belongs to a case, then the first in the order of paths.

    Args:
        owners: path to case id. Copies that belong to different cases are left to `settle_duplicates`, which
            compares the cases' labels.
    """
    rejects: dict[str, Reject] = {}
    same_bytes: dict[str, list[str]] = defaultdict(list)
    same_image: dict[tuple[str, str], list[str]] = defaultdict(list)
    for header in headers:
        same_bytes[header.sha256].append(header.path)
        if (uid := str(header.tags.get("SOPInstanceUID") or "")) and header.pixel_hash:
            same_image[uid, header.pixel_hash].append(header.path)
    groups = [("bytes", paths) for paths in same_bytes.values()]
    groups += [("SOPInstanceUID and pixels", paths) for paths in same_image.values()]
    for common, sharing in groups:
        paths = [path for path in sharing if path not in rejects]
        if len(paths) < 2 or len({owners[path] for path in paths if path in owners}) > 1:
            continue
        first, *others = sorted(paths, key=lambda path: (path not in owners, path))
        rejects.update({path: Reject(path, "excluded", f"same {common} as {first}") for path in others})
    return sorted(rejects.values(), key=lambda reject: reject.path)


def settle_duplicates(
    cases: Sequence[Case], *, headers: Mapping[str, Header], head: str, blank: Collection[str] = ()
) -> DuplicateFindings:
    """Finds cases with identical pixels and decides which of them may be used.

    If two of them carry different labels, none is used: one of the labels is wrong and nothing tells which.
    Otherwise one stays: a labelled one before an unlabelled one, then the one that sorts first. A case that
    is excluded already keeps its reason; the pair is reported all the same.

    Args:
        headers: by path.
        head: the label that is compared.
        blank: pixel hashes of images of one constant value, which say nothing about who was imaged.
    """
    by_id = {case.case_id: case for case in cases}
    holders: dict[str, set[str]] = defaultdict(set)
    anomalies = []
    for case in cases:
        paths = dict.fromkeys(image.path for image in case.images)
        hashes = [headers[path].pixel_hash for path in paths]
        if len(set(hashes) - set(blank)) < len([item for item in hashes if item not in blank]):
            anomalies.append(f"case {case.case_id}: two of its images have identical pixels")
        for pixel_hash in set(hashes) - set(blank) - {""}:
            holders[pixel_hash].add(case.case_id)
    shared: dict[tuple[str, str], int] = defaultdict(int)
    sets = DisjointSet(sorted(by_id))
    for ids in holders.values():
        # Each with one only: a picture that 1,000 cases share is 999 pairs, not half a million. With a
        # labelled one, so that a clash of labels shows.
        centre, *others = sorted(ids, key=lambda case_id: (head not in by_id[case_id].labels, case_id))
        for other in others:
            shared[min(centre, other), max(centre, other)] += 1
            sets.merge(centre, other)
    duplicates = [
        compare_duplicates(by_id[first], by_id[second], images=images, head=head)
        for (first, second), images in sorted(shared.items())
    ]
    for subset in sets.subsets():
        if len(subset) > 1:
            members = [by_id[case_id] for case_id in sorted(subset)]
            by_id.update({case.case_id: case for case in settle(members, head=head)})
    return DuplicateFindings(
        [by_id[case.case_id] for case in cases],
        duplicates,
        anomalies + find_duplicate_groups(cases, duplicates=duplicates),
    )


def compare_duplicates(first: Case, second: Case, *, images: int, head: str) -> ExactDuplicates:
    """The pair as it is reported."""
    return ExactDuplicates(
        (first.case_id, second.case_id),
        (first.group_id, second.group_id),
        (first.labels.get(head), second.labels.get(head)),
        images,
    )


def settle(cases: list[Case], *, head: str) -> list[Case]:
    """Cases that share pixels, sorted by id, with statuses that let at most one be used."""
    labels = {case.labels[head] for case in cases if head in case.labels}
    if len(labels) > 1:
        labelled = ", ".join(
            f"{case.case_id} ({case.labels.get(head, 'unlabelled')})" for case in cases[:4]
        ) + (", ..." if len(cases) > 4 else "")
        return [exclude(case, reason=f"identical pixels with different {head}: {labelled}") for case in cases]
    active = [case for case in cases if case.status in ACTIVE]
    if not active:
        return cases
    kept = min(active, key=lambda case: (case.status != "used", head not in case.labels, case.case_id))
    return [
        case if case is kept else exclude(case, reason=f"identical pixels as {kept.case_id}, which stays")
        for case in cases
    ]


def exclude(case: Case, *, reason: str) -> Case:
    """The case as excluded, unless it has another reason already."""
    return dataclasses.replace(case, status="excluded", reason=reason) if case.status in ACTIVE else case


def find_duplicate_groups(cases: Sequence[Case], *, duplicates: Sequence[ExactDuplicates]) -> list[str]:
    """Describes each pair of groups whose every case has an exact duplicate in the other.

    Most likely that is one patient under two ids.
    """
    members: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        members[case.group_id].add(case.case_id)
    paired: dict[tuple[str, str], set[str]] = defaultdict(set)
    for pair in duplicates:
        if pair.groups[0] != pair.groups[1]:
            paired[min(pair.groups), max(pair.groups)].update(pair.cases)
    return [
        f"groups {first} and {second} may be one: each of their {len(ids)} cases shares pixels with "
        "the other group"
        for (first, second), ids in sorted(paired.items())
        if ids == members[first] | members[second]
    ]
