"""Why images are quarantined, in a few words: the most frequent reasons, each with a file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from medimg.catalogue.rows import is_absent
from medimg.catalogue.tables import Catalogue

REASONS_SHOWN = 3
LIST_SQL = (
    "SELECT path, reason FROM images WHERE status = 'quarantined' "
    "UNION SELECT case_id, reason FROM cases WHERE status = 'quarantined' AND image_count = 0 "
    "AND reason NOT IN (SELECT reason FROM images WHERE status = 'quarantined')"
)
"""What lists every quarantined file, and every case that has none, with its reason."""


def list_quarantined(catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """Yields name and reason of each quarantined file, and of each case that no such file stands for."""
    images, cases = catalogue.images, catalogue.cases
    files = images[images["status"] == "quarantined"]
    yield from files[["path", "reason"]].itertuples(index=False, name=None)
    told = set(files["reason"])
    alone = cases[(cases["status"] == "quarantined") & ~cases["case_id"].isin(images["case_id"])]
    for name, reason in alone[["case_id", "reason"]].itertuples(index=False, name=None):
        if not is_absent(reason) and reason not in told:
            yield "" if ": " in reason else name, reason


def describe_reasons(found: Iterable[tuple[str, str]]) -> str:
    """The most frequent reasons, with how often each is given and the first file; and how many are left out.

    Args:
        found: name and reason; a reason may begin with the name of its file, which is no part of it and the
            name where there is no other.
    """
    names: dict[str, list[str]] = defaultdict(list)
    for name, reason in found:
        head, separator, rest = reason.partition(": ")
        if separator and (not name or name in head):
            name, reason = head, rest
        names[reason].append(name)
    ordered = sorted(names, key=lambda reason: (-len(names[reason]), reason))
    shown = [f"{len(names[reason])} x {reason} ({min(names[reason])})" for reason in ordered[:REASONS_SHOWN]]
    left_out = sum(len(names[reason]) for reason in ordered[REASONS_SHOWN:])
    return "; ".join([*shown, *([f"{left_out} x other reasons"] if left_out else [])])
