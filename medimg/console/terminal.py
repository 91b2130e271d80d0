"""Prints whole lines in a log, as wide as the terminal is, and takes nothing in them for markup."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from medimg.errors import one_line

WIDEST = 1000
"""Letters; no table of ours is wider.

A log has no width, but rich takes it for one of 80 columns and folds lines and figures beyond reading.
"""


def make_console(**options: Any) -> Console:
    """A console, with the options of rich's own.

    Where no terminal limits them, lines and tables stay whole.
    """
    console = Console(**options)
    return console if console.is_terminal else Console(**{"width": WIDEST, **options})


def say(console: Console, line: str) -> None:
    """One line as it is, however wide the terminal."""
    console.print(one_line(line), markup=False, highlight=False, soft_wrap=True)
