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

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from medimg.archive.collections import Collection, CollectionTable
from medimg.archive.crew import Crew
from medimg.archive.data_root import (
    check_room,
    give_name,
    is_there,
    place,
    present_files,
    safe_name,
    sync,
    work_folder,
)
from medimg.archive.receipts import TABLES, Finished, Receipt, Receipts
from medimg.archive.source import Arrived, InvalidFile, NotAvailable, Series, Source, SourceFailed, is_uid
from medimg.archive.transport.errors import Interrupted
from medimg.dicom.parse import check_whole, open_dicom
from medimg.errors import DiskFull, MedimgError, quote_code
from medimg.files import WORK_FOLDER


@dataclass
class FetchOutcome:
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


@dataclass
class Placing:
    """What of one series has its place already, by path; used by several threads."""

    placed: dict[str, Receipt] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Fetcher:
    """Fetches the series of a collection into a data root.

    Attributes:
        sources: in order of preference. One that fails altogether is left out from then on, with a message.
        say: called with one line about what did not go as planned.
        on_file: called for each file that is verified and in its place, from any thread.
        stop: set when the user interrupts; what is in flight ends soon, and its parts stay.
        down: why a source was left out, by its name.
    """

    collection: Collection
    root: Path
    receipts: Receipts
    sources: Sequence[Source]
    say: Callable[[str], None]
    stop: threading.Event
    on_file: Callable[[], None] = lambda: None
    down: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fetch(self, series: Series, crew: Crew) -> tuple[int, int]:
        """Fetches one series from the first source that has it whole. Returns (files, bytes) that came."""
        reasons = []
        for source in self.sources:
            if source.name in self.down:
                reasons.append(f"{source.name}: {self.down[source.name]}")
                continue
            try:
                return self._fetch_twice(series, source, crew)
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

    def _fetch_twice(self, series: Series, source: Source, crew: Crew) -> tuple[int, int]:
        """A file that is not what it should be lies in quarantine after the first try.

        What was good is not fetched again.
        """
        try:
            return self._fetch_from(series, source, crew)
        except InvalidFile as error:
            self.say(f"{error}; fetching it again")
            return self._fetch_from(series, source, crew)

    def _fetch_from(self, series: Series, source: Source, crew: Crew) -> tuple[int, int]:
        files = size = 0
        placing = Placing()
        present = present_files(series.uid, root=self.root, receipts=self.receipts)
        # Of another version of the series nothing counts as had; its files are replaced one by one and what
        # is left over is put aside.
        have = {receipt.url: receipt.md5 for receipt in present if receipt.key == series.key}
        arriving = source.fetch_series(series, have=have, at_once=crew.bring)
        keep = partial(self._keep, series=series, source=source, placing=placing)
        for receipt in crew.keep(keep, arriving):
            if receipt is not None:
                files, size = files + 1, size + receipt.bytes
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

    def _keep(self, arrived: Arrived, *, series: Series, source: Source, placing: Placing) -> Receipt | None:
        """Gives a file its place and its receipt; None for one that came twice.

        Raises:
            InvalidFile: it is not what was promised; it lies in quarantine.
        """
        try:
            receipt = self._judge(arrived, series, source)
            final = self.root / receipt.path
            # The disk takes its time: only names are given one after the other.
            sync(arrived)
            with placing.lock:
                if other := placing.placed.get(receipt.path):
                    if other.sha256 == receipt.sha256:
                        arrived.path.unlink()
                        return None
                    self._withdraw(other)
                    raise InvalidFile(
                        f"{arrived.url}: SOPInstanceUID {receipt.sop_uid} came twice with different content, "
                        "expected one file"
                    )
                give_name(arrived, final)
                placing.placed[receipt.path] = receipt
                self.receipts.add(receipt)
            self.on_file()
            return receipt
        except InvalidFile:
            arrived.path.replace(work_folder(self.root, "quarantine") / arrived.sha256)
            raise

    def _judge(self, arrived: Arrived, series: Series, source: Source) -> Receipt:
        """The receipt that a file would get. Raises InvalidFile where the file is not what was promised."""
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
                    if keyword == "PatientID":
                        raise InvalidFile(f"{arrived.url}: PatientID is not the one that the archive lists")
                    raise InvalidFile(
                        f"{arrived.url}: {keyword} is {quote_code(found[keyword])}, expected {value!r}"
                    )
            sop_uid, patient = found["SOPInstanceUID"], found["PatientID"]
            for uid in (series.uid, sop_uid):
                if not is_uid(uid):
                    raise InvalidFile(
                        f"{arrived.url}: {quote_code(uid)} is no UID, expected digits and dots, 64 "
                        "characters at most (DICOM PS3.5 section 9.1)"
                    )
            path = f"{series.uid}/{sop_uid}.dcm"
        receipt = make_receipt(
            arrived, path=path, series=series, collection=self.collection, source=source.name
        )
        return replace(receipt, patient_id=patient, sop_uid=sop_uid)

    def _withdraw(self, receipt: Receipt) -> None:
        """Moves a file that nobody can trust any more to quarantine, and forgets it."""
        self.receipts.drop([receipt])
        (self.root / receipt.path).replace(work_folder(self.root, "quarantine") / receipt.sha256)

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


def fetch_all(fetcher: Fetcher, series: Sequence[Series], *, workers: int) -> FetchOutcome:
    """Fetches what is missing, several series at once; each from the first source that has it.

    Raises:
        DiskFull: there is no room; everything finished stays.
    """
    root, receipts = fetcher.root, fetcher.receipts
    outcome = FetchOutcome(series=len(series))
    missing = [one for one in series if not is_there(one, root=root, receipts=receipts)]
    outcome.kept = len(series) - len(missing)
    check_room(root, need_bytes=sum(one.bytes or 0 for one in missing))
    with Crew(workers=workers, stop=fetcher.stop) as crew:
        for came in crew.fetch(partial(fetch_one, fetcher, crew), missing):
            if isinstance(came, str):
                outcome.failures.append(came)
            else:
                outcome.files += came[0]
                outcome.bytes += came[1]
    return outcome


def fetch_one(fetcher: Fetcher, crew: Crew, series: Series) -> tuple[int, int] | str:
    """Fetches one series. Returns (files, bytes) that came, or why it is not complete.

    Raises:
        DiskFull, Interrupted: no other is begun, and those under way end soon.
    """
    try:
        return fetcher.fetch(series, crew)
    except (DiskFull, Interrupted):
        fetcher.stop.set()
        raise
    except MedimgError as error:
        return f"series {series.uid}: {error}"


def fetch_tables(
    collection: Collection,
    *,
    root: Path,
    receipts: Receipts,
    arriving: Callable[[Sequence[CollectionTable]], Iterator[tuple[str, Arrived]]],
) -> FetchOutcome:
    """Places the collection's tables beside the images, those that are not there yet.

    Args:
        arriving: hands over the wanted tables, each with the name of its source.
    """
    outcome = FetchOutcome()
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
    arrived: Arrived, *, path: str, series: Series, collection: Collection, source: str
) -> Receipt:
    """Makes the receipt of a verified file, without what only DICOM says."""
    return Receipt(
        path=path,
        bytes=arrived.bytes,
        md5=arrived.md5,
        sha256=arrived.sha256,
        url=arrived.url,
        series=series.uid,
        collection=collection.name,
        source=source,
        key=series.key,
        version=series.version,
        licence=series.licence or collection.licence,
        doi=series.doi or collection.doi,
        fetched=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def plain_text(value: str) -> str:
    """A value as a PACS lists it: some leave blanks and what cannot be printed out of their answers."""
    return "".join(letter for letter in value if letter.isprintable()).strip()
