"""Progress of long loops: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
        told = time.monotonic()
        for count, item in enumerate(items, start=1):
            if time.monotonic() - told > LINE_EVERY_SECONDS:
                print(f"{title}: {count} of {total}", file=sys.stderr, flush=True)
                told = time.monotonic()
            yield item
