"""What a user reads when a component fails."""

import errno

import pytest

from pipeline.run_local import explain


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("query: database or disk is full query: INSERT")])
def test_a_full_disk_is_named_as_such_whoever_noticed_it(error, tmp_path):
    assert f"Trainer: the disk of {tmp_path} is full" in explain(error, component="Trainer", run=tmp_path)
