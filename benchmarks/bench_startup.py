"""What a user waits for when nothing has to be done: `medimg --help`, and an unchanged run but its imports.

    python benchmarks/bench_startup.py [--demo demo] [--rounds 5] [--write]

`--demo` is a directory in which `medimg demo` has finished; without it, one is made. Two runs go first,
because the second sees the first one's push as its baseline and evaluates again.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

IMPORTS = (
    "import cli.demo, pipeline.cache_keys, pipeline.pipeline, cli.results, pipeline.metadata.lineage, "
    "tfx.orchestration.local.local_dag_runner"
)


def seconds(*command: str) -> float:
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Prints medians of interleaved rounds, and writes them to a dated file when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demo", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    medimg = (sys.executable, "-m", "cli.app")
    demo = options.demo or Path(tempfile.mkdtemp()) / "demo"
    if not options.demo:
        seconds(*medimg, "demo", "--to", str(demo))
    run = (*medimg, "run", "cmmd_demo", "--data", str(demo / "data"), "--to", str(demo / "run"))
    for _ in range(2):
        seconds(*run)
    rounds = [
        (seconds(*medimg, "--help"), seconds(sys.executable, "-c", IMPORTS), seconds(*run))
        for _ in range(options.rounds)
    ]
    help_seconds = statistics.median(row[0] for row in rounds)
    beyond = statistics.median(row[2] - row[1] for row in rounds)
    lines = [
        f"medimg --help: median {help_seconds:.2f} s (goal < 0.5 s)",
        f"imports of a run: median {statistics.median(row[1] for row in rounds):.1f} s",
        f"unchanged run beyond its imports: median {beyond:.1f} s (goal <= 5 s)",
    ]
    print("\n".join(lines))
    if options.write:
        today = datetime.now(timezone.utc)
        text = (
            f"# Start-up and unchanged run, {today:%Y-%m-%d}\n\n{options.rounds} interleaved rounds.\n\n"
            + "".join(f"- {line}\n" for line in lines)
        )
        (Path(__file__).parent / f"startup_{today:%Y%m%d}.md").write_text(text)


if __name__ == "__main__":
    main()
