"""A folder of any layout: what NBIA's Data Retriever, a CD with DICOMDIR or a colleague's zip left behind.

Read, never changed.

Files are found by content and grouped by SeriesInstanceUID; names and places mean nothing. Zips are looked
into, zips inside them are not. DICOMDIR and the Data Retriever's metadata.csv are read as lists of what ought
to be there: of a series that lacks some of it nothing is used. No path in them is followed.
"""

from __future__ import annotations

import csv
import hashlib
import os
import stat
import threading
import uuid
from collections import ChainMap, defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from medimg.archive.collections import Collection
from medimg.archive.source import Arrived, NotAvailable, Series, is_uid
from medimg.archive.transport.unzip import Zip, extract, open_zip
from medimg.dicom.parse import looks_like_dicom, open_dicom
from medimg.errors import DiskFull, MedimgError, UnreadableFile, UsageError, one_line
from medimg.files import WORK_FOLDER, cannot_write, hash_file

RETRIEVER_LIST = "metadata.csv"
LIST_BYTES = 200_000_000
OFFICE_SUFFIXES = (".xlsx", ".docx", ".pptx", ".ods", ".odt")
"""Zips by content that are tables and texts."""

LINES_PER_REASON = 10
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Held:
    """One DICOM file of the folder.

    Attributes:
        path: POSIX path below the folder, of the file or of the zip that holds it.
        member: name in the zip, empty for a loose file.
        bytes: of the file, inflated.
        sha256: empty for a loose file, which is hashed when it is copied.
    """

    path: str
    member: str
    bytes: int
    sha256: str
    sop_uid: str
    series_uid: str
    study_uid: str
    patient_id: str
    modality: str

    @property
    def name(self) -> str:
        """For messages."""
        return _shown(self.path, self.member)

    @property
    def url(self) -> str:
        """For receipts: no path of this machine."""
        return f"folder:{_quote(self.path)}" + (f"!/{_quote(self.member)}" if self.member else "")


@dataclass
class Contents:
    """What a scan found. Every file is in `series` or, with a reason, in `left_out`.

    Attributes:
        series: files by SeriesInstanceUID.
        listed: by SeriesInstanceUID, what a DICOMDIR lists: SOPInstanceUID to the path that it states.
        counted: by SeriesInstanceUID, the number of images that a metadata.csv states.
        conflicts: by SeriesInstanceUID, why none of it can be used.
        left_out: names by reason.
    """

    series: dict[str, list[Held]] = field(default_factory=lambda: defaultdict(list))
    listed: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    counted: dict[str, int] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


class FolderSource:
    """A folder on this machine; it is scanned once, when it is first asked.

    Args:
        staging: folder on the disk of the data root, for copies; left out of the scan if it lies inside.
        on_message: called with one line about what is left out and why, and with the counts.

    Raises:
        UsageError: no such folder.
    """

    name = "folder"

    def __init__(
        self, folder: Path, *, staging: Path, on_message: Callable[[str], None] | None = None
    ) -> None:
        if not folder.is_dir():
            raise UsageError(
                f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}, expected one "
                "with DICOM files"
            )
        self._folder = folder
        self._top = Path(os.path.realpath(folder))
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
        return [
            Series(
                uid,
                patient_id=held[0].patient_id,
                study_uid=held[0].study_uid,
                instances=len(held),
                bytes=sum(one.bytes for one in held),
                modality=held[0].modality,
            )
            for uid, held in sorted(contents.series.items())
        ]

    def fetch_series(self, series: Series, *, have: Mapping[str, str]) -> Iterator[Arrived]:
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
                        open_zip(self._inside(one.path), name=f"{self._folder}: {_shown(one.path)}")
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
            for path in self._list_files()
            if Path(path).name.casefold() == name.casefold() and not self._why_not(path)
        ]
        if not named:
            return None
        first, *others = sorted(named, key=lambda path: (path.count("/"), path))
        for other in others:
            if hash_file(self._folder / other) != hash_file(self._folder / first):
                raise MedimgError(
                    f"{self._folder}: {_shown(first)} and {_shown(other)} differ, expected one table {name}"
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
        return self._copy(
            self._inside(one.path), shown=one.name, url=one.url, size=one.bytes, sop_uid=one.sop_uid
        )

    def fetch_table(self, name: str) -> Arrived | None:
        """A copy of what `find_table` finds, named so; None if there is none."""
        found = self.find_table(name)
        if found is None:
            return None
        shown = found.relative_to(self._folder).as_posix()
        return self._copy(
            found, shown=_shown(shown), url=f"folder:{_quote(shown)}", size=found.stat().st_size, name=name
        )

    def _copy(
        self, source: Path, *, shown: str, url: str, size: int, name: str = "", sop_uid: str = ""
    ) -> Arrived:
        """A hashed copy in the staging folder. Raises MedimgError if the file no longer has that size."""
        to = self._staging / f"folder-{uuid.uuid4().hex}"
        md5, sha256, count = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
        try:
            with to.open("xb") as opened:
                for block in self._read_blocks(source, shown=shown, size=size):
                    opened.write(block)
                    md5.update(block)
                    sha256.update(block)
                    count += len(block)
            if count != size:
                raise self._changed(shown, size)
        except OSError as error:
            to.unlink(missing_ok=True)
            raise cannot_write(to, error) from None
        except BaseException:
            to.unlink(missing_ok=True)
            raise
        return Arrived(to, url, count, md5.hexdigest(), sha256.hexdigest(), name=name, sop_uid=sop_uid)

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
                self._contents = self._scan()
                self._report(self._contents)
            return self._contents

    def _scan(self) -> Contents:
        contents = Contents()
        seen: dict[str, Held] = {}
        for path in self._list_files():
            if why := self._why_not(path):
                contents.left_out[why].append(_shown(path))
            elif self._is_zip(path):
                self._scan_zip(path, contents, seen)
            else:
                self._take(self._folder / path, path, "", "", contents, seen)
        for uid, held in list(contents.series.items()):
            if any(
                (one.patient_id, one.study_uid) != (held[0].patient_id, held[0].study_uid) for one in held
            ):
                contents.conflicts.setdefault(
                    uid,
                    f"{self._folder}: series {uid} has files of several patients or studies, expected one",
                )
        return contents

    def _scan_zip(self, path: str, contents: Contents, seen: MutableMapping[str, Held]) -> None:
        """Scans a zip one member at a time, since a zip may be larger than the room in the staging folder."""
        found, seen_here = Contents(), ChainMap({}, seen)
        try:
            for member in extract(self._folder / path, to=self._staging, name=_shown(path)):
                try:
                    self._take(member.path, path, member.name, member.sha256, found, seen_here)
                finally:
                    member.path.unlink(missing_ok=True)
        except DiskFull:
            raise
        except MedimgError as error:
            # What came out before the fault is not used either: the zip as a whole cannot be trusted.
            contents.left_out["unreadable zip"].append(one_line(str(error)))
            return
        seen.update(seen_here.maps[0])
        for uid, held in found.series.items():
            contents.series[uid] += held
        for uid, listed in found.listed.items():
            contents.listed[uid] |= listed
        contents.counted |= found.counted
        contents.conflicts |= found.conflicts
        for why, names in found.left_out.items():
            contents.left_out[why] += names

    def _take(
        self,
        file: Path,
        path: str,
        member: str,
        sha256: str,
        contents: Contents,
        seen: MutableMapping[str, Held],
    ) -> None:
        """Sorts one file in. `file` is where it can be read now; (path, member) is where it came from."""
        shown = _shown(path, member)
        if PurePosixPath(member or path).name.casefold() == RETRIEVER_LIST:
            contents.counted |= read_retriever_list(file)
        try:
            with file.open("rb") as opened:
                if not looks_like_dicom(opened.read(132)):
                    contents.left_out["no DICOM"].append(shown)
                    return
            with open_dicom(file, name=shown) as parsed:
                dataset = parsed.dataset
                if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
                    for series_uid, sop_uid, stated in list_records(dataset):
                        contents.listed[series_uid][sop_uid] = stated
                    contents.left_out["directory of a medium"].append(shown)
                    return
                values = [str(dataset.get(keyword) or "") for keyword in TAGS]
        except (UnreadableFile, OSError) as error:
            contents.left_out["unreadable"].append(one_line(str(error)))
            return
        one = Held(path, member, file.stat().st_size, sha256, *values)
        if not is_uid(one.sop_uid) or not is_uid(one.series_uid):
            contents.left_out["without a valid SOPInstanceUID and SeriesInstanceUID"].append(shown)
        elif first := seen.get(one.sop_uid):
            self._settle(first, one, contents)
        else:
            seen[one.sop_uid] = one
            contents.series[one.series_uid].append(one)

    def _settle(self, first: Held, second: Held, contents: Contents) -> None:
        """Two files with one SOPInstanceUID: identical copies are one.

        Of different ones nobody can know which is right.
        """
        if first.bytes == second.bytes and self._hash(first) == self._hash(second):
            contents.left_out["identical copy"].append(f"{second.name} of {first.name}")
            return
        why = (
            f"{self._folder}: {first.name} and {second.name} differ but have one SOPInstanceUID "
            f"{first.sop_uid}, expected one file"
        )
        contents.left_out["other file with the same SOPInstanceUID"].append(second.name)
        contents.conflicts |= {first.series_uid: why, second.series_uid: why}

    def _hash(self, one: Held) -> str:
        return one.sha256 or hash_file(self._folder / one.path)

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

    def _list_files(self) -> list[str]:
        """Sorted paths below the folder.

        A link to a folder is not followed, and is listed where it leads out.
        """
        left_out = os.path.realpath(self._staging)
        found: list[str] = []
        for folder, folders, names in os.walk(self._folder):
            folders[:] = [
                name
                for name in folders
                if os.path.realpath(Path(folder, name)) != left_out and name != WORK_FOLDER
            ]
            links = [
                name
                for name in folders
                if Path(folder, name).is_symlink() and not self._is_inside(Path(folder, name))
            ]
            found += [Path(folder, name).relative_to(self._folder).as_posix() for name in (*names, *links)]
        return sorted(found)

    def _is_inside(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._top)

    def _inside(self, path: str) -> Path:
        """Asked again when a file is opened: it may have become a link since the scan."""
        if why := self._why_not(path):
            raise MedimgError(f"{self._folder}: {_shown(path)} is now {why}, expected a file as before")
        return self._folder / path

    def _why_not(self, path: str) -> str:
        """Why a path is not opened, empty if it may be."""
        if not self._is_inside(self._folder / path):
            return "link out of the folder"
        try:
            mode = (self._folder / path).stat().st_mode
        except OSError:
            return "unreadable"
        return "" if stat.S_ISREG(mode) else "pipe, socket or device"

    def _is_zip(self, path: str) -> bool:
        try:
            with (self._folder / path).open("rb") as opened:
                return opened.read(4) == b"PK\3\4" and Path(path).suffix.lower() not in OFFICE_SUFFIXES
        except OSError:
            return False


TAGS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "Modality")
"""In the order of Held's last fields."""


def list_records(directory: Dataset) -> Iterator[tuple[str, str, str]]:
    """Yields each file that a DICOMDIR lists in a series (DICOM PS3.3 F.3).

    As SeriesInstanceUID, SOPInstanceUID and the path as stated.
    """
    records = {record.seq_item_tell: record for record in directory.get("DirectoryRecordSequence") or ()}
    seen: set[int] = set()
    for series in records.values():
        if series.get("DirectoryRecordType") != "SERIES":
            continue
        offset = series.get("OffsetOfReferencedLowerLevelDirectoryEntity")
        while offset in records and offset not in seen:
            seen.add(offset)  # A chain that bites its tail would never end.
            record = records[offset]
            offset = record.get("OffsetOfTheNextDirectoryRecord")
            stated = record.get("ReferencedFileID")
            if stated and record.get("RecordInUseFlag") != 0:
                parts = [stated] if isinstance(stated, str) else [str(part) for part in stated]
                yield (
                    str(series.get("SeriesInstanceUID") or ""),
                    str(record.get("ReferencedSOPInstanceUIDInFile") or ""),
                    "/".join(parts),
                )


def read_retriever_list(path: Path) -> dict[str, int]:
    """Number of images by SeriesInstanceUID, of the table that NBIA's Data Retriever leaves.

    Empty where it is another table of that name.
    """
    try:
        if path.stat().st_size > LIST_BYTES:
            return {}
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
            rows = [
                (row.get("Series UID") or "", row.get("Number of Images") or "")
                for row in csv.DictReader(opened)
            ]
    except (OSError, csv.Error):
        return {}
    return {
        uid.strip(): int(count)
        for uid, count in rows
        if is_uid(uid.strip()) and count.strip().isdecimal() and len(count) < 10
    }


def _shown(path: str, member: str = "") -> str:
    return one_line(f"{path}!/{member}" if member else path)


def _quote(path: str) -> str:
    return quote(os.fsencode(path))
