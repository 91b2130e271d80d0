"""A disk that is full or breaks ends a transfer in one line, before it takes everything down."""

import errno
import os
import shutil

import pytest

from medimg.archive.transport.partial_files import RESERVE_BYTES, PartialFile, naming_disk_errors
from medimg.errors import DiskFull, MedimgError
from tests.unit.archive.transport.servers import CONTENT, interrupted_part, is_right, serving, transfer


def leave_free(monkeypatch, *free):
    """The disk has so many bytes free, one after the other at each look, the last one for good."""
    left = list(free)

    def usage(path):
        return shutil._ntuple_diskusage(10**12, 0, left.pop(0) if len(left) > 1 else left[0])

    monkeypatch.setattr(shutil, "disk_usage", usage)


def test_a_full_disk_is_named_before_a_byte_is_written(tmp_path, server, monkeypatch):
    needed = len(CONTENT) + RESERVE_BYTES
    leave_free(monkeypatch, needed - 1)
    with pytest.raises(
        DiskFull,
        match=rf"parts: {needed - 1} bytes free, expected {needed} for {server}/file \({64 << 20} in",
    ):
        transfer(server, tmp_path).download(f"{server}/file")
    assert sum(path.stat().st_size for path in (tmp_path / "parts").glob("*.part")) == 0
    leave_free(monkeypatch, needed)
    assert is_right(transfer(server, tmp_path).download(f"{server}/file"))


def test_of_a_part_only_the_rest_needs_room(tmp_path, proxy, monkeypatch):
    interrupted_part(proxy, tmp_path)
    leave_free(monkeypatch, len(CONTENT) - 100_000 + RESERVE_BYTES)
    assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file"))


def test_a_disk_that_others_fill_meanwhile_is_noticed_before_it_is_full(tmp_path, monkeypatch):
    for module in ("transfer", "partial_files"):
        monkeypatch.setattr(f"medimg.archive.transport.{module}.RESERVE_BYTES", 1 << 20)
    leave_free(monkeypatch, 10**9, 10**9, 1 << 20)
    with serving(content=bytes(4 << 20), etag='"1"') as server:
        with pytest.raises(DiskFull, match=rf"{1 << 20} bytes free, expected {3 << 20} for"):
            transfer(server, tmp_path).download(f"{server}/file")
        (part,) = (tmp_path / "parts").glob("*.part")
        assert part.stat().st_size == 2 << 20
        leave_free(monkeypatch, 10**9)
        assert transfer(server, tmp_path).download(f"{server}/file").fetched == 2 << 20


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.ENOSPC, DiskFull, "disk full, 7 bytes free, expected 5 more for http://a/b"),
        (errno.EDQUOT, DiskFull, "disk full, 7 bytes free, expected 5 more for http://a/b"),
        (errno.EIO, MedimgError, r"a\.part: cannot be written \(Input/output error\)"),
    ],
)
def test_an_error_of_the_disk_is_named_and_a_quota_is_a_full_disk(tmp_path, monkeypatch, code, kind, words):
    leave_free(monkeypatch, 7)
    part = PartialFile(tmp_path / "a", "http://a/b", wanted_size=5, wanted_md5="")
    with pytest.raises(MedimgError, match=words) as raised, naming_disk_errors(part):
        raise OSError(code, os.strerror(code))
    assert type(raised.value) is kind
