"""Any PACS by DICOMweb (DICOM PS3.18).

QIDO-RS lists series and instances, WADO-RS hands over whole instances as they are stored.

Addresses are built from the configured one and from UIDs alone: a RetrieveURL or BulkDataURI in an answer is
never followed, because it could lead to any host. Whole instances are asked for, so there is no bulk data to
follow to. An answer that has no ETag cannot be continued: a cut costs one instance, never the series.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email.message import Message
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode, urlsplit

from medimg.archive.collections import Collection
from medimg.archive.source import Arrived, NotAvailable, Series, SourceFailed, is_uid
from medimg.archive.transport.errors import AccessDenied, NotFound, TransferError, Unreachable
from medimg.archive.transport.transfer import Login, Transfer
from medimg.errors import MedimgError, UsageError, one_line
from medimg.files import cannot_write

USER, PASSWORD, TOKEN = "MEDIMG_DICOMWEB_USER", "MEDIMG_DICOMWEB_PASSWORD", "MEDIMG_DICOMWEB_TOKEN"
"""Environment variables; an address or an option would end up in the shell's history and in `ps`."""

JSON_HEADERS = {"Accept": "application/dicom+json"}
ORIGINAL_HEADERS = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
"""Without the asterisk a server converts to Explicit VR Little Endian: other bytes than it holds.

See DICOM PS3.18 8.7.3.5.2.
"""

PATIENT_ID, STUDY_UID, SERIES_UID, SOP_UID, MODALITY, INSTANCES = (
    "00100020",
    "0020000D",
    "0020000E",
    "00080018",
    "00080060",
    "00201209",
)
SERIES_TAGS = (SERIES_UID, STUDY_UID, PATIENT_ID, MODALITY, INSTANCES)
NAMES = {STUDY_UID: "StudyInstanceUID", SERIES_UID: "SeriesInstanceUID", SOP_UID: "SOPInstanceUID"}

NO_SUCH_SEARCH = (400, 404, 405, 501)
"""How servers answer a search of all series, which DICOM leaves to them (PS3.18 10.6.1.1)."""

PAGE_BYTES = 64_000_000
MOST_ROWS = 5_000_000
"""A search with more than that is a server that never ends."""

BLOCK_BYTES = 1 << 20
PREAMBLE_BYTES = 1 << 16

Row = dict[str, str]
"""First values by tag, empty where there is none."""


class DicomwebSource:
    """A PACS. It knows no collections: all that it holds is listed, and series are found by their UIDs.

    Args:
        address: where its services begin, such as https://pacs.example.org/dicom-web.
        page: rows per answer that are asked for; a server may send fewer.
        on_message: called with one line about each series that is left out.

    Raises:
        UsageError: no address of a server, or one with credentials in it.
    """

    name = "dicomweb"

    def __init__(
        self,
        transfer: Transfer,
        address: str,
        page: int = 100,
        on_message: Callable[[str], None] | None = None,
    ) -> None:
        self.address = check_address(address)
        self._transfer = transfer
        self._page_rows = page
        self._on_message = on_message or (lambda _: None)

    def list_series(self, collection: Collection) -> list[Series]:
        """All series of the PACS, whatever the collection.

        One whose UIDs are none is reported and left out.
        """
        with _explained():
            rows = self._search_all_series()
        if not rows:
            raise NotAvailable(
                f"{self.address}: the PACS answers but lists no series, expected at least one (empty, "
                "or this login may see none)"
            )
        return [_row_to_series(row) for row in rows if self._is_usable(row)]

    def fetch_series(self, series: Series, *, have: Mapping[str, str]) -> Iterator[Arrived]:
        """Hands over the instances that are not in `have`, in the syntax in which the PACS holds them."""
        with _explained():
            uid = check_uid(series.uid, SERIES_UID)
            study = check_uid(series.study_uid or self._find_study(uid), STUDY_UID)
            path = f"/studies/{study}/series/{uid}/instances"
            rows = self._search(path, (SOP_UID,), expected=series.instances)
            if not rows:
                raise NotAvailable(f"{self.address}: no instance of series {uid} in study {study}")
            if series.instances not in (None, len(rows)):
                raise NotAvailable(
                    f"{self.address}: {len(rows)} instances of series {uid}, expected "
                    f"{series.instances} as the list says"
                )
            for row in rows:
                url = f"{self.address}{path}/{check_uid(row[SOP_UID], SOP_UID)}"
                if url not in have:
                    yield self._fetch_instance(url, sop_uid=row[SOP_UID])

    def _is_usable(self, row: Row) -> bool:
        try:
            check_uid(row[SERIES_UID], SERIES_UID)
            check_uid(row[STUDY_UID] or "0", STUDY_UID)  # One that is missing can be found later.
        except MedimgError as error:
            self._on_message(f"{self.address}: left out a series: {error}")
            return False
        return True

    def _search_all_series(self) -> list[Row]:
        """By way of the studies where the server does not search all series at once."""
        try:
            return self._search("/series", SERIES_TAGS)
        except TransferError as error:
            if error.status not in NO_SUCH_SEARCH:
                raise
        try:
            studies = self._search("/studies", (STUDY_UID, PATIENT_ID))
        except NotFound as error:
            raise SourceFailed(
                f"{error}; neither /series nor /studies is there, expected the address of a DICOMweb service"
            ) from None
        found: dict[str, Row] = {}
        for study in studies:
            for row in self._search(f"/studies/{check_uid(study[STUDY_UID], STUDY_UID)}/series", SERIES_TAGS):
                found.setdefault(
                    row[SERIES_UID], {tag: row[tag] or study.get(tag, "") for tag in SERIES_TAGS}
                )
        return list(found.values())

    def _find_study(self, uid: str) -> str:
        try:
            rows = self._search("/series", (SERIES_UID, STUDY_UID), expected=1, SeriesInstanceUID=uid)
        except TransferError as error:
            if error.status not in NO_SUCH_SEARCH:
                raise
            rows = self._search_all_series()
        studies = {
            row[STUDY_UID] for row in rows if row[SERIES_UID] == uid
        }  # A server may ignore what it does not know to match by.
        if len(studies) != 1:
            raise NotAvailable(
                f"{self.address}: series {uid} is in {len(studies)} studies, expected to find it in one"
            )
        return studies.pop()

    def _search(
        self, path: str, tags: Sequence[str], *, expected: int | None = None, **matching: str
    ) -> list[Row]:
        """Reads all rows, page after page until an empty one.

        A server may send fewer rows than asked for, and then has more.

        Rows that come twice, because a row was added meanwhile, are one.

        Args:
            tags: wanted; the first one tells rows apart.
            expected: number of rows; when so many have come in a page with room for more, no further page is
                asked for.
        """
        found: dict[str, Row] = {}
        offset, warning = 0, ""
        while offset < MOST_ROWS:
            query = urlencode(
                [
                    *matching.items(),
                    *(("includefield", tag) for tag in tags),
                    ("limit", self._page_rows),
                    ("offset", offset),
                ]
            )
            url = f"{self.address}{path}?{query}"
            rows, next_warning = self._read_page(url, tags)
            if not rows:
                if warning:
                    # Usually "there are n additional results", which is true of every page but the last.
                    raise SourceFailed(
                        f"{url}: nothing more came, though the answer before said {one_line(warning)!r}"
                    )
                return list(found.values())
            before = len(found)
            for row in rows:
                found.setdefault(row[tags[0]], row)
            if len(found) == before:
                raise SourceFailed(
                    f"{url}: the same {len(rows)} rows as before, expected further ones or none; the "
                    "server ignores offset"
                )
            offset, warning = offset + len(rows), next_warning
            if len(found) == expected and len(rows) < self._page_rows and not warning:
                return list(found.values())
        raise SourceFailed(f"{self.address}{path}: more than {MOST_ROWS} rows, expected an end")

    def _read_page(self, url: str, tags: Sequence[str]) -> tuple[list[Row], str]:
        """The rows of one answer and its Warning header."""
        body = b""
        for _ in range(2):  # A proxy's error page or a cut answer of unknown length looks like a success.
            answer = self._transfer.read(url, headers=JSON_HEADERS, limit_bytes=PAGE_BYTES)
            warning, body = answer.headers.get("warning", ""), answer.body
            if answer.status == http.client.PARTIAL_CONTENT:
                raise SourceFailed(
                    f"{url}: status 206 (partial content) with the warning {one_line(warning)!r}, "
                    "expected a whole answer"
                )
            if answer.status == http.client.NO_CONTENT:
                return [], warning
            with suppress(ValueError, TypeError, AttributeError, LookupError, RecursionError):
                return [
                    {tag: _first_value(row, tag) for tag in tags} for row in _list_of(json.loads(body))
                ], warning
        raise SourceFailed(f"{url}: begins with {body[:40]!r}, expected a list of data sets in DICOM JSON")

    def _fetch_instance(self, url: str, *, sop_uid: str) -> Arrived:
        try:
            return self._retrieve(url, sop_uid=sop_uid)
        except _CutShortError:
            return self._retrieve(url, sop_uid=sop_uid)

    def _retrieve(self, url: str, *, sop_uid: str) -> Arrived:
        downloaded = self._transfer.download(url, headers=ORIGINAL_HEADERS)
        if (
            not downloaded.headers
        ):  # It came whole to an earlier process, and the boundary that its headers named went with that.
            downloaded.path.unlink()
            downloaded = self._transfer.download(url, headers=ORIGINAL_HEADERS)
        content = Message()
        content["Content-Type"] = downloaded.headers.get("content-type", "")
        kept = False
        try:
            if warning := downloaded.headers.get("warning"):
                raise MedimgError(
                    f"{url}: came with the warning {one_line(warning)!r}, expected the instance as it "
                    "is stored"
                )
            if content.get_content_type() == "application/dicom":
                kept = True
                return Arrived(
                    downloaded.path, url, downloaded.bytes, downloaded.md5, downloaded.sha256, sop_uid=sop_uid
                )
            boundary = content.get_boundary()
            if content.get_content_type() != "multipart/related" or not boundary:
                raise MedimgError(
                    f"{url}: content type {one_line(str(content['Content-Type']))!r}, expected "
                    "multipart/related or application/dicom"
                )
            return unwrap(downloaded.path, url=url, boundary=boundary, sop_uid=sop_uid)
        finally:
            if not kept:
                downloaded.path.unlink(missing_ok=True)


class _CutShortError(MedimgError):
    """The multipart answer ended before its closing boundary."""


def unwrap(path: Path, *, url: str, boundary: str, sop_uid: str = "") -> Arrived:
    """Copies the one part of a multipart/related answer into a file beside it.

    See RFC 2046 section 5.1.1 and RFC 2387.

    Args:
        boundary: as the answer's Content-Type says, without quotes.

    Raises:
        MedimgError: it is cut short, has no part or several, or a part that is not application/dicom; nothing
            is left beside it then.
    """
    to = path.with_name(f"{path.name}.dcm")
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    try:
        with path.open("rb") as wrapped, to.open("wb") as opened:
            part = _open_part(wrapped, url=url, delimiter=delimiter)
            hashes = _copy_part(wrapped, opened, url=url, delimiter=b"\r\n" + delimiter)
            size = opened.tell()
        said = part.get("Content-Length", str(size)).strip()
        if said != str(size):
            raise _CutShortError(
                f"{url}: the instance has {size} bytes, expected {one_line(said)} as its Content-Length says"
            )
    except OSError as error:
        to.unlink(missing_ok=True)
        raise cannot_write(to, error) from None
    except BaseException:
        to.unlink(missing_ok=True)
        raise
    return Arrived(to, url, size, *hashes, sop_uid=sop_uid)


def _open_part(wrapped: BinaryIO, *, url: str, delimiter: bytes) -> Message:
    """The headers of the first part; `wrapped` then stands at its content."""
    while wrapped.tell() < PREAMBLE_BYTES and (line := wrapped.readline(PREAMBLE_BYTES)):
        if line.rstrip() == delimiter:
            break
    else:
        raise _CutShortError(
            f"{url}: no boundary in the first {wrapped.tell()} bytes of the multipart answer"
        )
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
                raise _CutShortError(
                    f"{url}: the multipart answer ends without its closing boundary, expected a whole "
                    "instance"
                )
            window = window[done:]
    after = (window[at + len(delimiter) :] + wrapped.read(2))[:2]
    if after != b"--":
        if len(after) < 2:
            raise _CutShortError(
                f"{url}: the multipart answer ends within its closing boundary, expected a whole instance"
            )
        raise MedimgError(f"{url}: the multipart answer has several parts, expected one instance")
    return md5.hexdigest(), sha256.hexdigest()


def login_from(environment: Mapping[str, str], address: str) -> Login | None:
    """The credentials for the PACS at that address: bearer token, or user and password (RFC 6750, RFC 7617).

    None where there are none.

    Raises:
        UsageError: both kinds, half of one, a value that cannot be sent, or credentials in the address.
    """
    parts = urlsplit(check_address(address))
    user, password, token = (environment.get(name, "") for name in (USER, PASSWORD, TOKEN))
    if token and (user or password):
        raise UsageError(f"{TOKEN} is set together with {USER} or {PASSWORD}, expected one kind of login")
    if bool(user) != bool(password):
        raise UsageError(
            f"{USER if user else PASSWORD} is set without {PASSWORD if user else USER}, expected both or none"
        )
    if not token.isascii() or not (token + user + password).isprintable() or ":" in user or " " in token:
        raise UsageError(
            f"{USER}, {PASSWORD} or {TOKEN} holds a character that cannot be sent (a line break, or a "
            "colon in the user's name)"
        )
    if not token and not user:
        return None
    origin = f"{parts.scheme}://{parts.netloc}" + (
        "" if parts.port else f":{443 if parts.scheme == 'https' else 80}"
    )
    return Login(
        origin,
        f"Bearer {token}" if token else "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(),
    )


def check_address(address: str) -> str:
    """The address without a slash at its end.

    Raises UsageError if it is none, or holds credentials; they are not repeated in the message.
    """
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 -- raises for a port that is none
    except ValueError:
        raise UsageError(
            "the DICOMweb address cannot be read, expected one like https://pacs.example.org/dicom-web"
        ) from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"the DICOMweb address of {parts.hostname} holds credentials; set {USER} and {PASSWORD}, "
            f"or {TOKEN}, instead"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(
            f"DICOMweb address {one_line(address)!r}, expected one like https://pacs.example.org/dicom-web"
        )
    return address.rstrip("/")


def check_uid(uid: str, tag: str) -> str:
    """The UID, fit to be part of an address.

    Raises MedimgError if it is not one of DICOM PS3.5 section 9.1 (leading zeros are let pass).
    """
    if not is_uid(uid):
        raise MedimgError(f"{NAMES[tag]} is {one_line(uid[:80])!r}, expected at most 64 digits and dots")
    return uid


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what transfer says of a single address into what it means for the source."""
    try:
        yield
    except AccessDenied as error:
        raise SourceFailed(f"{error}; the login comes from {USER} and {PASSWORD}, or {TOKEN}") from None
    except NotFound as error:
        raise NotAvailable(str(error)) from None
    except Unreachable as error:
        raise SourceFailed(str(error)) from None


def _row_to_series(row: Row) -> Series:
    count = row[INSTANCES]
    return Series(
        row[SERIES_UID],
        patient_id=row[PATIENT_ID],
        study_uid=row[STUDY_UID],
        instances=int(count) if count.isdecimal() and len(count) < 10 else None,
        modality=row[MODALITY],
    )


def _first_value(row: Mapping[str, Mapping[str, list[object]]], tag: str) -> str:
    """The first value of an attribute in DICOM JSON (PS3.18 F.2); empty where it has none."""
    values = row.get(tag, {}).get("Value") or [""]
    return str(values[0]).rstrip(" \0") if isinstance(values[0], (str, int)) else ""


def _list_of(parsed: object) -> list[Mapping[str, Mapping[str, list[object]]]]:
    if not isinstance(parsed, list):
        raise TypeError
    return parsed
