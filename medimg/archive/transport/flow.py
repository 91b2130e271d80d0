"""How many requests are under way at once: as many as bring more, fewer where a server refuses some.

A server says that it is asked too much at once by 429 (RFC 6585 section 4) or 503 (RFC 9110 section 15.6.4,
S3's SlowDown). The number is then halved, once for all that were under way, and a number that was refused is
not tried again: in the end each server is asked as much at once as it answers. Otherwise the number doubles
as long as that brings more answers a second, as TCP's slow start does (RFC 5681 section 3.1).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST = 32
MOST = 256
"""What s5cmd takes without being told; more is of no use to any link."""
WORTH_IT = 1.2
"""More requests at once go on where they bring so many times the answers a second."""
GO_UP_AFTER = 50
"""Answers, once something was refused, before one request more is tried."""


class Turn:
    """One request's leave to be under way."""

    def __init__(self, flow: Flow, epoch: int) -> None:
        self._flow = flow
        self._epoch = epoch

    def refused(self) -> bool:
        """Takes note that the server is asked too much at once; False where it cannot be asked less."""
        return self._flow.go_down(self._epoch)


class Flow:
    """The requests to one server.

    Args:
        most: at once, whatever the link bears.
        clock: seconds.
    """

    def __init__(self, *, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = min(FIRST, most)
        self._ceiling = most
        self._clock = clock
        self._free = threading.Condition()
        self._under_way = self._epoch = self._answers = 0
        self._was_refused = self._was_full = False
        self._began, self._rate = clock(), 0.0

    @contextmanager
    def turn(self, wait: Callable[[threading.Condition], None]) -> Iterator[Turn]:
        """Waits until there is room for one more request, which lasts as long as the block.

        Args:
            wait: waits for the condition for a while; what it raises ends the waiting.
        """
        with self._free:
            while self._under_way >= self.limit:
                self._was_full = True
                wait(self._free)
            self._under_way += 1
            turn = Turn(self, self._epoch)
        try:
            yield turn
        finally:
            with self._free:
                self._under_way -= 1
                self._free.notify()

    def answered(self) -> None:
        """Takes note of an answer, and goes up where that is worth it."""
        with self._free:
            self._answers += 1
            if self._answers < (GO_UP_AFTER if self._was_refused else self.limit):
                return
            now = self._clock()
            rate = self._answers / max(now - self._began, 1e-9)
            if self._was_full and (self._was_refused or rate > WORTH_IT * self._rate):
                self._change(min(self._ceiling, self.limit + 1 if self._was_refused else 2 * self.limit))
            self._rate = max(self._rate, rate)
            self._start_window(now)

    def go_down(self, epoch: int) -> bool:
        """Halves the number, unless that was done since the request began; False where it was alone."""
        with self._free:
            if epoch != self._epoch or self._under_way == 1:
                return epoch != self._epoch
            self._was_refused = True
            self._ceiling = self._under_way - 1
            self._epoch += 1
            self._change(max(1, self._under_way // 2))
            self._start_window(self._clock())
            return True

    def _change(self, limit: int) -> None:
        self.limit = limit
        self._free.notify_all()

    def _start_window(self, now: float) -> None:
        self._answers, self._began, self._was_full = 0, now, False
