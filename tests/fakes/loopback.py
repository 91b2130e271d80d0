"""A small server on loopback for fakes to build on, and the formats that they serve."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PAGE = b"<!DOCTYPE html>\n<html><body>Scheduled maintenance</body></html>\n"


@dataclass(frozen=True)
class Answer:
    """What a server answers."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class LoopbackServer:
    """Answers GET on a free port of the loopback interface, in a thread per request, as `answer` says.

    Attributes:
        url: http://127.0.0.1:port, without a slash at the end.
        asked: paths with their query, in the order in which they were asked.
    """

    chunked = False
    """Answers without Content-Length."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        parent = self

        class Handler(_Handler):
            server_object = parent

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Any:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """The answer to a GET."""
        raise NotImplementedError


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_object: LoopbackServer

    def do_GET(self) -> None:
        self.server_object.asked.append(self.path)
        parts = urlsplit(self.path)
        answer = self.server_object.answer(parts.path, dict(parse_qsl(parts.query)))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header(
            *(
                ("Transfer-Encoding", "chunked")
                if self.server_object.chunked
                else ("Content-Length", str(len(answer.body)))
            )
        )
        self.end_headers()
        try:
            self.wfile.write(_to_chunks(answer.body) if self.server_object.chunked else answer.body)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing on stderr; the log is `LoopbackServer.asked`."""


def _to_chunks(body: bytes) -> bytes:
    return (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"


def pack(members: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytearray:
    """A zip of these members, in this order."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return bytearray(written.getvalue())


def md5_of(content: bytes) -> str:
    """As archives state it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
