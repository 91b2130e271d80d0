"""Bytes over HTTP that can be trusted: allowed hosts, time limits, retries, resumed parts, hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import NOT_IMPLEMENTED, HTTPException
from pathlib import Path
from typing import Any

from urllib3.exceptions import HTTPError, LocationValueError
from urllib3.response import BaseHTTPResponse

from medimg.archive.transport.connections import (
    Connections,
    Hosts,
    Rules,
    check_stop,
    explain,
    is_bad_certificate,
    read_into,
)
from medimg.archive.transport.errors import AccessDenied, NotFound, TransferError, Unreachable
from medimg.archive.transport.partial_files import (
    BLOCK_BYTES,
    RESERVE_BYTES,
    Downloaded,
    PartialFile,
    lower_headers,
    naming_disk_errors,
)
from medimg.archive.transport.retries import PATIENCE, Patience, Result, RetryNeeded, read_retry_after, repeat
from medimg.archive.transport.urls import origin_of, parse_address, shown_url
from medimg.errors import one_line

REDIRECTS = 5


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
class HttpResponse:
    """A small answer, whole.

    Header names are in lower case; `url` is where the redirects led, without secrets.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """What the body says in JSON.

        Raises TransferError where it is none; the message says how it begins.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise TransferError(
                f"{self.url}: an answer that begins with {self.body[:60]!r}, expected JSON",
                status=self.status,
            ) from None


class Transfer:
    """All HTTP of a fetch.

    Thread-safe, except that one URL is downloaded by one thread at a time; the workers share its connections.

    Args:
        origins: addresses that the user or the configuration named (scheme://host[:port]); all other hosts
            are refused, in redirects too.
        allowed_hosts: further host names (exact, or a suffix that begins with a dot), for redirects of an
            archive to its storage. A name that leads to a private address is refused, for a stranger's
            redirect must not reach into the user's network; an address itself may be listed.
        parts: folder for incomplete files; they outlive the process.
        patience: time limits and retries.
        logins: credentials by origin.
        on_bytes: called with the number of bytes that arrived, from any thread.
        on_retry: called with one line, before each wait.
        stop: when set, every call ends with Interrupted soon (while a connection is being made: after
            `connect_seconds` at the latest).
        workers: how many connections to one host are kept open.
    """

    def __init__(
        self,
        *,
        origins: tuple[str, ...],
        parts: Path,
        allowed_hosts: tuple[str, ...] = (),
        patience: Patience = PATIENCE,
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
        self._logins = {origin_of(login.origin): login.header for login in logins}
        self._rules = Rules(Hosts(origins, allowed_hosts), patience, self._stop)
        self._connections = Connections(self._rules, workers=workers)

    def read(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        limit_bytes: int = 256_000_000,
    ) -> HttpResponse:
        """GET (or POST of a form) of a small answer.

        An answer of more than `limit_bytes` is refused. 2xx only; everything else raises.

        Raises:
            NotFound, AccessDenied, Unreachable, TransferError, Interrupted.
        """

        def attempt() -> HttpResponse:
            with self._request(url, headers or {}, form=form) as (final, response):
                body = bytearray()
                for block in self._blocks(final, response):
                    body += block
                    if len(body) > limit_bytes:
                        raise TransferError(
                            f"{shown_url(url)}: more than {limit_bytes} bytes, expected a small answer",
                            status=response.status,
                        )
                return HttpResponse(shown_url(final), response.status, lower_headers(response), bytes(body))

        return self._repeat(attempt)

    def download(
        self,
        url: str,
        *,
        size: int | None = None,
        md5: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Downloaded:
        """Downloads a file of any size into the parts folder by GET.

        Continues where an earlier try (of this or an earlier process) ended.

        Args:
            url: its part is only hashed, not fetched, where an earlier try left it whole.
            size, md5: what the archive says of the file; a file that differs is thrown away and fetched anew,
                until attempts are used up. Without `md5` the answer's ETag is used where it is an MD5 (32 hex
                digits, S3 without multipart), and `x-goog-hash`.
            headers: sent along.

        Raises:
            NotFound, AccessDenied, Unreachable, TransferError, Interrupted; DiskFull; MedimgError where the
                file cannot be written.
        """
        self._parts.mkdir(parents=True, exist_ok=True)
        part = PartialFile(
            self._parts / hashlib.sha256(url.encode()).hexdigest(),
            url,
            wanted_size=size,
            wanted_md5=(md5 or "").lower(),
        )
        return self._repeat(lambda: self._continue(part, headers or {}), reached=lambda: part.most)

    def _continue(self, part: PartialFile, headers: Mapping[str, str]) -> Downloaded:
        """One attempt at a file."""
        try:
            with naming_disk_errors(part):
                if not part.is_whole():
                    self._fetch(part, headers)
                part.hash_so_far(lambda: check_stop(self._stop))
                part.check()
                part.forget()
        except RetryNeeded as again:
            if again.anew:
                part.begin_anew()
            raise
        return part.downloaded()

    def _fetch(self, part: PartialFile, headers: Mapping[str, str]) -> None:
        with self._request(part.url, {**headers, **part.range_headers()}) as (final, response):
            part.take_head(response)
            part.hash_so_far(lambda: check_stop(self._stop))
            looked_at = -RESERVE_BYTES
            with part.path.open("ab") as opened:
                for block in self._blocks(final, response):
                    if part.bytes - looked_at >= RESERVE_BYTES:
                        looked_at = part.bytes
                        part.check_disk()
                    opened.write(block)
                    part.count(block)

    def _blocks(self, url: str, response: BaseHTTPResponse) -> Iterator[memoryview]:
        """The body in blocks of 1 MiB, the last one excepted, all in the same memory.

        What came before a failure is handed over first.
        """
        buffer, filled = memoryview(bytearray(BLOCK_BYTES)), 0
        try:
            while count := read_into(response, buffer[filled:]):
                self._on_bytes(count)
                filled += count
                if filled == BLOCK_BYTES:
                    yield buffer
                    filled = 0
        except (HTTPError, HTTPException, OSError) as error:
            if filled:
                yield buffer[:filled]
            raise RetryNeeded(
                TransferError(
                    f"{shown_url(url)}: {explain(error, self._patience)}, expected the whole answer",
                    status=response.status,
                )
            ) from None
        if filled:
            yield buffer[:filled]

    @contextlib.contextmanager
    def _request(
        self, url: str, headers: Mapping[str, str], *, form: Mapping[str, str] | None = None
    ) -> Iterator[tuple[str, BaseHTTPResponse]]:
        """The head of a 2xx answer and where it came from; follows redirects.

        The connection is kept for others if the body was read to its end.
        """
        response: BaseHTTPResponse | None = None
        try:
            for _ in range(REDIRECTS + 1):
                check_stop(self._stop)
                self._rules.hosts.check_url(url)
                response = self._ask(url, headers, form)
                if response.status not in (301, 302, 303, 307, 308):
                    self._check_status(url, response)
                    yield url, response
                    return
                target = _redirect_target(url, response)
                if origin_of(target) != origin_of(url):
                    headers = {
                        name: value
                        for name, value in headers.items()
                        if name.lower() not in ("authorization", "cookie")
                    }
                form = form if response.status in (307, 308) else None
                url = target
                _drain(response)
            raise TransferError(f"{shown_url(url)}: more than {REDIRECTS} redirects, expected an answer")
        finally:
            if response is not None:
                response.close()

    def _ask(self, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None) -> BaseHTTPResponse:
        # identity: sizes, ranges and checksums are those of the file, which no longer holds for a file that
        # the server packed on the way.
        sent = {"User-Agent": "medimg", "Accept": "*/*", **headers, "Accept-Encoding": "identity"}
        if login := self._logins.get(origin_of(url)):
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
            failure = Unreachable(f"{shown_url(url)}: {explain(error, self._patience)}, expected an answer")
            raise (failure if is_bad_certificate(error) else RetryNeeded(failure)) from None

    def _check_status(self, url: str, response: BaseHTTPResponse) -> None:
        status, shown = response.status, shown_url(url)
        if 200 <= status < 300:
            packed = response.headers.get("Content-Encoding", "identity")
            if packed.strip().lower() not in ("", "identity"):
                raise RetryNeeded(
                    TransferError(
                        f"{shown}: Content-Encoding {one_line(packed)}, expected the bytes as they "
                        "are (identity)",
                        status=status,
                    )
                )
            return
        found = f"{shown}: status {status}"
        if status in (404, 410):
            raise NotFound(f"{found} (not there), expected 200", status=status)
        if status in (401, 403):
            raise AccessDenied(
                f"{found} (no permission), expected 200; are the credentials for {origin_of(url)} right?",
                status=status,
            )
        failure = TransferError(f"{found}, expected 200", status=status)
        if status in (408, 425, 429) or (status >= 500 and status != NOT_IMPLEMENTED):
            asked = read_retry_after(response.headers.get("Retry-After", ""))
            if asked is not None and asked > self._patience.longest_wait_seconds:
                longest = self._patience.longest_wait_seconds
                raise TransferError(
                    f"{found}, the server asks to come again in {asked:.0f} s, expected at most "
                    f"{longest:g} s",
                    status=status,
                )
            raise RetryNeeded(failure, wait_seconds=asked)
        if status in (412, 416):
            raise RetryNeeded(
                TransferError(
                    f"{found} (the file changed at the server), expected the rest of it", status=status
                ),
                anew=True,
            )
        raise failure

    def _repeat(self, attempt: Callable[[], Result], *, reached: Callable[[], int] = lambda: 0) -> Result:
        return repeat(
            attempt, patience=self._patience, reached=reached, sleep=self._sleep, on_retry=self._on_retry
        )

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)
        check_stop(self._stop)


def _redirect_target(url: str, response: BaseHTTPResponse) -> str:
    """Where an answer sends us. Raises TransferError where it does not say, or would give up encryption."""
    location = response.headers.get("Location", "")
    target = urllib.parse.urljoin(url, location)
    if not location or (parse_address(url).scheme == "https" and parse_address(target).scheme != "https"):
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
