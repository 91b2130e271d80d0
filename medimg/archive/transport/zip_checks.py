"""What a zip archive must satisfy before any of it is unpacked: entries, names, kinds and sizes."""

from __future__ import annotations

import itertools
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from medimg.errors import MedimgError

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
class ZipLimits:
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


ZIP_LIMITS = ZipLimits()


@contextmanager
def reporting_damage(what: str) -> Iterator[None]:
    """Turns what zipfile raises within the block into BadZip."""
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


def check_directory(opened: BinaryIO, *, name: str, limits: ZipLimits) -> int:
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


def check_entry(info: zipfile.ZipInfo, *, name: str, limits: ZipLimits) -> None:
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


def check_whole(infos: list[zipfile.ZipInfo], *, name: str, limits: ZipLimits) -> None:
    """Raises BadZip if the entries together are too large, or two have the same name."""
    total = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
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


def check_apart(infos: list[zipfile.ZipInfo], *, name: str, directory_at: int) -> None:
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
