"""What an engine is asked before any work, and the one line for each answer that will not do."""

from __future__ import annotations

import errno
import io
import json
import platform
import re
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent import futures
from importlib import metadata
from pathlib import Path
from typing import Any

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState
from rich.console import Console

import medimg
from medimg.errors import MedimgError
from pipeline.beam import probe
from pipeline.beam.flags import parse_beam
from pipeline.beam.probe import (
    DescribeWorker,
    check_engine,
    expect_job_server,
    expect_same,
    read_answer,
    run_probe,
    versions,
)
from pipeline.config.places import Places
from pipeline.local.run import ask_engine

HERE = {
    "Python": "3.10",
    "apache-beam": "2.48",
    "medimg-tfx": "1.0",
    "code of CaseExampleGen": "abc",
}
ANSWER: dict[str, Any] = {"host": "worker-1", "data": True, **HERE}


class Engine:
    """Stands in for an engine: workers that answer as they are told to, one for each element."""

    def __init__(self) -> None:
        self.answers: dict[int, dict[str, object]] = {}
        self.asked: list[tuple[Path, Path, int]] = []
        self.endpoints: list[str] = []
        self.error: Exception | None = None

    def run_probe(self, flags: Sequence[str], *, folder: Path, data_root: Path, count: int) -> None:
        assert (folder / "question").is_file()
        self.asked.append((folder, data_root, count))
        if self.error:
            raise self.error
        for number in range(count):
            answer = {"host": f"worker-{number}", "data": True, **HERE, **self.answers.get(number, {})}
            (folder / f"worker-{number}.json").write_text(json.dumps(answer))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    stand_in = Engine()
    monkeypatch.setattr(probe, "run_probe", stand_in.run_probe)
    monkeypatch.setattr(probe, "expect_job_server", stand_in.endpoints.append)
    monkeypatch.setattr(probe, "versions", lambda: HERE)
    return stand_in


@pytest.mark.parametrize(("more", "count"), [((), 1), (("--parallelism=1",), 1), (("--parallelism=3",), 3)])
def test_as_many_workers_are_asked_as_work_at_once_and_the_question_is_taken_away(
    engine: Engine, tmp_path: Path, more: Sequence[str], count: int
) -> None:
    data = tmp_path / "data"
    check_engine(parse_beam("flink://host:1", more), run=tmp_path, data_root=data)
    ((folder, asked_data, asked_count),) = engine.asked
    assert (folder.parent, asked_data, asked_count) == (tmp_path, data, count)
    assert engine.endpoints == ["host:1"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [parse_beam(), ("--runner=DataflowRunner",), ()])
def test_an_engine_that_starts_its_own_workers_is_not_asked(
    engine: Engine, tmp_path: Path, flags: Sequence[str]
) -> None:
    check_engine(flags, run=tmp_path / "nowhere", data_root=tmp_path)
    assert (engine.asked, engine.endpoints) == ([], [])


@pytest.mark.parametrize("number", [0, 2])
def test_one_worker_of_several_with_another_version_is_enough(
    engine: Engine, tmp_path: Path, number: int
) -> None:
    engine.answers[number] = {"medimg-tfx": "0.9"}
    with pytest.raises(MedimgError, match=f"worker worker-{number} has medimg-tfx 0.9, expected 1.0"):
        check_engine(parse_beam("flink://h:1", ["--parallelism=3"]), run=tmp_path, data_root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("engine")
def test_a_folder_that_somebody_took_away_does_not_hide_what_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def take_away(flags: Sequence[str], *, folder: Path, data_root: Path, count: int) -> None:
        shutil.rmtree(folder)
        raise MedimgError("--beam: no slots")

    monkeypatch.setattr(probe, "run_probe", take_away)
    with pytest.raises(MedimgError, match="no slots"):
        check_engine(parse_beam("flink://h:1"), run=tmp_path, data_root=tmp_path)


def test_nothing_is_left_behind_by_a_job_that_failed(engine: Engine, tmp_path: Path) -> None:
    engine.error = MedimgError("--beam: no slots")
    with pytest.raises(MedimgError, match="no slots"):
        check_engine(parse_beam("flink://h:1"), run=tmp_path, data_root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", list(HERE))
def test_each_version_must_be_the_same_here_and_there(tmp_path: Path, name: str) -> None:
    expect_same(ANSWER, here=HERE, data_root=tmp_path)
    line = f"--beam: worker worker-1 has {name} 9.9, expected {HERE[name]} as here"
    with pytest.raises(MedimgError, match=re.escape(line)):
        expect_same({**ANSWER, name: "9.9"}, here=HERE, data_root=tmp_path)


def test_a_worker_that_cannot_read_the_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(MedimgError, match=f"worker worker-1 cannot read {tmp_path}; expected data that all"):
        expect_same({**ANSWER, "data": False}, here=HERE, data_root=tmp_path)


def test_what_must_be_the_same_are_interpreter_beam_package_and_code() -> None:
    found = versions()
    code = found.pop("code of CaseExampleGen")
    assert re.fullmatch("[0-9a-f]{12}", code)
    assert found == {
        "Python": ".".join(platform.python_version().split(".")[:2]),
        "apache-beam": metadata.version("apache-beam"),
        "medimg-tfx": medimg.__version__,
    }


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DescribeWorker:
    """A worker whose run's folder has the question, and whose data are there."""
    monkeypatch.setattr(probe, "versions", lambda: HERE)
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "question").touch()
    (tmp_path / "data").mkdir()
    return DescribeWorker(str(tmp_path / "probe"), str(tmp_path / "data"))


def test_a_worker_writes_who_it_is_and_what_it_has_under_its_number(
    worker: DescribeWorker, tmp_path: Path
) -> None:
    assert list(worker.process(2)) == [2]
    assert sorted(path.name for path in (tmp_path / "probe").iterdir()) == ["question", "worker-2.json"]
    answer = read_answer(tmp_path / "probe" / "worker-2.json")
    assert answer == {"host": socket.gethostname(), "data": True, **HERE}


def test_a_worker_without_the_data_says_so_and_one_without_the_folder_ends(
    worker: DescribeWorker, tmp_path: Path
) -> None:
    (tmp_path / "data").rmdir()
    list(worker.process(0))
    assert json.loads((tmp_path / "probe" / "worker-0.json").read_text())["data"] is False
    (tmp_path / "probe" / "question").unlink()
    with pytest.raises(MedimgError, match=f"does not reach the run's folder {tmp_path}; expected one that"):
        list(worker.process(1))


def test_a_worker_that_may_not_write_says_why(
    worker: DescribeWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, text: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    line = rf"cannot write to the run's folder {tmp_path} \(Read-only file system\)"
    with pytest.raises(MedimgError, match=line):
        list(worker.process(0))


def test_an_answer_may_be_seen_a_moment_later_and_one_that_is_never_seen_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = tmp_path / "probe" / "worker-0.json"
    answer.parent.mkdir()
    monkeypatch.setattr("time.sleep", lambda seconds: answer.write_text("{}"))
    assert read_answer(answer) == {}
    answer.unlink()
    monkeypatch.undo()
    monkeypatch.setattr(probe, "ANSWER_SECONDS", -1)
    with pytest.raises(MedimgError, match=f"the workers see another folder {tmp_path} than this process"):
        read_answer(answer)


class Silent(beam_job_api_pb2_grpc.JobServiceServicer):
    """Beam's job service without any method."""


class Known(Silent):
    """The one method that every job server has."""

    def DescribePipelineOptions(self, request: object, context: object) -> object:  # noqa: N802
        return beam_job_api_pb2.DescribePipelineOptionsResponse()


@pytest.fixture(params=[Known, Silent])
def job_server(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool]]:
    """A server's address, and whether it is one of Beam."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(request.param(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", request.param is Known
    server.stop(None)


def test_a_job_server_is_known_by_what_it_answers(job_server: tuple[str, bool]) -> None:
    endpoint, known = job_server
    if known:
        expect_job_server(endpoint)
    else:
        line = rf"answers at {endpoint} is not Beam's job server \(UNIMPLEMENTED\); expected its port"
        with pytest.raises(MedimgError, match=line):
            expect_job_server(endpoint)


def test_a_port_where_nothing_answers_and_one_where_something_else_does_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(probe, "ANSWER_SECONDS", 0.5)
        with pytest.raises(MedimgError, match=f"what answers at {endpoint} is not Beam's job server"):
            expect_job_server(endpoint)
    with pytest.raises(MedimgError, match=rf"no job server at {endpoint} \(Connection refused\); is it run"):
        expect_job_server(endpoint)


def test_the_local_runner_answers_for_each_element(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "versions", lambda: HERE)
    (tmp_path / "question").touch()
    run_probe(parse_beam(cores=1), folder=tmp_path, data_root=tmp_path, count=2)
    assert {path.name for path in tmp_path.glob("worker-*")} == {"worker-0.json", "worker-1.json"}


def test_what_a_worker_says_of_its_failure_is_the_line(tmp_path: Path) -> None:
    with pytest.raises(MedimgError, match=r"--beam: worker \S+ does not reach the run's folder"):
        run_probe(parse_beam(cores=1), folder=tmp_path / "other", data_root=tmp_path, count=1)


class Stuck(PipelineResult):
    """A job that does not end, or not well."""

    cancelled = threading.Event()

    def wait_until_finish(self, duration: int | None = None) -> str:
        assert duration == probe.PROBE_SECONDS * 1000  # Beam's are milliseconds.
        return str(self._state)

    def cancel(self) -> None:
        self.cancelled.set()


class StuckRunner(PipelineRunner):
    """Takes every job and ends none."""

    state = PipelineState.RUNNING

    def run_pipeline(self, pipeline: object, options: object) -> Stuck:
        return Stuck(self.state)


@pytest.mark.parametrize("state", [PipelineState.RUNNING, PipelineState.FAILED])
def test_a_job_that_does_not_end_is_cancelled_and_asks_for_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(StuckRunner, "state", state)
    Stuck.cancelled.clear()
    line = rf"a job of 3 rows did not end within 300 s \(state {state}\); has the engine 3 free slots"
    with pytest.raises(MedimgError, match=line):
        run_probe([f"--runner={__name__}.StuckRunner"], folder=tmp_path, data_root=tmp_path, count=3)
    assert Stuck.cancelled.is_set()


def test_a_run_says_that_it_asks_and_logs_into_its_own_file(engine: Engine, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    places = Places(str(tmp_path / "data"), "", "", "", "", "", "", beam_args=parse_beam("flink://h:1"))
    ask_engine(places, run=tmp_path, console=console)
    assert console.file.getvalue() == "asking Beam's workers for their versions\n"  # type: ignore[attr-defined]
    assert [asked[1] for asked in engine.asked] == [tmp_path / "data"]
    assert [path.name for path in tmp_path.iterdir()] == ["run.log"]
