"""`medimg fetch` against `s5cmd cp` and `curl` from one loopback S3 server, same files; its memory; and how long 10,000 series take to plan.

    python benchmarks/bench_fetch.py [--patients 60] [--rounds 3]

s5cmd and curl write what comes and check nothing; medimg compares size and MD5, hashes with SHA-256, parses every file, syncs it to disk and writes
a receipt. The three take turns in every round. All figures are of whole commands, start-up included.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medimg.archive.plan import Selection, select
from medimg.archive.source import Series
from tests.fakes.archive import CmmdArchive, choose_series, publish

WORKERS = 8
ROWS, COLUMNS = 2294, 1914


@dataclass(frozen=True)
class Measured:
    """Wall time and peak memory of one command."""

    seconds: float
    peak_bytes: int


def measure(command: list[str], environment: dict[str, str]) -> Measured:
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{command[:4]}: {process.stderr.read().decode() if process.stderr else ''}")
    return Measured(took, usage.ru_maxrss * 1024)


def medimg_command(archive: CmmdArchive, to: Path, patients: int) -> list[str]:
    command = [sys.executable, "-m", "pipeline.cli", "fetch", "cmmd", "--to", str(to), "--source", "idc"]
    return [*command, "--patients", str(patients), "--seed", "1", "--workers", str(WORKERS)]


def s5cmd_command(archive: CmmdArchive, to: Path, folder: Path) -> list[str]:
    """One copy per series, as idc-index's manifests have it."""
    to.mkdir(parents=True)
    manifest = folder / "s5cmd.txt"
    manifest.write_text("".join(f"cp s3://{one.bucket}/{one.key}/* {to}/{one.uid}/\n" for one in archive.series))
    program = str(Path(sys.executable).with_name("s5cmd"))
    return [program, "--no-sign-request", "--endpoint-url", archive.s3.url, "--numworkers", str(WORKERS), "run", str(manifest)]


def curl_command(archive: CmmdArchive, to: Path, folder: Path) -> list[str]:
    to.mkdir(parents=True)
    wanted = folder / "curl.txt"
    urls = (f"{archive.s3.url}/{bucket}/{key}" for bucket in sorted({one.bucket for one in archive.series}) for key in archive.s3.keys(bucket))
    wanted.write_text("".join(f'url = "{url}"\noutput = "{to}/{url.rsplit("/", 1)[1]}"\n' for url in urls))
    return ["curl", "-sS", "--fail", "--parallel", "--parallel-max", str(WORKERS), "-K", str(wanted)]


def compare(archive: CmmdArchive, *, patients: int, rounds: int) -> None:
    size = sum(path.stat().st_size for path in archive.tree.rglob("*.dcm"))
    environment = {**archive.environment, "MEDIMG_IDC_URL": archive.s3.url}
    makers: dict[str, Callable[[Path, Path], list[str]]] = {
        "medimg fetch": lambda to, folder: medimg_command(archive, to, patients),
        "s5cmd cp": lambda to, folder: s5cmd_command(archive, to, folder),
        "curl": lambda to, folder: curl_command(archive, to, folder),
    }
    results: dict[str, list[float]] = {name: [] for name in makers}
    for number in range(rounds):
        names = list(makers)[number % 3 :] + list(makers)[: number % 3]
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                to = Path(folder) / "data"
                results[name].append(measure(makers[name](to, Path(folder)), environment).seconds)
                came = sum(path.stat().st_size for path in to.rglob("*.dcm"))
                assert came == size, (name, came, size)
    print(f"{size / 1e6:,.0f} MB in {sum(1 for _ in archive.tree.rglob('*.dcm'))} files, {WORKERS} at a time, {rounds} rounds")
    for name, seconds in results.items():
        print(f"  {name:<14} median {median(seconds):6.2f} s  {size / 1e6 / median(seconds):7.1f} MB/s   ({min(seconds):.2f} to {max(seconds):.2f})")
    for other in ("s5cmd cp", "curl"):
        ratios = [b / a for a, b in zip(results["medimg fetch"], results[other], strict=True)]
        print(f"  throughput against {other}: {median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})")


def compare_memory(archive: CmmdArchive, *, patients: int) -> None:
    environment = {**archive.environment, "MEDIMG_IDC_URL": archive.s3.url}
    for count in (max(1, patients // 10), patients):
        with tempfile.TemporaryDirectory() as folder:
            peak = measure(medimg_command(archive, Path(folder) / "data", count), environment).peak_bytes
            print(f"  peak memory of {count} patients: {peak / 1e6:.0f} MB")


def time_planning() -> None:
    some = choose_series(1775, 0)
    many = [replace(some[index % len(some)], uid=f"1.2.{index}", patient_id=f"P{index // 2:05d}") for index in range(10_000)]
    began = time.perf_counter()
    chosen: list[Series] = select(many, Selection(patients=2500, seed=3, where="label <> 'Benign'"))
    print(f"  10,000 series planned in {time.perf_counter() - began:.2f} s ({len(chosen):,} chosen)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    time_planning()
    with tempfile.TemporaryDirectory() as folder:
        with publish(choose_series(arguments.patients, 1), Path(folder), rows=ROWS, columns=COLUMNS, page=1000) as archive:
            compare(archive, patients=arguments.patients, rounds=arguments.rounds)
            compare_memory(archive, patients=arguments.patients)
        shutil.rmtree(folder, ignore_errors=True)
    print(f"  (this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB)")


if __name__ == "__main__":
    main()
