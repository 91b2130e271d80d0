"""One trial of a search: what its process is asked for, what it came to, and what the store remembers."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from medimg.errors import DiskFull, MedimgError
from pipeline.cache_keys import CodeFingerprints, Fingerprints
from pipeline.config.overrides import load_config
from pipeline.config.places import Places
from pipeline.experiments import tuning
from pipeline.experiments.trials import Objective, Trial
from pipeline.experiments.tuning import Training, read_result, work
from pipeline.local.run import OpenRun
from pipeline.metadata.lineage import properties_of
from tests.unit.pipeline.metadata.memory_store import Execution, Store

FINGERPRINTS = Fingerprints("data", "", "schema", "", CodeFingerprints(*"abcdefgh"))
MINE = dataclasses.replace(FINGERPRINTS, weights="mine")
CONFIG = load_config("cmmd_demo")
WIDE = load_config("cmmd_demo", overrides=["model.width=32"])
TRIAL = Trial("key", {"model.width": 32})


def write_result(folder: Path) -> tuple[Path, Path]:
    """What a Trainer of two members leaves: (model, model run)."""
    model, model_run = folder / "artifacts/Trainer/model/7", folder / "artifacts/Trainer/model_run/7"
    (model / "Format-Serving").mkdir(parents=True)
    model_run.mkdir(parents=True)
    facts = {"eval": {"malignancy/auc": 0.75, "malignancy/loss": None}, "train": {"malignancy/auc": 0.99}}
    (model / "Format-Serving" / "medimg.json").write_text(json.dumps(facts))
    members = [{"history": [{"seconds": 1.5}, {"seconds": 2.0}]}, {"history": [{"seconds": 4.0}]}]
    (model_run / "history.json").write_text(json.dumps({"members": members}))
    return model, model_run


class Steps:
    """Stands in for the worker's process: writes to the store what TFX would, noting what it was asked."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.asked: list[tuple[OpenRun, Fingerprints, str, bool]] = []
        self.trains: Callable[[], None] = self.finish

    def call(
        self, function: object, run: OpenRun, fingerprints: Fingerprints, last: str, quiet: bool
    ) -> None:
        assert function is work
        self.asked.append((run, fingerprints, last, quiet))
        if last == "Trainer":
            self.trains()

    def finish(self) -> None:
        model, model_run = write_result(self.folder)
        made = {"model": self.store.make(uri=str(model)), "model_run": self.store.make(uri=str(model_run))}
        self.store.run("Trainer", channels=made)

    def die(self) -> None:
        self.store.run("Trainer", made=(self.store.make(),), state=Execution.RUNNING)
        raise MedimgError("Trainer: its process was killed")

    def fail_before(self) -> None:
        raise MedimgError("Transform: no such column")


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    stand_in = Steps(Store(), tmp_path)

    def opened(uri: str) -> object:
        assert uri == "the store"
        return stand_in.store.store

    monkeypatch.setattr(tuning, "open_store", opened)
    return stand_in


@pytest.fixture
def training(steps: Steps, tmp_path: Path) -> Training:
    places = Places("data", "artifacts", "the store", "models", "checkpoints", "index", "schema")
    run = OpenRun(tmp_path, CONFIG, places, {"pipeline": "demo"})
    console = Console(file=io.StringIO(), width=200)
    objective = Objective("malignancy", "auc")
    return Training(run, FINGERPRINTS, objective, steps, console)  # type: ignore[arg-type]


def noted(steps: Steps) -> dict[str, object]:
    """What the newest execution of the store has as properties."""
    return properties_of(max(steps.store.store.get_executions(), key=lambda one: one.id))


def test_a_trial_is_what_its_training_has_written_and_the_store_remembers_it(
    training: Training, steps: Steps
) -> None:
    steps.store.run("Trainer", made=(steps.store.make(),))
    steps.store.run("Trainer", made=(steps.store.make(),), pipeline="other")
    trial = training.train(WIDE, MINE, TRIAL)
    figures = {"malignancy/auc": 0.75, "malignancy/loss": None}
    assert trial == Trial("key", {"model.width": 32}, figures, 3, 7.5, "artifacts/Trainer/model/7")
    expected = {"tuning.settings": '{"model.width": 32}', "tuning.objective": "malignancy/auc"}
    assert noted(steps) == {**expected, "tuning.score": 0.75}
    scored = [
        Path(one.uri).parent.name
        for one in steps.store.store.get_artifacts()
        if properties_of(one).get("tuning.score") == 0.75
    ]
    assert scored == ["model"]


def test_what_comes_before_training_is_run_once_aloud_and_each_training_in_silence(
    training: Training, steps: Steps
) -> None:
    before, first = training.run, training.train(WIDE, MINE, TRIAL)
    steps.trains = steps.die
    training.train(CONFIG, FINGERPRINTS, dataclasses.replace(TRIAL, key="other"))
    wide = dataclasses.replace(before, config=WIDE)
    assert steps.asked == [
        (before, FINGERPRINTS, "Transform", False),
        (wide, MINE, "Trainer", True),
        (before, FINGERPRINTS, "Trainer", True),
    ]
    assert isinstance(training.console.file, io.StringIO)
    assert training.console.file.getvalue() == "starting TFX\n"
    assert first.failed == ""


def test_a_training_that_was_killed_is_a_failed_trial_and_its_execution_failed(
    training: Training, steps: Steps
) -> None:
    steps.trains = steps.die
    trial = training.train(WIDE, MINE, TRIAL)
    assert trial == dataclasses.replace(TRIAL, failed="Trainer: its process was killed")
    assert noted(steps)["tuning.failed"] == "Trainer: its process was killed"
    [execution] = steps.store.store.get_executions()
    assert execution.last_known_state == Execution.FAILED
    assert all(not properties_of(one) for one in steps.store.store.get_artifacts())


@pytest.mark.parametrize("trained_before", [False, True])
def test_a_trial_that_failed_before_its_training_changes_no_execution(
    training: Training, steps: Steps, trained_before: bool
) -> None:
    if trained_before:
        steps.store.run("Trainer", made=(steps.store.make(),))
    steps.trains = steps.fail_before
    trial = training.train(WIDE, MINE, TRIAL)
    assert trial == dataclasses.replace(TRIAL, failed="Transform: no such column")
    assert [properties_of(one) for one in steps.store.store.get_executions()] == [{}] * trained_before


def test_a_full_disk_ends_the_search_and_is_no_trial(training: Training, steps: Steps) -> None:
    def fill() -> None:
        raise DiskFull("Trainer: the disk is full")

    steps.trains = fill
    with pytest.raises(DiskFull):
        training.train(WIDE, MINE, TRIAL)


def test_what_comes_before_training_and_fails_ends_the_search(training: Training) -> None:
    class Refuses:
        def call(self, *given: object) -> None:
            raise MedimgError("DataGate: too many anomalies")

    broken = dataclasses.replace(training, worker=Refuses())  # type: ignore[arg-type]
    with pytest.raises(MedimgError, match="DataGate"):
        broken.train(WIDE, MINE, TRIAL)
    assert not broken.prepared


def test_the_process_runs_the_pipeline_up_to_what_it_is_asked_for(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, object, str, bool]] = []

    def run_components(run: OpenRun, fingerprints: Fingerprints, *, console: Console, last: str) -> None:
        asked.append((run, fingerprints, last, console.quiet))

    monkeypatch.setattr(tuning, "run_components", run_components)
    for last, quiet in (("Transform", False), ("Trainer", True)):
        work(training.run, FINGERPRINTS, last, quiet)
    assert asked == [
        (training.run, FINGERPRINTS, "Transform", False),
        (training.run, FINGERPRINTS, "Trainer", True),
    ]


def test_a_result_is_found_from_its_run_wherever_that_is(tmp_path: Path) -> None:
    model, model_run = write_result(tmp_path / "run")
    found = read_result(TRIAL, tmp_path / "run", model=model, model_run=model_run)
    assert (found.model, found.epochs, found.seconds) == ("artifacts/Trainer/model/7", 3, 7.5)
