"""One trial's training: what runs before it, what a failure of each kind becomes, what is noted of it."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from rich.console import Console

from medimg.errors import DiskFull, MedimgError
from pipeline.cache_keys import CodeFingerprints, Fingerprints
from pipeline.config.overrides import load_config
from pipeline.config.places import Places
from pipeline.experiments import tuning
from pipeline.experiments.subprocess_worker import Worker
from pipeline.experiments.trials import Objective, Trial
from pipeline.experiments.tuning import Training
from pipeline.local.run import OpenRun
from pipeline.metadata.lineage import newest_execution, outputs_of, properties_of

CONFIG = load_config("cmmd_demo")
WIDER = load_config("cmmd_demo", overrides=["model.width=24"])
FINGERPRINTS = Fingerprints("data", "", "schema", "", CodeFingerprints(*"abcdefgh"))
MINE = dataclasses.replace(FINGERPRINTS, weights="w")
OBJECTIVE = Objective("malignancy", "auc")
TRIAL = Trial("key", {"model.width": 24})
Execution = mlmd.Execution


class Process(Worker):
    """Stands in for the worker's process: notes its calls, and ends those of the Trainer as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.end: Callable[[], None] = lambda: None
        self.end_before: Callable[[], None] = lambda: None

    def call(self, function: Any, *arguments: Any, **named: Any) -> Any:
        self.calls.append((function, *arguments))
        if "Trainer" in arguments:
            self.end()
        else:
            self.end_before()


class Made:
    """A run with its store in memory, in which a Trainer can be said to have run."""

    def __init__(self, run: Path) -> None:
        self.store = MetadataStore(mlmd.ConnectionConfig(fake_database=mlmd.FakeDatabaseConfig()))
        self.process, self.folder = Process(), run
        places = Places("", "", str(run / "metadata.sqlite"), "", "", "", "")
        opened = OpenRun(run, CONFIG, places, {"pipeline": "demo"})
        self.console = Console(file=io.StringIO(), width=200)
        self.training = Training(opened, FINGERPRINTS, OBJECTIVE, self.process, self.console)

    def execute(self, *, state: int = Execution.COMPLETE, auc: float | None = 0.8) -> None:
        """A Trainer's execution with its two outputs, as TFX and the Trainer leave them."""
        kind = self.store.put_execution_type(mlmd.ExecutionType(name="Trainer"))
        (number,) = self.store.put_executions([Execution(type_id=kind, last_known_state=state)])
        context_kind = self.store.put_context_type(mlmd.ContextType(name="node"))
        found = self.store.get_context_by_type_and_name("node", "demo.Trainer")
        context = (
            found.id
            if found
            else self.store.put_contexts([mlmd.Context(type_id=context_kind, name="demo.Trainer")])[0]
        )
        association = mlmd.Association(execution_id=number, context_id=context)
        self.store.put_attributions_and_associations([], [association])
        if state != Execution.COMPLETE:
            return
        folders = {name: self.folder / "artifacts" / name / str(number) for name in ("model", "model_run")}
        serving = folders["model"] / "Format-Serving"
        for folder in (serving, folders["model_run"]):
            folder.mkdir(parents=True)
        facts = {"eval": {"malignancy/auc": auc, "malignancy/loss": 0.6}, "test": {"malignancy/auc": 0.1}}
        (serving / "medimg.json").write_text(json.dumps(facts))
        histories = [[{"seconds": 1.5}, {"seconds": 2.0}], [{"seconds": 4.0}]]
        members = {"members": [{"history": history} for history in histories]}
        (folders["model_run"] / "history.json").write_text(json.dumps(members))
        for name, folder in folders.items():
            kind = self.store.put_artifact_type(mlmd.ArtifactType(name=name))
            (artifact,) = self.store.put_artifacts([mlmd.Artifact(type_id=kind, uri=str(folder))])
            event = mlmd.Event(artifact_id=artifact, execution_id=number, type=mlmd.Event.OUTPUT)
            event.path.steps.add(key=name)
            event.path.steps.add(index=0)
            self.store.put_events([event])

    @property
    def newest(self) -> mlmd.Execution:
        found = newest_execution(self.store, "demo", "Trainer")
        assert found is not None
        return found


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    result = Made(tmp_path)
    monkeypatch.setattr(tuning, "open_store", lambda uri: result.store)
    return result


def fail(error: Exception) -> Callable[[], None]:
    def end() -> None:
        raise error

    return end


def test_a_trial_has_the_figures_on_eval_and_the_time_of_all_members(made: Made) -> None:
    made.process.end = made.execute
    trial = made.training.train(WIDER, MINE, TRIAL)
    assert trial == Trial(
        "key",
        {"model.width": 24},
        {"malignancy/auc": 0.8, "malignancy/loss": 0.6},
        epochs=3,
        seconds=7.5,
        model=f"artifacts/model/{made.newest.id}",
    )


def test_what_comes_before_training_runs_once_with_the_searchs_own_config(made: Made) -> None:
    made.process.end = made.execute
    for _ in range(2):
        made.training.train(WIDER, MINE, TRIAL)
    calls = [
        (run.config.model.width, prints, last, quiet) for _, run, prints, last, quiet in made.process.calls
    ]
    assert calls == [
        (CONFIG.model.width, FINGERPRINTS, "Transform", False),
        (24, MINE, "Trainer", True),
        (24, MINE, "Trainer", True),
    ]
    assert isinstance(made.console.file, io.StringIO)
    assert made.console.file.getvalue() == "starting TFX\n"


def test_settings_and_score_are_noted_on_the_execution_and_its_model(made: Made) -> None:
    made.process.end = made.execute
    made.training.train(WIDER, MINE, TRIAL)
    (model,) = outputs_of(made.store, made.newest.id)["model"]
    for item in (made.newest, model):
        assert properties_of(item) == {
            "tuning.settings": '{"model.width": 24}',
            "tuning.objective": "malignancy/auc",
            "tuning.score": 0.8,
        }
    assert made.newest.last_known_state == Execution.COMPLETE
    (other,) = outputs_of(made.store, made.newest.id)["model_run"]
    assert properties_of(other) == {}


def test_an_undefined_figure_is_noted_as_a_reason(made: Made) -> None:
    made.process.end = lambda: made.execute(auc=None)
    trial = made.training.train(WIDER, MINE, TRIAL)
    assert (trial.score(OBJECTIVE), trial.failed) == (None, "")
    noted = properties_of(made.newest)
    assert noted["tuning.failed"] == "malignancy/auc is undefined on the eval split"
    assert "tuning.score" not in noted
    assert made.newest.last_known_state == Execution.COMPLETE


def test_a_killed_training_is_a_failed_trial_and_no_longer_running_in_the_store(made: Made) -> None:
    def end() -> None:
        made.execute(state=Execution.RUNNING)
        raise MedimgError("its process was killed")

    made.execute()
    made.process.end = end
    trial = made.training.train(WIDER, MINE, TRIAL)
    assert trial == dataclasses.replace(TRIAL, failed="its process was killed")
    assert made.newest.last_known_state == Execution.FAILED
    assert properties_of(made.newest)["tuning.failed"] == "its process was killed"


@pytest.mark.parametrize("earlier", [False, True])
def test_a_trial_that_failed_before_its_training_leaves_the_trial_before_as_it_is(
    made: Made, earlier: bool
) -> None:
    if earlier:
        made.execute()
    made.process.end = fail(MedimgError("no such file"))
    assert made.training.train(WIDER, MINE, TRIAL) == dataclasses.replace(TRIAL, failed="no such file")
    if earlier:
        assert properties_of(made.newest) == {}
        assert made.newest.last_known_state == Execution.COMPLETE


def test_a_full_disk_ends_the_search_and_not_the_trial_alone(made: Made) -> None:
    made.process.end = fail(DiskFull("no room"))
    with pytest.raises(DiskFull, match="no room"):
        made.training.train(WIDER, MINE, TRIAL)


def test_what_fails_before_any_training_ends_the_search_and_is_tried_again_the_next_time(made: Made) -> None:
    made.process.end_before = fail(MedimgError("CatalogueGen: no image"))
    with pytest.raises(MedimgError, match="CatalogueGen: no image"):
        made.training.train(WIDER, MINE, TRIAL)
    made.process.end_before, made.process.end = lambda: None, made.execute
    assert made.training.train(WIDER, MINE, TRIAL).score(OBJECTIVE) == 0.8
    assert [call[3] for call in made.process.calls] == ["Transform", "Transform", "Trainer"]
