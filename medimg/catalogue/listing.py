"""The data set's listing of its usable files, checked: every file is in one case or one reject."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from medimg.cases import Case, DataSet, Header, Listing, Reject
from medimg.catalogue.duplicates.exact import find_copies, find_uid_clashes
from medimg.catalogue.quality import find_unusable
from medimg.errors import MedimgError
from medimg.images.formats import EXPECTED


def list_checked(
    data_set: DataSet, *, data_root: Path, headers: Sequence[Header]
) -> tuple[list[Header], Listing, list[Reject]]:
    """Returns the data set's listing of the headers that can be trusted.

    Returns:
        the headers that were listed, the listing, and all rejects: unusable files, clashing UIDs, copies, and
        the listing's own.
    """
    rejects = find_unusable(headers, shown=data_set.task != "segmentation")
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


def explain_unread(
    cases: Iterable[Case],
    *,
    rejects: Iterable[Reject],
    not_images: Mapping[str, Sequence[str]],
    root: Path,
) -> list[Case]:
    """Gives each case without an image the status and the reason of the file that its table names.

    A file that is there and is no image at all quarantines a labelled case; one that is absent is left to the
    data set, which knows whether that is a download in part.
    """
    by_path = {reject.path: (reject.status, reject.reason) for reject in rejects}
    for kind, paths in not_images.items():
        by_path.update({path: ("excluded", f"{path}: no image ({kind})") for path in paths})
    explained = []
    for case in cases:
        for path in case.unread:
            # Of a file behind a link that is not followed, the link has the reason.
            above = map(str, (PurePosixPath(path), *PurePosixPath(path).parents))
            if known := next((place for place in above if place in by_path), ""):
                status, reason = by_path[known]
                case = replace(case, status=status, reason=reason)
            elif (root / path).exists():
                status = "quarantined" if case.labels else "excluded"
                case = replace(case, status=status, reason=f"{path}: no image, expected {EXPECTED}")
        explained.append(case)
    return explained


def without(headers: Sequence[Header], rejects: Iterable[Reject]) -> list[Header]:
    """Returns the headers whose file is not rejected."""
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
    counts = Counter(case.case_id for case in listing.cases)
    if repeated := [case_id for case_id, count in counts.items() if count > 1]:
        raise MedimgError(
            f"data set {name}: case id {min(repeated)} is given to several cases, expected unique ids"
        )
