"""The Imaging Data Commons over plain HTTPS: public buckets, without credentials, SDK or index.

    <bucket>/<crdc_series_uuid>/<crdc_instance_uuid>.dcm

A series whose content changes gets another crdc_series_uuid and the old one stays, so the uuid pins the
content for good. The bucket is listed by S3's ListObjectsV2. An object that was uploaded in one piece has its
MD5 as ETag.
"""

from __future__ import annotations

import csv
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

import defusedxml
from defusedxml import ElementTree

from medimg.archive import idc_index
from medimg.archive.collections import Collection
from medimg.archive.source import Addresses, Arrived, AtOnce, NotAvailable, Series, SourceFailed, one_by_one
from medimg.archive.transport.errors import AccessDenied, NotFound, Unreachable
from medimg.archive.transport.http_messages import HttpResponse
from medimg.archive.transport.transfer import Transfer
from medimg.archive.transport.urls import shown_url
from medimg.errors import MedimgError, one_line

BUCKETS = ("idc-open-data", "idc-open-data-two", "idc-open-data-cr")

MOST_OBJECTS = 200_000
"""Of one series.

The largest has some thousands of files; a bucket that goes on for ever is not listed for ever.
"""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class _Object:
    """One object of a bucket; `md5` is None where it was uploaded in several pieces."""

    url: str
    bytes: int
    md5: str | None


class IdcSource:
    """The Imaging Data Commons, or any S3 server with objects under the same names.

    Args:
        address: of a bucket; one without {bucket} is that of a server, below which the bucket is the first
            part of the path.
    """

    name = "idc"

    def __init__(self, transfer: Transfer, address: str = Addresses.idc) -> None:
        self._transfer = transfer
        self._address = address.rstrip("/")

    def list_series(self, collection: Collection) -> list[Series]:
        """All series of a collection, by patient: from the bundled list, or from the installed index.

        No network.

        Raises:
            NotAvailable: the collection is not in the Imaging Data Commons.
            UsageError: no bundled list, and the index is not installed.
        """
        return list_published(collection)

    def fetch_series(
        self, series: Series, *, have: Mapping[str, str], at_once: AtOnce = one_by_one
    ) -> Iterator[Arrived]:
        """Hands over the files of a series; see `Source`.

        The list is complete before the first file is fetched.
        """
        missing = (found for found in self._list_objects(series) if not _is_had(found, have))
        yield from at_once(partial(self._fetch_object, found) for found in missing)

    def _fetch_object(self, found: _Object) -> Arrived:
        url = shown_url(found.url)
        try:
            came = self._transfer.download(found.url, size=found.bytes, md5=found.md5)
        except NotFound:
            raise NotAvailable(f"{url}: listed, but not there") from None
        except Unreachable as error:
            raise SourceFailed(str(error)) from None
        return Arrived(path=came.path, url=url, bytes=came.bytes, md5=came.md5, sha256=came.sha256)

    def _list_objects(self, series: Series) -> list[_Object]:
        bucket = bucket_address(self._address, series.bucket or BUCKETS[0])
        if not _UUID.fullmatch(series.key):
            raise NotAvailable(
                f"series {series.uid} has no crdc_series_uuid ({series.key!r}), under which the "
                "Imaging Data Commons keeps it"
            )
        objects: list[_Object] = []
        token = ""
        while True:
            answer = self._list_page(bucket, prefix=f"{series.key}/", token=token)
            listing = _parse_listing(answer)
            objects += [_describe(item, bucket=bucket, series=series) for item in listing.iter("Contents")]
            following = listing.findtext("NextContinuationToken", "")
            if listing.findtext("IsTruncated") != "true":
                break
            if not following or following == token or len(objects) > MOST_OBJECTS:
                raise MedimgError(
                    f"{answer.url}: a list without end after {len(objects)} objects, expected a next "
                    "page or the end"
                )
            token = following
        if not objects:
            raise NotAvailable(
                f"{shown_url(bucket)}/{series.key}/ is empty, expected {_count(series.instances)}"
            )
        if series.instances not in (None, len(objects)):
            raise NotAvailable(
                f"{shown_url(bucket)}/{series.key}/ holds {len(objects)} objects, expected "
                f"{_count(series.instances)}"
            )
        return objects

    def _list_page(self, bucket: str, *, prefix: str, token: str) -> HttpResponse:
        query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
        try:
            return self._transfer.read(f"{bucket}/?{urllib.parse.urlencode(query)}", limit_bytes=16_000_000)
        except NotFound as error:
            raise NotAvailable(str(error)) from None
        except (AccessDenied, Unreachable) as error:
            raise SourceFailed(str(error)) from None


def list_published(collection: Collection) -> list[Series]:
    """See `IdcSource.list_series`."""
    if not collection.idc:
        raise NotAvailable(f"{collection.name} is not in the Imaging Data Commons")
    if collection.series_list:
        return read_series_list(collection.series_list)
    series = [Series(**row) for row in idc_index.read_rows(collection.idc)]
    if not series:
        raise NotAvailable(f"the index of {idc_index.read_version()} has no series of {collection.idc}")
    return series


def bucket_address(address: str, bucket: str) -> str:
    """Returns a bucket's address: its name in "https://{bucket}.host", or below a server's address."""
    return address.replace("{bucket}", bucket) if "{bucket}" in address else f"{address}/{bucket}"


def read_series_list(name: str) -> list[Series]:
    """Reads a series list of this package: a CSV file whose columns are the fields of Series.

    Comment lines at its top say where it comes from.
    """
    text = resources.files("medimg.archive").joinpath(name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [_read_row(row) for row in csv.DictReader(lines)]


def _read_row(row: Mapping[str, str]) -> Series:
    texts = {name: text for name, text in row.items() if name not in ("instances", "bytes")}
    return Series(**texts, instances=int(row["instances"]), bytes=int(row["bytes"]))


def _parse_listing(answer: HttpResponse) -> Any:
    """The root of a ListBucketResult, without name spaces."""
    try:
        root = ElementTree.fromstring(answer.body)
    except (ElementTree.ParseError, defusedxml.DefusedXmlException, ValueError) as error:
        raise MedimgError(
            f"{answer.url}: no XML ({one_line(str(error))}), expected an S3 ListBucketResult"
        ) from None
    for element in root.iter():
        element.tag = str(element.tag).rpartition("}")[2]
    if root.tag != "ListBucketResult":
        raise MedimgError(
            f"{answer.url}: the answer is <{one_line(root.tag)}>, expected an S3 ListBucketResult"
        )
    return root


def _describe(item: Any, *, bucket: str, series: Series) -> _Object:
    key, size, etag = (item.findtext(name, "").strip() for name in ("Key", "Size", "ETag"))
    folder, _, name = key.partition("/")
    if folder != series.key or not name.endswith(".dcm") or not _UUID.fullmatch(name.removesuffix(".dcm")):
        raise MedimgError(f"{shown_url(bucket)}: object {one_line(key)!r}, expected {series.key}/<uuid>.dcm")
    if not size.isascii() or not size.isdecimal():
        raise MedimgError(
            f"{shown_url(bucket)}: object {key} of size {one_line(size)!r}, expected a number of bytes"
        )
    md5 = etag.strip('"').lower()
    return _Object(f"{bucket}/{key}", int(size), md5 if _MD5.fullmatch(md5) else None)


def _is_had(found: _Object, have: Mapping[str, str]) -> bool:
    url = shown_url(found.url)
    # Without an MD5 in the list the address is enough: it pins the content.
    return url in have and found.md5 in (None, have[url])


def _count(instances: int | None) -> str:
    return "the files of a series" if instances is None else f"{instances} files"
