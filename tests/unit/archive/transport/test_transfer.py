"""Faults of a server that pass end in the right file, faults that stay in one error."""

import dataclasses
import hashlib
import itertools
import threading
import time
import tracemalloc
from email.utils import formatdate

import pytest

from medimg.archive.transport.errors import TransferError
from medimg.archive.transport.retries import Patience
from tests.fakes.fault_proxy import Fault
from tests.unit.archive.transport.servers import (
    CONTENT,
    MD5,
    SHORT,
    is_right,
    serving,
    transfer,
)

FAULTS = {
    "429 with Retry-After": Fault("status", status=429, retry_after="1"),
    "503 with Retry-After as a date": Fault(
        "status", status=503, retry_after=formatdate(time.time() - 60, usegmt=True)
    ),
    "500": Fault("status", status=500),
    "reset in the head": Fault("reset", at=0),
    "reset in the body": Fault("reset", at=100_000),
    "slow": Fault("slow", bytes_per_second=2000),
    "slow head": Fault("slow_head", bytes_per_second=50),
    "stall before the body": Fault("stall", at=0),
    "stall in the body": Fault("stall", at=70_000),
    "web page": Fault("html"),
    "short body": Fault("short_length", at=123_456),
    "short body of unknown length": Fault("short_close", at=123_456),
    "short chunks": Fault("short_chunked", at=123_456),
    "no chunk at all": Fault("short_chunked", at=0),
    "wrong MD5": Fault("wrong_md5"),
    "flipped bit": Fault("bit_flip", at=200_000),
    "packed": Fault("gzip"),
}


@pytest.mark.parametrize(
    "known",
    [{"size": len(CONTENT), "md5": MD5}, {"size": len(CONTENT)}, {}],
    ids=["size and MD5", "size", "nothing"],
)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_passes_ends_in_the_right_file(tmp_path, proxy, name, known):
    proxy.script("/file", [FAULTS[name]])
    assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file", **known))
    # A wrong MD5 of the server's does not matter where the archive stated the right one.
    is_harmless = name == "wrong MD5" and "md5" in known
    assert [request.fault for request in proxy.requests] == [FAULTS[name], *([] if is_harmless else [None])]
    assert list((tmp_path / "parts").glob("*.json")) == []


STAYS = {
    "429 with Retry-After": "status 429, expected 200",
    "503 with Retry-After as a date": "status 503, expected 200",
    "500": "status 500, expected 200",
    "reset in the head": "reset by peer, expected",
    "slow": "slower than 10000 bytes per second over 0.5 s, expected the whole answer",
    "slow head": "(slower than|no end of a header).*expected an answer",
    "stall before the body": "silent for 0.6 s, expected the whole answer",
    "web page": r"a web page \(text/html\), expected a file",
    "short body of unknown length": "MD5 [0-9a-f]{32}, expected",
    "no chunk at all": "the answer broke off, expected the whole answer",
    "wrong MD5": f"MD5 {MD5}, expected [0-9a-f]{{32}}",
    "flipped bit": f"MD5 [0-9a-f]{{32}}, expected {MD5}",
    "packed": r"Content-Encoding gzip, expected the bytes as they are \(identity\)",
}


@pytest.mark.parametrize(("name", "words"), STAYS.items(), ids=STAYS.keys())
def test_a_fault_that_stays_ends_in_one_error_that_names_address_found_and_expected(
    tmp_path, proxy, name, words
):
    proxy.script("/file", [FAULTS[name]] * 1000)
    with pytest.raises(
        TransferError, match=rf"^http://127.0.0.1:\d+/file\?token=\.\.\.: .*{words}.* \(4 attempts\)$"
    ):
        transfer(proxy.url, tmp_path).download(f"{proxy.url}/file?token=hidden")
    assert len(proxy.requests) == SHORT.attempts


@pytest.mark.parametrize("name", sorted(set(FAULTS) - set(STAYS)))
def test_a_fault_that_stays_but_lets_something_through_ends_in_the_right_file(tmp_path, proxy, name):
    proxy.script("/file", [FAULTS[name]] * 1000)
    # What comes late is thrown away with its attempt.
    patience = dataclasses.replace(SHORT, attempts=20)
    downloaded = transfer(proxy.url, tmp_path, patience=patience).download(f"{proxy.url}/file")
    assert is_right(downloaded)
    assert downloaded.fetched == len(CONTENT)
    assert len(proxy.requests) > 2


def test_memory_does_not_grow_with_the_file(tmp_path):
    content = bytes(80 << 20)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    with serving(content=content) as server:
        tracemalloc.start()
        try:
            assert transfer(server, tmp_path).download(f"{server}/file", md5=md5).bytes == len(content)
            assert tracemalloc.get_traced_memory()[1] < 10 << 20
        finally:
            tracemalloc.stop()


def test_what_arrives_is_counted(tmp_path, proxy):
    proxy.script("/file", [Fault("short_length", at=100_000)])
    counts = []
    transfer(proxy.url, tmp_path, on_bytes=counts.append).download(f"{proxy.url}/file")
    assert sum(counts) == len(CONTENT)


def test_workers_share_a_transfer(tmp_path, proxy):
    faults = itertools.islice(
        itertools.cycle([Fault("reset", at=1000), Fault("status"), Fault("bit_flip", at=5)]), 20
    )
    proxy.script("/", faults)
    fetching, downloaded = (
        transfer(proxy.url, tmp_path, patience=Patience(**vars(SHORT) | {"attempts": 20})),
        [],
    )
    threads = [
        threading.Thread(
            target=lambda number=n: downloaded.append(fetching.download(f"{proxy.url}/{number}"))
        )
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(downloaded) == 16
    assert all(map(is_right, downloaded))


def test_the_folders_of_what_arrives_are_made_where_they_are_missing(tmp_path, proxy):
    fetching = transfer(proxy.url, tmp_path / "not" / "there")
    assert is_right(fetching.download(f"{proxy.url}/file"))
