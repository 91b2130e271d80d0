"""The data set's listing of its usable files, checked: every file is in one case or one reject."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from medimg.cases import DataSet, Header, Listing, Reject
from medimg.catalogue.duplicates.exact import find_copies, find_uid_clashes
from medimg.catalogue.quality import find_unusable
from medimg.errors import MedimgError


def list_checked(
    data_set: DataSet, *, data_root: Path, headers: Sequence[Header]
) -> tuple[list[Header], Listing, list[Reject]]:
    """Returns the data set's listing of the headers that can be trusted.

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
