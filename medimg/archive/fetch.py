"""Brings series and tables of a collection below a data root: verified and resumable.

A file gets its final name only when it is whole.

    <root>/<SeriesInstanceUID>/<SOPInstanceUID>.dcm    images
    <root>/<table>, LICENSE.txt, CITATION.bib          what comes along
    <root>/receipts.jsonl                              one line per verified file
    <root>/.medimg/                                    parts, quarantine, lock: no input of anything

Names on disk are UIDs, never what a tag says. A file is verified (size and checksum by the source; here that
it is whole DICOM and carries the promised UIDs and patient), brought to disk, renamed, and only then gets its
receipt.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from medimg.archive.collections import Collection, Table
from medimg.archive.receipts import Finished, Receipt, Receipts, repair
from medimg.archive.source import Arrived, InvalidFile, NotAvailable, Series, Source, SourceFailed, is_uid
from medimg.archive.transport.errors import Interrupted
from medimg.errors import DiskFull, MedimgError
from medimg.files import WORK_FOLDER, bring_to_disk, cannot_write, hash_file

TABLES = "tables"
"""What receipts of clinical tables have in place of a series."""

RESERVE_BYTES = 256_000_000
"""Kept free on the disk of the data root."""

Say = Callable[[str], None]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass
class Outcome:
    """What a fetch came to.

    Attributes:
        series: asked for.
        kept: series that were there already.
        files, bytes: that came in this call and are verified.
        failures: one line each; a series that failed is not finished and the next call tries it again.
    """

    series: int = 0
    kept: int = 0
    files: int = 0
    bytes: int = 0
    failures: list[str] = field(default_factory=list)


def work_folder(root: Path, name: str) -> Path:
    """A folder of the fetch's own below the data root, made if need be."""
    folder = root / WORK_FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def hold_root(root: Path, say: Say) -> Iterator[Receipts]:
    """The data root for one writer: a second fetch into it says so and waits. Yields its receipts."""
    lock = FileLock(work_folder(root, ".") / "fetch.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another fetch is writing to {root}; waiting for it to end")
        lock.acquire()
    try:
        repair(root)
        yield Receipts(root)
    finally:
        lock.release()


def is_there(series: Series, *, root: Path, receipts: Receipts) -> bool:
    """Whether the series was finished with this very content and all its files still have their size.

    Reads no content.
    """
    note = receipts.finished(series.uid)
    if note is None or note.key != series.key:
        return False
    present = present_files(series.uid, root=root, receipts=receipts)
    return len(present) == note.files


def present_files(uid: str, *, root: Path, receipts: Receipts) -> list[Receipt]:
    """Receipts of a series whose file lies there with its size."""
    return [receipt for receipt in receipts.of_series(uid) if _has_size(root / receipt.path, receipt.bytes)]


def fetch_all(
    series: Sequence[Series],
    *,
    collection: Collection,
    root: Path,
    receipts: Receipts,
    sources: Sequence[Source],
    workers: int,
    say: Say,
    stop: threading.Event,
) -> Outcome:
    """Fetches what is missing, several series at once; each from the first source that has it.

    Args:
        sources: in order of preference. One that fails altogether is left out for the rest of the call, with
            a message.
        stop: set when the user interrupts; what is in flight ends soon, and its parts stay.

    Raises:
        DiskFull: there is no room; everything finished stays.
    """
    outcome = Outcome(series=len(series))
    missing = [one for one in series if not is_there(one, root=root, receipts=receipts)]
    outcome.kept = len(series) - len(missing)
    check_room(root, need_bytes=sum(one.bytes or 0 for one in missing))
    fetcher = _Fetcher(collection, root, receipts, sources, say, stop)
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="fetch") as pool:
        waiting = iter(missing)
        running: dict[Future[tuple[int, int]], Series] = {}
        try:
            while True:
                # Few at a time, so that an interrupt or a full disk does not wait for a long queue.
                while len(running) < 2 * workers and (one := next(waiting, None)):
                    running[pool.submit(fetcher.fetch, one)] = one
                if not running:
                    return outcome
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    one = running.pop(future)
                    try:
                        files, size = future.result()
                    except (DiskFull, Interrupted):
                        raise
                    except MedimgError as error:
                        outcome.failures.append(f"series {one.uid}: {error}")
                        continue
                    outcome.files += files
                    outcome.bytes += size
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def check_room(root: Path, *, need_bytes: int) -> None:
    """Raises DiskFull unless the disk of the root has room for so much and a reserve."""
    free = shutil.disk_usage(root).free
    if free < need_bytes + RESERVE_BYTES:
        need = f"{need_bytes / 1e6:,.0f} MB for what is to come and {RESERVE_BYTES / 1e6:.0f} MB spare"
        raise DiskFull(f"{root}: the disk has {free / 1e6:,.0f} MB free, expected {need}")


@dataclass
class _Fetcher:
    """What the workers share."""

    collection: Collection
    root: Path
    receipts: Receipts
    sources: Sequence[Source]
    say: Say
    stop: threading.Event
    down: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fetch(self, series: Series) -> tuple[int, int]:
        """Fetches one series from the first source that has it whole. Returns (files, bytes) that came."""
        reasons = []
        for source in self.sources:
            if source.name in self.down:
                reasons.append(f"{source.name}: {self.down[source.name]}")
                continue
            try:
                return self._fetch_twice(series, source)
            except (DiskFull, Interrupted):
                raise
            except SourceFailed as error:
                self._leave_out(source, error)
                reasons.append(f"{source.name}: {error}")
            except MedimgError as error:
                reasons.append(f"{source.name}: {error}")
                if source is not self.sources[-1]:
                    self.say(f"series {series.uid} not from {source.name} ({error}); trying the next source")
        raise MedimgError("; ".join(reasons))

    def _leave_out(self, source: Source, error: SourceFailed) -> None:
        with self.lock:
            if source.name in self.down:
                return
            self.down[source.name] = str(error)
        self.say(f"{source.name} is left out from here on: {error}")

    def _fetch_twice(self, series: Series, source: Source) -> tuple[int, int]:
        """A file that is not what it should be lies in quarantine after the first try.

        What was good is not fetched again.
        """
        try:
            return self._fetch_from(series, source)
        except InvalidFile as error:
            self.say(f"{error}; fetching it again")
            return self._fetch_from(series, source)

    def _fetch_from(self, series: Series, source: Source) -> tuple[int, int]:
        files = size = 0
        arrived_paths: dict[str, str] = {}
        present = present_files(series.uid, root=self.root, receipts=self.receipts)
        # Of another version of the series nothing counts as had; its files are replaced one by one and what
        # is left over is put aside.
        have = {receipt.url: receipt.md5 for receipt in present if receipt.key == series.key}
        for arrived in source.fetch_series(series, have=have):
            try:
                receipt = self._judge(arrived, series, source)
                if other := arrived_paths.get(receipt.path):
                    if other != receipt.sha256:
                        raise InvalidFile(
                            f"{arrived.url}: SOPInstanceUID {receipt.sop_uid} came twice with "
                            "different content, expected one file"
                        )
                    arrived.path.unlink()
                    continue
            except InvalidFile:
                arrived.path.replace(work_folder(self.root, "quarantine") / arrived.sha256)
                raise
            arrived_paths[receipt.path] = receipt.sha256
            place(arrived, self.root / receipt.path)
            self.receipts.add(receipt)
            files, size = files + 1, size + receipt.bytes
            if self.stop.is_set():
                raise Interrupted("interrupted")
        now = present_files(series.uid, root=self.root, receipts=self.receipts)
        current = [receipt for receipt in now if receipt.key == series.key]
        if series.instances is not None and len(current) != series.instances:
            raise MedimgError(f"{source.name} handed over {len(current)} files, expected {series.instances}")
        if not current:
            raise NotAvailable(f"{source.name} handed over no file, expected one or more")
        if stale := [receipt for receipt in self.receipts.of_series(series.uid) if receipt.key != series.key]:
            self._put_aside(stale)
        self.receipts.add(Finished(series.uid, series.key, len(current)))
        return files, size

    def _judge(self, arrived: Arrived, series: Series, source: Source) -> Receipt:
        """The receipt that a file would get. Raises InvalidFile where the file is not what was promised."""
        from medimg.dicom.parse import (
            check_whole,
            open_dicom,
        )  # A third of a second, in which the other workers' first bytes can come.

        sop_uid = patient = ""
        if arrived.name:
            path = safe_name(arrived.name)
        else:
            try:
                with open_dicom(arrived.path, name=arrived.url) as file:
                    check_whole(file)
                    found = {
                        keyword: str(file.dataset.get(keyword, ""))
                        for keyword in ("SeriesInstanceUID", "SOPInstanceUID", "PatientID")
                    }
            except MedimgError as error:
                raise InvalidFile(str(error)) from None
            promised = {
                "SeriesInstanceUID": series.uid,
                "SOPInstanceUID": arrived.sop_uid,
                "PatientID": series.patient_id,
            }
            for keyword, value in promised.items():
                if value and plain_text(found[keyword]) != plain_text(value):
                    raise InvalidFile(f"{arrived.url}: {keyword} is {found[keyword]!r}, expected {value!r}")
            sop_uid, patient = found["SOPInstanceUID"], found["PatientID"]
            for uid in (series.uid, sop_uid):
                if not is_uid(uid):
                    raise InvalidFile(
                        f"{arrived.url}: {uid!r} is no UID, expected digits and dots, 64 characters "
                        "at most (DICOM PS3.5 section 9.1)"
                    )
            path = f"{series.uid}/{sop_uid}.dcm"
        return make_receipt(
            arrived,
            path=path,
            series=series,
            collection=self.collection,
            source=source.name,
            patient_id=patient,
            sop_uid=sop_uid,
        )

    def _put_aside(self, stale: Sequence[Receipt]) -> None:
        """Moves what only an older version of a series held out of the data."""
        self.receipts.drop(stale)
        current = {receipt.path for receipt in self.receipts}
        for receipt in stale:
            if receipt.path not in current and (self.root / receipt.path).exists():
                (self.root / receipt.path).replace(work_folder(self.root, "replaced") / receipt.sha256)
                self.say(
                    f"{receipt.path} is not in the archive's present version; moved to {WORK_FOLDER}/replaced"
                )


def fetch_tables(
    collection: Collection,
    *,
    root: Path,
    receipts: Receipts,
    arriving: Callable[[Sequence[Table]], Iterator[tuple[str, Arrived]]],
) -> Outcome:
    """Places the collection's tables beside the images, those that are not there yet.

    Args:
        arriving: hands over the wanted tables, each with the name of its source.
    """
    outcome = Outcome()
    # A table that was edited since, to correct it, is not overwritten.
    if missing := [table for table in collection.tables if not (root / table.name).exists()]:
        for source, arrived in arriving(missing):
            place(arrived, root / safe_name(arrived.name))
            receipts.add(
                make_receipt(
                    arrived, path=arrived.name, series=Series(TABLES), collection=collection, source=source
                )
            )
            outcome.files += 1
            outcome.bytes += arrived.bytes
    return outcome


def make_receipt(
    arrived: Arrived,
    *,
    path: str,
    series: Series,
    collection: Collection,
    source: str,
    patient_id: str = "",
    sop_uid: str = "",
) -> Receipt:
    """The receipt of a verified file."""
    return Receipt(
        path=path,
        bytes=arrived.bytes,
        md5=arrived.md5,
        sha256=arrived.sha256,
        url=arrived.url,
        series=series.uid,
        collection=collection.name,
        source=source,
        patient_id=patient_id,
        sop_uid=sop_uid,
        key=series.key,
        version=series.version,
        licence=series.licence or collection.licence,
        doi=series.doi or collection.doi,
        fetched=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def clear_parts(root: Path) -> None:
    """Removes the partial files that are left after a fetch that brought everything."""
    shutil.rmtree(work_folder(root, "parts"))
    work_folder(root, "parts")


def place(arrived: Arrived, final: Path) -> None:
    """Brings a verified file to disk and gives it its final name; replaces what is there."""
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        bring_to_disk(arrived.path)
        arrived.path.replace(final)
    except OSError as error:
        raise cannot_write(final, error) from None


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
    """What is wrong with a file by its receipt; empty if nothing is."""
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


def plain_text(value: str) -> str:
    """A value as a PACS lists it: some leave blanks and what cannot be printed out of their answers."""
    return "".join(letter for letter in value if letter.isprintable()).strip()


def safe_name(name: str) -> str:
    """The name, if it is a plain relative path of plain characters.

    Raises:
        InvalidFile: it is not; nothing an archive says may lead out of the data root or hide in it.
    """
    parts = PurePosixPath(name).parts
    if not parts or len(parts) > 4 or not all(_NAME.fullmatch(part) for part in parts):
        raise InvalidFile(f"file name {name!r}, expected letters, digits, dot, dash and underscore")
    return "/".join(parts)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
