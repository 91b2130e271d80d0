"""The collection manager of The Cancer Imaging Archive (WordPress) and its files, on loopback."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.loopback import PAGE, Answer, LoopbackServer

API, UPLOADS = "/api/v1", "/wp-content/uploads/"


class TciaServer(LoopbackServer):
    """Starts with nothing published.

    Attributes:
        address: for `fetch_tables`.
        rows: of the collection manager, in its order.
        files: below wp-content/uploads, by name. What is not there is answered by a web page with status 200,
            as WordPress may.
        breakdown: status of all answers of the collection manager, if not 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.address = self.url + API
        self.rows: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.breakdown = 0

    def at(self, name: str) -> str:
        """The address of a file."""
        return f"{self.url}{UPLOADS}{name}"

    def publish(self, title: str, *, name: str = "", url: str = "", access: str = "Public") -> None:
        """Lists a download: at an address in `download_url`, or as a file that WordPress keeps."""
        self.rows.append(
            {
                "id": 40_000 + len(self.rows),
                "title": {"rendered": title},
                "download_title": title,
                "download_url": url,
                "download_file": {"ID": 7, "guid": self.at(name), "post_title": name} if name else False,
                "download_access": access,
                "download_type": ["Other"],
                "file_type": ["XLSX"],
                "data_license": {"ID": 1, "post_title": "CC BY 4.0"},
            }
        )

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        if path.startswith(UPLOADS):
            return Answer(self.files.get(path.removeprefix(UPLOADS), PAGE))
        if path != f"{API}/downloads/" or self.breakdown:
            return Answer(PAGE, status=self.breakdown or 404)
        per_page, page = int(query.get("per_page", 10)), int(query.get("page", 1))
        rows = self.rows[(page - 1) * per_page : page * per_page]
        if page > 1 and not rows:
            return Answer(
                json.dumps({"code": "rest_post_invalid_page_number", "data": {"status": 400}}).encode(),
                status=400,
            )
        fields = query["_fields"].split(",") if "_fields" in query else None
        return Answer(
            json.dumps(
                [
                    {key: value for key, value in row.items() if fields is None or key in fields}
                    for row in rows
                ]
            ).encode()
        )
