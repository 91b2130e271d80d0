"""What a user reads when a component fails, and where a run keeps its metadata."""

import errno

import pytest

from medimg.errors import DiskFull, MedimgError, UsageError
from pipeline.beam.flags import parse_beam
from pipeline.config.overrides import load_config
from pipeline.config.places import RunRequest
from pipeline.local.run import adopt_index, check_inputs, explain, local_places
from pipeline.local.run_directory import claim_directory, locate_store


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("query: database or disk is full query: INSERT"),
        OSError("No space left on device: '/data'"),
    ],
)
def test_a_full_disk_is_named_as_such_whoever_noticed_it(error, tmp_path):
    assert f"Trainer: the disk of {tmp_path} is full" in explain(error, component="Trainer", run=tmp_path)


def raised(*errors):
    """The last of these errors, each raised because of the one before."""
    for error, cause in zip(errors[1:], errors, strict=False):
        error.__cause__ = cause
    return errors[-1]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            raised(MedimgError("no labelled case"), RuntimeError("in Beam"), ValueError("x")),
            "no labelled case",
        ),
        (DiskFull("written half"), "written half"),
        (ValueError("first\nsecond"), "ValueError: first (the whole of it is in "),
        (ValueError("  \n first \n"), "ValueError: first (the whole of it is in "),
        (
            RuntimeError("Traceback (most recent call last):\n  File x\nKeyError: 'y'\n"),
            "RuntimeError: KeyError: 'y' (the whole of it is in ",
        ),
        (RuntimeError(""), "RuntimeError:  (the whole of it is in "),
        (RuntimeError("failed in state FAILED: x"), "RuntimeError: failed in state FAILED: x (the whole"),
        (ValueError("a" * 400), f"ValueError: {'a' * 300} (the whole"),
    ],
)
def test_a_failure_is_one_line_of_what_went_wrong_first(tmp_path, error, line):
    found = explain(error, component="Trainer", run=tmp_path)
    assert found.startswith(f"Trainer: {line}")
    assert "\n" not in found


def test_an_error_in_the_handling_of_another_is_told_by_the_first(tmp_path):
    error = RuntimeError("again")
    error.__context__ = MedimgError("the first")
    assert explain(error, component="Pusher", run=tmp_path) == "Pusher: the first"


def test_places_are_below_the_run_but_for_what_runs_share(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDIMG_METADATA_PASSWORD", "word")
    run, whole = tmp_path / "folds" / "0", tmp_path
    request = RunRequest(data_root=tmp_path / "data", to=run, previous=tmp_path / "earlier", parent=whole)
    places = local_places(run, request, schema=run / "s", store="../../metadata.sqlite", pipeline="cmmd-1")
    assert (places.data_root, places.previous) == (str(tmp_path / "data"), str(tmp_path / "earlier"))
    below = {"artifacts": places.pipeline_root, "models": places.serving, "checkpoints": places.checkpoints}
    assert below == {name: str(run / name) for name in below}
    assert places.index == str(whole / "index.parquet")
    assert (places.metadata, places.pipeline) == (str(run / "../../metadata.sqlite"), "cmmd-1")
    assert places.metadata_password == "word"
    assert "word" not in repr(places)
    alone = RunRequest(data_root=tmp_path, to=run, beam_args=("--x",))
    places = local_places(run, alone, schema=run / "s", store="metadata.sqlite", pipeline="cmmd")
    assert (places.index, places.previous) == (str(run / "index.parquet"), "")
    assert places.beam_args == ("--x",)


@pytest.mark.parametrize(
    ("data", "previous", "words"),
    [
        ("nowhere", None, "nowhere: no such folder, expected images and tables of cmmd"),
        ("file", None, "file: not a folder, expected images and tables of cmmd"),
        (".", "nowhere", r"nowhere: no cases\.parquet, expected an earlier catalogue"),
    ],
)
def test_data_or_an_earlier_catalogue_that_are_not_there_are_refused(tmp_path, data, previous, words):
    (tmp_path / "file").touch()
    request = RunRequest(
        data_root=tmp_path / data, to=tmp_path / "to", previous=previous and tmp_path / previous
    )
    with pytest.raises(UsageError, match=words):
        check_inputs(load_config("cmmd_demo"), request)


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


@pytest.mark.parametrize(
    ("brought", "own", "expected"), [("a", None, "a"), ("a", "b", "b"), (None, "b", "b")]
)
def test_a_run_takes_what_its_catalogue_has_read_unless_it_has_read_the_data_itself(
    tmp_path, brought, own, expected
):
    paths = tmp_path / "catalogue.parquet", tmp_path / "own.parquet"
    for path, content in zip(paths, (brought, own), strict=True):
        if content:
            path.write_text(content)
    adopt_index(*paths)
    assert paths[1].read_text() == expected


def test_a_catalogue_without_an_index_leaves_none_behind(tmp_path):
    adopt_index(tmp_path / "catalogue.parquet", tmp_path / "own.parquet")
    assert list(tmp_path.iterdir()) == []
