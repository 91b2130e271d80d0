"""What a user reads when a component fails, and where a run keeps its metadata."""

import errno

import pytest

from medimg.errors import UsageError
from pipeline.beam.flags import parse_beam
from pipeline.config.overrides import load_config
from pipeline.local.run import explain
from pipeline.local.run_directory import claim_directory, locate_store


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("query: database or disk is full query: INSERT"),
    ],
)
def test_a_full_disk_is_named_as_such_whoever_noticed_it(error, tmp_path):
    assert f"Trainer: the disk of {tmp_path} is full" in explain(error, component="Trainer", run=tmp_path)


def test_a_failed_job_of_an_engine_is_one_line_that_names_the_component(tmp_path):
    error = RuntimeError(
        "Pipeline x failed in state FAILED: java.net.ConnectException: finishConnect(..) failed\n"
        "\tat java.base/x\n"
    )
    line = explain(error, component="CaseExampleGen", run=tmp_path, flags=parse_beam("flink://h:1"))
    assert line.startswith("CaseExampleGen: a worker or its pool does not answer")
    assert line.endswith("run again, it continues where it stopped")
    assert "\n" not in line


def test_a_run_keeps_the_store_that_it_was_started_with(tmp_path):
    config = load_config("cmmd_demo")
    facts = claim_directory(tmp_path, config, "mysql://me@host/runs")
    assert facts["store"] == "mysql://me@host/runs"
    assert facts["pipeline"].startswith("cmmd-demo-")
    assert claim_directory(tmp_path, config) == facts
    with pytest.raises(UsageError, match="keeps its metadata in mysql://me@host/runs, not in "):
        claim_directory(tmp_path, config, "other.sqlite")


def test_runs_of_one_config_have_names_of_their_own_in_a_shared_store(tmp_path):
    names = set()
    for run in (tmp_path / "first", tmp_path / "second"):
        run.mkdir()
        names.add(claim_directory(run, load_config("cmmd_demo"), str(tmp_path / "shared.sqlite"))["pipeline"])
    assert len(names) == 2


def test_a_run_of_its_own_moves_with_its_store(tmp_path):
    facts = claim_directory(tmp_path, load_config("cmmd_demo"))
    assert facts["pipeline"] == "cmmd-demo"
    assert locate_store(tmp_path, facts["store"]) == str(tmp_path / "metadata.sqlite")
