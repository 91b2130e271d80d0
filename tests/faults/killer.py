"""Starts `medimg fetch` again and again and kills it with SIGKILL at seeded random moments.

A child is forked, so that a start costs no imports.

    python -m tests.faults.killer KILLS SEED FOLDER ARGUMENTS...

Each time a fetch got to its end, the next one begins in a new folder below FOLDER. Prints what came of it as
JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

LONGEST_SECONDS = 0.4


def run_child(arguments: list[str]) -> None:
    """Runs the command line in a forked child; never returns."""
    from cli.app import main

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    sys.argv = ["medimg", *arguments]
    try:
        main()
    except SystemExit as leaving:
        os._exit(int(leaving.code or 0))
    os._exit(0)


def main() -> None:
    kills, seed, folder, *arguments = sys.argv[1:]
    import cli.fetch

    assert cli.fetch
    rng = random.Random(int(seed))
    killed = rounds = 0
    codes: list[int] = []
    while killed < int(kills):
        root = Path(folder) / str(rounds)
        child = os.fork()
        if child == 0:
            run_child([*arguments, "--to", str(root)])
        deadline = time.monotonic() + rng.uniform(0.01, LONGEST_SECONDS)
        code = None
        while code is None and time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if done else None
            time.sleep(0.002)
        if code is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
        else:
            codes.append(code)
            rounds += 1
    print(json.dumps({"killed": killed, "finished": rounds, "codes": codes}))


if __name__ == "__main__":
    main()
