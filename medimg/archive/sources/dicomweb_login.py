"""The address of a PACS and the credentials for it, from the environment."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import urlsplit

from medimg.archive.transport.http_messages import Login
from medimg.errors import UsageError, one_line

USER, PASSWORD, TOKEN = "MEDIMG_DICOMWEB_USER", "MEDIMG_DICOMWEB_PASSWORD", "MEDIMG_DICOMWEB_TOKEN"
"""Environment variables; an address or an option would end up in the shell's history and in `ps`."""


def login_from(environment: Mapping[str, str], address: str) -> Login | None:
    """Returns the credentials for the PACS at an address: bearer token (RFC 6750), or user and password.

    None where there are none. User and password as RFC 7617 says.

    Raises:
        UsageError: both kinds, half of one, a value that cannot be sent, or credentials in the address.
    """
    parts = urlsplit(check_address(address))
    user, password, token = (environment.get(name, "") for name in (USER, PASSWORD, TOKEN))
    if token and (user or password):
        raise UsageError(f"{TOKEN} is set together with {USER} or {PASSWORD}, expected one kind of login")
    if bool(user) != bool(password):
        raise UsageError(
            f"{USER if user else PASSWORD} is set without {PASSWORD if user else USER}, expected both or none"
        )
    if not token.isascii() or not (token + user + password).isprintable() or ":" in user or " " in token:
        raise UsageError(
            f"{USER}, {PASSWORD} or {TOKEN} holds a character that cannot be sent (a line break, or a "
            "colon in the user's name)"
        )
    if not token and not user:
        return None
    origin = f"{parts.scheme}://{parts.netloc}" + (
        "" if parts.port else f":{443 if parts.scheme == 'https' else 80}"
    )
    return Login(
        origin,
        f"Bearer {token}" if token else "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(),
    )


def check_address(address: str) -> str:
    """Returns the address without a slash at its end.

    Raises UsageError if it is none, or holds credentials; they are not repeated in the message.
    """
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 -- raises for a port that is none
    except ValueError:
        raise UsageError(
            "the DICOMweb address cannot be read, expected one like https://pacs.example.org/dicom-web"
        ) from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"the DICOMweb address of {parts.hostname} holds credentials; set {USER} and {PASSWORD}, "
            f"or {TOKEN}, instead"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(
            f"DICOMweb address {one_line(address)!r}, expected one like https://pacs.example.org/dicom-web"
        )
    return address.rstrip("/")
