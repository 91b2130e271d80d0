"""How many requests are under way at once: more while that brings more, fewer where a server refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from medimg.archive.transport.errors import Interrupted, TransferError
from medimg.archive.transport.flow import FIRST, GO_UP_AFTER, MOST, Flow, Turn
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.retries import Patience
from medimg.archive.transport.transfer import Control, Transfer
from tests.fakes.loopback import Answer, LoopbackServer

FILES = 120
IMPATIENT = Patience(attempts=3, first_wait_seconds=0.02, longest_wait_seconds=0.05)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def no_waiting(_: threading.Condition) -> None:
    raise AssertionError("has to wait")


def take(flow: Flow, count: int, stack: ExitStack) -> list[Turn]:
    return [stack.enter_context(flow.turn(no_waiting)) for _ in range(count)]


def go(flow: Flow, clock: Clock, *, rate: float) -> None:
    """One window of answers at so many a second, with no turn left over at its beginning."""
    with ExitStack() as stack:
        take(flow, flow.limit, stack)
        with pytest.raises(AssertionError):
            take(flow, 1, stack)
    count = flow.limit
    clock.now += count / rate
    for _ in range(count):
        flow.answered()


def test_the_number_doubles_as_long_as_that_brings_more_answers_a_second() -> None:
    clock = Clock()
    flow = Flow(clock=clock)
    limits = []
    for rate in (100, 200, 210, 400, 800):
        go(flow, clock, rate=rate)
        limits.append(flow.limit)
    assert limits == [2 * FIRST, 4 * FIRST, 4 * FIRST, MOST, MOST]


def test_requests_that_never_wait_for_a_turn_are_no_reason_for_more() -> None:
    clock = Clock()
    flow = Flow(clock=clock)
    for _ in range(10 * FIRST):
        clock.now += 0.01
        with flow.turn(no_waiting):
            flow.answered()
    assert flow.limit == FIRST


def test_a_refusal_halves_the_number_once_for_all_that_were_under_way() -> None:
    flow = Flow()
    with ExitStack() as stack:
        turns = take(flow, FIRST, stack)
        assert [turn.refused() for turn in turns] == [True] * FIRST
        assert flow.limit == FIRST // 2


@pytest.mark.parametrize("under_way", [2, 3, 9])
def test_what_counts_is_how_many_were_under_way_not_how_many_could_have_been(under_way: int) -> None:
    flow = Flow()
    with ExitStack() as stack:
        take(flow, under_way, stack)[0].refused()
    assert flow.limit == under_way // 2


def test_a_request_that_was_refused_alone_is_no_sign_of_too_many() -> None:
    flow = Flow()
    with flow.turn(no_waiting) as turn:
        assert not turn.refused()
    assert flow.limit == FIRST


def test_after_a_refusal_the_number_goes_up_by_one_and_never_to_what_was_refused() -> None:
    clock = Clock()
    flow = Flow(clock=clock)
    with ExitStack() as stack:
        take(flow, 6, stack)[0].refused()
    limits = []
    for _ in range(6):
        with ExitStack() as stack:
            take(flow, flow.limit, stack)
            with pytest.raises(AssertionError):
                take(flow, 1, stack)
        for _ in range(GO_UP_AFTER):
            flow.answered()
        limits.append(flow.limit)
    assert limits == [4, 5, 5, 5, 5, 5]


@pytest.mark.parametrize("most", [1, 5])
def test_no_more_than_was_asked_for_are_under_way(most: int) -> None:
    clock = Clock()
    flow = Flow(most=most, clock=clock)
    for rate in (1, 10, 100):
        go(flow, clock, rate=rate)
    assert flow.limit == most


class Busy(LoopbackServer):
    """Answers no more than `most` requests at once, and refuses the others."""

    def __init__(self, most: int, *, status: int = 429) -> None:
        super().__init__()
        self.most, self.status, self.refused = most, status, 0
        self._lock, self._under_way = threading.Lock(), 0

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        with self._lock:
            self._under_way += 1
            is_refused = self._under_way > self.most
            self.refused += is_refused
        time.sleep(0.02)
        with self._lock:
            self._under_way -= 1
        return Answer(status=self.status) if is_refused else Answer(path.encode() * 100)


def fetch_all(server: Busy, folder: Path, stop: threading.Event | None = None) -> list[bytes]:
    transfer = Transfer(
        Access((server.url,)),
        parts=folder,
        patience=IMPATIENT,
        control=Control(stop=stop or threading.Event()),
    )
    with ThreadPoolExecutor(64) as pool:
        found = pool.map(transfer.download, [f"{server.url}/{number}" for number in range(FILES)])
        return [one.path.read_bytes() for one in found]


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_refuses_more_than_four_at_once_is_asked_less_and_serves_all(
    tmp_path: Path, status: int
) -> None:
    with Busy(4, status=status) as server:
        assert fetch_all(server, tmp_path) == [f"/{number}".encode() * 100 for number in range(FILES)]
    # 28, 12 and 4 of those that were under way, then one at a time where one more was tried.
    assert server.refused < FILES


def test_a_server_that_refuses_everything_comes_to_an_end(tmp_path: Path) -> None:
    with Busy(0) as server, pytest.raises(TransferError, match="status 429, expected 200"):
        fetch_all(server, tmp_path)


def test_who_waits_for_a_turn_hears_of_a_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    with Busy(FILES) as server, ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(fetch_all, server, tmp_path, stop)
        stop.set()
        with pytest.raises(Interrupted):
            fetching.result(60)
