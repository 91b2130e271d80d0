"""A real S3 server on loopback (moto, in its own process) in place of the IDC's public buckets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
import botocore.config

from medimg.archive.source import Series

PAGE = 3
"""Keys on one page of a list, so that even a series of four images takes two; of Amazon's there are 1,000."""

# As far as moto is concerned anything is right; nothing here may reach for the credentials of whoever runs
# the tests.
CREDENTIALS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}


class S3Archive:
    """`with S3Archive() as s3`: an empty server at `s3.url`.

    Objects are readable by everyone, without credentials.

    Args:
        page: keys on one page of a list.
    """

    url: str

    def __init__(self, *, page: int = PAGE) -> None:
        self._page = page

    def __enter__(self) -> S3Archive:
        # Port 0: the server takes a free one and says which.
        command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", "0"]
        environment = {**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": str(self._page)}
        self._process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
        )
        self.url = next(self._addresses())
        # The log has to be read on, or the server stops once the pipe is full.
        self._reader = threading.Thread(
            target=lambda: [None for _ in self._process.stderr or ()], daemon=True
        )
        self._reader.start()
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.url,
            config=botocore.config.Config(s3={"addressing_style": "path"}, proxies={}),
            **CREDENTIALS,
        )
        self._buckets: set[str] = set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Uploads an object in one piece: its ETag is its MD5."""
        self._make(bucket)
        self.client.put_object(Bucket=bucket, Key=key, Body=content, ACL="public-read")

    def put_in_pieces(self, bucket: str, key: str, *pieces: bytes) -> None:
        """Uploads an object in several pieces, all but the last of 5 MiB or more: its ETag is no MD5."""
        self._make(bucket)
        upload = self.client.create_multipart_upload(Bucket=bucket, Key=key, ACL="public-read")["UploadId"]
        place = {"Bucket": bucket, "Key": key, "UploadId": upload}
        tags = [
            self.client.upload_part(**place, PartNumber=number, Body=piece)["ETag"]
            for number, piece in enumerate(pieces, start=1)
        ]
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, start=1)]
        self.client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})

    def delete(self, bucket: str, key: str) -> None:
        """Removes an object."""
        self.client.delete_object(Bucket=bucket, Key=key)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Keys of a bucket in alphabetical order."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", ()))

    def _make(self, bucket: str) -> None:
        if bucket not in self._buckets:
            self.client.create_bucket(Bucket=bucket, ACL="public-read")
            self._buckets.add(bucket)

    def _addresses(self) -> Iterator[str]:
        seen = []
        for line in self._process.stderr or ():
            seen.append(line)
            yield from re.findall(r"http://127\.0\.0\.1:\d+", line)
        raise RuntimeError(f"moto_server ended before it served: {''.join(seen)[-2000:]}")


def publish_cmmd(s3: S3Archive, tree: Path, series: Iterable[Series]) -> None:
    """Uploads the files of some series from a tree `<SeriesInstanceUID>/*.dcm`.

    To where the bundled list says that they are.
    """
    for one in series:
        for path in sorted((tree / one.uid).glob("*.dcm")):
            s3.put(one.bucket, instance_key(one, path), path.read_bytes())


def instance_key(series: Series, path: Path) -> str:
    """Returns the key of a file in its bucket: <crdc_series_uuid>/<crdc_instance_uuid>.dcm.

    The latter is made up from the file's name.
    """
    return f"{series.key}/{uuid.uuid5(uuid.UUID(series.key), path.stem)}.dcm"
