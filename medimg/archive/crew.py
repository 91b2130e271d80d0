"""The threads of a fetch: those that see to a series, that bring files, and that look at what came.

A file is the unit of work: of one large series as many come at once as of many small ones. Who waits for a
server never waits for the disk.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TypeVar

from medimg.archive.source import Arrived, Job
from medimg.archive.transport.errors import Interrupted

Item = TypeVar("Item")
Result = TypeVar("Result")

KEEPERS = 4
"""Threads that look at files: as many syncs of the disk at once."""

SERIES_AT_ONCE = 32
"""Threads that see to a series each: its list, and that all of it came."""


class Crew:
    """Three pools of threads that all series share; to be used as a context manager.

    Args:
        workers: files that come at once, at most.
        stop: no work is begun once it is set.
    """

    def __init__(self, *, workers: int, stop: threading.Event) -> None:
        self.workers = workers
        self._stop = stop
        self._fetching = ThreadPoolExecutor(min(workers, SERIES_AT_ONCE), thread_name_prefix="fetch")
        self._bringing = ThreadPoolExecutor(workers, thread_name_prefix="bring")
        self._keeping = ThreadPoolExecutor(max(KEEPERS, os.cpu_count() or 1), thread_name_prefix="keep")

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fetching.shutdown()
        self._bringing.shutdown()
        self._keeping.shutdown()

    def fetch(self, fetch: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Calls a function with each series, in any order; see `as_they_come`."""
        jobs = (partial(fetch, item) for item in items)
        return as_they_come(self._fetching, jobs, ahead=min(self.workers, SERIES_AT_ONCE), stop=self._stop)

    def bring(self, jobs: Iterable[Job]) -> Iterator[Arrived]:
        """Brings files, in any order; see `as_they_come`."""
        # All series share the threads: many jobs wait for one, and are not to be begun after a stop.
        begun = (partial(self._begin, job) for job in jobs)
        return as_they_come(self._bringing, begun, ahead=self.workers, stop=self._stop)

    def _begin(self, job: Job) -> Arrived:
        if self._stop.is_set():
            raise Interrupted("interrupted")
        return job()

    def keep(self, keep: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Calls a function with each item, in any order; see `as_they_come`."""
        jobs = (partial(keep, item) for item in items)
        return as_they_come(self._keeping, jobs, ahead=2 * KEEPERS, stop=self._stop)


def as_they_come(
    pool: Executor, jobs: Iterable[Callable[[], Result]], *, ahead: int, stop: threading.Event
) -> Iterator[Result]:
    """Does jobs, several at a time, and yields what comes of them, in any order.

    After a failure none is begun any more; those under way end, and what comes of them is yielded, before the
    failure is raised.

    Args:
        ahead: jobs that are begun or wait for a thread, at most: all of them may be too many for the memory.
        stop: once it is set no further one is asked for; those under way end.

    Raises:
        Interrupted: `stop` is set. Whatever a job or the iterable of jobs raises.
    """
    waiting = iter(jobs)
    done: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
    running: set[Future[Result]] = set()
    failure: BaseException | None = None
    try:
        while True:
            while failure is None and len(running) < ahead and not stop.is_set():
                try:
                    future = pool.submit(next(waiting))
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                    break
                running.add(future)
                future.add_done_callback(done.put)
            if not running:
                break
            finished = done.get()
            running.discard(finished)
            failed = finished.exception()
            if failed is None:
                yield finished.result()
            failure = failure or failed
    except (KeyboardInterrupt, SystemExit):
        stop.set()
        raise
    finally:
        # Left early: nobody takes what is still under way, but it must not go on behind the caller's back.
        for future in running:
            future.cancel()
        for future in running:
            if not future.cancelled():
                future.exception()
    if failure is not None:
        raise failure
    if stop.is_set():
        raise Interrupted("interrupted")
