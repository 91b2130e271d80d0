"""When a transfer tries again, how long it waits, and when it gives up."""

import dataclasses
import itertools
import threading
import time
from email.utils import formatdate
from types import SimpleNamespace

import pytest

from medimg.archive.transport.errors import AccessDenied, Interrupted, NotFound, TransferError
from medimg.archive.transport.retries import Patience, RetryNeeded, read_retry_after, repeat
from tests.fakes.fault_proxy import Fault
from tests.unit.archive.transport.servers import (
    SHORT,
    is_right,
    transfer,
)


def test_progress_gives_new_attempts(tmp_path, proxy):
    proxy.script("/file", [Fault("short_length", at=20_000)] * 14)
    assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file"))
    assert len(proxy.requests) == 15 > SHORT.attempts


@pytest.mark.usefixtures("all_time")
def test_crumbs_are_no_progress(tmp_path, proxy):
    proxy.script("/file", [Fault("reset", at=1)] * 1000)
    with pytest.raises(TransferError):
        transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")
    assert len(proxy.requests) == SHORT.attempts


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFound),
        (410, NotFound),
        (401, AccessDenied),
        (403, AccessDenied),
        *((status, TransferError) for status in (400, 402, 405, 406, 407, 409, 411, 424, 426, 428, 451, 501)),
        (204, TransferError),
    ],
)
def test_a_definite_answer_is_not_asked_for_again(tmp_path, proxy, status, error):
    with pytest.raises(
        error, match=rf"^{proxy.url}/status/{status}: status {status}.*expected 200"
    ) as raised:
        transfer(proxy.url, tmp_path).download(f"{proxy.url}/status/{status}")
    assert raised.value.status == status
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 520, 599])
def test_an_answer_that_may_be_another_one_later_is_asked_for_again(tmp_path, proxy, status):
    proxy.script("/file", [Fault("status", status=status)])
    assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file"))
    assert len(proxy.requests) == 2


def test_retry_after_is_honoured_up_to_the_longest_wait(tmp_path, proxy):
    proxy.script("/file", [Fault("status", status=429, retry_after="1")])
    lines, began = [], time.monotonic()
    patience = dataclasses.replace(SHORT, longest_wait_seconds=1)
    transfer(proxy.url, tmp_path, on_retry=lines.append, patience=patience).download(f"{proxy.url}/file")
    assert time.monotonic() - began >= 1
    assert lines == [f"{proxy.url}/file: status 429, expected 200; again in 1.0 s"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:00", 0.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(text, seconds):
    assert read_retry_after(text) == seconds


def test_a_date_without_a_zone_is_one_of_utc(monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    plain, with_zone = (read_retry_after(f"Wed, 21 Oct 2099 07:28:00{zone}") for zone in ("", " GMT"))
    monkeypatch.undo()
    time.tzset()
    assert abs(plain - with_zone) < 600


def fail(*waits):
    """An attempt that always fails, and asks for these waits in turn."""
    asked = itertools.chain(waits, itertools.repeat(None))

    def attempt():
        raise RetryNeeded(TransferError("address: broken", status=503), wait_seconds=next(asked))

    return attempt


def repeat_and_note(attempt, patience, *, reached=lambda: 0, at_sleep=lambda: None):
    """The waits between the attempts."""
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        at_sleep()

    with pytest.raises(TransferError) as raised:
        repeat(attempt, patience=patience, reached=reached, sleep=sleep, on_retry=lambda line: None)
    assert (raised.value.status, str(raised.value)) == (
        503,
        f"address: broken ({patience.attempts} attempts)",
    )
    return waits


@pytest.mark.parametrize("attempts", [1, 2, 6])
def test_there_are_as_many_attempts_as_allowed(attempts):
    assert len(repeat_and_note(fail(), Patience(attempts=attempts))) == attempts - 1


def test_waits_double_up_to_the_longest_and_are_anywhere_below():
    patience = Patience(attempts=7, first_wait_seconds=1, longest_wait_seconds=10)
    columns = zip(*(repeat_and_note(fail(), patience) for _ in range(300)), strict=True)
    for waits, most in zip(columns, (1, 2, 4, 8, 10, 10), strict=True):
        assert all(0 <= wait <= most for wait in waits)
        # Anywhere: so that many who failed together do not come back together.
        assert min(waits) < 0.1 * most
        assert max(waits) > 0.9 * most


def test_a_wait_that_the_server_asks_for_goes_before_our_own():
    assert repeat_and_note(fail(0.0, 7.5, 90.0), Patience(attempts=4)) == [0.0, 7.5, 90.0]


@pytest.mark.parametrize(
    ("reached", "attempts"),
    [
        ([0] * 9, 3),
        # More than ever, at no less than 10 bytes per second with 2 seconds from one failure to the next.
        ([20, 40, 60, 60, 60, 60], 5),
        ([19, 38, 57], 3),
        ([20, 20, 20], 3),
        # What was thrown away and came again is no progress, only what goes beyond it.
        ([50, 0, 50, 50], 3),
        ([50, 0, 70, 70, 70], 5),
    ],
)
def test_only_more_than_ever_before_and_fast_enough_is_progress(monkeypatch, reached, attempts):
    now, tries = [0.0], itertools.count()
    monkeypatch.setattr("medimg.archive.transport.retries.time", SimpleNamespace(monotonic=lambda: now[0]))
    counted = [0]

    def attempt():
        counted[0] = reached[next(tries)]
        now[0] += 2
        fail()()

    patience = Patience(attempts=3, slowest_bytes_per_second=10)
    waits = repeat_and_note(attempt, patience, reached=lambda: counted[0])
    assert len(waits) + 1 == attempts


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_that_asks_for_more_patience_than_there_is_gets_named(tmp_path, proxy, form):
    day = 24 * 3600
    retry_after = str(day) if form == "seconds" else formatdate(time.time() + day, usegmt=True)
    proxy.script("/file", [Fault("status", status=503, retry_after=retry_after)])
    with pytest.raises(
        TransferError,
        match=r"status 503, the server asks to come again in 8\d{4} s, expected at most 1.5 s$",
    ):
        transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")
    assert len(proxy.requests) == 1


FOR_EVER_SECONDS = 10_000_000


@pytest.mark.parametrize(
    "fault",
    [
        Fault("stall", at=1000),
        Fault("slow", bytes_per_second=5000),
        Fault("status", status=429, retry_after=str(FOR_EVER_SECONDS)),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_stop_ends_every_wait(tmp_path, proxy, fault):
    stop = threading.Event()

    def stop_while_waiting():
        while not proxy.requests:
            time.sleep(0.02)
        time.sleep(0.3)
        stop.set()

    endless = Patience(
        read_seconds=FOR_EVER_SECONDS, slow_seconds=FOR_EVER_SECONDS, longest_wait_seconds=FOR_EVER_SECONDS
    )
    proxy.script("/file", [fault] * 10)
    threading.Thread(target=stop_while_waiting, daemon=True).start()
    with pytest.raises(Interrupted):
        transfer(proxy.url, tmp_path, patience=endless, stop=stop).download(f"{proxy.url}/file")
    assert len(proxy.requests) == 1
