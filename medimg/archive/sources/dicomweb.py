"""Any PACS by DICOMweb (DICOM PS3.18).

QIDO-RS lists series and instances, WADO-RS hands over whole instances as they are stored.

Addresses are built from the configured one and from UIDs alone: a RetrieveURL or BulkDataURI in an answer is
never followed, because it could lead to any host. Whole instances are asked for, so there is no bulk data to
follow to. An answer that has no ETag cannot be continued: a cut costs one instance, never the series.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email.message import Message
from functools import partial
from urllib.parse import urlencode

from medimg.archive.collections import Collection
from medimg.archive.source import Arrived, AtOnce, NotAvailable, Series, SourceFailed, is_uid, one_by_one
from medimg.archive.sources.dicomweb_login import PASSWORD, TOKEN, USER, check_address
from medimg.archive.sources.multipart import CutShort, unwrap
from medimg.archive.transport.errors import AccessDenied, NotFound, TransferError, Unreachable
from medimg.archive.transport.transfer import Transfer
from medimg.errors import MedimgError, one_line, quote_code

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

    def fetch_series(
        self, series: Series, *, have: Mapping[str, str], at_once: AtOnce = one_by_one
    ) -> Iterator[Arrived]:
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
            uids = [check_uid(row[SOP_UID], SOP_UID) for row in rows]
            missing = (uid for uid in uids if f"{self.address}{path}/{uid}" not in have)
            yield from at_once(
                partial(self._fetch_instance, f"{self.address}{path}/{uid}", sop_uid=uid) for uid in missing
            )

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
        # A server may ignore what it does not know to match by.
        studies = {row[STUDY_UID] for row in rows if row[SERIES_UID] == uid}
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
                return [_first_values(row, tags) for row in _list_of(json.loads(body))], warning
        # Not its words: a PACS's answer names patients.
        what = "a web page" if body.lstrip()[:1] == b"<" else "something else"
        raise SourceFailed(
            f"{url}: an answer of {len(body)} bytes that is {what}, expected data sets in DICOM JSON"
        )

    def _fetch_instance(self, url: str, *, sop_uid: str) -> Arrived:
        try:
            return self._retrieve(url, sop_uid=sop_uid)
        except CutShort:
            return self._retrieve(url, sop_uid=sop_uid)

    def _retrieve(self, url: str, *, sop_uid: str) -> Arrived:
        downloaded = self._transfer.download(url, headers=ORIGINAL_HEADERS)
        # It came whole to an earlier process, and the boundary that its headers named went with that.
        if not downloaded.headers:
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


def check_uid(uid: str, tag: str) -> str:
    """The UID, fit to be part of an address.

    Raises MedimgError if it is not one of DICOM PS3.5 section 9.1 (leading zeros are let pass).
    """
    if not is_uid(uid):
        raise MedimgError(f"{NAMES[tag]} is {quote_code(uid)}, expected at most 64 digits and dots")
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


def _first_values(row: Mapping[str, Mapping[str, list[object]]], tags: Sequence[str]) -> Row:
    return {tag: _first_value(row, tag) for tag in tags}


def _first_value(row: Mapping[str, Mapping[str, list[object]]], tag: str) -> str:
    """The first value of an attribute in DICOM JSON (PS3.18 F.2); empty where it has none."""
    values = row.get(tag, {}).get("Value") or [""]
    return str(values[0]).rstrip(" \0") if isinstance(values[0], (str, int)) else ""


def _list_of(parsed: object) -> list[Mapping[str, Mapping[str, list[object]]]]:
    if not isinstance(parsed, list):
        raise TypeError
    return parsed
