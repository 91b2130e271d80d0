"""Compares what was fetched with its receipts, by content."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from medimg.archive.data_root import work_folder
from medimg.archive.receipts import TABLES, Receipt, Receipts
from medimg.files import hash_file


@dataclass(frozen=True)
class Verified:
    """What verification found, one line each.

    Attributes:
        bad: files that are missing or differ; what differed lies in the quarantine, and the next fetch brings
            it again.
        edited: tables that differ; they stay, since people correct tables.
    """

    bad: list[str]
    edited: list[str]


def verify(root: Path, receipts: Receipts, *, workers: int, advance: Callable[[int], None]) -> Verified:
    """Compares every file with its receipt, by content."""

    def check(receipt: Receipt) -> str:
        problem = compare(root, receipt)
        advance(receipt.bytes)
        return problem

    known = list(receipts)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        problems = [
            (receipt, problem)
            for receipt, problem in zip(known, pool.map(check, known), strict=True)
            if problem
        ]
    edited = [
        problem
        for receipt, problem in problems
        if receipt.series == TABLES and (root / receipt.path).exists()
    ]
    bad = {receipt: problem for receipt, problem in problems if problem not in edited}
    for receipt in bad:
        if (root / receipt.path).is_file():
            (root / receipt.path).replace(work_folder(root, "quarantine") / receipt.sha256)
    if bad:
        receipts.drop(bad)
    return Verified(list(bad.values()), edited)


def compare(root: Path, receipt: Receipt) -> str:
    """Returns what is wrong with a file by its receipt; empty if nothing is."""
    path = root / receipt.path
    try:
        size = path.stat().st_size
        if size != receipt.bytes:
            return f"{receipt.path}: has {size} bytes, expected {receipt.bytes}"
        found = hash_file(path)
    except FileNotFoundError:
        return f"{receipt.path}: missing, expected {receipt.bytes} bytes"
    except OSError as error:
        return f"{receipt.path}: cannot be read ({error.strerror}), expected {receipt.bytes} bytes"
    return (
        ""
        if found == receipt.sha256
        else f"{receipt.path}: sha256 is {found}, expected {receipt.sha256} as when it was fetched"
    )
