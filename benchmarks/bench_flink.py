"""CaseExampleGen on a Flink session cluster: two hosts against one, the start-up of the workers apart, and a worker's memory at 100 and 1,000 images.

    python benchmarks/bench_flink.py [--data DIR] [--rounds 3] [--images 1000] [--write]

DIR is a CMMD tree of full-size images; without it one is drawn (4.4 MB and about half a second an image). Each host is a network namespace
with a TaskManager and a worker pool of its own; all of them share the cores of this machine. Needs root, Java and Maven; says so where it cannot run.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from kubeflow.flink.hosts import name_of
from kubeflow.flink.local import Flink, fetch_jars, session_cluster
from medimg.cases import Case
from medimg.errors import MedimgError
from medimg.fingerprints import hash_tree
from medimg.ingest import Ingest
from pipeline.beam import parse_beam

INGEST = Ingest(image_size=(1024, 832), bits=8, channels=1, orientation="mammogram", crop="breast", fit="pad")
CASES_PER_SHARD = 16


@dataclass(frozen=True)
class Measure:
    """One job: seconds from its submission to its end, seconds of a job without a case, peak memory of each worker, hash of the output."""

    images: int
    seconds: float
    startup: float
    peaks_mb: tuple[float, ...]
    output: str
    load: float

    @property
    def work(self) -> float:
        """Seconds without the start-up of the workers."""
        return self.seconds - self.startup


def choose_cases(data: Path, catalogue: Path, images: int) -> list[Case]:
    """Cases with at least so many images together."""
    from medimg.catalogue.build import build_catalogue
    from medimg.catalogue.split import SplitSettings
    from medimg.catalogue.tables import catalogue_cases, read_catalogue
    from medimg.datasets import find_data_set

    if not (catalogue / "cases.parquet").exists():
        build_catalogue(find_data_set("cmmd"), data_root=data, to=catalogue, split=SplitSettings(), index_path=catalogue / "index.parquet")
    tables = read_catalogue(catalogue)
    chosen: list[Case] = []
    for split in ("train", "eval", "test"):
        for case in catalogue_cases(tables, statuses=("used", "unlabelled"), split=split):
            if sum(len(one.images) for one in chosen) < images:
                chosen.append(case)
    return chosen


def run_job(flink: Flink, cases: list[Case], data: Path, to: Path) -> float:
    """Writes the cases as CaseExampleGen does; seconds. Without cases, as many empty shards as there are workers."""
    import apache_beam as beam

    from components.case_example_gen import executor

    to.mkdir(parents=True)
    shards = list(executor.plan_shards("train", cases, str(to), CASES_PER_SHARD)) if cases else []
    shards = shards or [executor.Shard("train", str(to / "Split-train" / f"empty-{number}"), ()) for number in range(len(flink.hosts))]
    started = time.perf_counter()
    with beam.Pipeline(argv=list(parse_beam(flink.beam, flink.arguments))) as pipeline:
        _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.ParDo(executor.WriteShard(str(data), INGEST, 2**25))
    return time.perf_counter() - started


def read_peaks(flink: Flink) -> tuple[float, ...]:
    """Peak memory of the newest Python worker on each host, in MB; they live on for half a minute after a job."""
    peaks = []
    for host in flink.hosts:
        processes = subprocess.run(["ip", "netns", "pids", name_of(host)], capture_output=True, text=True, check=True).stdout.split()
        workers = [int(number) for number in processes if b"SdkHarness" in Path(f"/proc/{number}/cmdline").read_bytes()]
        status = Path(f"/proc/{max(workers)}/status").read_text()
        peaks.append(next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")))
    return tuple(peaks)


def measure(cases: list[Case], data: Path, *, workers: int) -> Measure:
    """On a cluster of its own: a job without cases, then the work."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with session_cluster(work, workers=workers) as flink:
            startup = run_job(flink, [], data, work / "empty")
            seconds = run_job(flink, cases, data, work / "examples")
            peaks = read_peaks(flink)
        return Measure(sum(len(case.images) for case in cases), seconds, startup, peaks, hash_tree(work / "examples"), load)


def describe(name: str, one: Measure) -> str:
    """One measurement as a line."""
    peaks = ", ".join(f"{peak:.0f}" for peak in one.peaks_mb)
    return (
        f"{name}: {one.seconds:.1f} s, of which start-up {one.startup:.1f} s; {one.images} images; peak of each worker {peaks} MB; "
        f"load before it {one.load:.1f}"
    )


def main() -> None:
    """Prints the ratios, and writes them to a dated file when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--catalogue", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    try:
        fetch_jars("job-server", "cluster")
        with session_cluster(Path(tempfile.mkdtemp()), workers=1):
            pass
    except MedimgError as reason:
        print(f"skipped: {reason}")
        return
    if not options.data:
        from medimg.datasets.cmmd_phantom import write_phantom

        options.data = Path(tempfile.mkdtemp()) / "data"
        write_phantom(options.data, cases=options.images // 2, seed=0, rows=2294, columns=1914)
    catalogue = options.catalogue or Path(tempfile.mkdtemp()) / "catalogue"
    cases = choose_cases(options.data, catalogue, options.images)
    few = choose_cases(options.data, catalogue, 100)
    rounds = []
    for number in range(options.rounds):
        rounds.append({workers: measure(cases, options.data, workers=workers) for workers in (1, 2)})
        for workers, one in rounds[-1].items():
            print(describe(f"round {number + 1}, {workers} host{'s' * (workers > 1)}", one), flush=True)
    small = measure(few, options.data, workers=2)
    print(describe("100 images, 2 hosts", small), flush=True)
    hashes = {one.output for pair in rounds for one in pair.values()}
    ratios = {
        "speed, two hosts / one, start-up apart (goal >= 1.5)": [pair[1].work / pair[2].work for pair in rounds],
        "speed, two hosts / one, start-up included": [pair[1].seconds / pair[2].seconds for pair in rounds],
        f"peak memory of a worker, {options.images} images / 100": [max(pair[2].peaks_mb) / max(small.peaks_mb) for pair in rounds],
    }
    lines = [f"{name}: median {statistics.median(values):.2f} (min {min(values):.2f}, max {max(values):.2f})" for name, values in ratios.items()]
    lines.append(f"output: {len(hashes)} hash{'es' * (len(hashes) > 1)} over {2 * options.rounds} jobs on one and two hosts")
    print("\n".join(lines))
    if options.write:
        lines += [describe(f"round {number + 1}, {workers} hosts", one) for number, pair in enumerate(rounds) for workers, one in pair.items()]
        lines.append(describe("100 images, 2 hosts", small))
        today = datetime.now(timezone.utc)
        setting = (
            f"Python {platform.python_version()}, {os.cpu_count()} cores shared by all hosts, {options.rounds} interleaved rounds, ingest {INGEST}."
        )
        text = f"# CaseExampleGen on Flink, {today:%Y-%m-%d}\n\n{setting}\n\n"
        (Path(__file__).parent / f"flink_{today:%Y%m%d}.md").write_text(text + "".join(f"- {line}\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
