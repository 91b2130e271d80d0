"""NBIA's REST interface, version 4, on loopback.

Real DICOM files from a folder, in real zips with md5hashes.csv, and what goes wrong with them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pydicom

from tests.fakes.loopback import PAGE, Answer, LoopbackServer, md5_of, pack

API = "/nbia-api/services/v4"
Spoiled = Literal[
    "wrong_md5",  # of the first image, in the list
    "no_list",  # the zip has no md5hashes.csv
    "extra_file",  # an image that is not in the list
    "missing_file",  # an image of the list that is not in the zip: NBIA broke down while it packed
    "truncated",  # the zip ends in the middle, although the answer is complete
    "bad_crc",  # a bit of the first image is another
    "html",  # a web page with status 200
    "empty",  # nothing, with status 200
]


class NbiaServer(LoopbackServer):
    """Serves one collection.

    Attributes:
        address: for `NbiaSource`.
        series: files by SeriesInstanceUID.
    """

    chunked = True

    def __init__(self, folder: Path, *, collection: str = "CMMD", folders_in_zip: bool = False) -> None:
        super().__init__()
        self.address = self.url + API
        self._collection = collection
        self._prefix = f"{collection}/" if folders_in_zip else ""
        self._spoiled: dict[str, list[Spoiled]] = defaultdict(list)
        self._rows: dict[str, dict[str, Any]] = {}
        self._md5s: dict[str, str] = {}
        self.series: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.rglob("*.dcm")):
            self._add(path)

    def spoil(self, uid: str, kind: Spoiled, *, times: int = 1) -> None:
        """The next answers with this series go wrong, then all is well again."""
        self._spoiled[uid] += [kind] * times

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        uid = query.get("SeriesInstanceUID", "")
        match path.removeprefix(API):
            case "/getSeries" if query.get("Collection") == self._collection:
                return Answer(
                    json.dumps(list(self._rows.values())).encode(),
                    headers={"Content-Type": "application/json"},
                )
            case "/getSeries":
                return Answer(headers={"Content-Type": "application/json"})
            case "/getImageWithMD5Hash" if uid in self.series:
                return Answer(
                    self.pack_series(uid),
                    headers={"Content-Disposition": f'attachment; filename="{uid}.zip"'},
                )
            case "/getImageWithMD5Hash":
                return Answer(
                    f"Image with given SeriesInstanceUID,{uid}, is not in public domain.".encode(), status=400
                )
            case "/getMD5HashForImage" if query.get("SOPInstanceUID") in self._md5s:
                return Answer(self._md5s[query["SOPInstanceUID"]].encode())
            case _:
                return Answer(b"HTTP 404 Not Found", status=404)

    def _add(self, path: Path) -> None:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        uid = str(dataset.SeriesInstanceUID)
        row = self._rows.setdefault(
            uid,
            {
                "SeriesInstanceUID": uid,
                "StudyInstanceUID": str(dataset.StudyInstanceUID),
                "Modality": str(dataset.get("Modality", "")),
                "Collection": self._collection,
                "PatientID": str(dataset.get("PatientID", "")),
                "ImageCount": 0,
                "FileSize": 0,
                "LicenseName": "Creative Commons Attribution 4.0 International License",
                "LicenseURI": "https://creativecommons.org/licenses/by/4.0/",
                "CollectionURI": "https://doi.org/10.7937/tcia.eqde-4b16",
                "DateReleased": "2021-09-08 00:00:00.0",
            },
        )
        row["ImageCount"] += 1
        row["FileSize"] += path.stat().st_size
        self._md5s[str(dataset.SOPInstanceUID)] = md5_of(path.read_bytes())
        self.series[uid].append(path)

    def pack_series(self, uid: str) -> bytes:
        """The zip of a series, spoiled if it is its turn."""
        kind = self._spoiled[uid].pop(0) if self._spoiled[uid] else ""
        if kind in ("html", "empty"):
            return PAGE if kind == "html" else b""
        width = len(str(len(self.series[uid])))
        members = {
            f"{self._prefix}1-{number:0{width}}.dcm": path.read_bytes()
            for number, path in enumerate(self.series[uid], start=1)
        }
        md5s = {name: md5_of(content) for name, content in members.items()}
        first, content = next(iter(members.items()))
        if kind == "wrong_md5":
            md5s[first] = md5_of(b"another image")
        if kind == "extra_file":
            members["9-9.dcm"] = content
        if kind == "missing_file":
            del members[first]
        if kind != "no_list":
            members["md5hashes.csv"] = "".join(
                ["Filename,MD5Hash\n", *(f"{name.rpartition('/')[2]},{md5}\n" for name, md5 in md5s.items())]
            ).encode()
        packed = pack({**members, "LICENSE": b"Creative Commons Attribution 4.0 International\n"})
        if kind == "bad_crc":
            packed[packed.index(content[:1000]) + len(content) // 2] ^= 1
        return bytes(packed[: len(packed) // 2] if kind == "truncated" else packed)
