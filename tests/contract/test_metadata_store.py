"""Every store that a run can be given: several writers at once lose nothing.

What cannot work is said in one line.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from rich.console import Console

from medimg.errors import MedimgError, UsageError
from pipeline.local.run_directory import store_lock
from pipeline.metadata import store
from tests import databases

REPOSITORY = Path(__file__).resolve().parents[2]
EACH = 20


@pytest.fixture(scope="module", params=["mariadb", "postgresql"])
def database(request):
    with getattr(databases, request.param)() as uri, pytest.MonkeyPatch.context() as patch:
        patch.setenv(store.PASSWORD, databases.PASSWORD)
        yield uri


def write(opened: MetadataStore, pipeline: str, count: int) -> None:
    """Writes what `count` components of one pipeline do: an execution with an output each, in its context."""
    kind = opened.put_artifact_type(mlmd.ArtifactType(name="Examples", properties={"number": mlmd.INT}))
    execution_kind = opened.put_execution_type(mlmd.ExecutionType(name="Component"))
    context = mlmd.Context(type_id=opened.put_context_type(mlmd.ContextType(name="pipeline")), name=pipeline)
    for number in range(count):
        artifact = mlmd.Artifact(
            type_id=kind, uri=f"{pipeline}/{number}", properties={"number": mlmd.Value(int_value=number)}
        )
        output = (artifact, mlmd.Event(type=mlmd.Event.OUTPUT))
        execution = mlmd.Execution(type_id=execution_kind, name=f"{pipeline}-{number}")
        opened.put_execution(execution, [output], [context], reuse_context_if_already_exist=True)


def start_writer(uri: str, pipeline: str, folder: Path) -> subprocess.Popen[str]:
    """A process that writes as a run does: behind the lock of a SQLite store, at once into a database."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.contract.test_metadata_store",
        uri,
        pipeline,
        str(folder),
    ]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    )


def run_writers(uri: str, count: int, folder: Path) -> list[str]:
    processes = [start_writer(uri, f"pipeline-{number}", folder) for number in range(count)]
    results = [(*process.communicate(), process.returncode) for process in processes]
    assert [code for _, _, code in results] == [0] * count, results
    return [out for out, _, _ in results]


def expect_all(opened: MetadataStore, pipelines: int) -> None:
    contexts = {context.name: context.id for context in opened.get_contexts_by_type("pipeline")}
    assert set(contexts) == {f"pipeline-{number}" for number in range(pipelines)}
    for name, number in contexts.items():
        assert {one.uri for one in opened.get_artifacts_by_context(number)} == {
            f"{name}/{part}" for part in range(EACH)
        }
        assert len(opened.get_executions_by_context(number)) == EACH
    assert (
        len(opened.get_events_by_execution_ids([one.id for one in opened.get_executions()]))
        == pipelines * EACH
    )


@pytest.mark.slow
def test_pipelines_that_start_at_once_on_an_empty_database_lose_nothing(database, tmp_path):
    run_writers(database, 3, tmp_path)
    expect_all(store.open_store(database), 3)


@pytest.mark.slow
def test_eight_starts_at_once_on_one_sqlite_store_wait_in_plain_words_and_lose_nothing(tmp_path):
    # Processes that take the lock and write; a pipeline takes the same lock (tests/e2e/test_restart.py has
    # two of those).
    path = str(tmp_path / "shared.sqlite")
    with store_lock(tmp_path, path, Console()):
        processes = [start_writer(path, f"pipeline-{number}", tmp_path) for number in range(8)]
        for process in processes:
            assert process.stdout.readline().endswith("shared.sqlite; waiting for it to end\n")
    assert [process.wait() for process in processes] == [0] * 8
    expect_all(store.open_store(path), 8)


def test_a_wrong_password_is_one_line_that_shows_none(database, monkeypatch, capfd):
    monkeypatch.setenv(store.PASSWORD, "wrong-word")
    with pytest.raises(MedimgError, match="does not let user medimg in or work") as refused:
        store.open_store(database)
    assert "wrong-word" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


def test_a_database_that_does_not_answer_is_named():
    with pytest.raises(MedimgError, match=r"no answer from mysql database runs at 127\.0\.0\.1:1 "):
        store.open_store("mysql://medimg@127.0.0.1:1/runs")


def test_a_uri_names_kind_user_host_port_and_database():
    assert store.parse_database("mysql://me@host/runs") == store.Database("mysql", "me", "host", 3306, "runs")
    assert store.parse_database("postgresql://me@host:99/runs") == store.Database(
        "postgresql", "me", "host", 99, "runs"
    )
    assert store.parse_database("runs/metadata.sqlite") is None


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (
            "mysql://me:word@host/runs",
            "--metadata mysql://me:***@host/runs: the password belongs into the environment variable "
            "MEDIMG_METADATA_PASSWORD",
        ),
        ("mysql://host/runs", "expected the path of a SQLite file, mysql://USER@HOST"),
        ("mysql://me@host", "expected the path"),
        ("mysql://me@host:port/runs", "expected the path"),
        ("oracle://me@host/runs", "expected the path"),
    ],
)
def test_a_uri_that_cannot_be_meant_is_refused(uri, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        store.parse_database(uri)


if __name__ == "__main__":
    uri, pipeline, folder = sys.argv[1:]
    with store_lock(Path(folder), uri, Console()):
        sys.stdout.flush()
        write(store.open_store(uri), pipeline, EACH)
