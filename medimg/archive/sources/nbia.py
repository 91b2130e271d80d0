"""NBIA, the image store of The Cancer Imaging Archive, by its REST interface, version 4.

Public data need no login.

    getSeries?Collection=CMMD&format=json
        all series of a collection in one answer; an empty body means none
    getImageWithMD5Hash?SeriesInstanceUID=...
        a zip made on the fly: images, md5hashes.csv ("Filename,MD5Hash", often the last member), LICENSE

A server that breaks down while it packs may close the zip properly and early, so that a series only counts as
whole if list and zip name the same files. The zip has no ETag: a cut costs the series, not more.
"""

from __future__ import annotations

import csv
import json
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlencode

from medimg.archive.collections import Collection
from medimg.archive.source import Arrived, AtOnce, NotAvailable, Series, SourceFailed, one_by_one
from medimg.archive.transport.errors import AccessDenied, NotFound, TransferError, Unreachable
from medimg.archive.transport.partial_files import Downloaded
from medimg.archive.transport.transfer import Transfer
from medimg.archive.transport.unzip import Zip, open_zip
from medimg.archive.transport.zip_checks import ZIP_LIMITS, BadZip, ZipLimits
from medimg.errors import one_line

MD5_LIST = "md5hashes.csv"
MD5_LIST_BYTES = 64_000_000

PACKED_AT_ONCE = 8
"""Series that the server makes zips of at once: work for it, not only for the link."""

UNKNOWN = 400
"""NBIA's answer where a series is not public, is in another of its servers, or does not exist."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_DOI = re.compile(r"10\.\d{4,}/\S+")
_CREATIVE_COMMONS = re.compile(r"creativecommons\.org/licenses/([a-z-]+)/(\d+\.\d+)")


class NbiaSource:
    """NBIA at `address`, such as https://nbia.cancerimagingarchive.net/nbia-api/services/v4.

    Args:
        staging: folder for unpacked files, on the disk of the data root.
    """

    name = "nbia"

    def __init__(
        self, transfer: Transfer, *, address: str, staging: Path, limits: ZipLimits = ZIP_LIMITS
    ) -> None:
        self.address = address.rstrip("/")
        self._transfer = transfer
        self._staging = staging
        self._limits = limits
        self._packing = threading.BoundedSemaphore(PACKED_AT_ONCE)

    def list_series(self, collection: Collection) -> list[Series]:
        """All series of a collection, with size, licence and DOI."""
        if not collection.tcia:
            raise NotAvailable(f"{collection.name} is not in NBIA")
        url = self._url("getSeries", Collection=collection.tcia, format="json")
        try:
            body = self._transfer.read(url).body
        except TransferError as error:
            if isinstance(error, NotFound) or error.status == UNKNOWN:
                raise NotAvailable(f"{error} (NBIA does not know {collection.tcia})") from None
            raise SourceFailed(str(error)) from None
        series = parse_series(body, url=url)
        if not series:
            raise NotAvailable(f"{url}: an empty answer, expected the series of {collection.tcia}")
        return series

    def fetch_series(
        self, series: Series, *, have: Mapping[str, str], at_once: AtOnce = one_by_one
    ) -> Iterator[Arrived]:
        """Hands over the images of a series; NBIA has it only whole, so `have` changes nothing."""
        url = self._url("getImageWithMD5Hash", SeriesInstanceUID=series.uid)
        done: set[str] = set()
        try:
            yield from self._fetch_once(url, done)
        except BadZip:
            # Nothing vouches for a zip made on the fly until it is unpacked; one that broke is made again.
            # What was good is not handed over twice.
            yield from self._fetch_once(url, done)

    def _fetch_once(self, url: str, done: set[str]) -> Iterator[Arrived]:
        zipped = self._download(url)
        try:
            with open_zip(zipped.path, limits=self._limits, name=zipped.url) as archive:
                for member, md5 in match_md5s(archive).items():
                    if member not in done:
                        yield self._extract(archive, member, md5=md5)
                        done.add(member)
        finally:
            zipped.path.unlink(missing_ok=True)

    def _download(self, url: str) -> Downloaded:
        try:
            with self._packing:
                return self._transfer.download(url)
        except (Unreachable, AccessDenied) as error:
            raise SourceFailed(str(error)) from None
        except TransferError as error:
            if isinstance(error, NotFound) or error.status == UNKNOWN:
                raise NotAvailable(
                    f"{error} (NBIA does not hold the series, or not for the public)"
                ) from None
            raise

    def _extract(self, archive: Zip, member: str, *, md5: str) -> Arrived:
        found = archive.extract(member, to=self._staging)
        if found.md5 != md5:
            found.path.unlink()
            raise BadZip(f"{archive.name}: {member!r} has MD5 {found.md5}, expected {md5} as {MD5_LIST} says")
        return Arrived(
            found.path,
            url=f"{archive.name}#{quote(member)}",
            bytes=found.bytes,
            md5=found.md5,
            sha256=found.sha256,
        )

    def _url(self, method: str, **query: str) -> str:
        return f"{self.address}/{method}?{urlencode(query)}"


def parse_series(body: bytes, *, url: str) -> list[Series]:
    """Reads the answer to getSeries; empty where NBIA found nothing.

    Raises:
        SourceFailed: it is not the JSON list that NBIA answers; the message says how it begins.
    """
    if not body.strip():
        return []
    try:
        return [_row_to_series(row) for row in json.loads(body)]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise SourceFailed(
            f"{url}: an answer that begins with {body[:60]!r}, expected a JSON list of series, each "
            "with SeriesInstanceUID"
        ) from None


def _row_to_series(row: Mapping[str, Any]) -> Series:
    def text(key: str) -> str:
        return str(row.get(key) or "").strip()

    def number(key: str) -> int | None:
        return int(row[key]) if row.get(key) not in (None, "") else None

    return Series(
        uid=str(row["SeriesInstanceUID"]),
        patient_id=text("PatientID"),
        study_uid=text("StudyInstanceUID"),
        instances=number("ImageCount"),
        bytes=number("FileSize"),
        modality=text("Modality"),
        licence=name_licence(text("LicenseName"), url=text("LicenseURI")),
        doi=read_doi(text("CollectionURI") or text("DataDescriptionURI")),
        version=text("DateReleased").partition(" ")[0],
    )


def name_licence(name: str, *, url: str) -> str:
    """The short name of a Creative Commons licence, "CC BY 4.0", from its address.

    Of others the archive's own name.
    """
    found = _CREATIVE_COMMONS.search(url.lower())
    return f"CC {found[1].upper()} {found[2]}" if found else name


def read_doi(url: str) -> str:
    """The DOI in an address such as https://doi.org/10.7937/tcia.eqde-4b16; empty where there is none."""
    found = _DOI.search(url)
    return found[0] if found else ""


def match_md5s(archive: Zip) -> dict[str, str]:
    """The MD5 of each image in a zip from NBIA, by member, from the list that lies in it.

    Raises:
        BadZip: there is no such list, or it does not name exactly the images that are there; the message
            names the first that is missing.
    """
    lists = [member for member in archive.names if _base(member) == MD5_LIST]
    if len(lists) != 1:
        raise BadZip(
            f"{archive.name}: {len(lists)} members {MD5_LIST}, expected one with the MD5 of each image"
        )
    stated = parse_md5s(
        archive.read(lists[0], limit_bytes=MD5_LIST_BYTES), name=f"{archive.name}: {lists[0]}"
    )
    found = {}
    for member in archive.names:
        if member != lists[0] and not _is_licence(member):
            # Written with folders or without, in the list as in the zip.
            key = member.lower() if member.lower() in stated else _base(member)
            if key not in stated:
                raise BadZip(
                    f"{archive.name}: {member!r} is not in {MD5_LIST}, or is there twice, expected "
                    "the MD5 of each image"
                )
            found[member] = stated.pop(key)
    if stated:
        raise BadZip(
            f"{archive.name}: {min(stated)!r} is in {MD5_LIST} but not in the zip ({len(found)} of "
            f"{len(found) + len(stated)} images are)"
        )
    return found


def parse_md5s(content: bytes, *, name: str) -> dict[str, str]:
    """Reads md5hashes.csv: file names in lower case to MD5 in lower case.

    Header or none, either order of the columns, folders or none.

    Raises:
        BadZip: a row without a file name and an MD5, or a file named twice.
    """
    found: dict[str, str] = {}
    try:
        rows = list(csv.reader(content.decode("utf-8-sig").splitlines()))
    except (csv.Error, UnicodeDecodeError):
        raise BadZip(f"{name}: no table of text, expected rows of file name and MD5") from None
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip().lower() for cell in row if cell.strip()]
        md5s = [cell for cell in cells if _MD5.fullmatch(cell)]
        others = [cell for cell in cells if not _MD5.fullmatch(cell)]
        if not cells or (number == 1 and not md5s):
            continue
        if len(md5s) != 1 or len(others) != 1:
            raise BadZip(
                f"{name}, line {number}: {one_line(','.join(row))!r}, expected a file name and an MD5 "
                "of 32 hexadecimal digits"
            )
        [md5], [other] = md5s, others
        file = other.removeprefix("./")
        if found.setdefault(file, md5) != md5:
            raise BadZip(f"{name}, line {number}: {file!r} is there twice with different MD5s, expected once")
    return found


def _base(member: str) -> str:
    return PurePosixPath(member).name.lower()


def _is_licence(member: str) -> bool:
    return PurePosixPath(_base(member)).stem in ("license", "licence")
