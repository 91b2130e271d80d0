"""Checks that the Beam runner is reachable, runs our version and can read our files.

One tiny Beam job asks it: what a worker writes under the run's folder is the answer, so that the folder is
tried on the way.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import apache_beam as beam
import grpc
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.runner import PipelineState

import medimg
from medimg.errors import MedimgError
from medimg.hashing import hash_code
from pipeline.beam.flags import explain_engine, read_flag

ANSWER_SECONDS = 10
PROBE_SECONDS = 300
QUESTION = "question"


def check_engine(flags: Sequence[str], *, run: Path, data_root: Path) -> None:
    """Asks a portable engine; others (the local runner, Dataflow) start their own workers and are not asked.

    Raises:
        MedimgError: the job server or a worker pool does not answer, a worker has other versions than this
            process, or does not reach the run's folder or the data.
    """
    endpoint = read_flag(flags, "job_endpoint")
    if not endpoint:
        return
    expect_job_server(endpoint)
    folder = run / f".probe-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        (folder / QUESTION).write_text("which versions?")
        count = int(read_flag(flags, "parallelism", "1"))
        run_probe(flags, folder=folder, data_root=data_root, count=count)
        answers = [read_answer(folder / f"worker-{number}.json") for number in range(count)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for answer in answers:
        expect_same(answer, here=versions(), data_root=data_root)


def expect_job_server(endpoint: str) -> None:
    """Connects and calls Beam's job service, so that a wrong port is told apart from a silent one."""
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise MedimgError(
            f"--beam: no job server at {endpoint} ({error.strerror or error}); is it running, and reachable "
            "from here?"
        ) from None
    with grpc.insecure_channel(endpoint) as channel:
        try:
            service = beam_job_api_pb2_grpc.JobServiceStub(channel)
            # Every job server has this method: Beam itself calls it before each job.
            service.DescribePipelineOptions(
                beam_job_api_pb2.DescribePipelineOptionsRequest(), timeout=ANSWER_SECONDS
            )
        except grpc.RpcError as error:
            raise MedimgError(
                f"--beam: what answers at {endpoint} is not Beam's job server ({error.code().name}); "
                "expected its port, not the engine's own"
            ) from None


class DescribeWorker(beam.DoFn):
    """Writes what a worker is and sees into the folder where this side asks."""

    def __init__(self, folder: str, data_root: str) -> None:
        self._folder, self._data_root = folder, data_root

    def process(self, number: int) -> Iterator[int]:
        folder = Path(self._folder)
        if not (folder / QUESTION).is_file():
            raise MedimgError(
                f"worker {socket.gethostname()} does not reach the run's folder {folder.parent}; expected "
                "one that all hosts share"
            )
        answer = {
            "host": socket.gethostname(),
            "data": os.access(self._data_root, os.R_OK | os.X_OK),
            **versions(),
        }
        # Renamed, as all of a run's files are: the reader must not meet half of it.
        temporary = folder / f".worker-{number}-{uuid.uuid4().hex}"
        try:
            temporary.write_text(json.dumps(answer))
        except OSError as error:
            raise MedimgError(
                f"worker {socket.gethostname()} cannot write to the run's folder {folder.parent} "
                f"({error.strerror}); expected one that all hosts may"
            ) from None
        temporary.replace(folder / f"worker-{number}.json")
        yield number


def versions() -> dict[str, str]:
    """What must be the same here and on the workers."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "apache-beam": metadata.version("apache-beam"),
        "medimg-tfx": medimg.__version__,
        # The version alone says nothing about a checkout.
        "code of CaseExampleGen": hash_code(["components.case_example_gen.executor"])[:12],
    }


def run_probe(flags: Sequence[str], *, folder: Path, data_root: Path, count: int) -> None:
    """One element for each worker that works at the same time.

    Raises MedimgError where the job fails or does not end.
    """
    pipeline = beam.Pipeline(argv=list(flags))
    _ = (
        pipeline
        | beam.Create(range(count))
        | beam.Reshuffle()
        | beam.ParDo(DescribeWorker(str(folder), str(data_root)))
    )
    try:
        result = pipeline.run()
        state = result.wait_until_finish(duration=PROBE_SECONDS * 1000)
    except Exception as error:
        raise MedimgError(f"--beam: {explain_engine(str(error), flags)}") from error
    if state != PipelineState.DONE:
        result.cancel()
        raise MedimgError(
            f"--beam: a job of {count} rows did not end within {PROBE_SECONDS} s (state {state}); has the "
            f"engine {count} free slots?"
        )


def read_answer(path: Path) -> dict[str, str]:
    """A worker's answer; a shared file system may show it a moment later."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while not path.is_file():
        if time.monotonic() > deadline:
            raise MedimgError(
                f"--beam: the workers see another folder {path.parents[1]} than this process; expected one "
                "that all hosts share"
            )
        time.sleep(0.2)
    answer: dict[str, str] = json.loads(path.read_text())
    return answer


def expect_same(answer: Mapping[str, str], *, here: Mapping[str, str], data_root: Path) -> None:
    """Compares a worker's answer with this process."""
    for name, value in here.items():
        if answer[name] != value:
            raise MedimgError(
                f"--beam: worker {answer['host']} has {name} {answer[name]}, expected {value} as here"
            )
    if not answer["data"]:
        raise MedimgError(
            f"--beam: worker {answer['host']} cannot read {data_root}; expected data that all hosts reach "
            "under this path"
        )
