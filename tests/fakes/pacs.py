"""A PACS by DICOMweb on loopback whose answers a test scripts; the server itself is real."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from medimg.archive.sources.dicomweb import DicomwebSource
from medimg.archive.transport.http_messages import Access, Login
from medimg.archive.transport.retries import Patience
from medimg.archive.transport.transfer import Transfer

FILE = b"\0" * 128 + b"DICM" + bytes(range(256)) * 9 + b"\r\n--almost the boundary\r\n"
MULTIPART = 'multipart/related; type="application/dicom"; boundary='

Reply = tuple[int, dict[str, str], bytes]
Respond = Callable[[str, Mapping[str, str]], Reply]


class Pacs:
    """Answers by a function of path and query; `asked` holds what came as (path, query, headers)."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, dict[str, str], Mapping[str, str]]] = []

    @contextmanager
    def serve(self, respond: Respond) -> Iterator[Pacs]:
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # Head and body in one packet, else each answer waits for an acknowledgement.

            def do_GET(self) -> None:
                address = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(address.query).items()}
                asked.append(
                    (address.path, query, {name.lower(): value for name, value in self.headers.items()})
                )
                status, headers, body = respond(address.path.removeprefix("/dicom-web"), query)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
            self.url = f"http://127.0.0.1:{server.server_port}/dicom-web"
            yield self
            server.shutdown()


def connect(pacs: Pacs, parts: Path, *, login: Login | None = None, **options: object) -> DicomwebSource:
    patience = Patience(attempts=2, first_wait_seconds=0.01)
    transfer = Transfer(Access((pacs.url,), logins=(login,) if login else ()), parts=parts, patience=patience)
    return DicomwebSource(transfer, pacs.url, **options)


def element(value: object) -> dict[str, object]:
    return {"vr": "UI", "Value": [value]}


def series_row(uid: str, *, study: str = "1.2", patient: str = "P1") -> dict[str, object]:
    return {
        "0020000E": element(uid),
        "0020000D": element(study),
        "00100020": element(patient),
        "00201209": element(1),
        "00080060": element("MG"),
    }


def as_json(rows: list[dict[str, object]], **headers: str) -> Reply:
    return 200, {"Content-Type": "application/dicom+json", **headers}, json.dumps(rows).encode()


def paged(rows: list[dict[str, object]], *, cap: int = 1000) -> Respond:
    """Makes a well-behaved search of at most `cap` rows, with DICOM's warning (PS3.18 8.3.4.4)."""

    def respond(path: str, query: Mapping[str, str]) -> Reply:
        offset, limit = int(query["offset"]), min(int(query["limit"]), cap)
        left = len(rows) - offset - limit
        warning = (
            {"Warning": f'299 pacs "There are {left} additional results that can be requested"'}
            if left > 0
            else {}
        )
        return as_json(rows[offset : offset + limit], **warning)

    return respond


def one_instance(answer: Reply) -> Respond:
    """A PACS with one instance, which is handed over by this answer."""

    def respond(path: str, query: Mapping[str, str]) -> Reply:
        if path.endswith("/instances"):
            return as_json([{"00080018": element("1.2.3.4")}] if query["offset"] == "0" else [])
        return answer

    return respond


def multipart(
    content: bytes,
    *,
    boundary: str = "b0",
    begin: bytes = b"",
    headers: bytes = b"Content-Type: application/dicom\r\n",
    end: bytes = b"--\r\n",
) -> bytes:
    mark = b"--" + boundary.encode()
    return begin + mark + b"\r\n" + headers + b"\r\n" + content + b"\r\n" + mark + end
