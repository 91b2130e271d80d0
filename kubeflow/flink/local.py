"""Flink on one machine, by the same flink.sh as on a cluster.

It is embedded in Beam's job server, or has several hosts as network namespaces.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kubeflow.flink.hosts import address_of, hosts, inside, on_core
from medimg.errors import MedimgError

SCRIPT = Path(__file__).with_name("flink.sh")
REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 90


@dataclass(frozen=True)
class Flink:
    """A running engine.

    Attributes:
        beam, arguments: the value of --beam, and the flags that go with it.
        processes: by name: `taskmanager-1`, `worker-pool-1` ...
        hosts: numbers of the working hosts, where each is a network namespace.
    """

    beam: str
    arguments: tuple[str, ...]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    hosts: tuple[int, ...] = ()

    def kill(self, name: str) -> None:
        """Ends a process and its children at once, as a power cut does."""
        os.killpg(self.processes[name].pid, signal.SIGKILL)


def environment(work: Path, **more: str) -> dict[str, str]:
    """What flink.sh reads: our Python first on the PATH, our sources, a folder for what is temporary."""
    paths = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "MEDIMG_FLINK_WORK": str(work),
    }
    return {**os.environ, **paths, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore", **more}


def fetch_jars(*kinds: str) -> None:
    """Fetches what is not here yet. Raises MedimgError with the reason where it cannot be had."""
    for program in ("java", "bash"):
        if not shutil.which(program):
            raise MedimgError(f"no {program} on the PATH")
    for kind in kinds:
        result = subprocess.run(
            [SCRIPT, "jars", kind], env=environment(Path()), capture_output=True, text=True, timeout=600
        )
        if result.returncode:
            raise MedimgError(result.stderr.strip().splitlines()[-1])


@contextmanager
def running(
    name: str, *words: str, work: Path, prefix: tuple[str, ...] = (), **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """One process of flink.sh with its children, logging to work/NAME.log, until the block ends."""
    with (work / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*prefix, SCRIPT, *words],
            env=environment(work, **variables),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
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
    """Waits until something listens there.

    Raises MedimgError with the last line of the log if the process ends or the time is over.
    """
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
        server = stack.enter_context(
            running("job-server", "job-server", work=work, PORT=str(job_port), ARTIFACT_PORT=str(free_port()))
        )
        pool = stack.enter_context(running("worker-pool", "worker-pool", work=work, PORT=str(pool_port)))
        wait_for("localhost", pool_port, pool, log=work / "worker-pool.log")
        wait_for("localhost", job_port, server, log=work / "job-server.log")
        yield Flink(
            f"flink://localhost:{job_port}",
            (f"--environment_config=localhost:{pool_port}", f"--parallelism={parallelism}"),
        )


@contextmanager
def session_cluster(work: Path, *, workers: int = 2, own_core: bool = False) -> Iterator[Flink]:
    """Runs a session cluster until the block ends.

    JobManager and job server are on one host, and each of the others has a TaskManager with its worker pool.

    Args:
        own_core: each working host has one core of the machine, and not another one's; else all of them share
            all cores.

    Raises:
        MedimgError: not root, no network namespaces, fewer cores than hosts that need one, or a process that
            does not start.
    """
    head = address_of(2)
    with ExitStack() as stack:
        working = tuple(range(11, 11 + workers))
        stack.enter_context(hosts(2, *working))
        processes: dict[str, subprocess.Popen[bytes]] = {}

        def start(name: str, host: int, *words: str, **variables: str) -> None:
            share = on_core(working.index(host)) if own_core and host in working else ()
            processes[name] = stack.enter_context(
                running(name, *words, work=work, prefix=(*inside(host), *share), **variables)
            )

        start("jobmanager", 2, "jobmanager", head)
        start("job-server", 2, "job-server", f"{head}:8081", JOB_HOST=head)
        for number, host in enumerate(working, start=1):
            start(f"taskmanager-{number}", host, "taskmanager", address_of(host), head)
            start(f"worker-pool-{number}", host, "worker-pool")
        wait_for(head, 8081, processes["jobmanager"], log=work / "jobmanager.log")
        wait_for(head, 8099, processes["job-server"], log=work / "job-server.log")
        for number, host in enumerate(working, start=1):
            wait_for(
                address_of(host),
                50000,
                processes[f"worker-pool-{number}"],
                log=work / f"worker-pool-{number}.log",
            )
        wait_for_workers(head, workers)
        yield Flink(f"flink://{head}:8099", (f"--parallelism={workers}",), processes, working)


def wait_for_workers(head: str, count: int) -> None:
    """Waits until the JobManager counts so many TaskManagers; raises MedimgError with the number found."""
    deadline, found = time.monotonic() + START_SECONDS, 0
    while time.monotonic() < deadline:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://{head}:8081/overview", timeout=10
        ) as answer:
            found = json.load(answer)["taskmanagers"]
        if found >= count:
            return
        time.sleep(0.5)
    raise MedimgError(
        f"{found} of {count} TaskManagers have registered within {START_SECONDS} s; their logs say why"
    )


def main() -> None:
    """A session cluster until Ctrl-C."""
    parser = argparse.ArgumentParser(
        description="A Flink session cluster on this machine, each host a network namespace. Needs root."
    )
    parser.add_argument(
        "--hosts", type=int, default=2, help="working hosts: a TaskManager and a worker pool each"
    )
    parser.add_argument(
        "--own-core", action="store_true", help="one core of this machine for each working host"
    )
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "medimg-flink", help="folder for logs"
    )
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # Else it would end without taking the hosts away.
    try:
        fetch_jars("job-server", "cluster")
        with session_cluster(options.work, workers=options.hosts, own_core=options.own_core) as flink:
            print(
                f"logs in {options.work}; hand to medimg run: --beam {flink.beam} "
                + " ".join(f"--beam-arg={one}" for one in flink.arguments)
            )
            signal.pause()
    except KeyboardInterrupt:
        print("stopped")
    except MedimgError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
