"""Clinical tables of The Cancer Imaging Archive.

Their present address comes from its collection manager, the configured one is used where that fails.

    GET <tcia>/downloads/?per_page=100&page=1&_fields=...
        WordPress: a JSON list; the page after the last is empty or answers 400

The archive renames its files ("-1", "_v2") and answers with a page of HTML for what is gone, so that a table
counts by its content only.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from medimg.archive.collections import Collection, CollectionTable
from medimg.archive.source import Arrived, SourceFailed
from medimg.archive.transport.errors import Interrupted, TransferError
from medimg.archive.transport.partial_files import Downloaded
from medimg.archive.transport.transfer import Transfer
from medimg.archive.transport.unzip import open_zip
from medimg.archive.transport.zip_checks import BadZip
from medimg.errors import DiskFull, MedimgError

PAGE_ROWS, MOST_PAGES = 100, 100
FIELDS = (
    "id,title,download_file,download_title,data_license,download_type,download_url,file_type,download_access"
)

BEGINNING_BYTES = 1 << 16
"""Of a table: enough to see its header."""

_VERSION = re.compile(r"[-_. ](v|ver|version|rev)?[-_. ]?\d[\d._-]*$")
"""Of a file name without its ending: "-1", "_v2", "_v2.1", " 2024-03-01"."""


def fetch_tables(
    collection: Collection,
    *,
    transfer: Transfer,
    address: str,
    on_message: Callable[[str], None] = lambda line: None,
) -> Iterator[Arrived]:
    """Hands over the tables of a collection, each under its own name.

    Args:
        address: of TCIA's collection manager, such as https://www.cancerimagingarchive.net/api/v1; empty to
            use the configured addresses only.
        on_message: called with one line where a configured address has to do.

    Raises:
        MedimgError: a table cannot be had, or is none; the message names it.
    """
    published: list[str] | None = None
    if collection.tcia and address and collection.tables:
        try:
            published = list_addresses(collection.tcia, transfer=transfer, address=address)
        except (TransferError, SourceFailed) as error:
            on_message(f"tables of {collection.name}: {error}; the configured addresses are used")
    for table in collection.tables:
        found = find_address(table, published or [])
        if published is not None and not found:
            on_message(
                f"{table.name}: not among {len(published)} files of {collection.tcia} that {address} "
                "lists; the configured address is used"
            )
        elif found and _file_name(found) not in (table.name.lower(), _file_name(table.url)):
            on_message(f"{table.name}: the archive has it as {found} now")
        yield _fetch_first(
            table,
            tuple(dict.fromkeys(url for url in (found, table.url) if url)),
            transfer=transfer,
            on_message=on_message,
        )


def list_addresses(name: str, *, transfer: Transfer, address: str) -> list[str]:
    """Addresses of the public files of a collection that lie at TCIA itself, newest first.

    Raises:
        TransferError: the collection manager does not answer.
        SourceFailed: it answers something else than a list.
    """
    rows = sorted(
        _read_rows(transfer, address),
        key=lambda row: number if isinstance(number := row.get("id"), int) else 0,
        reverse=True,
    )
    # Not "CMMD2-DA-clinical" for "CMMD".
    title = re.compile(rf"{re.escape(name)}(?![A-Za-z0-9])", re.IGNORECASE)
    found = (
        _row_to_address(row, at=address) for row in rows if title.match(_row_title(row)) and _is_public(row)
    )
    return [url for url in found if url]


def find_address(table: CollectionTable, addresses: list[str]) -> str:
    """Finds the address of a table among several, the first of several equally good.

    By its very file name, else by its name but for a version.

    Returns:
        empty if there is none.
    """
    wanted = _file_name(table.url) or table.name.lower()
    for is_same in (
        lambda name: name in (wanted, table.name.lower()),
        lambda name: _split_version(name) == _split_version(wanted),
    ):
        for address in addresses:
            if is_same(_file_name(address)):
                return address
    return ""


def check_table(path: Path, *, kind: str, name: str) -> None:
    """Raises MedimgError unless the content is a workbook ("xlsx") or comma separated text ("csv")."""
    with path.open("rb") as opened:
        beginning = opened.read(BEGINNING_BYTES)
    if kind == "xlsx":
        try:
            with open_zip(path, name=name) as archive:
                is_table = "xl/workbook.xml" in archive.names
        except BadZip:
            is_table = False
    else:
        is_table = _is_csv(beginning)
    if not is_table:
        raise MedimgError(f"{name}: begins with {beginning[:40]!r}, expected a table ({kind})")


def _fetch_first(
    table: CollectionTable, urls: tuple[str, ...], *, transfer: Transfer, on_message: Callable[[str], None]
) -> Arrived:
    if not urls:
        raise MedimgError(
            f"{table.name}: no address known, expected one from the archive or the configuration"
        )
    for url in urls:
        try:
            found = _download(table, url, transfer=transfer)
        except (DiskFull, Interrupted):
            raise
        except MedimgError as error:
            if url == urls[-1]:
                raise
            on_message(f"{error}; the configured address is used")
        else:
            return Arrived(
                found.path,
                url=found.url,
                bytes=found.bytes,
                md5=found.md5,
                sha256=found.sha256,
                name=table.name,
            )
    raise AssertionError


def _download(table: CollectionTable, url: str, *, transfer: Transfer) -> Downloaded:
    found = transfer.download(url)
    try:
        check_table(found.path, kind=table.kind, name=found.url)
    except MedimgError:
        found.path.unlink()
        raise
    return found


def _read_rows(transfer: Transfer, address: str) -> Iterator[Mapping[str, object]]:
    for page in range(1, MOST_PAGES + 1):
        query = urlencode({"per_page": PAGE_ROWS, "page": page, "_fields": FIELDS}, safe=",")
        url = f"{address.rstrip('/')}/downloads/?{query}"
        try:
            answer = transfer.read(url)
        except TransferError as error:
            if page > 1 and error.status == 400:
                return
            raise
        rows = answer.json()
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise SourceFailed(
                f"{url}: an answer that begins with {answer.body[:60]!r}, expected a JSON list of downloads"
            )
        yield from rows
        if len(rows) < PAGE_ROWS:
            return


def _row_title(row: Mapping[str, object]) -> str:
    title = row.get("title")
    return html.unescape(str(title.get("rendered", "") if isinstance(title, dict) else title or ""))


def _is_public(row: Mapping[str, object]) -> bool:
    access = row.get("download_access")
    return "public" in [str(one).lower() for one in (access if isinstance(access, list) else [access])]


def _row_to_address(row: Mapping[str, object], *, at: str) -> str:
    """The address of the file, if it is at the archive itself (with or without www, and then by its scheme).

    Else empty.
    """
    file = row.get("download_file")
    file = file[0] if isinstance(file, list) and file else file
    in_file = (file.get("guid") or file.get("url")) if isinstance(file, dict) else file
    if isinstance(in_file, dict):
        in_file = in_file.get("rendered")
    try:
        found, own = urlsplit(str(row.get("download_url") or in_file or "").strip()), urlsplit(at)
    except ValueError:
        return ""
    if found.scheme not in ("http", "https") or found.netloc.lower().removeprefix(
        "www."
    ) != own.netloc.lower().removeprefix("www."):
        return ""
    return urlunsplit(found._replace(scheme=own.scheme, fragment=""))


def _file_name(url: str) -> str:
    return PurePosixPath(unquote(urlsplit(url).path)).name.lower()


def _split_version(name: str) -> tuple[str, str]:
    """A file name without its version, and its ending."""
    path = PurePosixPath(name)
    return _VERSION.sub("", path.stem), path.suffix


def _is_csv(beginning: bytes) -> bool:
    if b"\0" in beginning or beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"<", b"{", b""):
        return False
    # Any line ending will do, the carriage return of old spreadsheets too.
    text = io.StringIO(beginning.decode("utf-8-sig", errors="replace"), newline=None)
    return len(next(csv.reader(text))) > 1
