"""The index of a data root: what each file was found to be, so that an unchanged file is read once only.

A Parquet file keyed by (path, size, mtime_ns). It is a cache: it may be deleted at any time, and no output
depends on it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medimg import defined_terms, dicom, errors, hashing
from medimg.cases import Header, Reject, Tags
from medimg.console.progress import show_progress
from medimg.datasets.identifiers import name_patient
from medimg.dicom.safety import guarded_map
from medimg.errors import MedimgError, OutOfMeans, UsageError
from medimg.files import hash_file, replace_file
from medimg.images import formats, other_files, raster
from medimg.images import scan as image_scan
from medimg.images.other_files import NotImage
from medimg.images.scan import LEADS_OUT, list_files, scan_file

READERS = (image_scan, formats, other_files, raster, errors, defined_terms, hashing)
"""The modules beside medimg.dicom that decide what is known of a file."""
SAVE_EVERY_SECONDS = 20.0
NEVER = -1
INDEX_COLUMNS = pa.schema(
    [(name, pa.int64() if name in ("size", "mtime_ns") else pa.string())
     for name in ("path", "size", "mtime_ns", "outcome", "kind", "sha256", "pixel_hash", "tags", "reason")]
)  # fmt: skip


@dataclass(frozen=True)
class Unreadable(Reject):
    """A file that looks like an image and cannot be read; `sha256` is empty if not even its bytes can be."""

    size: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Scan:
    """Every file below a root, in one of three places; sorted by path.

    Attributes:
        headers: images.
        quarantined: files that should be images and cannot be read, each with its reason.
        other_files: number of files that are no images (tables, licences, and those of `not_images`).
        not_images: paths by kind, of the files that are known to be something else than an image.
        read: number of files that had to be read; the rest came from the index.
    """

    headers: list[Header]
    quarantined: list[Unreadable]
    other_files: int
    read: int
    not_images: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def content(self) -> list[tuple[str, str]]:
        """(path, sha256) of every image, readable or not."""
        readable = [(header.path, header.sha256) for header in self.headers]
        return readable + [(unreadable.path, unreadable.sha256) for unreadable in self.quarantined]


@dataclass(frozen=True)
class Entry:
    """One row of the index; `outcome` is "image", "quarantined" or "other".

    `kind` is the file format of an image, and what another file is, where that is known.
    """

    path: str
    size: int
    mtime_ns: int
    outcome: str
    kind: str = ""
    sha256: str = ""
    pixel_hash: str = ""
    tags: str = "{}"
    reason: str = ""


@dataclass(frozen=True)
class Reading:
    """What is taken of a data root.

    Attributes:
        published_ids: see DataSet; a PatientID that it does not match is replaced, in the index too.
        follow_links: the files of links that lead out of the root, too; each folder once.
    """

    published_ids: str = ""
    follow_links: bool = False


PLAINLY = Reading()


def scan(
    root: Path,
    *,
    index_path: Path | None = None,
    workers: int | None = None,
    reading: Reading = PLAINLY,
    skip: Sequence[Path] = (),
) -> Scan:
    """Finds out what every file below `root` is.

    Reads only what is new or changed since the index was written.

    The index is saved every 20 s, so an interrupted scan goes on where it stopped.

    Args:
        index_path: Parquet file, made if absent; None keeps no index.
        workers: child processes; None for one per core.
        reading: which files and ids are taken.
        skip: files that are left out if they lie below `root`: outputs, not data.

    Raises:
        UsageError: `root` is missing, is no folder, or holds no file.
    """
    if not root.is_dir():
        raise UsageError(
            f"{root}: {'not a folder' if root.exists() else 'no such folder'}, expected the folder "
            "that holds the data set"
        )
    left_out = name_below(root, [*skip, *([index_path] if index_path else [])])
    paths = [path for path in list_files(root, follow_links=reading.follow_links) if path not in left_out]
    if not paths:
        raise UsageError(f"{root}: an empty folder, expected images and clinical tables")
    readers = hash_readers(reading)
    known = read_index(index_path, readers=readers) if index_path else {}
    entries: dict[str, Entry] = {}
    stale: dict[str, os.stat_result] = {}
    for path in paths:
        if (name := path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")) != path:
            entries[path] = Entry(
                name,
                0,
                0,
                "quarantined",
                sha256=hash_readable(root / path),
                reason="file name is not UTF-8, expected one that is",
            )
            continue
        try:
            found = (root / path).stat()
        except OSError as error:
            entries[path] = Entry(
                path, 0, 0, "quarantined", reason=f"{path}: {error.strerror}, expected a readable file"
            )
            continue
        entry = known.get(path)
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            # Opening a named pipe would wait for ever.
            entries[path] = Entry(
                path, 0, 0, "quarantined", reason=f"{path}: a pipe, socket or device, expected a file"
            )
        elif entry and (entry.size, entry.mtime_ns) == (found.st_size, found.st_mtime_ns):
            entries[path] = entry
        else:
            stale[path] = found
    saved = time.monotonic()
    for entry in show_progress(
        read_files(root, stale=stale, workers=workers, reading=reading),
        total=len(stale),
        title="Reading images",
    ):
        entries[entry.path] = entry
        if index_path and time.monotonic() - saved > SAVE_EVERY_SECONDS:
            write_index(index_path, entries=list(entries.values()), readers=readers)
            saved = time.monotonic()
    if index_path and (stale or entries.keys() != known.keys()):
        write_index(index_path, entries=list(entries.values()), readers=readers)
    return make_scan([entries[path] for path in paths], read=len(stale))


def name_below(root: Path, paths: Sequence[Path]) -> set[str]:
    """The paths as `list_files` would name them; those that are not below `root` are left out."""
    top = root.resolve()
    return {
        path.resolve().relative_to(top).as_posix() for path in paths if path.resolve().is_relative_to(top)
    }


def read_files(
    root: Path,
    *,
    stale: dict[str, os.stat_result],
    workers: int | None,
    reading: Reading,
) -> Iterator[Entry]:
    """Reads files in guarded child processes.

    One entry per file, in order, whatever a file does to its reader.
    """
    if not stale:
        return
    read: Callable[[str], Header | NotImage | None] = functools.partial(
        scan_file, root=str(root), follow_links=reading.follow_links
    )
    for path, result in guarded_map(
        read, sorted(stale), workers=min(workers or os.cpu_count() or 1, len(stale))
    ):
        size, mtime_ns = stale[path].st_size, stale[path].st_mtime_ns
        if isinstance(result, MedimgError):
            # Reasons end up in the catalogue, which must not depend on where the data lie.
            reason = str(result).replace(f"{root}{os.sep}", "").replace(f"{root.resolve()}{os.sep}", "")
            # A link may lead anywhere; what is outside of the root is not read, not even for its hash.
            sha256 = "" if reason == LEADS_OUT else hash_readable(root / path)
            # What may have been the machine's fault is not remembered: no file has this time.
            known_at = NEVER if isinstance(result, OutOfMeans) else mtime_ns
            yield Entry(path, size, known_at, "quarantined", sha256=sha256, reason=reason)
        elif result is None or isinstance(result, NotImage):
            yield Entry(path, size, mtime_ns, "other", kind=result.kind if result else "")
        else:
            tags = json.dumps(hide_patient(result.tags, published_ids=reading.published_ids), sort_keys=True)
            yield Entry(path, size, mtime_ns, "image", result.kind, result.sha256, result.pixel_hash, tags)


def hide_patient(tags: Tags, *, published_ids: str) -> Tags:
    """Returns the tags with a name for the patient in place of a PatientID that was never published."""
    found = str(tags.get("PatientID") or "").strip()
    if not found or (published_ids and re.fullmatch(published_ids, found)):
        return tags
    return {**tags, "PatientID": name_patient(found)}


def make_scan(entries: Sequence[Entry], *, read: int) -> Scan:
    """Sorts entries into images, unreadable files and others."""
    headers = [
        Header(entry.path, entry.kind, entry.size, entry.sha256, entry.pixel_hash, json.loads(entry.tags))
        for entry in entries
        if entry.outcome == "image"
    ]
    quarantined = [
        Unreadable(entry.path, "quarantined", entry.reason, entry.size, entry.sha256)
        for entry in entries
        if entry.outcome == "quarantined"
    ]
    not_images: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        if entry.outcome == "other" and entry.kind:
            not_images[entry.kind].append(entry.path)
    other_files = len(entries) - len(headers) - len(quarantined)
    return Scan(headers, quarantined, other_files, read, dict(sorted(not_images.items())))


def read_index(path: Path, *, readers: str) -> dict[str, Entry]:
    """Entries by path.

    None if the index is absent, damaged, or was written by another version of the readers (then all is read
    again).
    """
    try:
        table = pq.read_table(path, memory_map=False)
    except (OSError, pa.ArrowException):
        return {}
    if (table.schema.metadata or {}).get(
        b"readers"
    ) != readers.encode() or table.column_names != INDEX_COLUMNS.names:
        return {}
    return {row["path"]: Entry(**row) for row in table.to_pylist()}


def write_index(path: Path, *, entries: Sequence[Entry], readers: str) -> None:
    """Replaces the index as a whole: a reader sees the old or the new one, never half of one."""
    rows = [vars(entry) for entry in entries]
    table = pa.Table.from_pylist(rows, schema=INDEX_COLUMNS).replace_schema_metadata({"readers": readers})
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, write=lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def hash_readable(path: Path) -> str:
    """sha256 of a quarantined file's bytes, empty if that is why it is quarantined."""
    try:
        return hash_file(path)
    except OSError:
        return ""


@functools.cache
def hash_readers(reading: Reading) -> str:
    """Hashes (sha256) the source of the modules that read files, which ids they keep and where they look.

    An index written by other readers is not trusted.
    """
    sources = [
        *(Path(str(module.__file__)) for module in READERS),
        *sorted(Path(str(dicom.__file__)).parent.glob("*.py")),
    ]
    read = b"".join(source.read_bytes() for source in sources)
    return hashlib.sha256(repr(reading).encode() + read).hexdigest()
