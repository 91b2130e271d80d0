"""What a command says of a run or bundle that was made before config keys were renamed."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from medimg.console.terminal import say
from medimg.reporting.run_facts import describe_renamed


def say_renamed(console: Console, keys: Iterable[str]) -> None:
    """Prints one line for all config keys that were read by their present names; nothing if none were."""
    if line := describe_renamed(keys):
        say(console, line)
