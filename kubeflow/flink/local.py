"""Flink on one machine, by the same flink.sh as on a cluster: embedded in Beam's job server, or with several hosts as network namespaces."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from medimg.errors import MedimgError

SCRIPT = Path(__file__).with_name("flink.sh")
REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 90


@dataclass(frozen=True)
class Flink:
    """A running engine: the value of --beam, and the flags that go with it."""

    beam: str
    arguments: tuple[str, ...]


def environment(work: Path, **more: str) -> dict[str, str]:
    """What flink.sh reads: our Python first on the PATH, our sources, a folder for what is temporary."""
    paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY), "MEDIMG_FLINK_WORK": str(work)}
    return {**os.environ, **paths, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore", **more}


def fetch_jars(*kinds: str) -> None:
    """Fetches what is not here yet. Raises MedimgError with the reason where it cannot be had."""
    for program in ("java", "bash"):
        if not shutil.which(program):
            raise MedimgError(f"no {program} on the PATH")
    for kind in kinds:
        result = subprocess.run([SCRIPT, "jars", kind], env=environment(Path()), capture_output=True, text=True, timeout=600)
        if result.returncode:
            raise MedimgError(result.stderr.strip().splitlines()[-1])


@contextmanager
def running(name: str, *words: str, work: Path, prefix: tuple[str, ...] = (), **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """One process of flink.sh with its children, logging to work/NAME.log, until the block ends."""
    with (work / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*prefix, SCRIPT, *words], env=environment(work, **variables), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and its children, which are its process group."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
            process.wait(timeout=10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def wait_for(host: str, port: int, process: subprocess.Popen[bytes], *, log: Path) -> None:
    """Waits until something listens there; raises MedimgError with the last line of the log if the process ends or the time is over."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    last = (log.read_text(errors="replace").strip().splitlines() or ["no log"])[-1]
    raise MedimgError(f"{log.stem} does not answer at {host}:{port}: {last}")


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def embedded(work: Path, *, parallelism: int = 2) -> Iterator[Flink]:
    """Beam's job server with Flink inside, and one worker pool, on ports of their own."""
    job_port, pool_port = free_port(), free_port()
    with ExitStack() as stack:
        server = stack.enter_context(running("job-server", "job-server", work=work, PORT=str(job_port)))
        pool = stack.enter_context(running("worker-pool", "worker-pool", work=work, PORT=str(pool_port)))
        wait_for("localhost", pool_port, pool, log=work / "worker-pool.log")
        wait_for("localhost", job_port, server, log=work / "job-server.log")
        yield Flink(f"flink://localhost:{job_port}", (f"--environment_config=localhost:{pool_port}", f"--parallelism={parallelism}"))
