"""Dataverse repositories: data sets that are not DICOM, such as HAM10000.

API: https://guides.dataverse.org/en/latest/api.

    GET /api/datasets/:persistentId/?persistentId=doi:...
        the latest version: its number, licence, and files with size and checksum
    GET /api/access/datafile/<id>[?format=original]
        a file, usually by a redirect to its storage

Each file of the archive counts as one series. A zip is verified whole, then its images are unpacked into a
folder of its name; a table keeps its name. Of a table that Dataverse has taken in, the file that its authors
uploaded is fetched ("original"): the archive's own rendering changes with its software. A data file never
changes, a new version gets a new id, so that a new version of the data set moves only what is new in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlencode

from medimg.archive.collections import Collection
from medimg.archive.source import Arrived, AtOnce, NotAvailable, Series, SourceFailed, one_by_one
from medimg.archive.transport.errors import NotFound, TransferError, Unreachable
from medimg.archive.transport.partial_files import Downloaded
from medimg.archive.transport.transfer import Transfer
from medimg.archive.transport.unzip import open_zip
from medimg.archive.transport.zip_checks import ZIP_LIMITS, BadZip, ZipLimits
from medimg.errors import MedimgError

ORIGINAL = "original"
"""In a key, in place of a checksum: the one that Dataverse states may be of its own rendering."""

UNPACKED_TYPES = (".jpg", ".jpeg", ".png", ".csv", ".txt")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MAC_FOLDER = "__MACOSX"
_MAC_FILES = (".DS_Store", "Thumbs.db")


class DataverseSource:
    """A Dataverse repository at `address`, such as https://dataverse.harvard.edu.

    Args:
        staging: folder for unpacked files, on the disk of the data root.
    """

    name = "dataverse"

    def __init__(
        self, transfer: Transfer, *, address: str, staging: Path, limits: ZipLimits = ZIP_LIMITS
    ) -> None:
        self.address = address.rstrip("/")
        self._transfer = transfer
        self._staging = staging
        self._limits = limits

    def list_series(self, collection: Collection) -> list[Series]:
        """The files of the data set's latest published version."""
        if not collection.dataverse:
            raise NotAvailable(f"{collection.name} is in no Dataverse repository")
        url = (
            f"{self.address}/api/datasets/:persistentId/?{urlencode({'persistentId': collection.dataverse})}"
        )
        try:
            body = self._transfer.read(url).body
        except NotFound as error:
            raise NotAvailable(f"{error} (no data set {collection.dataverse})") from None
        except TransferError as error:
            raise SourceFailed(str(error)) from None
        return parse_version(body, url=url, doi=collection.dataverse.removeprefix("doi:"))

    def fetch_series(
        self, series: Series, *, have: Mapping[str, str], at_once: AtOnce = one_by_one
    ) -> Iterator[Arrived]:
        """Hands over a table, or the images of a zip one by one.

        A zip comes only whole, so `have` changes nothing.
        """
        number, _, checksum = series.key.partition(":")
        if not number.isdecimal():
            raise NotAvailable(
                f"{self.address}: no data file {series.uid!r}, expected one that the archive lists"
            )
        url = f"{self.address}/api/access/datafile/{number}" + (
            "?format=original" if checksum == ORIGINAL else ""
        )
        file = self._download(url, series, md5=checksum if checksum != ORIGINAL else "")
        if PurePosixPath(series.uid).suffix.lower() != ".zip":
            yield Arrived(
                file.path, url=file.url, bytes=file.bytes, md5=file.md5, sha256=file.sha256, name=series.uid
            )
            return
        try:
            yield from self._unpack(file, folder=PurePosixPath(series.uid).stem)
        except BadZip:
            file.path.unlink(missing_ok=True)
            raise
        # Only now: a call that was killed while it unpacked need not fetch a gigabyte again.
        file.path.unlink()

    def _download(self, url: str, series: Series, *, md5: str) -> Downloaded:
        try:
            return self._transfer.download(url, size=series.bytes, md5=md5 or None)
        except NotFound as error:
            raise NotAvailable(f"{error} (data file {series.uid})") from None
        except Unreachable as error:
            raise SourceFailed(str(error)) from None

    def _unpack(self, file: Downloaded, *, folder: str) -> Iterator[Arrived]:
        with open_zip(file.path, limits=self._limits, name=file.url) as archive:
            for name, member in name_members(archive.names, archive=file.url).items():
                found = archive.extract(member, to=self._staging)
                url = f"{file.url}#{quote(member)}"
                yield Arrived(
                    found.path,
                    url=url,
                    bytes=found.bytes,
                    md5=found.md5,
                    sha256=found.sha256,
                    name=f"{folder}/{name}",
                )


def name_members(members: tuple[str, ...], *, archive: str) -> dict[str, str]:
    """File names, without folders, for the members of a zip of images.

    What macOS and Windows leave in zips is left out.

    Raises:
        BadZip: a member of another kind or with a name of other characters, or two with the same name in
            different folders.
    """
    found: dict[str, str] = {}
    for member in members:
        path = PurePosixPath(member)
        if _MAC_FOLDER in path.parts or path.name in _MAC_FILES:
            continue
        if path.suffix.lower() not in UNPACKED_TYPES:
            raise BadZip(f"{archive}: member {member!r}, expected only {', '.join(UNPACKED_TYPES)}")
        if not _PLAIN_NAME.fullmatch(path.name):
            raise BadZip(
                f"{archive}: member {member!r}, expected a file name of letters, digits, dot, dash "
                "and underscore"
            )
        if other := found.get(path.name):
            raise BadZip(
                f"{archive}: members {other!r} and {member!r} have the same file name, expected "
                "different ones"
            )
        found[path.name] = member
    return found


def parse_version(body: bytes, *, url: str, doi: str) -> list[Series]:
    """Reads the description of a data set's latest version.

    Raises:
        NotAvailable: the version holds no file.
        SourceFailed: it is not what Dataverse answers; the message says how it begins.
        MedimgError: two of its files have the same name.
    """
    try:
        latest = json.loads(body)["data"]["latestVersion"]
        version = f"{int(latest['versionNumber'])}.{int(latest['versionMinorNumber'])}"
        licence = str((latest.get("license") or {}).get("name") or "")
        series = [
            _entry_to_series(entry["dataFile"], licence=licence, doi=doi, version=version)
            for entry in latest["files"]
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise SourceFailed(
            f"{url}: an answer that begins with {body[:60]!r}, expected the JSON that describes a "
            "published data set"
        ) from None
    if not series:
        raise NotAvailable(f"{url}: version {version} holds no file, expected one or more")
    names = [one.uid for one in series]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise MedimgError(f"{url}: two files {repeated[0]!r}, expected different names")
    return series


def _entry_to_series(file: Mapping[str, Any], *, licence: str, doi: str, version: str) -> Series:
    number, name, size = int(file["id"]), str(file["filename"]), file["filesize"]
    checksum = str(
        file.get("md5") or ""
    ).lower()  # Empty where the repository uses another algorithm: the size must do.
    if file.get("tabularData") or file.get("originalFileFormat"):
        name, size, checksum = _original_name(file), file.get("originalFileSize"), ORIGINAL
    return Series(
        uid=name,
        key=f"{number}:{checksum}",
        bytes=int(size) if size is not None else None,
        licence=licence,
        doi=doi,
        version=version,
    )


def _original_name(file: Mapping[str, Any]) -> str:
    """What the authors called a table before Dataverse took it in as .tab.

    Older versions of Dataverse state only its format.
    """
    name = PurePosixPath(str(file["filename"]))
    if original := file.get("originalFileName"):
        return str(original)
    return (
        str(name.with_suffix(".csv"))
        if name.suffix == ".tab" and "csv" in str(file.get("originalFileFormat"))
        else str(name)
    )
