"""What is sent and what comes back: credentials, small answers, redirects."""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from medimg.archive.transport.errors import TransferError
from medimg.archive.transport.partial_files import BLOCK_BYTES
from medimg.archive.transport.urls import parse_address, shown_url


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
class Access:
    """Whom a transfer may speak to, and with which credentials.

    Attributes:
        origins: addresses that the user or the configuration named (scheme://host[:port]); all other hosts
            are refused, in redirects too.
        allowed_hosts: further host names (exact, or a suffix that begins with a dot), for redirects of an
            archive to its storage. A name that leads to a private address is refused, for a stranger's
            redirect must not reach into the user's network; an address itself may be listed.
        logins: credentials by origin.
    """

    origins: tuple[str, ...]
    allowed_hosts: tuple[str, ...] = ()
    logins: tuple[Login, ...] = ()


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
        """Returns what the body says in JSON.

        Raises TransferError where it is none; the message says how it begins.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise TransferError(
                f"{self.url}: an answer that begins with {self.body[:60]!r}, expected JSON",
                status=self.status,
            ) from None


def redirect_target(url: str, response: BaseHTTPResponse) -> str:
    """Returns where an answer sends us.

    Raises TransferError where it does not say, or would give up encryption.
    """
    location = response.headers.get("Location", "")
    target = urllib.parse.urljoin(url, location)
    if not location or (parse_address(url).scheme == "https" and parse_address(target).scheme != "https"):
        found = f"redirect to {shown_url(target)}" if location else "redirect without Location"
        raise TransferError(f"{shown_url(url)}: {found}, expected an https address", status=response.status)
    return target


def drain(response: BaseHTTPResponse) -> None:
    """Reads a short rest, so that the connection can be used again."""
    with contextlib.suppress(HTTPError):
        if int(response.headers.get("Content-Length", "0")) < BLOCK_BYTES:
            while response.read1(BLOCK_BYTES):
                pass
    response.close()
