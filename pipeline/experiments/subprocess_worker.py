"""A process for work that may be killed for the memory it takes, so that whoever asked for it goes on."""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import ParamSpec, TypeVar

from medimg.errors import MedimgError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

CALLS = 10
"""A small network's training was seen to leave 70 MB."""


class Worker:
    """One process at a time, kept for several calls because TFX takes seconds to import.

    It is not kept for ever: each training leaves memory behind.

    Args:
        calls: that a process is kept for.
    """

    def __init__(self, *, calls: int = CALLS) -> None:
        self._calls, self._left = calls, 0

    def __enter__(self) -> Worker:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def call(
        self, function: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """What the function of a module returns or raises in the process; all of it must be picklable.

        Raises:
            MedimgError: the process was killed. The next call has a new one.
        """
        if self._left == 0:
            self._pool.shutdown()
            self._start()
        self._left -= 1
        try:
            return self._pool.submit(function, *arguments, **named).result()
        except BrokenProcessPool:
            self._left = 0
            raise MedimgError("its process was killed, as the system does when memory runs out") from None

    def _start(self) -> None:
        # Spawned, never forked: the caller may hold threads and locks of TensorFlow. Unlike those of pebble
        # it may have children, which Beam has.
        self._pool = ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), initializer=enter_worker
        )
        self._left = self._calls


def enter_worker() -> None:
    """Silences libraries as the command line does, and ends this process with its parent.

    Two processes must not write one store.
    """
    warnings.simplefilter("ignore")
    threading.Thread(target=follow_parent, daemon=True).start()


def follow_parent() -> None:
    """Waits for the parent's end, then ends at once."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
