"""Servers on loopback that behave and misbehave, and a transfer that waits for none of them for long."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import random
import re
import socket
import threading
from typing import ClassVar

import pytest

from medimg.archive.transport.errors import TransferError
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.retries import Patience
from medimg.archive.transport.transfer import Control, Transfer
from tests.fakes.clock import ServerClock
from tests.fakes.fault_proxy import Fault

CONTENT = random.Random(0).randbytes(300_000)


MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


CLOCK = ServerClock()
"""Of all time limits in these tests: a busy machine is no slow server."""


SHORT = Patience(
    connect_seconds=60,
    read_seconds=0.6,
    attempts=4,
    first_wait_seconds=0.01,
    longest_wait_seconds=1.5,
    slowest_bytes_per_second=10_000,
    slow_seconds=0.5,
)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False
    request_queue_size = 128

    def handle_error(self, *args):
        """Clients that go away are what these tests are about."""


class FileServer(http.server.BaseHTTPRequestHandler):
    """One file with ETag, Range and If-Match, as object stores serve it; echoes forms.

    Sends credentials back.
    """

    protocol_version = "HTTP/1.1"
    content = CONTENT
    etag = f'"{MD5}"'

    def do_GET(self):
        content, status, headers = (
            self.content,
            200,
            {"ETag": self.etag, "Content-Type": "application/octet-stream"},
        )
        if self.path.startswith("/login"):
            content = str(self.headers.get("Authorization")).encode()
        elif self.path.startswith("/to/"):
            status, headers = 302, {"Location": self.path.removeprefix("/to/")}
            content = b""
        elif self.path.startswith("/status/"):
            status, content = int(self.path.removeprefix("/status/")), b""
        elif self.headers.get("If-Match", self.etag) != self.etag:
            status, content = 412, b""
        elif found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(found[1])
            status, headers["Content-Range"] = 206, f"bytes {start}-{len(content) - 1}/{len(content)}"
            content = content[start:]
        self.answer(status, headers, content)

    def do_POST(self):
        self.answer(200, {}, self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, status, headers, content):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(handler=FileServer, **attributes):
    server = _Server(("127.0.0.1", 0), type("Handler", (handler,), attributes))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def talking(talk, *, listens_first=True):
    """A server that does with each connection what `talk` does, after the request came."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run(connection):
        with connection, contextlib.suppress(OSError):
            if listens_first:
                connection.recv(65536)
            talk(connection)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=run, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def transfer(url, tmp_path, *, on_retry=lambda line: None, **options):
    """Options are those of Access, Control and Transfer."""

    def hear(line):
        # The time of the next attempt begins when the last server has noticed that it was left.
        CLOCK.wait_until_still()
        on_retry(line)

    def take(kind):
        names = [each.name for each in dataclasses.fields(kind) if each.name in options]
        return {name: options.pop(name) for name in names}

    access, control = Access(**{"origins": (url,)} | take(Access)), Control(on_retry=hear, **take(Control))
    return Transfer(access, parts=tmp_path / "parts", control=control, **{"patience": SHORT} | options)


def is_right(downloaded):
    return (
        downloaded.path.read_bytes() == CONTENT
        and (downloaded.bytes, downloaded.md5) == (len(CONTENT), MD5)
        and downloaded.sha256 == hashlib.sha256(CONTENT).hexdigest()
    )


def interrupted_part(proxy, tmp_path):
    """Leaves a part of 100,000 bytes behind, as a process that was killed does."""
    proxy.script("/file", [Fault("short_length", at=100_000)])
    with pytest.raises(TransferError):
        transfer(proxy.url, tmp_path, patience=Patience(attempts=1)).download(f"{proxy.url}/file")
    (part,) = (tmp_path / "parts").glob("*.part")
    assert part.stat().st_size == 100_000
    return part


class Stating(FileServer):
    stated: ClassVar = {}

    def answer(self, status, headers, content):
        super().answer(status, headers | self.stated, content)
