"""CaseExampleGen on a Flink session cluster: two hosts against one, start-up apart; a worker's memory.

The same bytes from every engine.

    python benchmarks/bench_flink.py [--data DIR] [--rounds 3] [--images 1000] [--write]

DIR is a CMMD tree of full-size images; without it one is drawn (4.4 MB and about half a second an image).
Each working host is a network namespace with a TaskManager and a worker pool, and both of these share one
core, which no other host has; JobManager, job server and this process run on any core. Needs root, Java and
Maven, and a core for each of the two hosts; says so where it cannot run.
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
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import apache_beam as beam
from apache_beam.runners.runner import PipelineState

from components.case_example_gen.executor import WriteShard, plan_shards
from kubeflow.flink.hosts import name_of
from kubeflow.flink.local import REPOSITORY, fetch_jars, free_port, running, session_cluster, wait_for
from medimg.cases import Case
from medimg.catalogue.build import BuildOptions, build_catalogue
from medimg.catalogue.split import SplitSettings
from medimg.catalogue.tables import catalogue_cases, read_catalogue
from medimg.datasets import find_data_set
from medimg.datasets.cmmd.phantom import write_phantom
from medimg.errors import MedimgError
from medimg.hashing import hash_tree
from medimg.images.prepare import Ingest
from pipeline.beam.flags import parse_beam

INGEST = Ingest(image_size=(1024, 832), bits=8, channels=1, orientation="mammogram", crop="breast", fit="pad")
CASES_PER_SHARD = 16
LARGEST_BYTES = 2**25
FEW = 100
LOCAL = {
    "Direct, 1 worker": ("--direct_num_workers=1",),
    "Direct, 2 threads": ("--direct_num_workers=2",),
    "Direct, 2 processes": ("--direct_num_workers=2", "--direct_running_mode=multi_processing"),
}


@dataclass(frozen=True)
class Measure:
    """One job on a cluster of its own.

    Attributes:
        startup: seconds from its submission until the first worker begins the first shard: its imports are
            done then.
        work: seconds from then on until the job has ended.
        core_seconds: of `work`, how long each host has been on its core; what others do on this machine is
            not in it.
        peaks_mb: memory of each host's worker.
        output: hash of what was written.
        load: of the machine before it.
    """

    hosts: int
    images: int
    startup: float
    work: float
    core_seconds: tuple[float, ...]
    peaks_mb: tuple[float, ...]
    output: str
    load: float

    def __str__(self) -> str:
        cores = ", ".join(f"{value:.0f}" for value in self.core_seconds)
        peaks = ", ".join(f"{value:.0f}" for value in self.peaks_mb)
        return (
            f"{self.hosts} host{'s' * (self.hosts > 1)}, {self.images} images: "
            f"start-up {self.startup:.1f} s, work {self.work:.1f} s, of which on each core {cores} s; "
            f"peak of each worker {peaks} MB; load of the machine before it {self.load:.1f}"
        )


def choose_cases(data: Path, catalogue: Path, images: int) -> list[Case]:
    """Cases with at least so many images together."""
    if not (catalogue / "cases.parquet").exists():
        build_catalogue(
            find_data_set("cmmd"),
            data_root=data,
            to=catalogue,
            options=BuildOptions(SplitSettings(), index_path=catalogue / "index.parquet"),
        )
    tables = read_catalogue(catalogue)
    chosen: list[Case] = []
    for split in ("train", "eval", "test"):
        for case in catalogue_cases(tables, statuses=("used", "unlabelled"), split=split):
            if sum(len(one.images) for one in chosen) < images:
                chosen.append(case)
    return chosen


def run_job(
    flags: Sequence[str],
    cases: Sequence[Case],
    data: Path,
    to: Path,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Writes the cases as CaseExampleGen does.

    `watch` is called now and then while an engine outside this process works.
    """
    to.mkdir()
    pipeline = beam.Pipeline(argv=list(flags))
    shards = list(plan_shards("train", list(cases), str(to), CASES_PER_SHARD))
    _ = (
        pipeline
        | beam.Create(shards)
        | beam.Reshuffle()
        | beam.ParDo(WriteShard(str(data), INGEST, LARGEST_BYTES))
    )
    result = pipeline.run()
    while not PipelineState.is_terminal(result.state):
        watch()
        time.sleep(0.2)
    result.wait_until_finish()


def processes_of(host: int) -> list[Path]:
    """What runs on a host, as folders of /proc."""
    listed = subprocess.run(
        ["ip", "netns", "pids", name_of(host)], capture_output=True, text=True, check=True
    )
    return [Path("/proc", number) for number in listed.stdout.split()]


def read_core_seconds(host: int) -> float:
    """Seconds that a host's processes, and those that have ended since, have been on a core."""
    ticks = 0
    for process in processes_of(host):
        with suppress(FileNotFoundError, ProcessLookupError):  # It may have ended since.
            ticks += sum(
                int(word) for word in (process / "stat").read_text().rpartition(")")[2].split()[11:15]
            )
    return ticks / os.sysconf("SC_CLK_TCK")


def read_peaks(host: int) -> Iterator[float]:
    """Peak memory so far of each Python worker on a host, in MB."""
    for process in processes_of(host):
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"SdkHarness" in (process / "cmdline").read_bytes():
                yield from (
                    int(line.split()[1]) / 1024
                    for line in (process / "status").read_text().splitlines()
                    if line.startswith("VmHWM")
                )


class Watch:
    """Measures, while a job runs, the memory of the workers and when the first of them begins to write."""

    def __init__(self, hosts: Sequence[int], to: Path) -> None:
        self.peaks = dict.fromkeys(hosts, 0.0)
        self.begun: float | None = None
        self.core_seconds: list[float] = []
        self._to = to

    def __call__(self) -> None:
        self.peaks = {host: max([peak, *read_peaks(host)]) for host, peak in self.peaks.items()}
        if self.begun is None and any(self._to.iterdir()):
            self.begun = time.perf_counter()
            self.core_seconds = [read_core_seconds(host) for host in self.peaks]


def measure(cases: Sequence[Case], data: Path, *, hosts: int) -> Measure:
    """One job on a cluster of its own."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder, "examples")
        with session_cluster(Path(folder), workers=hosts, own_core=True) as flink:
            watch, submitted = Watch(flink.hosts, to), time.perf_counter()
            run_job(parse_beam(flink.beam, flink.arguments), cases, data, to, watch)
            ended = time.perf_counter()
            core_seconds = [read_core_seconds(host) for host in flink.hosts]
        assert watch.begun is not None
        on_core = [after - before for before, after in zip(watch.core_seconds, core_seconds, strict=True)]
        return Measure(
            hosts=hosts,
            images=sum(len(case.images) for case in cases),
            startup=watch.begun - submitted,
            work=ended - watch.begun,
            core_seconds=tuple(on_core),
            peaks_mb=tuple(watch.peaks.values()),
            output=hash_tree(to),
            load=load,
        )


@contextmanager
def portable(work: Path) -> Iterator[tuple[str, ...]]:
    """Flags for Beam's own job service in Python, with a worker pool."""
    job_port, pool_port = free_port(), free_port()
    command = [
        sys.executable,
        "-m",
        "apache_beam.runners.portability.local_job_service_main",
        "--port",
        str(job_port),
    ]
    log = work / "job-service.log"
    with (
        running("worker-pool", "worker-pool", work=work, PORT=str(pool_port)) as pool,
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, cwd=REPOSITORY) as service,
    ):
        try:
            wait_for("localhost", pool_port, pool, log=work / "worker-pool.log")
            wait_for("localhost", job_port, service, log=log)
            yield parse_beam(
                f"portable://localhost:{job_port}", [f"--environment_config=localhost:{pool_port}"]
            )
        finally:
            service.kill()


def hash_elsewhere(cases: Sequence[Case], data: Path) -> dict[str, str]:
    """Hash of what the engines other than Flink write, by the engine's name."""
    hashes = {}
    with tempfile.TemporaryDirectory() as folder, portable(Path(folder)) as portable_flags:
        engines = {
            **{name: parse_beam("local", arguments) for name, arguments in LOCAL.items()},
            "portable job service": portable_flags,
        }
        for number, (name, flags) in enumerate(engines.items()):
            to = Path(folder, str(number))
            run_job(flags, cases, data, to)
            hashes[name] = hash_tree(to)
    return hashes


def summarize(
    rounds: Sequence[tuple[Measure, Measure]], few: Measure, elsewhere: dict[str, str]
) -> list[str]:
    """The ratios with their spread, what was compared, and the measurements that they come from.

    Each round is one host, then two.
    """
    memory = f"peak memory of a worker, {rounds[0][1].images} images / {few.images}"
    ratios: dict[str, list[float]] = defaultdict(list)
    for one, two in rounds:
        ratios["speed, two hosts / one, start-up apart (goal >= 1.5)"].append(one.work / two.work)
        ratios["speed, two hosts / one, start-up included"].append(
            (one.startup + one.work) / (two.startup + two.work)
        )
        ratios["seconds on a core, one host / the busier of two, start-up apart"].append(
            max(one.core_seconds) / max(two.core_seconds)
        )
        ratios[memory].append(max(two.peaks_mb) / max(few.peaks_mb))
    hashes = {one.output for pair in rounds for one in pair} | set(elsewhere.values())
    lines = [
        f"{name}: median {statistics.median(values):.2f} (min {min(values):.2f}, max {max(values):.2f})"
        for name, values in ratios.items()
    ]
    lines.append(
        f"output of {', '.join(elsewhere)}, Flink with one host and with two ({2 * len(rounds)} jobs), "
        f"{rounds[0][0].images} images each: {len(hashes)} hash{'es' * (len(hashes) > 1)} (goal 1)"
    )
    lines += [f"round {number}, {one}" for number, pair in enumerate(rounds, start=1) for one in pair]
    return [*lines, str(few)]


def main() -> None:
    """Prints the ratios, and writes them to a dated file when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--catalogue", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            fetch_jars("job-server", "cluster")
            with session_cluster(Path(folder), own_core=True):
                pass
        except MedimgError as reason:
            print(f"skipped: {reason}")
            return
        data = options.data or Path(folder, "data")
        if not options.data:
            write_phantom(data, cases=options.images // 2, seed=0, rows=2294, columns=1914)
        catalogue = options.catalogue or Path(folder, "catalogue")
        cases = choose_cases(data, catalogue, options.images)
        elsewhere = hash_elsewhere(cases, data)
        rounds = []
        for _ in range(options.rounds):
            rounds.append((measure(cases, data, hosts=1), measure(cases, data, hosts=2)))
            print(*rounds[-1], sep="\n", flush=True)
        few = measure(choose_cases(data, catalogue, FEW), data, hosts=2)
    lines = summarize(rounds, few, elsewhere)
    print("\n".join(lines))
    if options.write:
        today = datetime.now(timezone.utc)
        cores = f"{os.cpu_count()} cores, of which each working host has one"
        setting = (
            f"Python {platform.python_version()}, {cores} (TaskManager, worker pool and worker), "
            f"{options.rounds} interleaved rounds, ingest {INGEST}."
        )
        text = f"# CaseExampleGen on Flink, {today:%Y-%m-%d}\n\n{setting}\n\n"
        (Path(__file__).parent / f"flink_{today:%Y%m%d}.md").write_text(
            text + "".join(f"- {line}\n" for line in lines)
        )


if __name__ == "__main__":
    main()
