"""A run step by step: what is refused before any work, what is held, what is written of its end."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout
from PIL import Image
from rich.console import Console

from medimg.cases import Case
from medimg.catalogue.split import Assignment
from medimg.errors import MedimgError, UsageError
from medimg.files import hash_file
from pipeline import cache_keys
from pipeline.beam.flags import parse_beam
from pipeline.cache_keys import CodeFingerprints, Fingerprints
from pipeline.config.overrides import load_config, to_plain
from pipeline.config.places import RunRequest
from pipeline.local import run as running
from pipeline.local.run import OpenRun, check_inputs, execute, open_run, run_config
from pipeline.local.run_directory import RunOutcome, claim_directory, make_directory, read_run_file
from tests.small_catalogue import write_small_catalogue

CONFIG = load_config("cmmd_demo")
CODE = CodeFingerprints(*"abcdefgh")
OUTCOME = RunOutcome(False, ("a gate",), 3, "artifacts/c", "artifacts/m", "models/1", "report/report.html")
FLINK = parse_beam("flink://host:1")


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    """A request whose data are there."""
    data = tmp_path / "data"
    data.mkdir()
    Image.new("L", (4, 4)).save(data / "a.png")
    (data / "labels.csv").write_text("file,patient_id,label\na.png,p,yes\nb.png,q,no\n")
    return RunRequest(data_root=data, to=tmp_path / "run")


def printed() -> Console:
    return Console(file=io.StringIO(), width=300)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def write_earlier(to: Path, data_set: str) -> Path:
    cases = [Case("c", "g", (), labels={"malignancy": "Benign"}, clinical={})]
    write_small_catalogue(
        to,
        cases,
        {"c": Assignment("train")},
        strata={"c": "Benign"},
        summary={"data_set": data_set, "split_settings": {"by": "group", "folds": 0}},
    )
    return to


def test_an_earlier_catalogue_of_other_data_is_refused_and_one_of_these_is_taken(
    request_: RunRequest, tmp_path: Path
) -> None:
    fits = dataclasses.replace(request_, previous=write_earlier(tmp_path / "fits", "cmmd"))
    assert check_inputs(CONFIG, fits).name == "cmmd-demo"
    other = dataclasses.replace(request_, previous=write_earlier(tmp_path / "other", "folder"))
    with pytest.raises(UsageError, match="a catalogue of folder, expected an earlier one of cmmd"):
        check_inputs(CONFIG, other)
    by_case = load_config("cmmd_demo", overrides=["split.by=case"])
    with pytest.raises(UsageError, match="split by group, expected one that is split by case"):
        check_inputs(by_case, fits)


def test_weights_that_are_not_there_are_refused_before_any_work(request_: RunRequest, tmp_path: Path) -> None:
    weights = tmp_path / "own.weights.h5"
    config = load_config("ham10000_mobilenet", overrides=[f"model.weights={weights}"])
    with pytest.raises(UsageError, match=r"model\.weights: no file .*own\.weights\.h5"):
        check_inputs(config, request_)
    weights.touch()
    assert check_inputs(config, request_).model.weights == str(weights)


def test_the_classes_that_only_the_data_know_are_filled_in(request_: RunRequest) -> None:
    config = check_inputs(load_config("folder_classification"), request_)
    assert config.heads == {"label": ("no", "yes")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data_root": Path("nowhere")}, "nowhere: no such folder"),
        ({"previous": Path("nowhere")}, r"no cases\.parquet"),
        ({"beam_args": ("--job_endpoint=127.0.0.1:1",)}, "no engine"),
        ({"metadata": "mysql://me@127.0.0.1:1/runs"}, "no answer from mysql database runs"),
        ({"metadata": "nowhere/shared.sqlite"}, "no folder .*nowhere, expected one for the SQLite file"),
    ],
)
def test_what_no_run_could_work_with_ends_it_before_any_work(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    def refuse(places: object, **named: object) -> None:
        raise MedimgError("no engine")

    monkeypatch.setattr(running, "ask_engine", refuse)
    begun = False
    with (
        pytest.raises(MedimgError, match=words),
        open_run(CONFIG, dataclasses.replace(request_, **change), console=printed()),
    ):
        begun = True
    assert not begun
    wrong_use = "data_root" in change or "previous" in change
    assert request_.to.exists() is not wrong_use  # What is wrong in the command itself leaves no folder.
    if not wrong_use:
        with FileLock(request_.to / "run.lock", timeout=0):
            pass


def test_an_engine_is_asked_if_there_is_one_and_the_local_runner_is_not(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(running, "ask_engine", lambda places, *, run, console: asked.append((places, run)))
    with open_run(CONFIG, request_, console=printed()):
        assert asked == []
    with open_run(CONFIG, dataclasses.replace(request_, beam_args=FLINK), console=printed()) as run:
        assert asked == [(run.places, run.folder)]


def test_an_open_run_is_held_and_no_store_is_made_yet(request_: RunRequest) -> None:
    with open_run(load_config("folder_classification"), request_, console=printed()) as run:
        assert run.folder == request_.to
        assert run.facts == read_run_file(run.folder)
        assert (run.facts["state"], run.facts["pipeline"]) == ("started", "folder-classification")
        assert run.places.pipeline == "folder-classification"
        assert run.places.metadata == str(run.folder / "metadata.sqlite")
        assert not (run.folder / "metadata.sqlite").exists()
        assert run.config.heads == {"label": ("no", "yes")}
        schema = Path(run.places.schema)
        assert schema.is_file()
        assert schema.is_relative_to(run.folder / "schema")
        with pytest.raises(Timeout):
            FileLock(run.folder / "run.lock").acquire(timeout=0)
    with FileLock(run.folder / "run.lock", timeout=0):
        pass


def test_a_shared_store_is_held_as_long_as_the_run(request_: RunRequest, tmp_path: Path) -> None:
    shared = dataclasses.replace(request_, metadata=str(tmp_path / "shared.sqlite"))
    lock = FileLock(tmp_path / "shared.sqlite.lock")
    with open_run(CONFIG, shared, console=printed()) as run:
        assert run.places.metadata == str(tmp_path / "shared.sqlite")
        with pytest.raises(Timeout):
            lock.acquire(timeout=0)
    with lock.acquire(timeout=0):
        pass


def test_a_fold_has_index_and_store_of_its_cross_validation(request_: RunRequest, tmp_path: Path) -> None:
    whole = make_directory(tmp_path / "whole")
    fold = dataclasses.replace(request_, to=whole / "folds" / "0", parent=whole)
    with open_run(CONFIG, fold, console=printed()) as run:
        assert run.facts["store"] == "../../metadata.sqlite"
        assert Path(run.places.metadata).resolve() == whole / "metadata.sqlite"
        assert run.places.index == str(whole / "index.parquet")


def test_the_directory_of_a_cross_validation_is_no_runs(request_: RunRequest) -> None:
    claim_directory(make_directory(request_.to), CONFIG, folds=["folds/0", "folds/1", "folds/2"])
    with pytest.raises(UsageError, match="with --folds 3"), open_run(CONFIG, request_, console=printed()):
        pass


@pytest.fixture
def opened(request_: RunRequest) -> OpenRun:
    config = load_config("folder_classification")
    with open_run(config, request_, console=printed()) as run:
        return run


def test_a_finished_run_is_written_down_with_its_whole_config(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []

    def note(run: OpenRun, **named: object) -> None:
        steps.append((read_run_file(run.folder)["state"], run.config.heads["label"]))

    monkeypatch.setattr(running, "execute", note)
    monkeypatch.setattr(running, "collect_outcome", lambda run: OUTCOME)
    config = load_config("folder_classification")
    assert run_config(config, request_, console=printed()) == OUTCOME
    assert steps == [("started", ("no", "yes"))]
    written = read_run_file(request_.to)
    assert written == {
        "config": to_plain(check_inputs(config, request_)),
        "state": "finished",
        "store": "metadata.sqlite",
        "pipeline": "folder-classification",
        "log": "run.log",
        "data_root": "../data",
        "previous": "",
        "split_file": "",
        **dataclasses.asdict(OUTCOME),
        "failed_gates": ["a gate"],
    }


def test_a_run_that_fails_stays_started_and_lets_others_in(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: OpenRun, **named: object) -> None:
        raise MedimgError("Trainer: no memory")

    monkeypatch.setattr(running, "execute", fail)
    with pytest.raises(MedimgError, match="Trainer: no memory"):
        run_config(CONFIG, request_, console=printed())
    assert read_run_file(request_.to)["state"] == "started"
    with FileLock(request_.to / "run.lock", timeout=0):
        pass


def test_the_components_get_the_fingerprints_of_this_runs_schema_and_data(
    opened: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[Fingerprints] = []
    monkeypatch.setattr(cache_keys, "code_fingerprints", lambda config: CODE)  # Seconds.
    monkeypatch.setattr(running, "run_components", lambda run, found, *, console: got.append(found))
    console = printed()
    execute(opened, console=console)
    assert text_of(console).splitlines() == ["reading the data root", "starting TFX"]
    before = got[0]
    assert before.schema == hash_file(Path(opened.places.schema))
    (Path(opened.places.data_root) / "labels.csv").write_text(
        "file,patient_id,label\na.png,p,no\nb.png,q,yes\n"
    )
    execute(opened, console=console)
    assert got[1].data != before.data
    assert got[1].schema == before.schema
