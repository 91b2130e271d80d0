import base64
import contextlib
import dataclasses
import errno
import hashlib
import http.server
import itertools
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from urllib3.exceptions import ConnectTimeoutError

from medimg.archive.transport.connections import Hosts, explain
from medimg.archive.transport.errors import AccessDenied, Interrupted, NotFound, TransferError, Unreachable
from medimg.archive.transport.http_messages import Access, HttpResponse, Login
from medimg.archive.transport.retries import PATIENCE, Patience
from medimg.archive.transport.transfer import Control, Transfer
from medimg.archive.transport.urls import shown_url
from medimg.errors import MedimgError, UsageError
from tests.fakes.clock import MEASURING, ServerClock
from tests.fakes.fault_proxy import Fault, FaultProxy

CONTENT = random.Random(0).randbytes(300_000)
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
CLOCK = ServerClock()
"""Of all time limits in this module: a busy machine is no slow server."""
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


@pytest.fixture(scope="module")
def server():
    with serving() as url:
        yield url


@pytest.fixture
def proxy(server):
    with FaultProxy(server, clock=CLOCK) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def server_time(monkeypatch):
    """Time limits count only what a server makes us wait on purpose."""
    CLOCK.replace_time(monkeypatch)


@pytest.fixture
def all_time(monkeypatch, server_time):
    """Time limits count all time, as they do outside of tests."""
    for module in MEASURING:
        monkeypatch.setattr(f"{module}.time", time)


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


FAULTS = {
    "429 with Retry-After": Fault("status", status=429, retry_after="1"),
    "503 with Retry-After as a date": Fault(
        "status", status=503, retry_after=formatdate(time.time() - 60, usegmt=True)
    ),
    "500": Fault("status", status=500),
    "reset in the head": Fault("reset", at=0),
    "reset in the body": Fault("reset", at=100_000),
    "slow": Fault("slow", bytes_per_second=2000),
    "slow head": Fault("slow_head", bytes_per_second=50),
    "stall before the body": Fault("stall", at=0),
    "stall in the body": Fault("stall", at=70_000),
    "web page": Fault("html"),
    "short body": Fault("short_length", at=123_456),
    "short body of unknown length": Fault("short_close", at=123_456),
    "short chunks": Fault("short_chunked", at=123_456),
    "no chunk at all": Fault("short_chunked", at=0),
    "wrong MD5": Fault("wrong_md5"),
    "flipped bit": Fault("bit_flip", at=200_000),
    "packed": Fault("gzip"),
}


@pytest.mark.parametrize(
    "known",
    [{"size": len(CONTENT), "md5": MD5}, {"size": len(CONTENT)}, {}],
    ids=["size and MD5", "size", "nothing"],
)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_that_passes_ends_in_the_right_file(tmp_path, proxy, fault, known):
    proxy.script("/file", [fault])
    assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file", **known))
    assert [request.fault for request in proxy.requests] in ([fault, None], [fault])
    assert list((tmp_path / "parts").glob("*.json")) == []


STAYS = {
    "429 with Retry-After": "status 429, expected 200",
    "503 with Retry-After as a date": "status 503, expected 200",
    "500": "status 500, expected 200",
    "reset in the head": "reset by peer, expected",
    "slow": "slower than 10000 bytes per second over 0.5 s, expected the whole answer",
    "slow head": "(slower than|no end of a header).*expected an answer",
    "stall before the body": "silent for 0.6 s, expected the whole answer",
    "web page": r"a web page \(text/html\), expected a file",
    "short body of unknown length": "MD5 [0-9a-f]{32}, expected",
    "no chunk at all": "the answer broke off, expected the whole answer",
    "wrong MD5": f"MD5 {MD5}, expected [0-9a-f]{{32}}",
    "flipped bit": f"MD5 [0-9a-f]{{32}}, expected {MD5}",
    "packed": r"Content-Encoding gzip, expected the bytes as they are \(identity\)",
}


@pytest.mark.parametrize(("name", "words"), STAYS.items(), ids=STAYS.keys())
def test_a_fault_that_stays_ends_in_one_error_that_names_address_found_and_expected(
    tmp_path, proxy, name, words
):
    proxy.script("/file", [FAULTS[name]] * 1000)
    with pytest.raises(
        TransferError, match=rf"^http://127.0.0.1:\d+/file\?token=\.\.\.: .*{words}.* \(4 attempts\)$"
    ):
        transfer(proxy.url, tmp_path).download(f"{proxy.url}/file?token=hidden")
    assert len(proxy.requests) == SHORT.attempts


@pytest.mark.parametrize("name", sorted(set(FAULTS) - set(STAYS)))
def test_a_fault_that_stays_but_lets_something_through_ends_in_the_right_file(tmp_path, proxy, name):
    proxy.script("/file", [FAULTS[name]] * 1000)
    # What comes late is thrown away with its attempt.
    patience = dataclasses.replace(SHORT, attempts=20)
    downloaded = transfer(proxy.url, tmp_path, patience=patience).download(f"{proxy.url}/file")
    assert is_right(downloaded)
    assert downloaded.fetched == len(CONTENT)
    assert len(proxy.requests) > 2


def test_a_wrong_md5_in_the_answer_does_not_matter_where_the_archive_stated_the_right_one(tmp_path, proxy):
    proxy.script("/file", [FAULTS["wrong MD5"]])
    assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file", md5=MD5.upper()))
    assert len(proxy.requests) == 1


def test_a_reset_part_is_continued_and_nothing_is_fetched_twice(tmp_path, proxy):
    proxy.script("/file", [Fault("reset", at=100_000), Fault("reset", at=50_000)])
    downloaded = transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")
    assert is_right(downloaded)
    # A reset may cost what the kernel had taken in and not yet handed over; what was handed over is kept.
    assert downloaded.fetched == len(CONTENT)
    assert len(proxy.requests) == 3


def test_a_part_that_was_cut_short_is_continued_where_it_ended(tmp_path, proxy):
    proxy.script("/file", [Fault("short_length", at=100_000), Fault("short_length", at=50_000)])
    downloaded = transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")
    assert is_right(downloaded)
    assert downloaded.fetched == len(CONTENT)
    assert [request.headers.get("range") for request in proxy.requests] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
    ]
    assert {request.headers.get("if-match") for request in proxy.requests[1:]} == {f'"{MD5}"'}


def test_progress_gives_new_attempts(tmp_path, proxy):
    proxy.script("/file", [Fault("short_length", at=20_000)] * 14)
    assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file"))
    assert len(proxy.requests) == 15 > SHORT.attempts


@pytest.mark.usefixtures("all_time")
def test_crumbs_are_no_progress(tmp_path, proxy):
    proxy.script("/file", [Fault("reset", at=1)] * 1000)
    with pytest.raises(TransferError):
        transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")
    assert len(proxy.requests) == SHORT.attempts


def interrupted_part(proxy, tmp_path):
    """Leaves a part of 100,000 bytes behind, as a process that was killed does."""
    proxy.script("/file", [Fault("short_length", at=100_000)])
    with pytest.raises(TransferError):
        transfer(proxy.url, tmp_path, patience=Patience(attempts=1)).download(f"{proxy.url}/file")
    (part,) = (tmp_path / "parts").glob("*.part")
    assert part.stat().st_size == 100_000
    return part


def test_a_later_process_continues_a_part(tmp_path, proxy):
    interrupted_part(proxy, tmp_path)
    downloaded = transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")
    assert is_right(downloaded)
    assert downloaded.fetched == len(CONTENT) - 100_000


@pytest.mark.parametrize("known", [{}, {"size": len(CONTENT), "md5": MD5}])
def test_a_whole_part_is_hashed_not_fetched(tmp_path, proxy, known):
    part = interrupted_part(proxy, tmp_path)
    part.write_bytes(CONTENT)
    proxy.clear()
    downloaded = transfer(proxy.url, tmp_path).download(f"{proxy.url}/file", **known)
    assert is_right(downloaded)
    assert (downloaded.fetched, proxy.requests) == (0, [])


def test_a_killed_process_leaves_a_part_that_is_continued(tmp_path):
    content = random.Random(1).randbytes(6_000_000)
    code = (
        "import sys; from pathlib import Path; from medimg.archive.transport.transfer import Transfer; "
        "from medimg.archive.transport.http_messages import Access; url, parts = sys.argv[1:]; "
        "Transfer(Access((url,)), parts=Path(parts)).download(url)"
    )
    with serving(content=content, etag='"one"') as server, FaultProxy(server) as proxy:
        url, parts = f"{proxy.url}/file", tmp_path / "parts"
        proxy.script("/file", [Fault("stall", at=3_000_000)])
        with subprocess.Popen([sys.executable, "-c", code, url, str(parts)]) as child:
            while not any(path.stat().st_size for path in parts.glob("*.part")):
                assert child.poll() is None
                time.sleep(0.02)
            child.kill()
        downloaded = transfer(proxy.url, tmp_path).download(url)
    assert downloaded.path.read_bytes() == content
    assert downloaded.fetched < len(content)


def test_memory_does_not_grow_with_the_file(tmp_path):
    content = bytes(80 << 20)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    with serving(content=content) as server:
        tracemalloc.start()
        try:
            assert transfer(server, tmp_path).download(f"{server}/file", md5=md5).bytes == len(content)
            assert tracemalloc.get_traced_memory()[1] < 10 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("spoil", ["flipped", "longer", "no notes", "damaged notes", "notes of another size"])
def test_a_part_that_cannot_be_trusted_is_fetched_anew(tmp_path, proxy, spoil):
    part = interrupted_part(proxy, tmp_path)
    notes = part.with_suffix(".json")
    if spoil == "flipped":
        part.write_bytes(b"\0" * 100_000)
    elif spoil == "longer":
        part.write_bytes(CONTENT * 2)
    elif spoil == "no notes":
        notes.unlink()
    elif spoil == "damaged notes":
        notes.write_bytes(notes.read_bytes()[:10])
    else:
        notes.write_text(notes.read_text().replace(str(len(CONTENT)), str(len(CONTENT) - 1)))
    assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file"))


class Changed(FileServer):
    content = b"another version" * 10_000
    etag = '"second"'


class IgnoresRange(FileServer):
    def do_GET(self):
        del self.headers["Range"]
        super().do_GET()


class IgnoresIfMatch(Changed):
    def do_GET(self):
        del self.headers["If-Match"]
        super().do_GET()


class SameSize(IgnoresIfMatch):
    content = CONTENT[::-1]


class RefusesRange(FileServer):
    def do_GET(self):
        self.answer(
            416 if "Range" in self.headers else 200,
            {"ETag": self.etag},
            b"" if "Range" in self.headers else self.content,
        )


class WrongRange(FileServer):
    etag = '"first"'

    def answer(self, status, headers, content):
        if status == 206:  # As many bytes as asked for, and says so, but ten bytes too early.
            start = len(CONTENT) - len(content) - 10
            headers |= {"Content-Range": f"bytes {start}-{len(CONTENT) - 11}/{len(CONTENT)}"}
            content = CONTENT[start:-10]
        super().answer(status, headers, content)


@pytest.mark.parametrize(
    "handler", [Changed, IgnoresRange, IgnoresIfMatch, SameSize, RefusesRange, WrongRange]
)
def test_a_part_is_never_continued_with_other_bytes(tmp_path, handler):
    with serving(etag='"first"') as first, FaultProxy(first) as proxy:
        part = interrupted_part(proxy, tmp_path)
    with serving(handler) as second:
        # The same file at the address of another server: the part gets the name of its address.
        name = hashlib.sha256(f"{second}/file".encode()).hexdigest()
        for suffix in (".json", ".part"):
            part.with_suffix(suffix).rename(part.with_name(name + suffix))
        downloaded = transfer(second, tmp_path).download(f"{second}/file")
    assert downloaded.path.read_bytes() == handler.content


class Stating(FileServer):
    stated: ClassVar = {}

    def answer(self, status, headers, content):
        super().answer(status, headers | self.stated, content)


WRONG_MD5 = base64.b64encode(bytes(16)).decode()


@pytest.mark.parametrize(
    ("stated", "right"),
    [
        ({"ETag": f'"{"0" * 32}"'}, False),
        ({"ETag": f'"{"0" * 32}-2"'}, True),  # S3, uploaded in two parts.
        ({"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms"}, True),
        ({"ETag": f'W/"{"0" * 32}"'}, True),
        ({"ETag": '"1"', "x-goog-hash": f"crc32c=AAAAAA==,md5={WRONG_MD5}"}, False),
        (
            {
                "ETag": '"1"',
                "x-goog-hash": f"crc32c=AAAAAA==,md5={base64.b64encode(bytes.fromhex(MD5)).decode()}",
            },
            True,
        ),
        ({"Content-Type": "TEXT/HTML; charset=utf-8"}, False),
    ],
)
def test_what_the_answer_states_of_the_file_must_be_true(tmp_path, stated, right):
    with serving(Stating, stated=stated) as server:
        if right:
            assert is_right(transfer(server, tmp_path).download(f"{server}/file"))
        else:
            with pytest.raises(TransferError, match=r"(MD5|web page).*, expected"):
                transfer(server, tmp_path).download(f"{server}/file")


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html>\n<html></html>", b"\n  <HTML lang=en>", b"\xef\xbb\xbf<!-- moved --><html>"]
)
def test_a_web_page_is_no_file_whatever_it_calls_itself(tmp_path, page):
    with serving(content=page, etag="") as server:
        with pytest.raises(TransferError, match="a web page, expected a file"):
            transfer(server, tmp_path).download(f"{server}/file")
        assert list((tmp_path / "parts").glob("*.part")) == []


def test_what_nobody_can_know_to_be_whole_is_refused(tmp_path):
    with serving(etag="") as server, FaultProxy(server) as proxy:
        proxy.script("/", [Fault("short_close", at=1000)] * SHORT.attempts)
        with pytest.raises(
            TransferError,
            match="an answer of unknown length without checksum, expected a way to know that it came whole",
        ):
            transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")


@pytest.mark.parametrize("etag", ['W/"weak"', ""])
def test_without_a_strong_etag_it_begins_anew(tmp_path, etag):
    with serving(etag=etag) as server, FaultProxy(server) as proxy:
        proxy.script("/file", [Fault("short_length", at=100_000)])
        assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file"))
        assert [request.headers.get("range") for request in proxy.requests] == [None, None]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFound),
        (410, NotFound),
        (401, AccessDenied),
        (403, AccessDenied),
        (400, TransferError),
        (501, TransferError),
        (204, TransferError),
    ],
)
def test_a_definite_answer_is_not_asked_for_again(tmp_path, proxy, status, error):
    with pytest.raises(
        error, match=rf"^{proxy.url}/status/{status}: status {status}.*expected 200"
    ) as raised:
        transfer(proxy.url, tmp_path).download(f"{proxy.url}/status/{status}")
    assert raised.value.status == status
    assert len(proxy.requests) == 1


def test_retry_after_is_honoured(tmp_path, proxy):
    proxy.script("/file", [Fault("status", status=429, retry_after="1")])
    lines, began = [], time.monotonic()
    transfer(proxy.url, tmp_path, on_retry=lines.append).download(f"{proxy.url}/file")
    assert time.monotonic() - began >= 1
    assert lines == [f"{proxy.url}/file: status 429, expected 200; again in 1.0 s"]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_that_asks_for_more_patience_than_there_is_gets_named(tmp_path, proxy, form):
    day = 24 * 3600
    retry_after = str(day) if form == "seconds" else formatdate(time.time() + day, usegmt=True)
    proxy.script("/file", [Fault("status", status=503, retry_after=retry_after)])
    with pytest.raises(
        TransferError,
        match=r"status 503, the server asks to come again in 8\d{4} s, expected at most 1.5 s$",
    ):
        transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/file", "http://no-such-host.invalid/file"])
def test_a_server_that_is_not_there_is_unreachable(tmp_path, address):
    with pytest.raises(
        Unreachable,
        match=r"^http://.*/file: (Connection refused|no such host), expected an answer \(4 attempts\)$",
    ):
        transfer(address, tmp_path).download(address)


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Connection refused"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "Connection timed out"),
        (TimeoutError("timed out"), "no connection within 10 s"),
    ],
)
def test_what_the_system_says_of_a_connection_is_said_and_only_our_own_limit_is_called_one(cause, words):
    error = ConnectTimeoutError("Failed to establish a new connection")
    error.__cause__ = cause
    assert explain(error, PATIENCE) == words


def trickle_head(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.1)


def continue_for_ever(connection):
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 10)


def trail_for_ever(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n")
    while True:
        connection.sendall(b"X-More: 1\r\n" * 100)


def extend_chunk_for_ever(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def send_too_much(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")


def say_nothing(connection):
    connection.recv(1)


def close_at_once(connection):
    pass


def talk_nonsense(connection):
    connection.sendall(b"220 ftp.example.org ready\r\n")


@pytest.mark.parametrize(
    "talk",
    [
        trickle_head,
        continue_for_ever,
        trail_for_ever,
        extend_chunk_for_ever,
        send_too_much,
        say_nothing,
        close_at_once,
        talk_nonsense,
    ],
)
@pytest.mark.parametrize("call", ["download", "read"])
@pytest.mark.usefixtures("all_time")
def test_no_server_holds_us_for_ever(tmp_path, talk, call):
    options = {"size": 100} if call == "download" else {"limit_bytes": 1_000_000}
    with talking(talk) as url, pytest.raises(TransferError, match=rf"^{url}/file: .*expected"):
        getattr(transfer(url, tmp_path, patience=Patience(**vars(SHORT) | {"attempts": 2})), call)(
            f"{url}/file", **options
        )


FOR_EVER_SECONDS = 10_000_000


@pytest.mark.parametrize(
    "fault",
    [
        Fault("stall", at=1000),
        Fault("slow", bytes_per_second=5000),
        Fault("status", status=429, retry_after=str(FOR_EVER_SECONDS)),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_stop_ends_every_wait(tmp_path, proxy, fault):
    stop = threading.Event()

    def stop_while_waiting():
        while not proxy.requests:
            time.sleep(0.02)
        time.sleep(0.3)
        stop.set()

    endless = Patience(
        read_seconds=FOR_EVER_SECONDS, slow_seconds=FOR_EVER_SECONDS, longest_wait_seconds=FOR_EVER_SECONDS
    )
    proxy.script("/file", [fault] * 10)
    threading.Thread(target=stop_while_waiting, daemon=True).start()
    with pytest.raises(Interrupted):
        transfer(proxy.url, tmp_path, patience=endless, stop=stop).download(f"{proxy.url}/file")
    assert len(proxy.requests) == 1


def test_a_small_answer_is_read_whole(tmp_path, proxy):
    proxy.script("/file", [Fault("status", status=500), Fault("reset", at=1000)])
    answer = transfer(proxy.url, tmp_path).read(f"{proxy.url}/file")
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, CONTENT, f'"{MD5}"')


def test_an_answer_that_is_no_json_is_named():
    answer = HttpResponse("http://archive/list", 200, {}, b"<html>Scheduled maintenance</html>")
    with pytest.raises(
        TransferError,
        match=r"^http://archive/list: an answer that begins with b'<html>Sched.*', expected JSON$",
    ):
        answer.json()
    assert HttpResponse("http://archive/list", 200, {}, b'[{"a": 1}]').json() == [{"a": 1}]


def test_a_form_is_posted(tmp_path, server):
    assert (
        transfer(server, tmp_path).read(f"{server}/form", form={"list": "1.2,1.3", "format": "csv"}).body
        == b"list=1.2%2C1.3&format=csv"
    )


def test_an_empty_answer_is_an_answer(tmp_path, server):
    answer = transfer(server, tmp_path).read(f"{server}/status/204")
    assert (answer.status, answer.body) == (204, b"")


def test_a_large_answer_is_refused_where_a_small_one_was_expected(tmp_path, server):
    with pytest.raises(TransferError, match="more than 1000 bytes, expected a small answer"):
        transfer(server, tmp_path).read(f"{server}/file", limit_bytes=1000)


def test_redirects_are_followed(tmp_path, server):
    downloaded = transfer(server, tmp_path).download(f"{server}/to//to//file")
    assert is_right(downloaded)
    assert downloaded.url == f"{server}/to//to//file"


def test_redirects_in_a_circle_end(tmp_path, server):
    with pytest.raises(TransferError, match="more than 5 redirects"):
        transfer(server, tmp_path).download(f"{server}{'/to/' * 9}/file")


def test_credentials_go_to_their_origin_only(tmp_path, server):
    with serving() as other:
        fetching = transfer(
            server, tmp_path, origins=(server, other), logins=(Login(server, "Bearer secret"),)
        )
        assert fetching.read(f"{server}/login").body == b"Bearer secret"
        assert fetching.read(f"{other}/login").body == b"None"
        assert fetching.read(f"{server}/to/{other}/login").body == b"None"
        assert (
            fetching.read(f"{server}/to/{other}/login", headers={"Authorization": "Basic mine"}).body
            == b"None"
        )
        assert fetching.read(f"{other}/to/{server}/login").body == b"Bearer secret"
    assert "secret" not in repr(Login(server, "Bearer secret"))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("http://169.254.169.254/latest/meta-data", "host '169.254.169.254' is not allowed"),
        ("http://storage.example.org/file", "host 'storage.example.org' is not allowed"),
        ("file:///etc/passwd", "expected http or https"),
        ("ftp://127.0.0.1/file", "expected http or https"),
        ("http://127.0.0.1@storage.example.org/file", "host 'storage.example.org' is not allowed"),
        ("http://notexample.com/file", "host 'notexample.com' is not allowed"),
    ],
)
def test_a_redirect_to_a_stranger_is_refused(tmp_path, server, target, words):
    with pytest.raises(Unreachable, match=words):
        transfer(server, tmp_path, allowed_hosts=(".example.com",)).download(f"{server}/to/{target}")


@pytest.mark.parametrize(
    ("origin", "allowed", "reached"),
    [
        ("http://localhost", (), True),  # The user named it.
        ("http://elsewhere.example.org", ("localhost",), False),  # A name that leads to a private address.
        ("http://elsewhere.example.org", ("127.0.0.1", "localhost"), True),  # The very address is allowed.
    ],
)
def test_only_what_the_user_named_may_be_a_private_address(tmp_path, server, origin, allowed, reached):
    address = server.replace("127.0.0.1", "localhost")
    expected = (
        contextlib.nullcontext()
        if reached
        else pytest.raises(Unreachable, match=r"localhost: leads to 127\.0\.0\.1, not connected")
    )
    with expected:
        transfer(origin, tmp_path, allowed_hosts=allowed).download(f"{address}/file")


@pytest.mark.parametrize(
    ("peer", "named", "allowed", "connected"),
    [
        ("93.184.216.34", False, (), True),
        ("10.1.2.3", False, (), False),
        ("10.1.2.3", True, (), True),
        ("10.1.2.3", False, ("10.1.2.3",), True),
        ("100.64.0.1", False, (), False),
        ("::ffff:127.0.0.1", False, (), False),
        ("::1", False, (), False),
        ("fd00:ec2::254", False, (), False),
        ("224.0.0.1", False, (), False),
        ("169.254.169.254", True, (), False),
        ("::ffff:169.254.169.254", True, (), False),
        ("fe80::1%eth0", True, (), False),
        ("169.254.169.254", True, ("169.254.169.254",), True),
    ],
)
def test_the_address_behind_a_name_is_what_counts(peer, named, allowed, connected):
    hosts = Hosts(("http://named.example.org",), (".example.org", *allowed))
    with contextlib.nullcontext() if connected else pytest.raises(Unreachable, match="leads to"):
        hosts.check_peer("named.example.org" if named else "other.example.org", peer)


def test_a_full_disk_is_named_before_a_byte_is_written(tmp_path, server, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(
        MedimgError, match=rf"parts: 1000 bytes free, expected {len(CONTENT) + (64 << 20)} for {server}/file"
    ):
        transfer(server, tmp_path).download(f"{server}/file")
    assert list((tmp_path / "parts").glob("*.part")) in (
        [],
        [path for path in (tmp_path / "parts").iterdir() if path.stat().st_size == 0],
    )


def test_what_arrives_is_counted(tmp_path, proxy):
    proxy.script("/file", [Fault("short_length", at=100_000)])
    counts = []
    transfer(proxy.url, tmp_path, on_bytes=counts.append).download(f"{proxy.url}/file")
    assert sum(counts) == len(CONTENT)


def test_connections_are_used_again(tmp_path):
    peers = set()

    class Watched(FileServer):
        def setup(self):
            peers.add(self.client_address)
            super().setup()

    with serving(Watched) as url:
        fetching = transfer(url, tmp_path)
        for number in range(5):
            fetching.download(f"{url}/{number}")
        fetching.download(f"{url}/to//file")
    assert len(peers) == 1


def test_workers_share_a_transfer(tmp_path, proxy):
    faults = itertools.islice(
        itertools.cycle([Fault("reset", at=1000), Fault("status"), Fault("bit_flip", at=5)]), 20
    )
    proxy.script("/", faults)
    fetching, downloaded = (
        transfer(proxy.url, tmp_path, patience=Patience(**vars(SHORT) | {"attempts": 20})),
        [],
    )
    threads = [
        threading.Thread(
            target=lambda number=n: downloaded.append(fetching.download(f"{proxy.url}/{number}"))
        )
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(downloaded) == 16
    assert all(map(is_right, downloaded))


def test_a_proxy_of_the_environment_is_used(tmp_path, server, monkeypatch):
    with FaultProxy(server) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "http://user:pa%20ss@"))
        monkeypatch.setenv("no_proxy", "direct.invalid")
        fetching = transfer(
            "http://archive.example.org",
            tmp_path,
            origins=("http://archive.example.org", "http://direct.invalid", server),
        )
        with contextlib.suppress(
            TransferError
        ):  # The proxy is told the whole address, with which the server behind it can do nothing.
            fetching.read("http://archive.example.org/file")
        assert proxy.requests[0].path == "http://archive.example.org/file"
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwYSBzcw=="
        seen = len(proxy.requests)
        with pytest.raises(Unreachable):
            fetching.read("http://direct.invalid/file")
        assert is_right(fetching.download(f"{server}/file"))
        assert len(proxy.requests) == seen


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of localhost and archive.example.org, signed by itself; with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName("archive.example.org")])
    signed = (
        x509.CertificateBuilder(
            name,
            name,
            key.public_key(),
            x509.random_serial_number(),
            now - timedelta(days=1),
            now + timedelta(days=1),
        )
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def tls_server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Encrypted(FileServer):
        def setup(self):
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def do_GET(self):
            if self.path == "/stall":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
                with CLOCK.going():
                    self.rfile.read(1)
            super().do_GET()

    with serving(Encrypted) as url:
        yield url.replace("http://127.0.0.1", "https://localhost")


def test_encrypted_files_come_whole(tmp_path, tls_server, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    fetching = transfer(tls_server, tmp_path)
    assert is_right(fetching.download(f"{tls_server}/file"))
    with pytest.raises(TransferError, match=r"silent for 0.6 s"):
        fetching.download(f"{tls_server}/stall")


def test_a_certificate_of_nobody_is_refused_at_once(tmp_path, tls_server):
    lines = []
    with pytest.raises(Unreachable, match="certificate verify failed"):
        transfer(tls_server, tmp_path, on_retry=lines.append).download(f"{tls_server}/file")
    assert lines == []


def test_encryption_is_not_given_up(tmp_path, server, tls_server, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(
        TransferError, match=r"redirect to http://127.0.0.1:\d+/file, expected an https address"
    ):
        transfer(tls_server, tmp_path, origins=(tls_server, server)).download(
            f"{tls_server}/to/{server}/file"
        )


def test_a_tunnel_through_a_proxy_of_the_environment_works(tmp_path, tls_server, certificate, monkeypatch):
    asked = []

    def tunnel(connection):
        asked.append(connection.recv(65536).split(b"\r\n")[0])
        with socket.create_connection(("127.0.0.1", int(tls_server.rpartition(":")[2]))) as upstream:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(upstream, connection), daemon=True)
            back.start()
            pump(connection, upstream)

    def pump(source, target):
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                target.sendall(block)

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with talking(tunnel, listens_first=False) as proxy:
        monkeypatch.setenv("https_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        fetching = transfer("https://archive.example.org", tmp_path)
        assert is_right(fetching.download("https://archive.example.org/file"))
    assert [line.rpartition(b" ")[0] for line in asked] == [b"CONNECT archive.example.org:443"]


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1", "nonsense://x"])
def test_a_proxy_that_we_cannot_speak_to_is_named(tmp_path, monkeypatch, address):
    monkeypatch.setenv("https_proxy", address)
    with pytest.raises(
        UsageError, match=f"proxy {address} from the environment: not supported, expected http://host:port"
    ):
        transfer("https://archive.example.org", tmp_path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:word@host/a?b=1#c", "https://host/a?b=1"),
        ("https://host/a?token=1&b=2", "https://host/a?token=...&b=2"),
        (
            "https://host/a?X-Amz-Signature=1&X-Amz-Credential=2&x-amz-date=3",
            "https://host/a?X-Amz-Signature=...&X-Amz-Credential=...&x-amz-date=...",
        ),
        (
            "https://host/a?SeriesInstanceUID=1.2&format=json",
            "https://host/a?SeriesInstanceUID=1.2&format=json",
        ),
        ("https://host/a?access%5Ftoken=1", "https://host/a?access%5Ftoken=..."),
        ("https://user:word@[host/a?token=1", "https://[host/a"),
        ("https://host/a\x1b[31m", "https://host/a\\x1b[31m"),
    ],
)
def test_an_address_is_shown_without_secrets(url, shown):
    assert shown_url(url) == shown


def test_errors_contain_no_secret(tmp_path):
    url = "http://user:hunter2@127.0.0.1:1/file?Signature=hunter2"
    with pytest.raises(Unreachable) as raised:
        transfer(url, tmp_path).download(url)
    assert "hunter2" not in str(raised.value)


def test_names_below_parts_are_hashes(tmp_path, server):
    url = f"{server}/..%2f..%2fetc/passwd?a=/b"
    downloaded = transfer(server, tmp_path).download(url)
    assert downloaded.path == Path(tmp_path / "parts" / f"{hashlib.sha256(url.encode()).hexdigest()}.part")
