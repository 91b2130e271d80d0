"""The one file in a multipart/related answer (RFC 2046 section 5.1.1, RFC 2387)."""

from __future__ import annotations

import hashlib
import http.client
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from medimg.archive.source import Arrived
from medimg.errors import MedimgError, one_line
from medimg.files import removed_on_failure

BLOCK_BYTES = 1 << 20
PREAMBLE_BYTES = 1 << 16


class CutShort(MedimgError):
    """The multipart answer ended before its closing boundary."""


def unwrap(path: Path, *, url: str, boundary: str, sop_uid: str = "") -> Arrived:
    """Copies the one part of a multipart/related answer into a file beside it.

    Args:
        boundary: as the answer's Content-Type says, without quotes.

    Raises:
        MedimgError: it is cut short, has no part or several, or a part that is not application/dicom; nothing
            is left beside it then.
    """
    to = path.with_name(f"{path.name}.dcm")
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    with removed_on_failure(to):
        with path.open("rb") as wrapped, to.open("wb") as opened:
            part = _open_part(wrapped, url=url, delimiter=delimiter)
            hashes = _copy_part(wrapped, opened, url=url, delimiter=b"\r\n" + delimiter)
            size = opened.tell()
        said = part.get("Content-Length", str(size)).strip()
        if said != str(size):
            raise CutShort(
                f"{url}: the instance has {size} bytes, expected {one_line(said)} as its Content-Length says"
            )
    return Arrived(to, url, size, *hashes, sop_uid=sop_uid)


def _open_part(wrapped: BinaryIO, *, url: str, delimiter: bytes) -> Message:
    """The headers of the first part; `wrapped` then stands at its content."""
    while wrapped.tell() < PREAMBLE_BYTES and (line := wrapped.readline(PREAMBLE_BYTES)):
        if line.rstrip() == delimiter:
            break
    else:
        raise CutShort(f"{url}: no boundary in the first {wrapped.tell()} bytes of the multipart answer")
    try:
        headers = http.client.parse_headers(wrapped)
    except http.client.HTTPException as error:
        raise MedimgError(f"{url}: the part's headers cannot be read ({one_line(str(error))})") from None
    if headers.get("Content-Type") and headers.get_content_type() != "application/dicom":
        raise MedimgError(
            f"{url}: a part of type {one_line(headers['Content-Type'])!r}, expected application/dicom"
        )
    return headers


def _copy_part(wrapped: BinaryIO, to: BinaryIO, *, url: str, delimiter: bytes) -> tuple[str, str]:
    """Copies up to the delimiter and returns MD5 and sha256 of what was copied.

    There must be no part after it.
    """
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    window, at = b"", -1
    while at < 0:
        block = wrapped.read(BLOCK_BYTES)
        window += block
        at = window.find(delimiter)
        # Without one the last bytes are held back, for it may begin in them.
        done = at if at >= 0 else max(0, len(window) - len(delimiter) + 1)
        to.write(window[:done])
        md5.update(window[:done])
        sha256.update(window[:done])
        if at < 0:
            if not block:
                raise CutShort(
                    f"{url}: the multipart answer ends without its closing boundary, expected a whole "
                    "instance"
                )
            window = window[done:]
    after = (window[at + len(delimiter) :] + wrapped.read(2))[:2]
    if after != b"--":
        if len(after) < 2:
            raise CutShort(
                f"{url}: the multipart answer ends within its closing boundary, expected a whole instance"
            )
        raise MedimgError(f"{url}: the multipart answer has several parts, expected one instance")
    return md5.hexdigest(), sha256.hexdigest()
