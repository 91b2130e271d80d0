"""The receipts of a fetch: one line of JSON per verified file, in the order of arrival.

    <data root>/receipts.jsonl

A file without a receipt was never finished; a file that differs from its receipt has changed since. A line
that a kill cut short is dropped.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg.errors import MedimgError
from medimg.files import bring_to_disk, cannot_write, replace_file

RECEIPTS_FILE = "receipts.jsonl"
"""Lies in the data root."""

TABLES = "tables"
"""What receipts of clinical tables have in place of a series."""


@dataclass(frozen=True)
class Receipt:
    """One verified file.

    Attributes:
        path: POSIX path relative to the data root.
        bytes, md5, sha256: of the file.
        url: where it came from, without credentials.
        series: SeriesInstanceUID, or the archive's file that it was part of; "tables" for a table.
        patient_id, sop_uid: as the file says; empty for files that are not DICOM.
        collection, source: names in `medimg.archive`.
        key: what pins the content at the source (crdc_series_uuid), empty where the source has no versions.
        version, licence, doi: of the archive's release.
        fetched: UTC time, ISO 8601.
    """

    path: str
    bytes: int
    md5: str
    sha256: str
    url: str
    series: str
    collection: str
    source: str
    patient_id: str = ""
    sop_uid: str = ""
    key: str = ""
    version: str = ""
    licence: str = ""
    doi: str = ""
    fetched: str = ""


@dataclass(frozen=True)
class Finished:
    """All files of a series are there. `key` as in Receipt; `files` counts them."""

    finished: str
    key: str
    files: int


@dataclass(frozen=True)
class Provenance:
    """Where a data root's files come from, in short: what lineage shows of a model's data.

    Attributes:
        files: number of receipts with exactly these values.
    """

    collection: str
    source: str
    version: str
    licence: str
    doi: str
    files: int


Entry = Receipt | Finished


class Receipts:
    """The receipts of one data root; thread-safe. Only one process may write (a fetch holds the lock)."""

    def __init__(self, root: Path) -> None:
        self.path = root / RECEIPTS_FILE
        self._lock = threading.Lock()
        self._files: dict[str, dict[str, Receipt]] = {}
        self._finished: dict[str, Finished] = {}
        for entry in _read_lines(self.path):
            self._take(entry)

    def __iter__(self) -> Iterator[Receipt]:
        return iter([receipt for files in self._files.values() for receipt in files.values()])

    def __len__(self) -> int:
        return sum(map(len, self._files.values()))

    def of_series(self, uid: str) -> list[Receipt]:
        """Receipts of one series."""
        return list(self._files.get(uid, {}).values())

    def finished(self, uid: str) -> Finished | None:
        """The note that a series is complete."""
        return self._finished.get(uid)

    def add(self, entry: Entry) -> None:
        """Appends one line; the note that a series is finished also brings all lines to disk.

        Raises MedimgError if the disk is full.
        """
        with self._lock:
            try:
                with self.path.open("ab") as opened:
                    opened.write(_line(entry))
            except OSError as error:
                raise cannot_write(self.path, error) from None
            self._take(entry)
        if isinstance(entry, Finished):
            # Without the lock: a disk takes its time, and brings what several threads wait for in one go.
            try:
                bring_to_disk(self.path)
            except OSError as error:
                raise cannot_write(self.path, error) from None

    def drop(self, receipts: Iterable[Receipt]) -> None:
        """Forgets files and that their series was finished, by rewriting what remains.

        Rare: only after verification found something.
        """
        with self._lock:
            for receipt in receipts:
                self._files.get(receipt.series, {}).pop(receipt.path, None)
                self._finished.pop(receipt.series, None)
            lines = b"".join(map(_line, (*self, *self._finished.values())))
            replace_file(self.path, write=lambda to: to.write_bytes(lines))

    def _take(self, entry: Entry) -> None:
        if isinstance(entry, Finished):
            self._finished[entry.finished] = entry
        else:
            self._files.setdefault(entry.series, {})[entry.path] = entry


def repair(root: Path) -> None:
    """Cuts off a last line that a kill left unfinished, so that the next one begins on a line of its own."""
    path = root / RECEIPTS_FILE
    if not path.exists():
        return
    with path.open("rb+") as opened:
        content = opened.read()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            opened.truncate(whole)


def read_provenance(root: Path) -> list[Provenance]:
    """The provenance of a data root, most files first; empty where nothing was fetched.

    Raises:
        MedimgError: the receipts are damaged; the message names the line.
    """
    counts = Counter(
        (one.collection, one.source, one.version, one.licence, one.doi) for one in Receipts(root)
    )
    return [
        Provenance(*values, files)
        for values, files in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _line(entry: Entry) -> bytes:
    return (json.dumps(dataclasses.asdict(entry), ensure_ascii=False) + "\n").encode()


def _read_lines(path: Path) -> Iterator[Entry]:
    if not path.exists():
        return
    content = path.read_bytes()
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            yield _parse(json.loads(line))
        except (ValueError, TypeError, UnicodeDecodeError):
            raise MedimgError(
                f"{path}, line {number}: no receipt, expected one JSON object as medimg fetch writes them"
            ) from None


def _parse(values: Mapping[str, Any]) -> Entry:
    return Finished(**values) if "finished" in values else Receipt(**values)
