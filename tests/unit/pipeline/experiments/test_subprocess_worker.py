"""Work in a process of its own may be killed; whoever asked for it goes on."""

import os
import signal
import subprocess
import sys
import time
import warnings
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
        assert not Path("/proc", str(first)).exists()
        assert worker.call(os.getpid) == third
        assert worker.call(os.getpid) not in (first, third)


def test_the_process_is_gone_when_the_work_is_done():
    with Worker() as worker:
        process = Path("/proc", str(worker.call(os.getpid)))
        assert process.exists()
    assert not process.exists()


def count_warnings():
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn("a library's", UserWarning, stacklevel=1)
    return len(caught)


def test_warnings_of_libraries_are_not_heard_from_the_process():
    assert count_warnings() == 1
    with Worker() as worker:
        assert worker.call(count_warnings) == 0


def add(first, *, second):
    return first + second


def test_what_is_given_by_name_reaches_the_process():
    with Worker() as worker:
        assert worker.call(add, 1, second=2) == 3


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
