"""A Dataverse repository with one data set on loopback.

It redirects to a storage at another port, with a signed address, as S3 storage does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tests.fakes.loopback import Answer, LoopbackServer, md5_of

DOI = "doi:10.7910/DVN/DBW86T"


@dataclass(frozen=True)
class DataFile:
    """A file of the data set.

    Attributes:
        original: if it is a table that Dataverse has taken in, what its authors uploaded; `content` is then
            Dataverse's own rendering.
        original_name: empty in older versions of Dataverse.
        restricted: 403 for the public.
    """

    name: str
    content: bytes
    original: bytes = b""
    original_name: str = ""
    restricted: bool = False


class StorageServer(LoopbackServer):
    """Serves contents by number, to those who bring the signature."""

    def __init__(self) -> None:
        super().__init__()
        self.contents: dict[str, bytes] = {}

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        if query.get("X-Amz-Signature") != "secret":
            return Answer(b"<Error><Code>AccessDenied</Code></Error>", status=403)
        content = self.contents.get(path)
        return (
            Answer(b"<Error><Code>NoSuchKey</Code></Error>", status=404)
            if content is None
            else Answer(content)
        )


class DataverseServer(LoopbackServer):
    """Serves one data set, version 1.2.

    Attributes:
        storage: the other server; its `contents` may be spoiled, by "/<number>" and "/<number>.orig".
        licence: empty where the data set has terms of its own.
    """

    def __init__(self, *files: DataFile, licence: str = "CC BY-NC 4.0") -> None:
        super().__init__()
        self.storage = StorageServer()
        self.licence = licence
        self._files = dict(enumerate(files, start=3_172_600))
        for number, file in self._files.items():
            self.storage.contents[f"/{number}"] = file.content
            if file.original:
                self.storage.contents[f"/{number}.orig"] = file.original

    def __enter__(self) -> DataverseServer:
        self.storage.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.storage.__exit__(*error)

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        if path == "/api/datasets/:persistentId/":
            return (
                self._describe()
                if query.get("persistentId") == DOI
                else refuse(404, "Dataset with Persistent ID not found.")
            )
        number = path.removeprefix("/api/access/datafile/")
        if not number.isdecimal() or int(number) not in self._files:
            return refuse(404, "No such file.")
        file = self._files[int(number)]
        if file.restricted:
            return refuse(403, "Not authorized to access this object.")
        key = f"/{number}.orig" if query.get("format") == "original" and file.original else f"/{number}"
        return Answer(
            status=303,
            headers={"Location": f"{self.storage.url}{key}?X-Amz-Expires=3600&X-Amz-Signature=secret"},
        )

    def _describe(self) -> Answer:
        version: dict[str, object] = {"versionNumber": 1, "versionMinorNumber": 2, "versionState": "RELEASED"}
        if self.licence:
            version["license"] = {
                "name": self.licence,
                "uri": "http://creativecommons.org/licenses/by-nc/4.0",
            }
        version["files"] = [
            {"label": file.name, "restricted": file.restricted, "dataFile": describe_file(number, file)}
            for number, file in self._files.items()
        ]
        return Answer(json.dumps({"status": "OK", "data": {"id": 1, "latestVersion": version}}).encode())


def describe_file(number: int, file: DataFile) -> dict[str, object]:
    """Returns what Dataverse says of a file.

    The MD5 of a table is that of one of its two forms, nobody knows which.
    """
    md5 = md5_of(file.content)
    row: dict[str, object] = {
        "id": number,
        "filename": file.name,
        "filesize": len(file.content),
        "md5": md5,
        "checksum": {"type": "MD5", "value": md5},
    }
    if file.original:
        row |= {"tabularData": True, "originalFileFormat": "text/csv", "originalFileSize": len(file.original)}
        row |= {"originalFileName": file.original_name} if file.original_name else {}
    return row


def refuse(status: int, message: str) -> Answer:
    """An error as Dataverse words it."""
    return Answer(json.dumps({"status": "ERROR", "message": message}).encode(), status=status)
