"""Starts `medimg fetch` again and again and kills it at seeded random moments.

Moments are counted in processor time of the killed process: a busy machine shifts none of them. The kernel
kills at the signal of the timer, which nothing here catches, as at SIGKILL. A child is forked after one
unbroken fetch, so that it spends its time on fetching and not on imports.

    python -m tests.faults.killer KILLS SEED FOLDER ARGUMENTS...

The unbroken fetch is in FOLDER/0. Each time a fetch got to its end, the next one begins in a new folder.
Prints what came of it as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

from cli import app

LONGEST_SECONDS = 0.4
"""A fetch of 30 patients takes 0.5 s and goes on where the last one was killed: every third ends well."""


def run(arguments: list[str]) -> int:
    """Runs the command line; returns its exit code."""
    sys.argv = ["medimg", *arguments]
    try:
        app.main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def run_child(arguments: list[str], *, seconds: float) -> None:
    """Runs the command line in a forked child, for so much processor time at most; never returns."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    os._exit(run(arguments))


def main() -> None:
    kills, seed, folder, *arguments = sys.argv[1:]
    codes = [run([*arguments, "--to", str(Path(folder, "0"))])]
    rng = random.Random(int(seed))
    killed, rounds = 0, 1
    while killed < int(kills):
        root = Path(folder) / str(rounds)
        seconds = rng.uniform(0.01, LONGEST_SECONDS)
        child = os.fork()
        if child == 0:
            run_child([*arguments, "--to", str(root)], seconds=seconds)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGPROF:
            killed += 1
        else:
            codes.append(code)
            rounds += 1
    sys.stdout.flush()
    print(json.dumps({"killed": killed, "codes": codes}))


if __name__ == "__main__":
    main()
