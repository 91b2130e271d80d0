"""Files are written whole or not at all, and hashed to their last byte."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from medimg.errors import DiskFull, MedimgError
from medimg.files import bring_to_disk, cannot_write, hash_file, removed_on_failure, replace_file


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    seen = []

    def write(temporary: Path) -> None:
        temporary.write_text("new")
        seen.append((temporary.parent, path.read_text()))

    replace_file(path, write=write)
    assert path.read_text() == "new"
    # While it is written, the old one is still there, and the new one is on the same disk.
    assert seen == [(tmp_path, "old")]
    assert list(tmp_path.iterdir()) == [path]


FAILURES = [
    (OSError(errno.ENOSPC, "No space left on device"), DiskFull, "the disk is full .* MB free"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), DiskFull, "the disk is full .* MB free"),
    (OSError(errno.EACCES, "Permission denied"), MedimgError, r"cannot be written \(Permission denied\)$"),
    (OSError("odd"), MedimgError, r"cannot be written \(odd\)$"),
    (ValueError("wrong table"), ValueError, "^wrong table$"),
    (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
]


@pytest.mark.parametrize(("failure", "error", "message"), FAILURES)
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, failure, error, message):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise failure

    with pytest.raises(error, match=message) as raised:
        replace_file(path, write=write)
    assert type(raised.value) is error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("failure", "error", "message"), FAILURES)
def test_a_block_that_fails_leaves_no_half_a_file(tmp_path, failure, error, message):
    path = tmp_path / "shard"

    def fail() -> None:
        path.write_text("half")
        raise failure

    with pytest.raises(error, match=message) as raised, removed_on_failure(path):
        fail()
    assert type(raised.value) is error
    assert not path.exists()


def test_a_block_that_succeeds_keeps_its_file(tmp_path):
    with removed_on_failure(tmp_path / "shard"):
        (tmp_path / "shard").write_text("whole")
    assert (tmp_path / "shard").read_text() == "whole"


def test_a_block_that_fails_before_it_writes_fails_with_its_own_error(tmp_path):
    with pytest.raises(ValueError, match="no shard"), removed_on_failure(tmp_path / "shard"):
        raise ValueError("no shard")


def test_a_folder_that_is_not_there_is_said_in_one_line(tmp_path):
    with pytest.raises(MedimgError, match=r"absent/a\.csv: cannot be written \(No such file or directory\)"):
        replace_file(tmp_path / "absent" / "a.csv", write=lambda temporary: temporary.write_text("new"))


def test_a_full_disk_is_measured_where_the_file_would_be(tmp_path):
    error = cannot_write(tmp_path / "absent" / "further" / "a.csv", OSError(errno.ENOSPC, "No space"))
    assert isinstance(error, DiskFull)
    assert str(error).startswith(f"{tmp_path}/absent/further/a.csv: the disk is full (")


def test_bringing_to_disk_what_is_not_there_fails(tmp_path):
    with pytest.raises(FileNotFoundError):
        bring_to_disk(tmp_path / "absent")


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_a_hash_is_over_every_byte(tmp_path, size):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "a").write_bytes(content)
    assert hash_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()
