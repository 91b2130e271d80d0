"""Bytes over HTTP that can be trusted: allowed hosts only, time limits, retries, resumed parts, hashes taken on the way.

Resuming: RFC 9110 section 14 (Range) with If-Match (section 13.1.1), so that a part is never continued with another version of the file.

    <parts>/<sha256 of the URL>.part     the bytes so far
    <parts>/<sha256 of the URL>.json     ETag and size that they belong to, written before the first byte
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import hashlib
import http.client
import io
import ipaddress
import json
import random
import re
import shutil
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import tenacity
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    ProxySchemeUnknown,
)
from urllib3.response import BaseHTTPResponse
from urllib3.util import Url, make_headers, parse_url

from medimg.errors import MedimgError, UsageError, one_line

BLOCK_BYTES = 1 << 20
"""Read, hashed and written at once: hashlib lets other threads run meanwhile, and with small blocks they would mostly wait for each other."""
RESERVE_BYTES = 64 << 20
"""Stays free on the disk; also how many bytes are written between two looks at it."""
REDIRECTS = 5
TICK_SECONDS = 0.2
"""How often a thread that waits for a server looks whether it should stop."""

Result = TypeVar("Result")


class TransferError(MedimgError):
    """A request that failed for good; the message names address, status and what was expected.

    Attributes:
        status: the last HTTP status, 0 where none came.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Missing(TransferError):
    """404 or 410."""


class Unreachable(TransferError):
    """No answer at all after every attempt: no such host, refused, timed out; or a host that is not allowed."""


class Denied(TransferError):
    """401 or 403: credentials are missing, wrong, or do not reach that far."""


class Interrupted(MedimgError):
    """The caller asked to stop."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server. Seconds and bytes per second.

    Attributes:
        connect_seconds: until a connection stands (name resolution has the system's own limit).
        read_seconds: of silence, before and within an answer.
        attempts: of one request, the first included. A part that outgrew all earlier attempts, at no less than the slowest speed with all the
            waiting, counts as progress: attempts are counted since the last progress.
        first_wait_seconds, longest_wait_seconds: of the exponential backoff with full jitter; Retry-After is honoured up to the longest.
        slowest_bytes_per_second, slow_seconds: slower than this over so long counts as a stall. The head of an answer, and each piece of it
            with what chunked encoding puts around it, must come within read_seconds + slow_seconds.
    """

    connect_seconds: float = 10
    read_seconds: float = 60
    attempts: int = 6
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 120
    slowest_bytes_per_second: float = 500
    slow_seconds: float = 60


@dataclass(frozen=True)
class Login:
    """Credentials of one origin; they are sent there and nowhere else, and appear in no message.

    Attributes:
        origin: scheme://host:port.
        header: the value of Authorization.
    """

    origin: str
    header: str = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """A small answer, whole. Header names are in lower case; `url` is where the redirects led, without secrets."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Downloaded:
    """A file that came whole.

    Attributes:
        path: below the parts folder.
        url: as asked for, without secrets (`shown_url`).
        bytes, md5, sha256: of the file.
        fetched: bytes that this call moved: less than `bytes` where it continued an earlier part, more where it had to begin anew.
        headers: of the last answer, names in lower case; empty where an earlier process had fetched all of it.
    """

    path: Path
    url: str
    bytes: int
    md5: str
    sha256: str
    fetched: int
    headers: Mapping[str, str]


class Transfer:
    """All HTTP of a fetch. Thread-safe, except that one URL is downloaded by one thread at a time; the workers share its connections.

    Args:
        origins: addresses that the user or the configuration named (scheme://host[:port]); all other hosts are refused, in redirects too.
        allowed_hosts: further host names (exact, or a suffix that begins with a dot), for redirects of an archive to its storage. A name that
            leads to a private address is refused, for a stranger's redirect must not reach into the user's network; an address itself may be listed.
        parts: folder for incomplete files; they outlive the process.
        patience: time limits and retries.
        logins: credentials by origin.
        on_bytes: called with the number of bytes that arrived, from any thread.
        on_retry: called with one line, before each wait.
        stop: when set, every call ends with Interrupted soon (while a connection is being made: after `connect_seconds` at the latest).
        workers: how many connections to one host are kept open.
    """

    def __init__(
        self,
        *,
        origins: tuple[str, ...],
        parts: Path,
        allowed_hosts: tuple[str, ...] = (),
        patience: Patience = Patience(),
        logins: tuple[Login, ...] = (),
        on_bytes: Callable[[int], None] | None = None,
        on_retry: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
        workers: int = 8,
    ) -> None:
        self._patience = patience
        self._parts = parts
        self._on_bytes = on_bytes or (lambda count: None)
        self._on_retry = on_retry or (lambda line: None)
        self._stop = stop or threading.Event()
        self._logins = {_origin(login.origin): login.header for login in logins}
        self._rules = _Rules(_Hosts(origins, allowed_hosts), patience, self._stop)
        self._connections = _Connections(self._rules, workers=workers)

    def read(
        self, url: str, *, headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None, limit_bytes: int = 256_000_000
    ) -> Answer:
        """GET (or POST of a form) of a small answer; an answer of more than `limit_bytes` is refused. 2xx only; everything else raises.

        Raises:
            Missing, Denied, Unreachable, TransferError, Interrupted.
        """

        def attempt() -> Answer:
            with self._request(url, headers or {}, form=form) as (final, response):
                body = bytearray()
                for block in self._blocks(final, response):
                    body += block
                    if len(body) > limit_bytes:
                        raise TransferError(f"{shown_url(url)}: more than {limit_bytes} bytes, expected a small answer", status=response.status)
                return Answer(shown_url(final), response.status, _lowered(response), bytes(body))

        return self._repeat(url, attempt)

    def download(self, url: str, *, size: int | None = None, md5: str | None = None, headers: Mapping[str, str] | None = None) -> Downloaded:
        """GET of a file of any size into the parts folder, continued where an earlier try (of this or an earlier process) ended.

        Args:
            url: its part is only hashed, not fetched, where an earlier try left it whole.
            size, md5: what the archive says of the file; a file that differs is thrown away and fetched anew, until attempts are used up.
                Without `md5` the answer's ETag is used where it is an MD5 (32 hex digits, S3 without multipart), and `x-goog-hash`.
            headers: sent along.

        Raises:
            Missing, Denied, Unreachable, TransferError, Interrupted; MedimgError where the disk is full.
        """
        self._parts.mkdir(parents=True, exist_ok=True)
        part = _Part(self._parts / hashlib.sha256(url.encode()).hexdigest(), url, wanted_size=size, wanted_md5=(md5 or "").lower())
        return self._repeat(url, lambda: self._continue(part, headers or {}), reached=lambda: part.most)

    def _continue(self, part: _Part, headers: Mapping[str, str]) -> Downloaded:
        """One attempt at a file."""
        try:
            with _naming_disk_errors(part):
                if not part.is_whole():
                    self._fetch(part, headers)
                part.hash_so_far(self._check_stop)
                part.check()
                part.forget()
        except _Again as again:
            if again.anew:
                part.begin_anew()
            raise
        return part.downloaded()

    def _fetch(self, part: _Part, headers: Mapping[str, str]) -> None:
        with self._request(part.url, {**headers, **part.range_headers()}) as (final, response):
            part.take_head(response)
            part.hash_so_far(self._check_stop)
            looked_at = -RESERVE_BYTES
            with part.path.open("ab") as opened:
                for block in self._blocks(final, response):
                    if part.bytes - looked_at >= RESERVE_BYTES:
                        looked_at = part.bytes
                        part.check_disk()
                    opened.write(block)
                    part.count(block)

    def _blocks(self, url: str, response: BaseHTTPResponse) -> Iterator[bytes]:
        """The body in blocks of at least 1 MiB, the last one excepted; what came before a failure is handed over, then the failure is raised."""
        block = bytearray()
        try:
            while piece := response.read1(BLOCK_BYTES):
                self._on_bytes(len(piece))
                block += piece
                if len(block) >= BLOCK_BYTES:
                    yield bytes(block)
                    block.clear()
        except HTTPError as error:
            if block:
                yield bytes(block)
            raise _Again(TransferError(f"{shown_url(url)}: {self._reason(error)}, expected the whole answer", status=response.status)) from None
        if block:
            yield bytes(block)

    @contextlib.contextmanager
    def _request(self, url: str, headers: Mapping[str, str], *, form: Mapping[str, str] | None = None) -> Iterator[tuple[str, BaseHTTPResponse]]:
        """The head of a 2xx answer and where it came from; follows redirects. The connection is kept for others if the body was read to its end."""
        response: BaseHTTPResponse | None = None
        try:
            for _ in range(REDIRECTS + 1):
                self._check_stop()
                self._rules.hosts.check_url(url)
                response = self._ask(url, headers, form)
                if response.status not in (301, 302, 303, 307, 308):
                    self._check_status(url, response)
                    yield url, response
                    return
                target = _redirected(url, response)
                if _origin(target) != _origin(url):
                    headers = {name: value for name, value in headers.items() if name.lower() not in ("authorization", "cookie")}
                form = form if response.status in (307, 308) else None
                url = target
                _drain(response)
            raise TransferError(f"{shown_url(url)}: more than {REDIRECTS} redirects, expected an answer")
        finally:
            if response is not None:
                response.close()

    def _ask(self, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None) -> BaseHTTPResponse:
        # identity: sizes, ranges and checksums are those of the file, which no longer holds for a file that the server packed on the way.
        sent = {"User-Agent": "medimg", "Accept": "*/*", **headers, "Accept-Encoding": "identity"}
        if login := self._logins.get(_origin(url)):
            sent["Authorization"] = login
        body = None
        if form is not None:
            body = urllib.parse.urlencode(form)
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            return self._connections.open("GET" if form is None else "POST", url, headers=sent, body=body)
        except LocationValueError:
            raise TransferError(f"{shown_url(url)}: no address, expected http(s)://host/path") from None
        except HTTPError as error:
            failure = Unreachable(f"{shown_url(url)}: {self._reason(error)}, expected an answer")
            raise (failure if isinstance(_root(error), ssl.SSLCertVerificationError) else _Again(failure)) from None

    def _check_status(self, url: str, response: BaseHTTPResponse) -> None:
        status, shown = response.status, shown_url(url)
        if 200 <= status < 300:
            packed = response.headers.get("Content-Encoding", "identity")
            if packed.strip().lower() not in ("", "identity"):
                raise _Again(TransferError(f"{shown}: Content-Encoding {one_line(packed)}, expected the bytes as they are (identity)", status=status))
            return
        found = f"{shown}: status {status}"
        if status in (404, 410):
            raise Missing(f"{found} (not there), expected 200", status=status)
        if status in (401, 403):
            raise Denied(f"{found} (no permission), expected 200; are the credentials for {_origin(url)} right?", status=status)
        failure = TransferError(f"{found}, expected 200", status=status)
        if status in (408, 425, 429) or status >= 500:
            asked = _retry_after_seconds(response.headers.get("Retry-After", ""))
            if asked is not None and asked > self._patience.longest_wait_seconds:
                longest = self._patience.longest_wait_seconds
                raise TransferError(f"{found}, the server asks to come again in {asked:.0f} s, expected at most {longest:g} s", status=status)
            raise _Again(failure, wait_seconds=asked)
        if status in (412, 416):
            raise _Again(TransferError(f"{found} (the file changed at the server), expected the rest of it", status=status), anew=True)
        raise failure

    def _repeat(self, url: str, attempt: Callable[[], Result], *, reached: Callable[[], int] = lambda: 0) -> Result:
        """Calls until it succeeds, fails for good, or attempts since the last progress of `reached` (in bytes) are used up."""
        track = _Track(self._patience, reached)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Again),
            after=track.note,
            stop=track.is_over,
            wait=track.wait_seconds,
            before_sleep=lambda state: self._on_retry(f"{track.last}; again in {state.upcoming_sleep:.1f} s"),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except _Again as again:
            raise again.failure_after(track.failures) from None

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)
        self._check_stop()

    def _check_stop(self) -> None:
        _check_stop(self._stop)

    def _reason(self, error: HTTPError) -> str:
        root = _root(error)
        if isinstance(error, NameResolutionError):
            return "no such host"
        if isinstance(error, ConnectTimeoutError) and isinstance(root, TimeoutError):
            return f"no connection within {self._patience.connect_seconds:g} s"
        if isinstance(root, OSError):
            return one_line(root.strerror or str(root))
        if isinstance(root, http.client.IncompleteRead):
            return "the answer broke off"
        return one_line(str(root) or type(root).__name__)


def shown_url(url: str) -> str:
    """An address as messages and receipts show it: without user name, password and fragment, and without the values of secret parameters."""
    try:
        parts = urllib.parse.urlsplit(url)
        netloc = parts.netloc.rpartition("@")[2]
        query = "&".join(_shown_parameter(parameter) for parameter in parts.query.split("&"))
        return one_line(urllib.parse.urlunsplit((parts.scheme, netloc, parts.path, query, "")))
    except ValueError:
        return one_line(re.sub(r"//[^/?#]*@", "//", url.partition("?")[0]))


_SECRET = re.compile(
    r"token|secret|signature|passw|credential|api-?_?key|^(sig|se|sp|key|pwd|auth|authorization|policy)$|^x-(amz|goog)-|^awsaccesskeyid$", re.I
)


def _shown_parameter(parameter: str) -> str:
    name, separator, _ = parameter.partition("=")
    return f"{name}=..." if separator and _SECRET.search(urllib.parse.unquote_plus(name)) else parameter


class _Again(Exception):
    """An attempt failed with what may pass; `anew` where the bytes so far are of no use."""

    def __init__(self, failure: TransferError, *, wait_seconds: float | None = None, anew: bool = False) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.wait_seconds = wait_seconds
        self.anew = anew

    def failure_after(self, attempts: int) -> TransferError:
        return type(self.failure)(f"{self.failure} ({attempts} attempts)", status=self.failure.status)


class _Track:
    """Counts failed attempts since the last progress."""

    def __init__(self, patience: Patience, reached: Callable[[], int]) -> None:
        self._patience = patience
        self._reached = reached
        self._best = reached()
        self._since = time.monotonic()
        self.failures = 0
        self.last = ""

    def note(self, state: tenacity.RetryCallState) -> None:
        now, reached = time.monotonic(), self._reached()
        # Only what is more than ever before: a server that always breaks off, or always sends the wrong file, must come to an end.
        if reached > self._best and reached - self._best >= self._patience.slowest_bytes_per_second * (now - self._since):
            self.failures = 0
        self.failures += 1
        self._best, self._since = max(self._best, reached), now
        self.last = str(_raised(state))

    def is_over(self, state: tenacity.RetryCallState) -> bool:
        return self.failures >= self._patience.attempts

    def wait_seconds(self, state: tenacity.RetryCallState) -> float:
        asked = _raised(state).wait_seconds
        longest = min(self._patience.longest_wait_seconds, self._patience.first_wait_seconds * 2 ** min(self.failures - 1, 30))
        return random.uniform(0, longest) if asked is None else asked


def _raised(state: tenacity.RetryCallState) -> _Again:
    again = state.outcome.exception() if state.outcome else None
    assert isinstance(again, _Again)
    return again


class _Part:
    """An incomplete file: its bytes, the hashes of them, and what is known of the whole.

    Attributes:
        bytes: how many are hashed.
        size: of the whole file, None where neither the caller nor the server says.
        most: bytes that any attempt reached.
    """

    def __init__(self, base: Path, url: str, *, wanted_size: int | None, wanted_md5: str) -> None:
        self.path = base.with_suffix(".part")
        self.url = url
        self.fetched = 0
        self._notes = base.with_suffix(".json")
        self._wanted_size, self._wanted_md5 = wanted_size, wanted_md5
        self._headers: Mapping[str, str] = {}
        self._etag, self._md5 = "", wanted_md5
        self.size = wanted_size
        self._forget_hashes()
        self._read_notes()
        self.most = self._on_disk()

    def is_whole(self) -> bool:
        """All bytes are there, though nobody has looked at them yet."""
        return self.size is not None and self.path.exists() and self._on_disk() == self.size and bool(self._etag or self._md5)

    def range_headers(self) -> dict[str, str]:
        """Asks for the rest; nothing where it must begin anew: only a strong ETag says that the rest belongs to these bytes."""
        if not self._on_disk() or not self._etag.startswith('"'):
            return {}
        return {"Range": f"bytes={self._on_disk()}-", "If-Match": self._etag}

    def take_head(self, response: BaseHTTPResponse) -> None:
        """Checks that the answer is the file or its rest, and notes what it says, before a byte is written.

        Raises:
            TransferError: it is no file.
            _Again: it is not the file that was expected.
        """
        headers = _lowered(response)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            raise self._wrong(f"a web page ({kind})", "a file", response.status)
        etag = headers.get("etag", "")
        if response.status == 206:
            self._take_rest(headers, response.status)
            if etag and etag != self._etag:
                raise self._wrong(f"ETag {one_line(etag)}", self._etag, response.status, anew=True)
        elif response.status == 200:
            size = int(headers["content-length"]) if headers.get("content-length", "").isdecimal() and not _is_chunked(headers) else None
            if size is not None and size != (self._wanted_size if self._wanted_size is not None else size):
                raise self._wrong(f"{size} bytes announced", f"{self._wanted_size}", response.status)
            self.begin_anew()
            self._etag, self._md5 = etag, self._wanted_md5 or _md5_of(headers)
            self.size = size if self._wanted_size is None else self._wanted_size
            if self.size is None and not self._md5 and not _is_chunked(headers):
                raise self._wrong("an answer of unknown length without checksum", "a way to know that it came whole", response.status)
            self._write_notes()
        else:
            raise TransferError(f"{shown_url(self.url)}: status {response.status}, expected 200 and a file", status=response.status)
        self._headers = headers

    def hash_so_far(self, check_stop: Callable[[], None]) -> None:
        """Hashes what lies on the disk and is not hashed yet."""
        if self._on_disk() == self.bytes:
            return
        with self.path.open("rb") as opened:
            opened.seek(self.bytes)
            while block := opened.read(BLOCK_BYTES):
                check_stop()
                self._hash(block)

    def count(self, block: bytes) -> None:
        """Hashes a block that was just written."""
        self._hash(block)
        self.fetched += len(block)
        self.most = max(self.most, self.bytes)
        if self.size is not None and self.bytes > self.size:
            raise self._wrong(f"at least {self.bytes} bytes", f"{self.size}", anew=True)

    def check(self) -> None:
        """Compares with what the caller and the server say of the whole file. Raises _Again, and it will begin anew."""
        if self.size is not None and self.bytes != self.size:
            raise self._wrong(f"{self.bytes} bytes", f"{self.size}", anew=self.bytes > self.size)
        md5 = self._digests[0].hexdigest()
        if self._md5 and md5 != self._md5:
            raise self._wrong(f"MD5 {md5}", self._md5, anew=True)
        if not self._wanted_md5 and _looks_like_html(self.path):
            raise self._wrong("a web page", "a file", anew=True)

    def check_disk(self) -> None:
        """Raises MedimgError if the rest and a reserve have no room."""
        needed = (0 if self.size is None else self.size - self.bytes) + RESERVE_BYTES
        free = shutil.disk_usage(self.path.parent).free
        if free < needed:
            raise MedimgError(f"{self.path.parent}: {free} bytes free, expected {needed} for {shown_url(self.url)} ({RESERVE_BYTES} in reserve)")

    def begin_anew(self) -> None:
        """Throws away what came so far."""
        self.path.unlink(missing_ok=True)
        self._forget_hashes()
        self._etag, self._md5, self.size = "", self._wanted_md5, self._wanted_size

    def forget(self) -> None:
        """Removes the notes; the bytes are the caller's now."""
        self._notes.unlink(missing_ok=True)

    def downloaded(self) -> Downloaded:
        md5, sha256 = (digest.hexdigest() for digest in self._digests)
        return Downloaded(self.path, shown_url(self.url), self.bytes, md5, sha256, self.fetched, self._headers)

    def _take_rest(self, headers: Mapping[str, str], status: int) -> None:
        """Checks that an answer goes on where the part ends, and to the end of the file."""
        found = headers.get("content-range", "")
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", found.strip())
        first, last, whole = map(int, match.groups()) if match else (-1, -1, -1)
        size = whole if self.size is None else self.size
        if (first, last, whole) != (self._on_disk(), size - 1, size) or not self._on_disk():
            raise self._wrong(f"Content-Range {one_line(found) or 'missing'}", f"bytes {self._on_disk()}-{size - 1}/{size}", status, anew=True)
        self.size = size

    def _hash(self, block: bytes) -> None:
        for digest in self._digests:
            digest.update(block)
        self.bytes += len(block)

    def _forget_hashes(self) -> None:
        self._digests = (hashlib.md5(usedforsecurity=False), hashlib.sha256())
        self.bytes = 0

    def _on_disk(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _read_notes(self) -> None:
        try:
            notes = json.loads(self._notes.read_bytes())
            etag, size, md5 = str(notes["etag"]), notes["size"], str(notes["md5"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        # Of another version of the file: the part is overwritten by the next answer, for without an ETag nothing is continued.
        if self._wanted_size in (None, size) and self._wanted_md5 in ("", md5) and self._on_disk() <= (size or self._on_disk()):
            self._etag, self._md5, self.size = etag, md5, size

    def _write_notes(self) -> None:
        draft = self._notes.with_suffix(".draft")
        draft.write_text(json.dumps({"url": shown_url(self.url), "etag": self._etag, "md5": self._md5, "size": self.size}))
        draft.replace(self._notes)

    def _wrong(self, found: str, expected: str, status: int = 200, *, anew: bool = False) -> _Again:
        return _Again(TransferError(f"{shown_url(self.url)}: {found}, expected {expected}", status=status), anew=anew)


class _Hosts:
    """Whom we may speak to: by name before the connection, by address when it stands."""

    def __init__(self, origins: tuple[str, ...], allowed: tuple[str, ...]) -> None:
        self._named = {_host(origin) for origin in origins if origin}
        self._exact = {name.lower() for name in allowed if not name.startswith(".")}
        self._suffixes = tuple(name.lower() for name in allowed if name.startswith("."))

    def check_url(self, url: str) -> None:
        """Raises Unreachable for another scheme than http(s) and for hosts that nobody named."""
        host = _host(url)
        if _parsed(url).scheme not in ("http", "https"):
            raise Unreachable(f"{shown_url(url)}: not followed, expected http or https")
        if host not in self._named and host not in self._exact and not host.endswith(self._suffixes or ("\0",)):
            known = ", ".join(sorted({*self._named, *self._exact, *self._suffixes}))
            raise Unreachable(f"{shown_url(url)}: host {host!r} is not allowed, expected one of {known}")

    def check_peer(self, host: str, peer: str) -> None:
        """Raises Unreachable if a name led where it must not: whatever the name server says now, the connection is what counts.

        Args:
            host: as in the address.
            peer: IP address of the other end.
        """
        address = ipaddress.ip_address(peer.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if str(address) in self._exact or (address.is_global and not address.is_multicast):
            return
        # Link-local addresses are refused even to names that the user gave: clouds hand out credentials at 169.254.169.254.
        if address.is_link_local or host.strip("[]").lower() not in self._named:
            raise Unreachable(f"{host}: leads to {address}, not connected, expected a public address")


@dataclass(frozen=True)
class _Rules:
    hosts: _Hosts
    patience: Patience
    stop: threading.Event


class _Connections:
    """Open connections, through the proxies that the environment names (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)."""

    def __init__(self, rules: _Rules, *, workers: int) -> None:
        self._rules = rules
        timeout = urllib3.Timeout(connect=rules.patience.connect_seconds, read=rules.patience.read_seconds)
        self._options: dict[str, Any] = {"num_pools": 16, "maxsize": workers, "retries": False, "timeout": timeout}
        self._direct = self._guarded(urllib3.PoolManager(**self._options))
        self._proxies = {scheme: self._proxy(address) for scheme, address in urllib.request.getproxies().items() if scheme in ("http", "https")}

    def open(self, method: str, url: str, *, headers: Mapping[str, str], body: str | None) -> BaseHTTPResponse:
        """Sends a request and gives the head of the answer; the body is not read yet. Raises urllib3's HTTPError, Unreachable, Interrupted."""
        address = _parsed(url)._replace(auth=None, fragment=None)
        manager = self._proxies.get(address.scheme or "", self._direct)
        # A proxy elsewhere knows nothing of this machine's own servers.
        if _is_loopback(_host(url)) or urllib.request.proxy_bypass(address.netloc or ""):
            manager = self._direct
        return manager.urlopen(
            method, address.url, headers=headers, body=body, redirect=False, preload_content=False, decode_content=False, retries=False
        )

    def _proxy(self, address: str) -> urllib3.PoolManager:
        address = address if "://" in address else f"http://{address}"
        try:
            auth = _parsed(address).auth
            headers = make_headers(proxy_basic_auth=urllib.parse.unquote(auth)) if auth else None
            return self._guarded(urllib3.ProxyManager(address, proxy_headers=headers, **self._options))
        except (HTTPError, ProxySchemeUnknown):
            raise UsageError(f"proxy {shown_url(address)} from the environment: not supported, expected http://host:port") from None

    def _guarded(self, manager: urllib3.PoolManager) -> urllib3.PoolManager:
        rules = {"rules": self._rules}
        plain = type("Plain", (HTTPConnectionPool,), {"ConnectionCls": type("PlainConnection", (_Guarded,), rules)})
        tls = type("Tls", (HTTPSConnectionPool,), {"ConnectionCls": type("TlsConnection", (_GuardedTls,), rules)})
        manager.pool_classes_by_scheme = {"http": plain, "https": tls}
        return manager


class _Guarded(HTTPConnection):
    """A connection that looks at whom it reached before it says a word, and that does not wait for ever."""

    rules: ClassVar[_Rules]

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        if self.proxy is None:
            try:
                self.rules.hosts.check_peer(self.host, connected.getpeername()[0])
            except BaseException:
                connected.close()
                raise
        return connected

    def response_class(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> http.client.HTTPResponse:  # type: ignore[override]
        """What http.client makes of the bytes that come."""
        return _Response(sock, method=method, rules=self.rules)


class _GuardedTls(_Guarded, HTTPSConnection):
    """The same, encrypted."""


class _Response(http.client.HTTPResponse):
    """An answer of which neither the head nor a single piece takes for ever.

    A socket's own time limit is for one piece alone: a header line that comes byte by byte, or chunks without content, would never end.
    """

    def __init__(self, sock: socket.socket, *, method: str | None, rules: _Rules) -> None:
        self._wire = _Wire(sock, rules)
        super().__init__(self._wire, method=method)  # type: ignore[arg-type]

    def begin(self) -> None:
        self._wire.begin_step()
        super().begin()

    def read1(self, n: int = -1) -> bytes:
        self._wire.begin_step()
        return super().read1(n)


class _Wire(io.RawIOBase):
    """The receiving end of a socket, with the limits of Patience, and with an eye on the wish to stop."""

    def __init__(self, sock: socket.socket, rules: _Rules) -> None:
        self._sock = sock
        self._open = sock.makefile("rb", buffering=0)  # Keeps the socket open until this is closed, as http.client expects.
        self._rules = rules
        self._waited_seconds = 0.0
        self._bytes = 0
        self.begin_step()

    def makefile(self, mode: str) -> io.BufferedReader:
        """What http.client asks of a socket."""
        return io.BufferedReader(self)

    def begin_step(self) -> None:
        """From now on the time of one step runs."""
        patience = self._rules.patience
        self._limit = time.monotonic() + patience.read_seconds + patience.slow_seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        began, before = time.monotonic(), self._sock.gettimeout()
        _check_stop(self._rules.stop)
        # Short waits one after the other instead of one long one, so that a stop is noticed.
        self._sock.settimeout(min(TICK_SECONDS, self._rules.patience.read_seconds))
        try:
            while (count := self._receive(buffer)) is None:
                _check_stop(self._rules.stop)
                self._check_silence(began)
        finally:
            self._sock.settimeout(before)
        self._check_speed(began, count)
        return count

    def close(self) -> None:
        self._open.close()
        super().close()

    def _receive(self, buffer: Any) -> int | None:
        try:
            return self._sock.recv_into(buffer)
        except TimeoutError:
            return None

    def _check_silence(self, began: float) -> None:
        now, silence = time.monotonic(), self._rules.patience.read_seconds
        if now - began >= silence:
            raise TimeoutError(f"silent for {silence:g} s")
        self._check_step(now)

    def _check_step(self, now: float) -> None:
        patience = self._rules.patience
        if now > self._limit:
            raise TimeoutError(f"no end of a header or chunk within {patience.read_seconds + patience.slow_seconds:g} s")

    def _check_speed(self, began: float, count: int) -> None:
        """Only the time spent waiting counts: a slow disk here is not the server's fault."""
        now, patience = time.monotonic(), self._rules.patience
        self._check_step(now)
        if self._bytes:
            self._waited_seconds += now - began
        self._bytes += count
        if self._waited_seconds >= patience.slow_seconds:
            if self._bytes < patience.slowest_bytes_per_second * self._waited_seconds:
                raise TimeoutError(f"slower than {patience.slowest_bytes_per_second:g} bytes per second over {patience.slow_seconds:g} s")
            self._waited_seconds, self._bytes = 0.0, 1


@contextlib.contextmanager
def _naming_disk_errors(part: _Part) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder = part.path.parent
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            needed = (part.size or part.bytes) - part.bytes
            free = shutil.disk_usage(folder).free
            raise MedimgError(f"{folder}: disk full, {free} bytes free, expected {needed} more for {shown_url(part.url)}") from None
        raise MedimgError(f"{part.path}: cannot be written ({error.strerror or error})") from None


def _check_stop(stop: threading.Event) -> None:
    if stop.is_set():
        raise Interrupted("stopped as asked")


def _parsed(url: str) -> Url:
    """The address as urllib3 understands it: what is checked must be what is connected to."""
    try:
        return parse_url(url)
    except LocationValueError:
        raise TransferError(f"{shown_url(url)}: no address, expected http(s)://host/path") from None


def _host(url: str) -> str:
    return (_parsed(url).host or "").strip("[]").rstrip(".").lower()


def _origin(url: str) -> str:
    parsed = _parsed(url)
    return f"{parsed.scheme}://{_host(url)}:{parsed.port or {'http': 80, 'https': 443}.get(parsed.scheme or '', 0)}"


def _redirected(url: str, response: BaseHTTPResponse) -> str:
    """Where an answer sends us. Raises TransferError where it does not say, or would give up encryption."""
    location = response.headers.get("Location", "")
    target = urllib.parse.urljoin(url, location)
    if not location or (_parsed(url).scheme == "https" and _parsed(target).scheme != "https"):
        found = f"redirect to {shown_url(target)}" if location else "redirect without Location"
        raise TransferError(f"{shown_url(url)}: {found}, expected an https address", status=response.status)
    return target


def _drain(response: BaseHTTPResponse) -> None:
    """Reads a short rest, so that the connection can be used again."""
    with contextlib.suppress(HTTPError):
        if int(response.headers.get("Content-Length", "0")) < BLOCK_BYTES:
            while response.read1(BLOCK_BYTES):
                pass
    response.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_chunked(headers: Mapping[str, str]) -> bool:
    return "chunked" in headers.get("transfer-encoding", "").lower()


def _lowered(response: BaseHTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _md5_of(headers: Mapping[str, str]) -> str:
    """MD5 that the server states of the whole file, 32 hex digits, or empty."""
    for listed in headers.get("x-goog-hash", "").split(","):
        name, _, value = listed.strip().partition("=")
        if name == "md5":
            with contextlib.suppress(binascii.Error, ValueError):
                return base64.b64decode(value, validate=True).hex()
    # With a customer's or KMS key S3's ETag is 32 hex digits too, and not the MD5.
    keyed = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms") or "x-amz-server-side-encryption-customer-algorithm" in headers
    match = re.fullmatch(r'"([0-9a-fA-F]{32})"', headers.get("etag", "").strip())
    return match[1].lower() if match and not keyed else ""


def _looks_like_html(path: Path) -> bool:
    with path.open("rb") as opened:
        return re.match(rb"(\xef\xbb\xbf)?\s*(<!--.{,200}-->\s*)?<(!doctype html|html)\b", opened.read(512), re.I | re.S) is not None


def _retry_after_seconds(text: str) -> float | None:
    """RFC 9110 section 10.2.3: seconds or an HTTP date; None where it is neither."""
    if text.strip().isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())


def _root(error: BaseException) -> BaseException:
    """What lies below the wrappings of urllib3."""
    for inner in (*error.args, error.__cause__):
        if isinstance(inner, BaseException) and inner is not error:
            return _root(inner)
    return error
