"""The scan of a folder of any layout: its DICOM files by series, and why the others are left out.

Files are found by content. A link that leads out of the folder is opened on request only.
"""

from __future__ import annotations

import csv
import os
import stat
from collections import ChainMap, defaultdict
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from medimg.archive.source import is_uid
from medimg.archive.transport.unzip import extract
from medimg.dicom.parse import looks_like_dicom, open_dicom
from medimg.errors import DiskFull, MedimgError, UnreadableFile, one_line
from medimg.files import WORK_FOLDER, hash_file, walk_once

RETRIEVER_LIST = "metadata.csv"
LIST_BYTES = 200_000_000
OFFICE_SUFFIXES = (".xlsx", ".docx", ".pptx", ".ods", ".odt")
"""Zips by content that are tables and texts."""

LINK_OUT = "link out of the folder (--follow-links reads it)"

TAGS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "Modality")
"""In the order of Held's last fields."""


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
        return shown_name(self.path, self.member)

    @property
    def url(self) -> str:
        """For receipts: no path of this machine."""
        return f"folder:{quote_path(self.path)}" + (f"!/{quote_path(self.member)}" if self.member else "")


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


@dataclass(frozen=True)
class Origin:
    """Where a file came from: the path and member of Held, and its sha256 where it is known already."""

    path: str
    member: str = ""
    sha256: str = ""


class FolderScan:
    """What is in a folder.

    Args:
        staging: where members of zips are unpacked to be read; left out of the scan if it is inside.
        follow_links: also what links that lead out of the folder point to; each folder once.
    """

    def __init__(self, folder: Path, *, staging: Path, follow_links: bool = False) -> None:
        self._folder = folder
        self._follow_links = follow_links
        self._top = Path(os.path.realpath(folder))
        self._staging = staging

    def scan(self) -> Contents:
        """Reads the headers of all files and sorts them by series; nothing is left out without a reason."""
        contents = Contents()
        seen: dict[str, Held] = {}
        for path in self.list_files():
            if why := self.refuse(path):
                contents.left_out[why].append(shown_name(path))
            elif self._is_zip(path):
                self._scan_zip(path, contents, seen)
            else:
                self._take(self._folder / path, Origin(path), contents, seen)
        for uid, held in list(contents.series.items()):
            if len({(one.patient_id, one.study_uid) for one in held}) > 1:
                contents.conflicts.setdefault(
                    uid,
                    f"{self._folder}: series {uid} has files of several patients or studies, expected one",
                )
        return contents

    def _scan_zip(self, path: str, contents: Contents, seen: MutableMapping[str, Held]) -> None:
        """Scans a zip one member at a time, since a zip may be larger than the room in the staging folder."""
        found, seen_here = Contents(), ChainMap({}, seen)
        try:
            for member in extract(self._folder / path, to=self._staging, name=shown_name(path)):
                try:
                    origin = Origin(path, member.name, member.sha256)
                    self._take(member.path, origin, found, seen_here)
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

    def _take(self, file: Path, origin: Origin, contents: Contents, seen: MutableMapping[str, Held]) -> None:
        """Sorts one file in; `file` is where it can be read now."""
        shown = shown_name(origin.path, origin.member)
        if PurePosixPath(origin.member or origin.path).name.casefold() == RETRIEVER_LIST:
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
        one = Held(origin.path, origin.member, file.stat().st_size, origin.sha256, *values)
        if not is_uid(one.sop_uid) or not is_uid(one.series_uid):
            contents.left_out["without a valid SOPInstanceUID and SeriesInstanceUID"].append(shown)
        elif first := seen.get(one.sop_uid):
            self._settle(first, one, contents)
        else:
            seen[one.sop_uid] = one
            contents.series[one.series_uid].append(one)

    def _settle(self, first: Held, second: Held, contents: Contents) -> None:
        """Settles two files with one SOPInstanceUID: identical copies count once.

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

    def list_files(self) -> list[str]:
        """Returns the sorted paths below the folder, see `walk_once`."""
        staging = Path(os.path.realpath(self._staging))
        without = [self._folder / staging.relative_to(self._top)] if self._is_inside(staging) else []
        found: list[str] = []
        for folder, names in walk_once(self._folder, follow_links=self._follow_links, without=without):
            below = folder.relative_to(self._folder)
            if WORK_FOLDER not in below.parts:
                found += [(below / name).as_posix() for name in names]
        return sorted(found)

    def _is_inside(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._top)

    def locate(self, path: str) -> Path:
        """Returns where a file is, checked again: it may have become a link since the scan."""
        if why := self.refuse(path):
            raise MedimgError(f"{self._folder}: {shown_name(path)} is now {why}, expected a file as before")
        return self._folder / path

    def refuse(self, path: str) -> str:
        """Returns why a path is not opened, empty if it may be."""
        if not self._follow_links and not self._is_inside(self._folder / path):
            return LINK_OUT
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
    """Reads the number of images by SeriesInstanceUID from the table that NBIA's Data Retriever leaves.

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


def shown_name(path: str, member: str = "") -> str:
    """Returns a path, or the name of a zip's member, as messages show it."""
    return one_line(f"{path}!/{member}" if member else path)


def quote_path(path: str) -> str:
    """Percent-encodes a path for an address."""
    return quote(os.fsencode(path))
