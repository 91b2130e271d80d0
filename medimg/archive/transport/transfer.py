"""Bytes over HTTP that can be trusted: allowed hosts, time limits, retries, resumed parts, hashes."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import NOT_IMPLEMENTED, SERVICE_UNAVAILABLE, TOO_MANY_REQUESTS, HTTPException
from pathlib import Path

from urllib3.exceptions import HTTPError, LocationValueError
from urllib3.response import BaseHTTPResponse

from medimg.archive.transport.connections import (
    TICK_SECONDS,
    Connections,
    Hosts,
    Rules,
    check_stop,
    explain,
    is_bad_certificate,
    read_into,
)
from medimg.archive.transport.errors import AccessDenied, NotFound, TransferError, Unreachable
from medimg.archive.transport.flow import MOST, Flow
from medimg.archive.transport.http_messages import Access, HttpResponse, drain, redirect_target
from medimg.archive.transport.partial_files import (
    BLOCK_BYTES,
    RESERVE_BYTES,
    Downloaded,
    PartialFile,
    lower_headers,
    naming_disk_errors,
)
from medimg.archive.transport.retries import PATIENCE, Patience, Result, RetryNeeded, read_retry_after, repeat
from medimg.archive.transport.urls import origin_of, shown_url
from medimg.errors import one_line

REDIRECTS = 5
ASKED_TOO_MUCH = (TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE)


@dataclass(frozen=True)
class Control:
    """What the caller of a transfer hears of it, and how it ends it.

    Attributes:
        on_bytes: called with the number of bytes that arrived, from any thread.
        on_retry: called with one line, before each wait.
        stop: when set, every call ends with Interrupted soon (while a connection is being made: after
            `connect_seconds` at the latest).
    """

    on_bytes: Callable[[int], None] = lambda count: None
    on_retry: Callable[[str], None] = lambda line: None
    stop: threading.Event = field(default_factory=threading.Event)


class Transfer:
    """All HTTP of a fetch.

    Thread-safe, except that one URL is downloaded by one thread at a time; the workers share its connections.

    Args:
        access: whom it may speak to, and with which credentials.
        parts: folder for incomplete files; they outlive the process.
        patience: time limits and retries.
        workers: how many requests to one host are under way at once, at most (see Flow).
    """

    def __init__(
        self,
        access: Access,
        *,
        parts: Path,
        patience: Patience = PATIENCE,
        control: Control | None = None,
        workers: int = MOST,
    ) -> None:
        self._patience = patience
        self._parts = parts
        parts.mkdir(parents=True, exist_ok=True)
        self._control = control or Control()
        self._stop = self._control.stop
        self._logins = {origin_of(login.origin): login.header for login in access.logins}
        self._rules = Rules(Hosts(access.origins, access.allowed_hosts), patience, self._stop)
        self._connections = Connections(self._rules, workers=workers)
        self._workers = workers
        self._flows: dict[str, Flow] = {}

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

        return self._repeat(url, attempt)

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
            size, md5: what the archive says of the file; a file that differs is dropped and fetched again,
                until attempts are used up. Without `md5` the answer's ETag is used where it is an MD5 (32 hex
                digits, S3 without multipart), and `x-goog-hash`.
            headers: sent along.

        Raises:
            NotFound, AccessDenied, Unreachable, TransferError, Interrupted; DiskFull; MedimgError where the
                file cannot be written.
        """
        part = PartialFile(
            self._parts / hashlib.sha256(url.encode()).hexdigest(),
            url,
            wanted_size=size,
            wanted_md5=(md5 or "").lower(),
        )
        return self._repeat(url, lambda: self._continue(part, headers or {}), reached=lambda: part.most)

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
            if again.restart:
                part.restart()
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
                    part.append(opened, block)

    def _blocks(self, url: str, response: BaseHTTPResponse) -> Iterator[memoryview]:
        """The body in blocks of BLOCK_BYTES, the last one excepted, all in the same memory.

        What came before a failure is handed over first.
        """
        expected = response.headers.get("Content-Length", "")
        size = min(BLOCK_BYTES, max(1, int(expected))) if expected.isdecimal() else BLOCK_BYTES
        buffer, filled = memoryview(bytearray(size)), 0
        try:
            while count := read_into(response, buffer[filled:]):
                self._control.on_bytes(count)
                filled += count
                if filled == size:
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
                target = redirect_target(url, response)
                if origin_of(target) != origin_of(url):
                    headers = {
                        name: value
                        for name, value in headers.items()
                        if name.lower() not in ("authorization", "cookie")
                    }
                form = form if response.status in (307, 308) else None
                url = target
                drain(response)
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
                restart=True,
            )
        raise failure

    def _repeat(
        self, url: str, attempt: Callable[[], Result], *, reached: Callable[[], int] = lambda: 0
    ) -> Result:
        flow = self._flows.setdefault(origin_of(url), Flow(most=self._workers))
        return repeat(
            lambda: self._take_turn(flow, attempt),
            patience=self._patience,
            reached=reached,
            sleep=self._sleep,
            on_retry=self._control.on_retry,
        )

    def _take_turn(self, flow: Flow, attempt: Callable[[], Result]) -> Result:
        """One attempt, when there is room for one more request."""
        with flow.turn(self._wait) as turn:
            try:
                result = attempt()
            except RetryNeeded as again:
                if again.failure.status in ASKED_TOO_MUCH:
                    again.counts = not turn.refused()
                raise
        flow.answered()
        return result

    def _wait(self, condition: threading.Condition) -> None:
        condition.wait(TICK_SECONDS)
        check_stop(self._stop)

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)
        check_stop(self._stop)
