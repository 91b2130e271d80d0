"""What hostile or broken files may cost, and a map over files that survives them.

This module imports neither numpy nor pydicom: a child process sets its memory limit before anything else is
loaded.
"""

from __future__ import annotations

import collections
import itertools
import multiprocessing
import os
import resource
import signal
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures import wait
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from medimg.errors import BadImage, MedimgError, OutOfMeans, UnreadableFile, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 32
"""Most items per message to a child.

Small enough to keep children evenly busy, large enough that messages cost nothing.
"""

IDLE_FACTOR = 90
"""How much longer than its processor time a child may take: enough on any busy machine, and an end to waiting
for a file system that no longer answers."""


@dataclass(frozen=True)
class Limits:
    """What one file may cost; more than that is refused, never tried.

    Attributes:
        file_bytes: size on disk.
        frame_bytes: one decoded frame, rows * columns * samples * bytes per sample as the header declares it.
        decoded_bytes: all frames together, though they are decoded one at a time.
        inflated_bytes: what a deflated data set (1.2.840.10008.1.2.1.99) may inflate to.
        seconds: processor time of one file in a child process, before what its pixels may take.
        seconds_per_megapixel: processor time more for each million of values that are decoded of it.
        memory_bytes: address space of a child process (RLIMIT_AS).
    """

    file_bytes: int = 4_000_000_000
    frame_bytes: int = 500_000_000
    decoded_bytes: int = 16_000_000_000
    inflated_bytes: int = 500_000_000
    seconds: float = 20
    seconds_per_megapixel: float = 1
    memory_bytes: int = 2_000_000_000


LIMITS = Limits()


def inflate(stream: BinaryIO, *, limit_bytes: int) -> BytesIO:
    """Inflates a raw deflate stream (RFC 1951, DICOM PS3.5 A.5) from where it stands to its end.

    Raises:
        ValueError: it is damaged or cut short, or inflates to more than `limit_bytes`.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = BytesIO()
    while not inflater.eof:
        compressed = inflater.unconsumed_tail or stream.read(1 << 20)
        if not compressed:
            raise BadImage("the deflated data set ends too early, expected a complete deflate stream")
        try:
            inflated.write(inflater.decompress(compressed, 1 << 22))
        except zlib.error as error:
            raise BadImage(f"the deflated data set is damaged ({error}), expected a deflate stream") from None
        if inflated.tell() > limit_bytes:
            raise BadImage(
                f"the deflated data set inflates to more than {limit_bytes} bytes, expected at most that"
            )
    inflated.seek(0)
    return inflated


def guarded_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    limits: Limits = LIMITS,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[Item, Result | MedimgError]]:
    """Runs `function` on each item in child processes and yields (item, result or error) in order.

    A child that dies, hangs or needs too much memory or time costs its item an OutOfMeans and nothing else:
    its neighbours are run again, singly, and the item itself once more while nothing else runs, so that no
    verdict is the machine's. Items are drawn as they are needed, so memory does not grow with their number.

    Args:
        function: module-level and picklable; must live in a module that a child can import (not in
            `__main__`). What it raises becomes the item's error: a MedimgError as it is, everything else as
            UnreadableFile.
        items: picklable; `str(item)` names them in errors.
        workers: number of child processes, 1 or more.
        progress: called with the number of items done so far, after each.

    Raises:
        UsageError: workers < 1.
    """
    if workers < 1:
        raise UsageError(f"workers: found {workers}, expected 1 or more")
    # Never fork: the caller may hold threads and locks (TensorFlow, gRPC), and a forked child would inherit
    # its memory.
    context = multiprocessing.get_context(
        "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    )
    pool = ProcessPool(
        max_workers=workers, context=context, initializer=_enter_child, initargs=(limits.memory_bytes,)
    )
    try:
        for done, pair in enumerate(
            _run(pool, function, iter(items), workers=workers, limits=limits), start=1
        ):
            yield pair
            if progress is not None:
                progress(done)
    finally:
        pool.stop()
        pool.join()


@dataclass(frozen=True)
class _Chunk:
    items: Sequence[Any]
    future: ProcessFuture


def _run(
    pool: ProcessPool, function: Callable[[Any], Any], items: Iterator[Any], *, workers: int, limits: Limits
) -> Iterator[tuple[Any, Any]]:
    def schedule(chunk: Sequence[Any]) -> _Chunk:
        # A chunk stops taking new items after 1/8 of the time and is killed after 1/4: one slow item must not
        # make its neighbours wait for long.
        limit = limits.seconds if len(chunk) == 1 else limits.seconds / 4
        arguments = [function, chunk, limits.seconds / 8, limit]
        return _Chunk(chunk, pool.schedule(_run_chunk, args=arguments, timeout=limit * IDLE_FACTOR))

    def run_alone(item: Any) -> Any:
        wait([chunk.future for chunk in pending])
        try:
            return schedule([item]).future.result()[0]
        except Exception as error:
            return _reason(item, error, limits)

    pending: collections.deque[_Chunk] = collections.deque()
    size = 1  # Grows, so that a handful of large files still keeps every child busy.
    while True:
        while len(pending) < 4 * workers and (chunk := list(itertools.islice(items, size))):
            pending.append(schedule(chunk))
            size = min(size + 1, CHUNK)
        if not pending:
            return
        head = pending.popleft()
        try:
            results = head.future.result()
        except Exception:
            if len(head.items) > 1:
                pending.extendleft([schedule([item]) for item in head.items][::-1])
                continue
            results = [OutOfMeans(str(head.items[0]))]
        for item, result in zip(head.items, results, strict=False):
            yield item, run_alone(item) if isinstance(result, OutOfMeans) else result
        if rest := head.items[len(results) :]:
            pending.appendleft(schedule(rest))


def _run_chunk(
    function: Callable[[Any], Any], chunk: Sequence[Any], budget_seconds: float, limit_seconds: float
) -> list[Any]:
    """Runs in the child; stops early when the time is used up, and the caller schedules the rest again."""
    # The signal of this timer, which nothing handles, ends the child. It counts processor time: how long a
    # file takes on a busy machine says nothing about the file.
    signal.setitimer(signal.ITIMER_PROF, limit_seconds)
    start = time.process_time()
    results: list[Any] = []
    for item in chunk:
        try:
            results.append(function(item))
        except MedimgError as error:
            # Without the frames that it came through: they hold the image, and its neighbours need the room.
            error.__cause__ = error.__context__ = None
            results.append(error.with_traceback(None))
        except MemoryError:
            results.append(OutOfMeans(f"{item}: needs more memory than one file may take"))
        except Exception as error:
            results.append(UnreadableFile(f"{item}: {describe(error)}, expected a readable file"))
        if time.process_time() - start > budget_seconds:
            break
    signal.setitimer(signal.ITIMER_PROF, 0)
    return results


def allow_pixels(count: int, *, limits: Limits = LIMITS) -> None:
    """Gives the running item the processor time that decoding so many values may take.

    To be called once a file's header is known. Without a timer, outside of `guarded_map`, it does nothing.
    """
    left, _ = signal.getitimer(signal.ITIMER_PROF)
    if left > 0:
        signal.setitimer(signal.ITIMER_PROF, left + limits.seconds_per_megapixel * count / 1e6)


def _enter_child(memory_bytes: int) -> None:
    # Before numpy is loaded: its threads would reserve address space by the number of cores.
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _reason(item: Any, error: Exception, limits: Limits) -> UnreadableFile:
    if isinstance(error, FutureTimeout):
        return OutOfMeans(f"{item}: did not end within {limits.seconds * IDLE_FACTOR:g} seconds")
    if isinstance(error, ProcessExpired) and error.exitcode == -signal.SIGPROF:
        return OutOfMeans(
            f"{item}: took longer than {limits.seconds:g} seconds of processor time, and "
            f"{limits.seconds_per_megapixel:g} for each million of pixels that it declares, expected less"
        )
    if isinstance(error, ProcessExpired):
        return OutOfMeans(
            f"{item}: the process that read it died (exit code {error.exitcode}), expected a readable file"
        )
    return UnreadableFile(f"{item}: {describe(error)}, expected a readable file")


def describe(error: BaseException) -> str:
    """Says where an unexpected error arose and not what it says: its words may quote the file."""
    place, frame = "an unknown place", error.__traceback__
    while frame is not None:
        place = f"{frame.tb_frame.f_globals.get('__name__', '')}, line {frame.tb_lineno}"
        frame = frame.tb_next
    return f"reading stopped in {place}"
