"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from medimg.console.terminal import say
from medimg.errors import one_line

Item = TypeVar("Item")
LINE_EVERY_SECONDS = 15.0


def show_progress(items: Iterable[Item], *, total: int, title: str, shown: bool = True) -> Iterator[Item]:
    """Passes items on and tells on stderr how far it is; nothing for loops that end within 15 s in a log."""
    if not shown or not total:
        yield from items
    elif sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield from bar.track(items, total=total, description=title)
    else:
        printed_at = time.monotonic()
        for count, item in enumerate(items, start=1):
            if time.monotonic() - printed_at > LINE_EVERY_SECONDS:
                print(f"{title}: {count} of {total}", file=sys.stderr, flush=True)
                printed_at = time.monotonic()
            yield item


class Meter(Protocol):
    """Takes note of bytes and files that arrived and says things; called from any thread."""

    def expect(self, size: int | None, *, files: int | None) -> None:
        """So many bytes and files are to come; None where nobody knows. Progress shows from here on."""

    def advance(self, size: int) -> None:
        """So many more bytes are there."""

    def count_file(self) -> None:
        """One more file is whole and verified."""

    def say(self, line: str) -> None:
        """One line for the person who waits."""


@contextmanager
def metering(title: str) -> Iterator[Meter]:
    """Shows files, bytes, speed and the time left on stderr: a bar on a terminal, else a line every 15 s."""
    if not sys.stderr.isatty():
        yield _Lines(title)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[files]}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    try:
        yield _Bar(bar, title)
    finally:
        bar.stop()


class _Files:
    """How many files are there, of how many."""

    def __init__(self) -> None:
        self._expected: int | None = None
        self._count = 0
        self._lock = threading.Lock()

    def expect(self, files: int | None) -> str:
        self._expected = files
        return str(self)

    def count(self) -> str:
        with self._lock:
            self._count += 1
            return str(self)

    def __str__(self) -> str:
        of = "" if self._expected is None else f" of {self._expected:,}"
        return f"{self._count:,}{of} files"


class _Bar:
    def __init__(self, bar: Progress, title: str) -> None:
        self._bar, self._files = bar, _Files()
        self._task = bar.add_task(title, total=None, files=str(self._files))

    def expect(self, size: int | None, *, files: int | None) -> None:
        self._bar.reset(self._task, total=size, files=self._files.expect(files))
        self._bar.start()

    def advance(self, size: int) -> None:
        self._bar.advance(self._task, size)

    def count_file(self) -> None:
        self._bar.update(self._task, files=self._files.count())

    def say(self, line: str) -> None:
        say(self._bar.console, line)


class _Lines:
    def __init__(self, title: str) -> None:
        self._title, self._files = title, _Files()
        self._total = ""
        self._lock = threading.Lock()
        self._count = self._counted = 0
        self._printed_at = time.monotonic()

    def expect(self, size: int | None, *, files: int | None) -> None:
        self._files.expect(files)
        self._total = "" if size is None else f" of {decimal(size)}"

    def count_file(self) -> None:
        self._files.count()

    def advance(self, size: int) -> None:
        with self._lock:
            self._count += size
            now = time.monotonic()
            if now - self._printed_at <= LINE_EVERY_SECONDS:
                return
            line = (
                f"{self._title}: {self._files}, {decimal(self._count)}{self._total}, "
                f"{decimal(int((self._count - self._counted) / (now - self._printed_at)))}/s"
            )
            self._printed_at, self._counted = now, self._count
        self.say(line)

    def say(self, line: str) -> None:
        print(one_line(line), file=sys.stderr, flush=True)
