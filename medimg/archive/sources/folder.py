"""A folder of any layout: what NBIA's Data Retriever, a CD with DICOMDIR or a colleague's zip left behind.

Read, never changed.

Files are found by content and grouped by SeriesInstanceUID; names and places mean nothing. Zips are looked
into, zips inside them are not. DICOMDIR and the Data Retriever's metadata.csv are read as lists of what ought
to be there: of a series that lacks some of it nothing is used. No path in them is followed.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from medimg.archive.collections import Collection
from medimg.archive.source import Arrived, AtOnce, NotAvailable, Series, one_by_one
from medimg.archive.sources.folder_scan import (
    RETRIEVER_LIST,
    Contents,
    FolderScan,
    Held,
    quote_path,
    shown_name,
)
from medimg.archive.transport.unzip import Zip, open_zip
from medimg.errors import MedimgError, UsageError, one_line
from medimg.files import hash_file, removed_on_failure

LINES_PER_REASON = 10
BLOCK_BYTES = 1 << 20


class FolderSource:
    """A folder on this machine; it is scanned once, when it is first asked.

    Args:
        staging: folder on the disk of the data root, for copies; left out of the scan if it lies inside.
        follow_links: also what links that lead out of the folder point to.
        on_message: called with one line about what is left out and why, and with the counts.

    Raises:
        UsageError: no such folder.
    """

    name = "folder"

    def __init__(
        self,
        folder: Path,
        *,
        staging: Path,
        follow_links: bool = False,
        on_message: Callable[[str], None] | None = None,
    ) -> None:
        if not folder.is_dir():
            raise UsageError(
                f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}, expected one "
                "with DICOM files"
            )
        self._folder = folder
        self._scan = FolderScan(folder, staging=staging, follow_links=follow_links)
        self._staging = staging
        self._on_message = on_message or (lambda _: None)
        self._lock = threading.Lock()
        self._contents: Contents | None = None

    def list_series(self, collection: Collection) -> list[Series]:
        """All series in the folder, whatever the collection, by UID."""
        contents = self._scan_once()
        if not contents.series:
            raise NotAvailable(
                f"{self._folder}: no DICOM file among {sum(map(len, contents.left_out.values()))} "
                "files, expected at least one"
            )
        return [_held_to_series(uid, held) for uid, held in sorted(contents.series.items())]

    def fetch_series(
        self, series: Series, *, have: Mapping[str, str], at_once: AtOnce = one_by_one
    ) -> Iterator[Arrived]:
        """Copies the series' files to the staging folder.

        Of identical files with one SOPInstanceUID, the first by path.
        """
        contents = self._scan_once()
        if series.uid not in contents.series:
            raise NotAvailable(f"{self._folder}: no file of series {series.uid}")
        if series.uid in contents.conflicts:
            raise MedimgError(contents.conflicts[series.uid])
        held = contents.series[series.uid]
        self._check_complete(series, held, contents)
        with ExitStack() as stack:
            zips: dict[str, Zip] = {}
            for one in held:
                if one.url in have:
                    continue
                if one.member and one.path not in zips:
                    zips[one.path] = stack.enter_context(
                        open_zip(self._scan.locate(one.path), name=f"{self._folder}: {shown_name(one.path)}")
                    )
                yield self._unpack(one, zips[one.path]) if one.member else self._copy_held(one)

    def find_table(self, name: str) -> Path | None:
        """The file of that name (upper or lower case) nearest to the folder's top, None if there is none.

        Zips are not looked into.

        Raises:
            MedimgError: several with different content.
        """
        named = [
            path
            for path in self._scan.list_files()
            if Path(path).name.casefold() == name.casefold() and not self._scan.refuse(path)
        ]
        if not named:
            return None
        first, *others = sorted(named, key=lambda path: (path.count("/"), path))
        for other in others:
            if hash_file(self._folder / other) != hash_file(self._folder / first):
                raise MedimgError(
                    f"{self._folder}: {shown_name(first)} and {shown_name(other)} differ, expected "
                    f"one table {name}"
                )
        return self._folder / first

    def _check_complete(self, series: Series, held: list[Held], contents: Contents) -> None:
        """Raises NotAvailable if there is less of a series than a list says that there ought to be."""
        present = {one.sop_uid for one in held}
        missing = [path for uid, path in contents.listed.get(series.uid, {}).items() if uid not in present]
        if missing:
            raise NotAvailable(
                f"{self._folder}: series {series.uid} lacks {len(missing)} files that DICOMDIR lists, "
                f"first {one_line(missing[0])}"
            )
        for expected, by in (
            (contents.counted.get(series.uid), RETRIEVER_LIST),
            (series.instances, "the list of series"),
        ):
            if expected is not None and len(held) < expected:
                raise NotAvailable(
                    f"{self._folder}: {len(held)} files of series {series.uid}, expected {expected} "
                    f"as {by} says"
                )

    def _unpack(self, one: Held, archive: Zip) -> Arrived:
        try:
            member = archive.extract(one.member, to=self._staging)
        except KeyError:
            raise self._changed(one.name, one.bytes) from None
        if member.sha256 != one.sha256:
            member.path.unlink()
            raise self._changed(one.name, one.bytes)
        return Arrived(member.path, one.url, member.bytes, member.md5, member.sha256, sop_uid=one.sop_uid)

    def _copy_held(self, one: Held) -> Arrived:
        copy = self._copy(self._scan.locate(one.path), shown=one.name, url=one.url, size=one.bytes)
        return replace(copy, sop_uid=one.sop_uid)

    def fetch_table(self, name: str) -> Arrived | None:
        """A copy of what `find_table` finds, named so; None if there is none."""
        found = self.find_table(name)
        if found is None:
            return None
        shown = found.relative_to(self._folder).as_posix()
        size = found.stat().st_size
        copy = self._copy(found, shown=shown_name(shown), url=f"folder:{quote_path(shown)}", size=size)
        return replace(copy, name=name)

    def _copy(self, source: Path, *, shown: str, url: str, size: int) -> Arrived:
        """Makes a hashed copy in the staging folder.

        Raises MedimgError if the file no longer has that size.
        """
        to = self._staging / f"folder-{uuid.uuid4().hex}"
        md5, sha256, count = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
        with removed_on_failure(to):
            with to.open("xb") as opened:
                for block in self._read_blocks(source, shown=shown, size=size):
                    opened.write(block)
                    md5.update(block)
                    sha256.update(block)
                    count += len(block)
            if count != size:
                raise self._changed(shown, size)
        return Arrived(to, url, count, md5.hexdigest(), sha256.hexdigest())

    def _read_blocks(self, source: Path, *, shown: str, size: int) -> Iterator[bytes]:
        """The file's content; never much more than it had when it was scanned."""
        count = 0
        try:
            with source.open("rb") as opened:
                while count <= size and (block := opened.read(BLOCK_BYTES)):
                    count += len(block)
                    yield block
        except OSError as error:  # Of the source's disk: no reason to say that ours cannot be written.
            raise MedimgError(
                f"{self._folder}: {shown} can no longer be read ({error.strerror or error})"
            ) from None

    def _changed(self, shown: str, size: int) -> MedimgError:
        return MedimgError(
            f"{self._folder}: {shown} has changed since it was scanned, expected the same {size} bytes"
        )

    def _scan_once(self) -> Contents:
        with self._lock:
            if self._contents is None:
                self._contents = self._scan.scan()
                self._report(self._contents)
            return self._contents

    def _report(self, contents: Contents) -> None:
        """Nothing is left out in silence: used and left out add up to what is there."""
        used = sum(map(len, contents.series.values()))
        counts = [f"{len(names)} {why}" for why, names in sorted(contents.left_out.items())]
        total = used + sum(map(len, contents.left_out.values()))
        self._on_message(
            f"{self._folder}: {total} files, {used} used"
            + (", left out: " + ", ".join(counts) if counts else "")
        )
        for why, names in sorted(contents.left_out.items()):
            for name in names[:LINES_PER_REASON]:
                self._on_message(f"left out, {why}: {name}")
            if len(names) > LINES_PER_REASON:
                self._on_message(f"left out, {why}: and {len(names) - LINES_PER_REASON} more")
        for why in sorted(set(contents.conflicts.values())):
            self._on_message(why)
        if absent := (contents.listed.keys() | contents.counted.keys()) - contents.series.keys():
            self._on_message(
                f"{self._folder}: DICOMDIR or {RETRIEVER_LIST} lists {len(absent)} series of which no "
                f"file is here, first {min(absent)}"
            )


def _held_to_series(uid: str, held: list[Held]) -> Series:
    return Series(
        uid,
        patient_id=held[0].patient_id,
        study_uid=held[0].study_uid,
        instances=len(held),
        bytes=sum(one.bytes for one in held),
        modality=held[0].modality,
    )
