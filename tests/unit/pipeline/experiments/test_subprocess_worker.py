"""Work in a process of its own may be killed; whoever asked for it goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medimg.errors import MedimgError, UsageError
from pipeline.experiments.subprocess_worker import Worker


def refuse(text):
    raise UsageError(text)


def test_a_killed_process_is_one_line_and_the_next_call_has_a_new_one():
    with Worker() as worker:
        first = worker.call(os.getpid)
        assert first != os.getpid()
        with pytest.raises(MedimgError, match="its process was killed"):
            worker.call(os.kill, first, signal.SIGKILL)
        assert worker.call(os.getpid) not in (first, os.getpid())


def test_an_error_is_the_callers_and_the_process_stays():
    with Worker() as worker:
        first = worker.call(os.getpid)
        with pytest.raises(UsageError, match="no such key"):
            worker.call(refuse, "no such key")
        assert worker.call(os.getpid) == first


def test_a_process_is_kept_for_some_calls_and_then_renewed():
    with Worker(calls=2) as worker:
        first, second, third = (worker.call(os.getpid) for _ in range(3))
    assert first == second != third


WAITING = """
import os, time
from pipeline.experiments.subprocess_worker import Worker
if __name__ == "__main__":
    with Worker() as worker:
        print(worker.call(os.getpid), flush=True)
        worker.call(time.sleep, 600)
"""


def test_the_process_ends_with_the_one_that_asked_for_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WAITING)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[4])}
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment
    )
    child = Path("/proc", parent.stdout.readline().strip())
    assert child.exists()
    parent.kill()
    parent.wait()
    while child.exists():
        time.sleep(0.1)
