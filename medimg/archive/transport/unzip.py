"""Zip archives from strangers: whole and harmless, or refused in one line.

Unpacked one member at a time into files that we name.

Checked before anything is unpacked: number of entries, size of the list of entries (before it is read),
names, kinds, encryption, compression, stated sizes and ratios, and that no two entries share bytes (as in
42.zip's successors, https://www.bamsoftware.com/hacks/zipbomb/). Checked while unpacking: that a member gives
exactly the bytes that the list states, with their CRC.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import os
import re
import stat
import struct
import sys
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from medimg.errors import MedimgError
from medimg.files import cannot_write

BLOCK_BYTES = 1 << 20

_END, _END_64, _LOCATOR_64, _ENTRY, _LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
_END_BYTES, _END_64_BYTES, _LOCATOR_64_BYTES, _ENTRY_BYTES, _LOCAL_BYTES = 22, 56, 20, 46, 30
_LONGEST_COMMENT = 0xFFFF
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
"""Bits of the general purpose flag: member, strongly, names too (APPNOTE 4.4.4)."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""All that archives use. zipfile unpacks bzip2 and LZMA in steps without an upper limit."""

_SUSPICIOUS = re.compile(r"[/\\]|[A-Za-z]:")


class BadZip(MedimgError):
    """The archive is damaged, or is not one that may be unpacked; the message names it and what was found."""


@dataclass(frozen=True)
class Limits:
    """What an archive may hold. Bytes are of unpacked content unless said otherwise.

    Attributes:
        members: entries, folders included.
        directory_bytes: of the list of entries, which is read whole.
        member_bytes, total_bytes: of one member; of all.
        ratio: unpacked to packed bytes, of a member or a whole archive that unpacks to more than
            `ratio_from_bytes`. Below that it says nothing: the mask of one lesion on a 20 MB mammogram
            deflates to a 600th and more, and 1,032 is all that deflate can do.
    """

    members: int = 200_000
    directory_bytes: int = 64_000_000
    member_bytes: int = 16_000_000_000
    total_bytes: int = 500_000_000_000
    ratio: int = 200
    ratio_from_bytes: int = 1_000_000_000


LIMITS = Limits()


@dataclass(frozen=True)
class Member:
    """A member that was unpacked whole.

    Attributes:
        name: as the archive writes it; for lookup and messages, no name for a file.
        path: of the file; whoever receives it moves or deletes it.
        bytes, md5, sha256: of the file.
    """

    name: str
    path: Path
    bytes: int
    md5: str
    sha256: str


class Zip:
    """An open archive that passed all checks of its list of entries. Not thread-safe.

    Attributes:
        name: for messages.
        names: of all members that are files, in the archive's order; no two are equal.
    """

    def __init__(self, archive: zipfile.ZipFile, *, name: str, directory_at: int, limits: Limits) -> None:
        self.name = name
        self._archive = archive
        infos = archive.infolist()
        for info in infos:
            _check_entry(info, name=name, limits=limits)
        _check_whole(infos, name=name, limits=limits)
        _check_apart(infos, name=name, directory_at=directory_at)
        self._infos = {info.filename: info for info in infos if not info.is_dir()}
        self.names = tuple(self._infos)

    def extract(self, member: str, *, to: Path) -> Member:
        """Unpacks a member into a new file in `to`, hashing it on the way.

        Raises:
            BadZip: its bytes are not what the archive states; no file is left.
            MedimgError: the file cannot be written, DiskFull where that is why.
        """
        path = to / uuid.uuid4().hex
        md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
        try:
            with path.open("xb") as written:
                for block in self._unpack(member):
                    md5.update(block)
                    sha256.update(block)
                    size += len(block)
                    written.write(block)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise cannot_write(path, error) from None
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Member(member, path, size, md5.hexdigest(), sha256.hexdigest())

    def read(self, member: str, *, limit_bytes: int) -> bytes:
        """A small member, whole.

        Raises:
            BadZip: it is damaged or larger than `limit_bytes`.
        """
        stated = self._infos[member].file_size
        if stated > limit_bytes:
            raise BadZip(
                f"{self.name}: member {member!r} has {stated:,} bytes, expected {limit_bytes:,} at most"
            )
        return b"".join(self._unpack(member))

    def _unpack(self, member: str) -> Iterator[bytes]:
        stated = self._infos[member].file_size
        info = copy.copy(self._infos[member])
        # zipfile would stop at the stated size. Unpack what there really is, and see that both agree.
        info.file_size = sys.maxsize
        size = 0
        with _explained(f"{self.name}: member {member!r}"), self._archive.open(info) as opened:
            while block := opened.read(BLOCK_BYTES):
                size += len(block)
                if size > stated:
                    raise BadZip(
                        f"{self.name}: member {member!r} unpacks to more than the {stated:,} bytes "
                        "that the archive states"
                    )
                yield block
        if size != stated:
            raise BadZip(
                f"{self.name}: member {member!r} unpacks to {size:,} bytes, expected {stated:,} as "
                "the archive states"
            )


@contextmanager
def open_zip(path: Path, *, limits: Limits = LIMITS, name: str = "") -> Iterator[Zip]:
    """Opens an archive for unpacking.

    Args:
        name: for messages, where the path means nothing to the reader.

    Raises:
        BadZip: no zip, truncated, damaged, beyond the limits, or with an entry that may not be unpacked.
    """
    name = name or str(path)
    try:
        opened = path.open("rb")
    except OSError as error:
        raise BadZip(f"{name}: cannot be read ({error.strerror or error})") from None
    with opened:
        directory_at = _check_directory(opened, name=name, limits=limits)
        opened.seek(0)
        with _explained(name):
            archive = zipfile.ZipFile(opened)
        with archive:
            yield Zip(archive, name=name, directory_at=directory_at, limits=limits)


def extract(path: Path, *, to: Path, limits: Limits = LIMITS, name: str = "") -> Iterator[Member]:
    """Unpacks all members one after the other into new files in `to`, the next one only when it is asked for.

    Raises as `open_zip`, `Zip.extract`.
    """
    with open_zip(path, limits=limits, name=name) as archive:
        for member in archive.names:
            yield archive.extract(member, to=to)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        OSError,
        RuntimeError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        raise BadZip(
            f"{what}: damaged ({error or type(error).__name__}), expected a whole zip archive"
        ) from None


def _check_directory(opened: BinaryIO, *, name: str, limits: Limits) -> int:
    """Checks the length of the list of entries entry by entry. Returns its offset.

    Needed because zipfile reads the list whole and makes an object of each entry.
    """
    size = opened.seek(0, os.SEEK_END)
    count, length, end = _read_end(opened, size=size, name=name)
    start = end - length
    if start < 0:
        raise BadZip(
            f"{name}: a list of entries of {length:,} bytes in {size:,}, expected a whole zip archive"
        )
    if count > limits.members or length > limits.directory_bytes:
        raise BadZip(
            f"{name}: {count:,} entries in a list of {length:,} bytes, expected {limits.members:,} "
            f"and {limits.directory_bytes:,} at most"
        )
    opened.seek(start)
    for number in itertools.count(1):
        if opened.tell() >= end:
            return start
        if number > limits.members:
            raise BadZip(
                f"{name}: over {limits.members:,} entries but {count:,} stated, expected "
                f"{limits.members:,} at most"
            )
        header = opened.read(_ENTRY_BYTES)
        if len(header) < _ENTRY_BYTES or header[:4] != _ENTRY:
            raise BadZip(
                f"{name}: entry {number} of the list of entries is damaged, expected a whole zip archive"
            )
        opened.seek(
            sum(struct.unpack_from("<3H", header, 28)), os.SEEK_CUR
        )  # Its name, extra field and comment.
    raise AssertionError


def _read_end(opened: BinaryIO, *, size: int, name: str) -> tuple[int, int, int]:
    """The end of central directory record (APPNOTE 4.3.16, 4.3.14).

    Returns number of entries, and length and end of their list in bytes.

    Looks for it exactly as zipfile does, so that both mean the same list.
    """
    tail_at = max(size - _LONGEST_COMMENT - _END_BYTES, 0)
    opened.seek(tail_at)
    tail = opened.read()
    last = tail[-_END_BYTES:]
    at = len(tail) - _END_BYTES if last[:4] == _END and last[-2:] == b"\0\0" else tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_BYTES:
        opened.seek(0)
        begin = opened.read(40)
        what = "truncated" if begin[:4] == _LOCAL else f"begins with {begin!r}"
        raise BadZip(f"{name}: no zip archive, or not the whole of one ({size:,} bytes, {what})")
    count, length = struct.unpack_from("<HI", tail, at + 10)
    end = tail_at + at
    locator_at = end - _LOCATOR_64_BYTES
    if locator_at - _END_64_BYTES >= 0:
        opened.seek(locator_at - _END_64_BYTES)
        record = opened.read(_END_64_BYTES + _LOCATOR_64_BYTES)
        if record[_END_64_BYTES:][:4] == _LOCATOR_64 and record[:4] == _END_64:
            count, length = struct.unpack_from("<QQ", record, 32)
            end = locator_at - _END_64_BYTES
    return count, length, end


def _check_entry(info: zipfile.ZipInfo, *, name: str, limits: Limits) -> None:
    """Raises BadZip if the entry may not be unpacked."""

    def refuse(why: str) -> BadZip:
        return BadZip(f"{name}: member {info.orig_filename!r} {why}")

    written = info.orig_filename
    if (
        not written
        or "\0" in written
        or "\\" in written
        or _SUSPICIOUS.match(written)
        or ".." in written.split("/")
    ):
        raise refuse("has a name that could lead elsewhere, expected a plain relative one")
    kind = stat.S_IFMT(info.external_attr >> 16)  # Of the Unix mode; 0 where the archive was made elsewhere.
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        raise refuse(
            f"is a link or another special file (mode {info.external_attr >> 16:o}), expected a plain one"
        )
    if info.flag_bits & _ENCRYPTED:
        raise refuse("is encrypted, expected a plain one")
    if info.compress_type not in _METHODS:
        raise refuse(f"is compressed by method {info.compress_type}, expected 0 (stored) or 8 (deflated)")
    if info.file_size > limits.member_bytes:
        raise refuse(f"unpacks to {info.file_size:,} bytes, expected {limits.member_bytes:,} at most")
    if info.file_size > max(limits.ratio_from_bytes, limits.ratio * info.compress_size):
        raise refuse(
            f"unpacks from {info.compress_size:,} bytes to {info.file_size:,}, expected at most "
            f"{limits.ratio} times as many"
        )


def _check_whole(infos: list[zipfile.ZipInfo], *, name: str, limits: Limits) -> None:
    """Raises BadZip if the entries together are too large, or two have the same name."""
    total, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    if total > limits.total_bytes:
        raise BadZip(f"{name}: unpacks to {total:,} bytes, expected {limits.total_bytes:,} at most")
    if total > max(limits.ratio_from_bytes, limits.ratio * packed):
        raise BadZip(
            f"{name}: unpacks from {packed:,} bytes to {total:,}, expected at most {limits.ratio} "
            "times as many"
        )
    names: set[str] = set()
    for info in infos:
        if info.filename in names:
            raise BadZip(f"{name}: member {info.filename!r} is there twice, expected once")
        names.add(info.filename)


def _check_apart(infos: list[zipfile.ZipInfo], *, name: str, directory_at: int) -> None:
    """Raises BadZip if two entries share bytes, or one reaches into the list of entries."""
    free_from = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < free_from:
            raise BadZip(
                f"{name}: member {info.orig_filename!r} overlaps another one, expected members one "
                "after the other"
            )
        free_from = info.header_offset + _LOCAL_BYTES + info.compress_size
    if free_from > directory_at:
        raise BadZip(
            f"{name}: the last member reaches {free_from - directory_at:,} bytes into the list of "
            "entries, expected it to end before"
        )
