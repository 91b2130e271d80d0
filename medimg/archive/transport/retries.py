"""When to try again, and how long to wait."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TypeVar

import tenacity

from medimg.archive.transport.errors import TransferError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server. Seconds and bytes per second.

    Attributes:
        connect_seconds: until a connection stands (name resolution has the system's own limit).
        read_seconds: of silence, before and within an answer.
        attempts: of one request, the first included. A part that outgrew all earlier attempts, at no less
            than the slowest speed with all the waiting, counts as progress: attempts are counted since the
            last progress.
        first_wait_seconds, longest_wait_seconds: of the exponential backoff with full jitter; Retry-After is
            honoured up to the longest.
        slowest_bytes_per_second, slow_seconds: slower than this over so long counts as a stall. The head of
            an answer, and each piece of it with what chunked encoding puts around it, must come within
            read_seconds + slow_seconds.
    """

    connect_seconds: float = 10
    read_seconds: float = 60
    attempts: int = 6
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 120
    slowest_bytes_per_second: float = 500
    slow_seconds: float = 60


PATIENCE = Patience()
"""For the public archives."""


class RetryNeeded(Exception):
    """An attempt failed with what may pass.

    Attributes:
        restart: the bytes so far are of no use.
        counts: as one of the attempts; a refusal does not where less is asked at once from then on.
    """

    def __init__(
        self, failure: TransferError, *, wait_seconds: float | None = None, restart: bool = False
    ) -> None:
        super().__init__(str(failure))
        self.counts = True
        self.failure = failure
        self.wait_seconds = wait_seconds
        self.restart = restart

    def failure_after(self, attempts: int) -> TransferError:
        return type(self.failure)(f"{self.failure} ({attempts} attempts)", status=self.failure.status)


def repeat(
    attempt: Callable[[], Result],
    *,
    patience: Patience,
    reached: Callable[[], int],
    sleep: Callable[[float], None],
    on_retry: Callable[[str], None],
) -> Result:
    """Calls until it succeeds, fails for good, or has used up its attempts.

    Attempts are counted since the last progress of `reached` (in bytes).

    Args:
        sleep: waits for so many seconds; what it raises ends everything.
        on_retry: called with one line, before each wait.
    """
    track = _Track(patience, reached)
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(RetryNeeded),
        after=track.note,
        stop=track.is_over,
        wait=track.wait_seconds,
        before_sleep=lambda state: on_retry(f"{track.last}; again in {state.upcoming_sleep:.1f} s"),
        sleep=sleep,
        reraise=True,
    )
    try:
        return retrying(attempt)
    except RetryNeeded as again:
        raise again.failure_after(track.failures) from None


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
        # Only what is more than ever before: a server that always breaks off, or always sends the wrong file,
        # must come to an end.
        if reached > self._best and reached - self._best >= self._patience.slowest_bytes_per_second * (
            now - self._since
        ):
            self.failures = 0
        self.failures += _raised(state).counts
        self._best, self._since = max(self._best, reached), now
        self.last = str(_raised(state))

    def is_over(self, state: tenacity.RetryCallState) -> bool:
        return self.failures >= self._patience.attempts

    def wait_seconds(self, state: tenacity.RetryCallState) -> float:
        asked = _raised(state).wait_seconds
        longest = min(
            self._patience.longest_wait_seconds,
            self._patience.first_wait_seconds * 2 ** max(0, min(self.failures - 1, 30)),
        )
        return random.uniform(0, longest) if asked is None else asked


def _raised(state: tenacity.RetryCallState) -> RetryNeeded:
    again = state.outcome.exception() if state.outcome else None
    assert isinstance(again, RetryNeeded)
    return again


def read_retry_after(text: str) -> float | None:
    """RFC 9110 section 10.2.3: seconds or an HTTP date; None where it is neither."""
    if text.strip().isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
