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
from typing import Any, TypeVar

from medimg.errors import MedimgError

Result = TypeVar("Result")


class Worker:
    """One process at a time, kept from call to call because TFX takes seconds to import."""

    def __enter__(self) -> Worker:
        self._pool = start_pool()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What the function of a module returns or raises in the process; all of it must be picklable.

        Raises:
            MedimgError: the process was killed. The next call has a new one.
        """
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            self._pool.shutdown()
            self._pool = start_pool()
            raise MedimgError("its process was killed, as the system does when memory runs out") from None


def start_pool() -> ProcessPoolExecutor:
    """Spawned, never forked: the caller may hold threads and locks of TensorFlow. Unlike those of pebble it may have children, which Beam has."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=enter_worker)


def enter_worker() -> None:
    """Silences libraries as the command line does, and ends this process with the one that asked for it: two must not write one store."""
    warnings.simplefilter("ignore")
    threading.Thread(target=follow_parent, daemon=True).start()


def follow_parent() -> None:
    """Waits for the parent's end, then ends at once."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
