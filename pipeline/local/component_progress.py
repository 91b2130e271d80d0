"""What a person sees while a pipeline runs: one line per component.

Everything else goes to the run's log file.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from absl import logging as absl_logging
from rich.console import Console
from rich.markup import escape
from rich.status import Status

RUNNING = re.compile(r"Component (\S+) is running\.")
FINISHED = re.compile(r"Component (\S+) is finished\.")
CACHED = re.compile(r"A cached execution \d+ is used\.")


@dataclass
class Step:
    """One component's turn: its state is running, done or cached."""

    name: str
    started: float
    state: str = "running"
    seconds: float = 0.0


@dataclass(eq=False)
class Progress(logging.Handler):
    """Follows TFX's own log lines; no part of the runner is replaced for it."""

    console: Console
    count: int
    steps: list[Step] = field(default_factory=list)
    spinner: Status | None = None

    def __post_init__(self) -> None:
        super().__init__(level=logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if found := RUNNING.search(message):
            self.steps.append(Step(found[1], time.monotonic()))
            self._show(found[1])
        elif CACHED.search(message) and self.steps:
            self.steps[-1].state = "cached"
        elif FINISHED.search(message) and self.steps:
            self._finish(self.steps[-1])
        elif record.name == "medimg":
            self._show(f"{self.current}: {message}")

    def _show(self, text: str) -> None:
        """What is going on, on a terminal.

        In a log the finished steps are enough, and the file has the rest.
        """
        if not self.console.is_terminal:
            return
        if self.spinner is None:
            self.spinner = self.console.status("")
            self.spinner.start()
        self.spinner.update(escape(text))

    def stop(self) -> None:
        """Takes the terminal's status line away."""
        if self.spinner is not None:
            self.spinner.stop()
            self.spinner = None

    def _finish(self, step: Step) -> None:
        self.stop()
        step.seconds = time.monotonic() - step.started
        if step.state == "running":
            step.state = "done"
        took = "cached" if step.state == "cached" else f"{step.seconds:.1f} s"
        self.console.print(f"  {len(self.steps):>2}/{self.count:<4} {step.name:<18} {took}", highlight=False)

    @property
    def current(self) -> str:
        """The component that is running or ran last."""
        return self.steps[-1].name if self.steps else "start"


class Discreet(logging.Formatter):
    """Leaves out a password: TFX logs the whole connection to its store."""

    def __init__(self, form: str, *, secret: str) -> None:
        super().__init__(form)
        self._secret = secret

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text.replace(self._secret, "***") if self._secret else text


@contextmanager
def following(console: Console, *, count: int, log: Path, secret: str = "") -> Iterator[Progress]:
    """Sends all logging to `log`, without `secret`, and the progress of `count` components to the console.

    Puts logging back at the end.
    """
    root = logging.getLogger()
    # These two carry handlers of their own that write to stderr.
    talkers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    before = [(logger, logger.handlers[:], logger.propagate, logger.level) for logger in (root, *talkers)]
    verbosity = absl_logging.get_verbosity()
    progress = Progress(console, count)
    file = logging.FileHandler(log)
    file.setFormatter(Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s", secret=secret))
    root.handlers[:] = [file, progress]
    root.setLevel(logging.INFO)
    for logger in talkers:
        logger.handlers[:], logger.propagate = [], True
    # Not setLevel: TFX parses absl's flags on the way, which puts the level back to the verbosity flag.
    absl_logging.set_verbosity(absl_logging.INFO)
    try:
        yield progress
    finally:
        progress.stop()
        absl_logging.set_verbosity(verbosity)
        for logger, handlers, propagate, level in before:
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
        file.close()
