"""Addresses: what of them is checked, sent and shown.

Parsed as urllib3 does, for what is checked must be what is connected to.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from functools import lru_cache

from urllib3.exceptions import LocationValueError
from urllib3.util import Url, parse_url

from medimg.archive.transport.errors import TransferError
from medimg.errors import one_line

REMEMBERED = 1024
"""Addresses of which it is known what they are made of: each is asked for several times in a row.

More than are under way at once; taking one apart costs as much as a system call or two.
"""


@lru_cache(REMEMBERED)
def shown_url(url: str) -> str:
    """Returns an address as messages and receipts show it.

    Without user name, password and fragment, and without the values of secret parameters.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        netloc = parts.netloc.rpartition("@")[2]
        query = "&".join(_shown_parameter(parameter) for parameter in parts.query.split("&"))
        return one_line(urllib.parse.urlunsplit((parts.scheme, netloc, parts.path, query, "")))
    except ValueError:
        return one_line(re.sub(r"//[^/?#]*@", "//", url.partition("?")[0]))


_SECRET = re.compile(
    r"token|secret|signature|passw|credential|api-?_?key|^(sig|se|sp|key|pwd|auth|authorization|policy)$|"
    r"^x-(amz|goog)-|^awsaccesskeyid$",
    re.I,
)


def _shown_parameter(parameter: str) -> str:
    name, separator, _ = parameter.partition("=")
    return f"{name}=..." if separator and _SECRET.search(urllib.parse.unquote_plus(name)) else parameter


@lru_cache(REMEMBERED)
def parse_address(url: str) -> Url:
    """The address as urllib3 understands it: what is checked must be what is connected to.

    Raises TransferError where it is none.
    """
    try:
        return parse_url(url)
    except LocationValueError:
        raise TransferError(f"{shown_url(url)}: no address, expected http(s)://host/path") from None


def host_of(url: str) -> str:
    """The host alone; of HTTP in lower case (RFC 9110 section 4.2.3); empty where the address has none."""
    return (parse_address(url).host or "").strip("[]").rstrip(".")


def origin_of(url: str) -> str:
    """scheme://host:port, the port always named."""
    parsed = parse_address(url)
    port = parsed.port or {"http": 80, "https": 443}.get(parsed.scheme or "", 0)
    return f"{parsed.scheme}://{host_of(url)}:{port}"


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, by its name or address alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
