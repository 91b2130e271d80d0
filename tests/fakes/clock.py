"""Time as a client sees it that must not take a busy machine for a slow server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

MEASURING = ("medimg.archive.transport.connections", "medimg.archive.transport.retries")
"""Modules that measure how long a server takes."""


class ServerClock:
    """A clock that goes only while a server keeps its client waiting on purpose.

    In the place of `time` in the modules that measure a server, it keeps their limits from striking while
    both sides merely wait for a processor, and they always strike where the server is slow or silent.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._going = 0
        self._past_seconds = self._since = 0.0

    def replace_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Puts the clock in the place of `time`."""
        for module in MEASURING:
            monkeypatch.setattr(f"{module}.time", self)

    def monotonic(self) -> float:
        """Seconds for which the clock has gone so far."""
        with self._changed:
            return self._past_seconds + (time.monotonic() - self._since if self._going else 0.0)

    @contextmanager
    def going(self) -> Iterator[None]:
        """Lets the clock go while the block runs."""
        with self._changed:
            if not self._going:
                self._since = time.monotonic()
            self._going += 1
        try:
            yield
        finally:
            with self._changed:
                self._going -= 1
                if not self._going:
                    self._past_seconds += time.monotonic() - self._since
                    self._changed.notify_all()

    def wait_until_still(self) -> None:
        """Returns once every server has noticed that nobody waits for it any more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._going)
