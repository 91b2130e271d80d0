"""Files that are not whole yet, continued where an earlier try ended, of this or an earlier process.

Resuming: RFC 9110 section 14 (Range) with If-Match (section 13.1.1), so that a part is never continued with
another version of the file.

    <parts>/<sha256 of the URL>.part     the bytes so far
    <parts>/<sha256 of the URL>.json     ETag and size that they belong to, written before the first byte
                                         unless that comes with all the others
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from urllib3.response import BaseHTTPResponse

from medimg.archive.transport.errors import TransferError
from medimg.archive.transport.retries import RetryNeeded
from medimg.archive.transport.urls import shown_url
from medimg.errors import DiskFull, MedimgError, one_line

BLOCK_BYTES = 1 << 20
"""Read, hashed and written at once: hashlib lets other threads run meanwhile.

With small blocks they would mostly wait for each other. A slice of CT or MR is one block.
"""
RESERVE_BYTES = 64 << 20
"""Stays free on the disk; also how many bytes are written between two looks at it."""


@dataclass(frozen=True)
class Downloaded:
    """A file that came whole.

    Attributes:
        path: below the parts folder.
        url: as asked for, without secrets (`shown_url`).
        bytes, md5, sha256: of the file.
        fetched: bytes that this call moved: less than `bytes` where it continued an earlier part, more where
            it had to start again.
        headers: of the last answer, names in lower case; empty where an earlier process had fetched all of
            it.
    """

    path: Path
    url: str
    bytes: int
    md5: str
    sha256: str
    fetched: int
    headers: Mapping[str, str]


class PartialFile:
    """An incomplete file: its bytes, the hashes of them, and what is known of the whole.

    Attributes:
        bytes: how many are hashed.
        size: of the whole file, None where neither the caller nor the server says.
        most: bytes that any attempt reached.
    """

    def __init__(self, base: Path, url: str, *, wanted_size: int | None, wanted_md5: str) -> None:
        self.path = base.with_suffix(".part")
        self.url = url
        self.fetched = 0
        self._notes = base.with_suffix(".json")
        self._wanted_size, self._wanted_md5 = wanted_size, wanted_md5
        self._headers: Mapping[str, str] = {}
        self._etag, self._md5 = "", wanted_md5
        self.size = wanted_size
        self._forget_hashes()
        self._there = self._count_bytes()
        self._noted = False
        self._read_notes()
        self.most = self._there

    def is_whole(self) -> bool:
        """All bytes are there, though nobody has looked at them yet."""
        return (
            self.size is not None
            and self._there == self.size
            and bool(self._etag or self._md5)
            and self.path.exists()
        )

    def range_headers(self) -> dict[str, str]:
        """Returns the headers that ask for the rest; none where it must begin again.

        Only a strong ETag says that the rest belongs to these bytes.
        """
        if not self._there or not self._etag.startswith('"'):
            return {}
        return {"Range": f"bytes={self._there}-", "If-Match": self._etag}

    def take_head(self, response: BaseHTTPResponse) -> None:
        """Checks that the answer is the file or its rest, and keeps what it says, before a byte is written.

        Raises:
            TransferError: it is no file.
            RetryNeeded: it is not the file that was expected.
        """
        headers = lower_headers(response)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            raise self._wrong(f"a web page ({kind})", "a file", response.status)
        etag = headers.get("etag", "")
        if response.status == 206 and not self.range_headers():
            raise self._wrong(
                "status 206 although no range was asked for", "200", response.status, restart=True
            )
        if response.status == 206:
            self._take_rest(headers, response.status)
            if etag and etag != self._etag:
                raise self._wrong(f"ETag {one_line(etag)}", self._etag, response.status, restart=True)
        elif response.status == 200:
            size = (
                int(headers["content-length"])
                if headers.get("content-length", "").isdecimal() and not _is_chunked(headers)
                else None
            )
            if size is not None and size != (self._wanted_size if self._wanted_size is not None else size):
                raise self._wrong(f"{size} bytes announced", f"{self._wanted_size}", response.status)
            self.restart()
            self._etag, self._md5 = etag, self._wanted_md5 or _md5_of(headers)
            self.size = size if self._wanted_size is None else self._wanted_size
            if self.size is None and not self._md5 and not _is_chunked(headers):
                raise self._wrong(
                    "an answer of unknown length without checksum",
                    "a way to know that it came whole",
                    response.status,
                )
        else:
            raise TransferError(
                f"{shown_url(self.url)}: status {response.status}, expected 200 and a file",
                status=response.status,
            )
        self._headers = headers

    def hash_so_far(self, check_stop: Callable[[], None]) -> None:
        """Hashes what lies on the disk and is not hashed yet."""
        if self._there == self.bytes:
            return
        with self.path.open("rb") as opened:
            opened.seek(self.bytes)
            while block := opened.read(BLOCK_BYTES):
                check_stop()
                self._hash(block)

    def append(self, opened: BinaryIO, block: bytes | memoryview) -> None:
        """Writes a block and hashes it; a file that is one block needs no notes, for it is whole at once."""
        if not self._noted and self._there + len(block) != self.size:
            self._write_notes()
        opened.write(block)
        self._there += len(block)
        self._hash(block)
        self.fetched += len(block)
        self.most = max(self.most, self.bytes)
        if self.size is not None and self.bytes > self.size:
            raise self._wrong(f"at least {self.bytes} bytes", f"{self.size}", restart=True)

    def check(self) -> None:
        """Compares with what the caller and the server say of the whole file.

        Raises RetryNeeded, and it starts again.
        """
        if self.size is not None and self.bytes != self.size:
            raise self._wrong(f"{self.bytes} bytes", f"{self.size}", restart=self.bytes > self.size)
        md5 = self._digests[0].hexdigest()
        if self._md5 and md5 != self._md5:
            raise self._wrong(f"MD5 {md5}", self._md5, restart=True)
        if not self._wanted_md5 and _looks_like_html(self.path):
            raise self._wrong("a web page", "a file", restart=True)

    def check_disk(self) -> None:
        """Raises DiskFull if the rest and a reserve have no room."""
        needed = (0 if self.size is None else self.size - self.bytes) + RESERVE_BYTES
        free = shutil.disk_usage(self.path.parent).free
        if free < needed:
            raise DiskFull(
                f"{self.path.parent}: {free} bytes free, expected {needed} for {shown_url(self.url)} "
                f"({RESERVE_BYTES} in reserve)"
            )

    def restart(self) -> None:
        """Throws away what came so far."""
        if self._there:
            self.path.unlink(missing_ok=True)
        self.forget()
        self._there = 0
        self._forget_hashes()
        self._etag, self._md5, self.size = "", self._wanted_md5, self._wanted_size

    def forget(self) -> None:
        """Removes the notes; the bytes are the caller's now."""
        if self._noted:
            self._notes.unlink(missing_ok=True)
            self._noted = False

    def downloaded(self) -> Downloaded:
        md5, sha256 = (digest.hexdigest() for digest in self._digests)
        return Downloaded(
            self.path, shown_url(self.url), self.bytes, md5, sha256, self.fetched, self._headers
        )

    def _take_rest(self, headers: Mapping[str, str], status: int) -> None:
        """Checks that an answer goes on where the part ends, and to the end of the file."""
        found = headers.get("content-range", "")
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", found.strip())
        first, last, whole = map(int, match.groups()) if match else (-1, -1, -1)
        size = whole if self.size is None else self.size
        if (first, last, whole) != (self._there, size - 1, size) or not self._there:
            raise self._wrong(
                f"Content-Range {one_line(found) or 'missing'}",
                f"bytes {self._there}-{size - 1}/{size}",
                status,
                restart=True,
            )
        self.size = size

    def _hash(self, block: bytes | memoryview) -> None:
        for digest in self._digests:
            digest.update(block)
        self.bytes += len(block)

    def _forget_hashes(self) -> None:
        self._digests = (hashlib.md5(usedforsecurity=False), hashlib.sha256())
        self.bytes = 0

    def _count_bytes(self) -> int:
        """On the disk."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _read_notes(self) -> None:
        try:
            content = self._notes.read_bytes()
            self._noted = True
            notes = json.loads(content)
            etag, size, md5 = str(notes["etag"]), notes["size"], str(notes["md5"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        # Of another version of the file: the part is overwritten by the next answer, for without an ETag
        # nothing is continued.
        if (
            self._wanted_size in (None, size)
            and self._wanted_md5 in ("", md5)
            and self._there <= (size or self._there)
        ):
            self._etag, self._md5, self.size = etag, md5, size

    def _write_notes(self) -> None:
        # Notes that a kill cut short are none: the file is then fetched from its beginning.
        self._noted = True
        self._notes.write_text(
            json.dumps({"url": shown_url(self.url), "etag": self._etag, "md5": self._md5, "size": self.size})
        )

    def _wrong(self, found: str, expected: str, status: int = 200, *, restart: bool = False) -> RetryNeeded:
        return RetryNeeded(
            TransferError(f"{shown_url(self.url)}: {found}, expected {expected}", status=status),
            restart=restart,
        )


@contextlib.contextmanager
def naming_disk_errors(part: PartialFile) -> Iterator[None]:
    """Turns OSError within the block into MedimgError, DiskFull where that is why."""
    try:
        yield
    except OSError as error:
        folder = part.path.parent
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            needed = (part.size or part.bytes) - part.bytes
            free = shutil.disk_usage(folder).free
            raise DiskFull(
                f"{folder}: disk full, {free} bytes free, expected {needed} more for {shown_url(part.url)}"
            ) from None
        raise MedimgError(f"{part.path}: cannot be written ({error.strerror or error})") from None


def _is_chunked(headers: Mapping[str, str]) -> bool:
    return "chunked" in headers.get("transfer-encoding", "").lower()


def lower_headers(response: BaseHTTPResponse) -> dict[str, str]:
    """Header names in lower case to their values."""
    return {name.lower(): value for name, value in response.headers.items()}


def _md5_of(headers: Mapping[str, str]) -> str:
    """MD5 that the server states of the whole file, 32 hex digits, or empty."""
    for listed in headers.get("x-goog-hash", "").split(","):
        name, _, value = listed.strip().partition("=")
        if name == "md5":
            with contextlib.suppress(binascii.Error, ValueError):
                return base64.b64decode(value, validate=True).hex()
    # With a customer's or KMS key S3's ETag is 32 hex digits too, and not the MD5.
    keyed = (
        headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
        or "x-amz-server-side-encryption-customer-algorithm" in headers
    )
    match = re.fullmatch(r'"([0-9a-fA-F]{32})"', headers.get("etag", "").strip())
    return match[1].lower() if match and not keyed else ""


def _looks_like_html(path: Path) -> bool:
    with path.open("rb") as opened:
        return (
            re.match(
                rb"(\xef\xbb\xbf)?\s*(<!--.{,200}-->\s*)?<(!doctype html|html)\b",
                opened.read(512),
                re.I | re.S,
            )
            is not None
        )
