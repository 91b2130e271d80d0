"""Where a catalogue's files come from, and which of them are no longer what was fetched.

Receipts are compared with the files that are there now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medimg.archive.receipts import Receipt, Receipts, read_provenance
from medimg.files import hash_file

PROVENANCE = ("collection", "source", "version", "licence", "doi")
"""What a receipt says of where its file comes from."""


def find_changed(files: Iterable[tuple[str, str]], receipts: Iterable[Receipt]) -> dict[str, str]:
    """Reasons by path, for the files that differ from their receipt.

    Args:
        files: (path, sha256); an empty sha256, of a file that cannot be read, is compared with nothing.
    """
    expected = {receipt.path: receipt.sha256 for receipt in receipts}
    return {
        path: f"changed since it was fetched: sha256 {sha256}, expected {expected[path]}"
        for path, sha256 in files
        if sha256 and path in expected and sha256 != expected[path]
    }


def list_changed_tables(tables: Sequence[Path], *, receipts: Receipts, root: Path) -> list[str]:
    """One line for each clinical table that differs from its receipt.

    It stays in use: corrections to a table are its user's right.
    """
    files = [
        (path.relative_to(root).as_posix(), hash_file(path)) for path in tables if path.is_relative_to(root)
    ]
    return [f"{path}: {reason}" for path, reason in find_changed(files, receipts).items()]


def describe_receipts(images: Sequence[tuple[str, str]], receipts: Receipts) -> dict[str, object]:
    """Returns `provenance` and `receipts`: how many images match, have no receipt, or have changed.

    Images without a receipt that can be compared count as `without`; the three add up.

    Args:
        images: (path, sha256) of every image, unreadable ones included.
    """
    expected = {receipt.path: receipt.sha256 for receipt in receipts}
    matching = sum(bool(sha256) and expected.get(path) == sha256 for path, sha256 in images)
    changed = len(find_changed(images, receipts))
    return {
        "provenance": [asdict(one) for one in read_provenance(receipts.path.parent)],
        "receipts": {"with": matching, "without": len(images) - matching - changed, "changed": changed},
    }


def name_provenance(row: Mapping[str, Any]) -> str:
    """One entry of a summary's `provenance` for people; what is unknown is left out."""
    version = row["version"] and f"version {row['version']}"
    doi = row["doi"] and f"doi {row['doi']}"
    parts = (
        f"{row['collection']} from {row['source']}",
        version,
        row["licence"],
        doi,
        f"{row['files']:,} files with a receipt",
    )
    return ", ".join(part for part in parts if part)
