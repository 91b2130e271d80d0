"""How a transfer fails: one line each that names address, what was found and what was expected."""

from __future__ import annotations

from medimg.errors import MedimgError


class TransferError(MedimgError):
    """A request that failed for good; the message names address, status and what was expected.

    Attributes:
        status: the last HTTP status, 0 where none came.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFound(TransferError):
    """404 or 410."""


class Unreachable(TransferError):
    """No answer at all after every attempt: no such host, refused, timed out.

    Or a host that is not allowed.
    """


class AccessDenied(TransferError):
    """401 or 403: credentials are missing, wrong, or do not reach that far."""


class Interrupted(MedimgError):
    """The caller asked to stop."""
