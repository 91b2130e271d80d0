"""Connections to allowed hosts only, none of which waits for ever."""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, ProxySchemeUnknown
from urllib3.response import BaseHTTPResponse
from urllib3.util import make_headers

from medimg.archive.transport.errors import Interrupted, Unreachable
from medimg.archive.transport.retries import Patience
from medimg.archive.transport.urls import host_of, is_loopback, parse_address, shown_url
from medimg.errors import UsageError, one_line

POOLS = 16
"""Hosts to which connections are kept."""

TICK_SECONDS = 0.2
"""How often a thread that waits for a server looks whether it should stop."""


class Hosts:
    """Whom we may speak to: by name before the connection, by address when it stands."""

    def __init__(self, origins: tuple[str, ...], allowed: tuple[str, ...]) -> None:
        self._named = {host_of(origin) for origin in origins if origin}
        self._exact = {name.lower() for name in allowed if not name.startswith(".")}
        self._suffixes = tuple(name.lower() for name in allowed if name.startswith("."))

    def check_url(self, url: str) -> None:
        """Raises Unreachable for another scheme than http(s) and for hosts that nobody named."""
        host = host_of(url)
        if parse_address(url).scheme not in ("http", "https"):
            raise Unreachable(f"{shown_url(url)}: not followed, expected http or https")
        if (
            host not in self._named
            and host not in self._exact
            and not host.endswith(self._suffixes or ("\0",))
        ):
            known = ", ".join(sorted({*self._named, *self._exact, *self._suffixes}))
            raise Unreachable(f"{shown_url(url)}: host {host!r} is not allowed, expected one of {known}")

    def check_peer(self, host: str, peer: str) -> None:
        """Raises Unreachable if a name led where it must not.

        Checked on the connection, not on what the name server says now.

        Args:
            host: as in the address.
            peer: IP address of the other end.
        """
        address = ipaddress.ip_address(peer.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if str(address) in self._exact or (address.is_global and not address.is_multicast):
            return
        # Link-local addresses are refused even to names that the user gave: clouds hand out credentials at
        # 169.254.169.254.
        if address.is_link_local or host.strip("[]").lower() not in self._named:
            raise Unreachable(f"{host}: leads to {address}, not connected, expected a public address")


@dataclass(frozen=True)
class Rules:
    """What every connection keeps to."""

    hosts: Hosts
    patience: Patience
    stop: threading.Event


class Connections:
    """Open connections, through the proxies of the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)."""

    def __init__(self, rules: Rules, *, workers: int) -> None:
        self._rules = rules
        self._timeout = urllib3.Timeout(
            connect=rules.patience.connect_seconds, read=rules.patience.read_seconds
        )
        self._workers = workers
        self._direct = self._guarded(
            urllib3.PoolManager(num_pools=POOLS, maxsize=workers, retries=False, timeout=self._timeout)
        )
        self._proxies = {
            scheme: self._proxy(address)
            for scheme, address in urllib.request.getproxies().items()
            if scheme in ("http", "https")
        }

    def open(
        self, method: str, url: str, *, headers: Mapping[str, str], body: str | None
    ) -> BaseHTTPResponse:
        """Sends a request and gives the head of the answer; the body is not read yet.

        Raises urllib3's HTTPError, Unreachable, Interrupted.
        """
        address = parse_address(url)._replace(auth=None, fragment=None)
        manager = self._proxies.get(address.scheme or "", self._direct)
        # A proxy elsewhere knows nothing of this machine's own servers.
        if is_loopback(host_of(url)) or urllib.request.proxy_bypass(address.netloc or ""):
            manager = self._direct
        return manager.urlopen(
            method,
            address.url,
            headers=headers,
            body=body,
            redirect=False,
            preload_content=False,
            decode_content=False,
            retries=False,
        )

    def _proxy(self, address: str) -> urllib3.PoolManager:
        address = address if "://" in address else f"http://{address}"
        try:
            auth = parse_address(address).auth
            headers = make_headers(proxy_basic_auth=urllib.parse.unquote(auth)) if auth else None
            return self._guarded(
                urllib3.ProxyManager(
                    address,
                    POOLS,
                    proxy_headers=headers,
                    maxsize=self._workers,
                    retries=False,
                    timeout=self._timeout,
                )
            )
        except (HTTPError, ProxySchemeUnknown):
            raise UsageError(
                f"proxy {shown_url(address)} from the environment: not supported, expected http://host:port"
            ) from None

    def _guarded(self, manager: urllib3.PoolManager) -> urllib3.PoolManager:
        rules = {"rules": self._rules}
        plain = type(
            "Plain", (HTTPConnectionPool,), {"ConnectionCls": type("PlainConnection", (_Guarded,), rules)}
        )
        tls = type(
            "Tls", (HTTPSConnectionPool,), {"ConnectionCls": type("TlsConnection", (_GuardedTls,), rules)}
        )
        manager.pool_classes_by_scheme = {"http": plain, "https": tls}
        return manager


def read_into(response: BaseHTTPResponse, buffer: memoryview) -> int:
    """Some of the bytes that come next, 0 at the end of the body, when the connection is free for others.

    By way of urllib3 each byte would be copied thrice. Raises HTTPError, HTTPException or OSError where the
    body breaks off.
    """
    connection = response.connection
    if not isinstance(connection, _Guarded) or connection.answer.chunked:
        block = response.read1(len(buffer))
        buffer[: len(block)] = block
        return len(block)
    count = connection.answer.take(buffer)
    if not count:
        response.release_conn()
    return count


class _Guarded(HTTPConnection):
    """A connection that looks at whom it reached before it says a word, and that does not wait for ever."""

    rules: ClassVar[Rules]
    answer: _TimedResponse
    """The last one."""

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        if self.proxy is None:
            try:
                self.rules.hosts.check_peer(self.host, connected.getpeername()[0])
            except BaseException:
                connected.close()
                raise
        return connected

    def response_class(  # type: ignore[override]
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None
    ) -> http.client.HTTPResponse:
        """What http.client makes of the bytes that come."""
        self.answer = _TimedResponse(sock, method=method, rules=self.rules)
        return self.answer


class _GuardedTls(_Guarded, HTTPSConnection):
    """The same, encrypted."""


class _TimedResponse(http.client.HTTPResponse):
    """An answer of which neither the head nor a single piece takes for ever.

    A socket's own time limit is for one piece alone: a header line that comes byte by byte, or chunks without
    content, would never end.
    """

    def __init__(self, sock: socket.socket, *, method: str | None, rules: Rules) -> None:
        self._wire = _Wire(sock, rules)
        super().__init__(self._wire, method=method)  # type: ignore[arg-type]

    def begin(self) -> None:
        self._wire.begin_step()
        super().begin()

    def read1(self, n: int = -1) -> bytes:
        self._wire.begin_step()
        return super().read1(n)

    def take(self, buffer: memoryview) -> int:
        """The next bytes of a body that is not chunked, without a copy; 0 at its end.

        Raises IncompleteRead where it ends too early.
        """
        self._wire.begin_step()
        if self.isclosed():
            return 0
        room = buffer if self.length is None else buffer[: self.length]
        count = self.fp.readinto1(room)
        if self.length is not None:
            if room and not count:
                raise http.client.IncompleteRead(b"", self.length)
            self.length -= count
        if not count or self.length == 0:
            self.close()
        return count


class _Wire(io.RawIOBase):
    """The receiving end of a socket, with the limits of Patience, and with an eye on the wish to stop."""

    def __init__(self, sock: socket.socket, rules: Rules) -> None:
        self._sock = sock
        self._open = sock.makefile(
            "rb", buffering=0
        )  # Keeps the socket open until this is closed, as http.client expects.
        self._rules = rules
        self._waited_seconds = 0.0
        self._bytes = 0
        # Short waits one after the other instead of one long one, so that a stop is noticed. The next request
        # sets its own limit.
        sock.settimeout(min(TICK_SECONDS, rules.patience.read_seconds))
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
        began = time.monotonic()
        check_stop(self._rules.stop)
        while (count := self._receive(buffer)) is None:
            check_stop(self._rules.stop)
            self._check_silence(began)
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
            raise TimeoutError(
                f"no end of a header or chunk within {patience.read_seconds + patience.slow_seconds:g} s"
            )

    def _check_speed(self, began: float, count: int) -> None:
        """Only the time spent waiting counts: a slow disk here is not the server's fault."""
        now, patience = time.monotonic(), self._rules.patience
        self._check_step(now)
        if self._bytes:
            self._waited_seconds += now - began
        self._bytes += count
        if self._waited_seconds >= patience.slow_seconds:
            if self._bytes < patience.slowest_bytes_per_second * self._waited_seconds:
                raise TimeoutError(
                    f"slower than {patience.slowest_bytes_per_second:g} bytes per second over "
                    f"{patience.slow_seconds:g} s"
                )
            self._waited_seconds, self._bytes = 0.0, 1


def check_stop(stop: threading.Event) -> None:
    """Raises Interrupted once the caller asked to stop."""
    if stop.is_set():
        raise Interrupted("stopped as asked")


def explain(error: Exception, patience: Patience) -> str:
    """Why no answer came, or not all of it, in a few words."""
    root = _root(error)
    if isinstance(error, NameResolutionError):
        return "no such host"
    if isinstance(error, ConnectTimeoutError) and isinstance(root, TimeoutError) and root.errno is None:
        return f"no connection within {patience.connect_seconds:g} s"
    if isinstance(root, OSError):
        return one_line(root.strerror or str(root))
    if isinstance(root, http.client.IncompleteRead):
        return "the answer broke off"
    return one_line(str(root) or type(root).__name__)


def is_bad_certificate(error: HTTPError) -> bool:
    """Whether the server is not who it should be."""
    return isinstance(_root(error), ssl.SSLCertVerificationError)


def _root(error: BaseException) -> BaseException:
    """What lies below the wrappings of urllib3."""
    for inner in (*error.args, error.__cause__):
        if isinstance(inner, BaseException) and inner is not error:
            return _root(inner)
    return error
