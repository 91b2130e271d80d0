"""Faults between the bucket and the disk.

In the end there are the right files, or one named failure and nothing under a final name.
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from medimg.archive.collections import find_collection
from medimg.archive.data_root import hold_root, work_folder
from medimg.archive.fetch import Fetcher, FetchOutcome, fetch_all
from medimg.archive.receipts import Receipts
from medimg.archive.sources.idc import IdcSource
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.retries import Patience
from medimg.archive.transport.transfer import Control, Transfer
from tests.fakes.archive import CmmdArchive, choose_series, publish
from tests.fakes.clock import ServerClock
from tests.fakes.fault_proxy import Fault, FaultProxy

HURRY = Patience(
    connect_seconds=5,
    read_seconds=2,
    attempts=3,
    first_wait_seconds=0.01,
    longest_wait_seconds=2,
    slowest_bytes_per_second=20_000,
    slow_seconds=1,
)
FAULTS = {
    "429 with Retry-After": Fault("status", status=429, retry_after="1"),
    "500": Fault("status", status=500),
    "503": Fault("status", status=503),
    "reset": Fault("reset", at=30_000),
    "stall": Fault("stall", at=30_000),
    "1 kB/s": Fault("slow", bytes_per_second=1000),
    "HTML with 200": Fault("html"),
    "short body": Fault("short_length", at=30_000),
    "short body without a length": Fault("short_close", at=30_000),
    "short chunks": Fault("short_chunked", at=30_000),
    "bit flip": Fault("bit_flip", at=30_000),
    "gzip": Fault("gzip"),
    "403": Fault("status", status=403),
    "404": Fault("status", status=404),
}
FINAL = ("403", "404")


CLOCK = ServerClock()


@pytest.fixture(autouse=True)
def server_time(monkeypatch):
    """Time limits count only what a server makes us wait on purpose."""
    CLOCK.replace_time(monkeypatch)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    with publish(choose_series(3, 1), tmp_path_factory.mktemp("archive")) as published:
        yield published


def fetch(archive: CmmdArchive, proxy: FaultProxy, root: Path) -> tuple[FetchOutcome, list[str]]:
    said: list[str] = []
    stop = threading.Event()

    def hear(line: str) -> None:
        # The time of the next attempt begins when the last server has noticed that it was left.
        CLOCK.wait_until_still()
        said.append(line)

    with hold_root(root, said.append) as receipts:
        transfer = Transfer(
            Access((proxy.url,)),
            parts=work_folder(root, "parts"),
            patience=HURRY,
            control=Control(on_retry=hear, stop=stop),
        )
        sources = [IdcSource(transfer, proxy.url)]
        fetcher = Fetcher(find_collection("cmmd"), root, receipts, sources, say=said.append, stop=stop)
        outcome = fetch_all(fetcher, archive.series, workers=2)
    return outcome, said


def tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.dcm"))
    }


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in FINAL])
def test_a_fault_that_passes_leaves_the_right_files_and_says_that_it_waited(archive, tmp_path, name):
    with FaultProxy(archive.s3.url, clock=CLOCK) as proxy:
        proxy.script(r"\.dcm$", [FAULTS[name]] * 2)
        outcome, said = fetch(archive, proxy, tmp_path)
    assert outcome.failures == []
    assert tree(tmp_path) == tree(archive.tree)
    assert said


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_stays_is_one_named_failure_and_the_next_call_mends_it(archive, tmp_path, name):
    victim = archive.series[0]
    with FaultProxy(archive.s3.url, clock=CLOCK) as proxy:
        proxy.script(rf"{victim.key}/.*\.dcm$", [FAULTS[name]] * 20)
        outcome, _ = fetch(archive, proxy, tmp_path)
    published = tree(archive.tree)
    others = {path for path in published if not path.startswith(f"{victim.uid}/")}
    found = tree(tmp_path)
    assert found.items() <= published.items()
    assert found.keys() >= others
    if outcome.failures:
        [failure] = outcome.failures
        assert victim.uid in failure
        assert "\n" not in failure
        assert Receipts(tmp_path).finished(victim.uid) is None
    else:  # A part that grew with each try got to its end.
        assert found == published
    with FaultProxy(archive.s3.url, clock=CLOCK) as proxy:
        outcome, _ = fetch(archive, proxy, tmp_path)
    assert outcome.failures == []
    assert tree(tmp_path) == published
