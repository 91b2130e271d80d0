"""Work in a process of its own may be killed; whoever asked for it goes on."""

import os
import signal

import pytest

from medimg.errors import MedimgError, UsageError
from pipeline.worker import Worker


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
