"""A reverse proxy that goes wrong on order, in front of any real server that something fetches from.

with FaultProxy("http://127.0.0.1:5000") as proxy:
    proxy.script(r"/bucket/.*", [Fault("status", status=500)] * 2 + [Fault("reset", at=1000)])
    ...  # proxy.url in place of the server's address: two failures, one reset, then all as it is.
    assert len(proxy.requests) == 4
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import re
import socket
import struct
import sys
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from tests.fakes.clock import ServerClock

Kind = Literal[
    "status",  # answers `status`, with Retry-After if `retry_after` is given
    "reset",  # TCP reset after `at` bytes of the body
    "slow",  # `bytes_per_second`, to the end
    "stall",  # nothing more after `at` bytes of the body, until the client hangs up or the proxy closes
    "slow_head",  # the answer's head at `bytes_per_second`
    "html",  # a web page with status 200
    "short_length",  # the right Content-Length, the connection closed after `at` bytes
    "short_close",  # no Content-Length, the connection closed after `at` bytes
    "short_chunked",  # chunks, the connection closed after `at` bytes without the last chunk
    "wrong_md5",  # the right bytes under an ETag that is another MD5
    "bit_flip",  # one bit of the byte number `at` of the body
    "gzip",  # packed although nobody asked, under the Content-Length of the plain file
    "redirect",  # 302 to `location`
]
HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "date",
    "server",
}
BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; which field counts is said at Kind."""

    kind: Kind
    status: int = 500
    retry_after: str = ""
    at: int = 0
    bytes_per_second: float = 0
    location: str = ""


@dataclass(frozen=True)
class Request:
    """A request that came. `path` with the query; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    fault: Fault | None


class FaultProxy:
    """Listens on a free port of the loopback interface; threads end with the context.

    Args:
        upstream: address of the server behind it.
        clock: goes while the proxy is slow or silent on purpose.

    Attributes:
        url: http://127.0.0.1:port, without a slash at the end.
        requests: in the order in which they came.
        bytes_sent: of bodies, to all clients.
    """

    def __init__(self, upstream: str, *, clock: ServerClock | None = None) -> None:
        address = urllib.parse.urlsplit(upstream)
        assert address.scheme == "http", upstream
        assert address.hostname, upstream
        self._upstream = (address.hostname, address.port or 80)
        self._prefix = address.path.rstrip("/")
        self._lock = threading.Lock()
        self._scripts: list[tuple[re.Pattern[str], deque[Fault]]] = []
        self._requests: list[Request] = []
        self._bytes_sent = 0
        self.closing = threading.Event()
        self.clock = clock or ServerClock()
        proxy = self

        class Handler(_Handler):
            faults = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultProxy:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def requests(self) -> list[Request]:
        with self._lock:
            return list(self._requests)

    @property
    def bytes_sent(self) -> int:
        with self._lock:
            return self._bytes_sent

    def script(self, path_regex: str, faults: Iterable[Fault]) -> None:
        """The next requests whose path (with the query) contains the pattern get these faults, one each.

        Then all is well again.
        """
        with self._lock:
            self._scripts.append((re.compile(path_regex), deque(faults)))

    def clear(self) -> None:
        """Forgets scripts, requests and bytes."""
        with self._lock:
            self._scripts, self._requests, self._bytes_sent = [], [], 0

    def note(self, method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        """Logs a request and says what goes wrong with it."""
        with self._lock:
            faults = next(
                (faults for pattern, faults in self._scripts if faults and pattern.search(path)), None
            )
            fault = faults.popleft() if faults else None
            self._requests.append(Request(method, path, headers, fault))
            return fault

    def count(self, sent: int) -> None:
        """Adds bytes that were sent."""
        with self._lock:
            self._bytes_sent += sent

    def ask_upstream(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> http.client.HTTPResponse:
        """Passes a request on.

        The Host that the client named stays, so that addresses in answers lead here.
        """
        connection = http.client.HTTPConnection(*self._upstream)
        sent = {name: value for name, value in headers.items() if name not in HOP_BY_HOP}
        connection.request(method, self._prefix + path, body=body or None, headers=sent)
        return connection.getresponse()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what these tests are about."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: FaultProxy

    def do_GET(self) -> None:
        try:
            self._answer()
        except (ConnectionError, TimeoutError):  # The client went away.
            self.close_connection = True

    do_POST = do_HEAD = do_PUT = do_DELETE = do_GET

    def log_message(self, *args: object) -> None:
        """Nothing on stderr; the log is `FaultProxy.requests`."""

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        fault = self.faults.note(self.command, self.path, headers)
        if fault and fault.kind in ("status", "redirect", "html"):
            self._answer_instead(fault)
            return
        answer = self.faults.ask_upstream(self.command, self.path, headers, body)
        with answer:
            if fault is None:
                self._pass_on(answer)
            else:
                self._spoil(answer, fault)

    def _answer_instead(self, fault: Fault) -> None:
        page = b"<!DOCTYPE html>\n<html><body>Something went wrong.</body></html>\n"
        self.send_response({"status": fault.status, "redirect": 302, "html": 200}[fault.kind])
        if fault.retry_after:
            self.send_header("Retry-After", fault.retry_after)
        if fault.location:
            self.send_header("Location", fault.location)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self._send(page)

    def _pass_on(self, answer: http.client.HTTPResponse) -> None:
        length = answer.headers.get("Content-Length")
        empty = self.command == "HEAD" or answer.status in (204, 304)
        framing = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": length}
        self._begin(answer, {} if length is None and empty else framing)
        if empty:
            return
        for block in _blocks(answer):
            self._send(block if length is not None else b"%x\r\n%b\r\n" % (len(block), block))
        if length is None:
            self.wfile.write(b"0\r\n\r\n")

    def _spoil(self, answer: http.client.HTTPResponse, fault: Fault) -> None:
        if fault.kind == "gzip":
            content = answer.read()
            self._begin(answer, {"Content-Length": str(len(content)), "Content-Encoding": "gzip"})
            self._send(gzip.compress(content))
            self.close_connection = True
            return
        length = {"Content-Length": answer.headers.get("Content-Length", "0")}
        if fault.kind == "short_close":
            length = {"Connection": "close"}
        if fault.kind == "short_chunked":
            length = {"Transfer-Encoding": "chunked"}
        if fault.kind == "wrong_md5":
            length["ETag"] = f'"{hashlib.md5(b"another file", usedforsecurity=False).hexdigest()}"'
        self._begin(
            answer, length, bytes_per_second=fault.bytes_per_second if fault.kind == "slow_head" else 0
        )
        self._send_spoiled(answer, fault)

    def _send_spoiled(self, answer: http.client.HTTPResponse, fault: Fault) -> None:
        position = 0
        for whole in _blocks(answer):
            block = whole
            if fault.kind == "bit_flip" and position <= fault.at < position + len(block):
                block = bytes(byte ^ (position + i == fault.at) for i, byte in enumerate(block))
            if fault.kind in ("reset", "stall", "short_length", "short_close", "short_chunked"):
                block = block[: max(0, fault.at - position)]
            position += len(whole)
            if fault.kind == "slow":
                self._send_slowly(block, fault.bytes_per_second)
            elif block:
                self._send(b"%x\r\n%b\r\n" % (len(block), block) if fault.kind == "short_chunked" else block)
            if len(block) < len(whole):
                break
        if fault.kind == "stall":
            self._stall()
        if fault.kind == "reset":
            self._reset()
        self.close_connection = fault.kind not in ("wrong_md5", "bit_flip", "slow", "slow_head")

    def _begin(
        self, answer: http.client.HTTPResponse, replaced: Mapping[str, str], *, bytes_per_second: float = 0
    ) -> None:
        kept = [
            (name, value)
            for name, value in answer.headers.items()
            if name.lower() not in HOP_BY_HOP | {name.lower() for name in replaced}
        ]
        lines = [f"{name}: {value}" for name, value in (*kept, *replaced.items())]
        head = "\r\n".join([f"HTTP/1.1 {answer.status} {answer.reason}", *lines, "", ""]).encode("latin-1")
        if bytes_per_second:
            self._send_slowly(head, bytes_per_second)
        else:
            self.wfile.write(head)

    def _send(self, block: bytes) -> None:
        if self.command == "HEAD":
            return
        self.wfile.write(block)
        self.faults.count(len(block))

    def _send_slowly(self, block: bytes, bytes_per_second: float) -> None:
        step = max(1, int(bytes_per_second / 50))
        with self.faults.clock.going():
            for start in range(0, len(block), step):
                if self.faults.closing.wait(step / bytes_per_second):
                    raise ConnectionAbortedError
                self._send(block[start : start + step])

    def _stall(self) -> None:
        self.connection.settimeout(0.05)
        with self.faults.clock.going():
            while not self.faults.closing.is_set():
                try:
                    if not self.connection.recv(1):
                        return
                except TimeoutError:
                    continue

    def _reset(self) -> None:
        time.sleep(0.05)  # A reset makes the other side forget what it has not read yet.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.connection.close()


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while block := answer.read(BLOCK_BYTES):
        yield block
