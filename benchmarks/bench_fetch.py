"""`medimg fetch` against `s5cmd cp` and `curl` from one loopback S3 server, same files; its memory.

And how long 10,000 series take to plan.

    python benchmarks/bench_fetch.py [--patients 140] [--most-patients 150] [--rounds 3] [--write]

s5cmd and curl write what comes and check nothing; medimg compares size and MD5, hashes with SHA-256, parses
every file, syncs it to disk and writes a receipt. "s5cmd cp, md5sum, sha256sum" is what the same two hashes
cost a shell script. All take turns in every round. All figures are of whole commands, start-up included.
Seconds of CPU are the command's own, without the server's.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medimg.archive.plan import Selection, select
from medimg.archive.source import Series
from tests.fakes.archive import CmmdArchive, choose_series, publish

ROWS, COLUMNS = 2294, 1914
LARGE = 4
"""Times the rows and the columns of an image of CMMD: files of 70 MB."""


@dataclass(frozen=True)
class Measured:
    """Wall time, time on the processors, and peak memory of one command."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


# In a small process of its own: after a fork from this one, which draws images, a command would be said to
# have had this one's memory.
MEASURE = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
sys.exit(code)
"""


def measure(command: list[str], environment: Mapping[str, str]) -> Measured:
    """Runs a command as where Python keeps what it compiled."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        env={name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"},
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{command[:4]}: {done.stderr}")
    return Measured(*json.loads(done.stdout))


def environment_of(archive: CmmdArchive) -> dict[str, str]:
    """Without the proxy that counts: it would be the slowest part."""
    return {**archive.environment, "MEDIMG_IDC_URL": archive.s3.url}


def medimg_command(to: Path, patients: int) -> list[str]:
    command = [sys.executable, "-m", "cli.app", "fetch", "cmmd", "--to", str(to), "--source", "idc"]
    return [*command, "--patients", str(patients), "--seed", "1"]


def s5cmd_command(archive: CmmdArchive, series: list[Series], to: Path) -> list[str]:
    """One copy per series, as idc-index's manifests have it."""
    to.mkdir(parents=True)
    manifest = to.with_suffix(".s5cmd")
    manifest.write_text("".join(f"cp s3://{one.bucket}/{one.key}/* {to}/{one.uid}/\n" for one in series))
    program = str(Path(sys.executable).with_name("s5cmd"))
    return [program, "--no-sign-request", "--endpoint-url", archive.s3.url, "run", str(manifest)]


def hashing_command(archive: CmmdArchive, series: list[Series], to: Path) -> list[str]:
    """The same, then both hashes of each file, on all cores."""
    copy = shlex.join(s5cmd_command(archive, series, to))
    hash_all = f"find {to} -name '*.dcm' -print0 | xargs -0 -n 8 -P {os.cpu_count()} $sum"
    return ["bash", "-c", f"set -e; {copy}; for sum in md5sum sha256sum; do {hash_all}; done"]


def curl_command(archive: CmmdArchive, series: list[Series], to: Path) -> list[str]:
    to.mkdir(parents=True)
    config = to.with_suffix(".curl")
    urls = [
        f"{archive.s3.url}/{one.bucket}/{key}"
        for one in series
        for key in archive.s3.keys(one.bucket, prefix=f"{one.key}/")
    ]
    config.write_text("".join(f'url = "{url}"\noutput = "{to}/{url.rsplit("/", 1)[1]}"\n' for url in urls))
    return ["curl", "--silent", "--no-progress-meter", "--fail", "--parallel", "-K", str(config)]


def compare(archive: CmmdArchive, *, patients: int, rounds: int) -> Iterator[str]:
    """Throughput of the four, in lines for a person."""
    series = choose_series(patients, 1)
    sizes = [path.stat().st_size for one in series for path in (archive.tree / one.uid).glob("*.dcm")]
    makers: dict[str, Callable[[Path], list[str]]] = {
        "medimg fetch": lambda to: medimg_command(to, patients),
        "s5cmd cp": lambda to: s5cmd_command(archive, series, to),
        "s5cmd cp, md5sum, sha256sum": lambda to: hashing_command(archive, series, to),
        "curl": lambda to: curl_command(archive, series, to),
    }
    results: dict[str, list[Measured]] = {name: [] for name in makers}
    again = []
    for number in range(rounds):
        for name in list(makers)[number % 4 :] + list(makers)[: number % 4]:
            with tempfile.TemporaryDirectory() as folder:
                to = Path(folder) / "data"
                results[name].append(measure(makers[name](to), environment_of(archive)))
                came = sum(path.stat().st_size for path in to.rglob("*.dcm"))
                assert came == sum(sizes), (name, came, sum(sizes))
                if name == "medimg fetch":
                    again.append(measure(makers[name](to), environment_of(archive)))
    yield (
        f"{sum(sizes) / 1e6:,.0f} MB in {len(sizes)} files, each as many at a time as it takes untold, "
        f"{rounds} interleaved rounds, medians (least to most):"
    )
    yield ""
    for name, found in results.items():
        seconds = [one.seconds for one in found]
        cpu = median(one.cpu_seconds for one in found)
        rate = sum(sizes) / 1e6 / median(seconds)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        yield f"- {name}: {median(seconds):.2f} s ({spread}), {rate:.0f} MB/s; {cpu:.2f} s of CPU"
    idle = median(one.seconds for one in again)
    cpu = median(one.cpu_seconds for one in again)
    yield f"- the same medimg fetch again, nothing to come: {idle:.2f} s; {cpu:.2f} s of CPU"
    for other in list(makers)[1:]:
        ratios = [b.seconds / a.seconds for a, b in zip(results["medimg fetch"], results[other], strict=True)]
        used = [
            a.cpu_seconds / b.cpu_seconds
            for a, b in zip(results["medimg fetch"], results[other], strict=True)
        ]
        yield (
            f"- against {other}: {median(ratios):.2f}x its speed ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"{median(used):.2f}x its CPU ({min(used):.2f} to {max(used):.2f})"
        )


def measure_peak(archive: CmmdArchive, patients: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        peak = measure(medimg_command(Path(folder) / "data", patients), environment_of(archive)).peak_bytes
        return f"- peak memory of {patients} patients: {peak / 1e6:.0f} MB"


def time_planning() -> str:
    some = choose_series(1775, 0)
    many = [
        replace(some[index % len(some)], uid=f"1.2.{index}", patient_id=f"P{index // 2:05d}")
        for index in range(10_000)
    ]
    began = time.perf_counter()
    chosen: list[Series] = select(many, Selection(patients=2500, seed=3, where="label <> 'Benign'"))
    return (
        f"- 10,000 series planned in {time.perf_counter() - began:.2f} s (goal < 5 s; {len(chosen):,} chosen)"
    )


def show_load() -> str:
    return f"load of the last minute {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


@contextmanager
def published(patients: int, *, scale: int) -> Iterator[CmmdArchive]:
    """An archive of so many patients, with images `scale` times as high and wide as CMMD's."""
    size = {"rows": scale * ROWS, "columns": scale * COLUMNS}
    with (
        tempfile.TemporaryDirectory() as folder,
        publish(choose_series(patients, 1), Path(folder), page=1000, **size) as archive,
    ):
        yield archive


def run(patients: int, most_patients: int, rounds: int) -> Iterator[str]:
    """The whole report, line by line."""
    yield f"Python {platform.python_version()}, {show_load()} before"
    with published(most_patients, scale=1) as archive:
        yield from compare(archive, patients=patients, rounds=rounds)
        yield measure_peak(archive, most_patients // 10)
        yield measure_peak(archive, most_patients)
    with published(1, scale=LARGE) as archive:
        yield f"{measure_peak(archive, 1)} with files of {LARGE * LARGE * ROWS * COLUMNS / 1e6:.0f} MB"
    yield time_planning()
    yield f"- {show_load()} after"


def main() -> None:
    """Measures and prints, and writes if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=140)
    parser.add_argument("--most-patients", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    today = datetime.date.today()
    lines = [f"# Fetch, {today}", ""]
    for line in run(options.patients, options.most_patients, options.rounds):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        Path(__file__).with_name(f"fetch_{today:%Y%m%d}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
