"""A whole search with its training replaced: what is tried, what is not tried again, and what it writes."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from medimg.errors import DiskFull, MedimgError, UsageError
from medimg.tasks.search_space import Choice, Space
from pipeline.cache_keys import CodeFingerprints, Fingerprints
from pipeline.config.overrides import load_config, to_plain
from pipeline.config.places import RunRequest
from pipeline.config.resolve import resolve_config
from pipeline.config.run_config import RunConfig
from pipeline.experiments import tuning
from pipeline.experiments.trials import Trial, read_trials
from pipeline.experiments.tuning import Search, SearchSettings, Training, plan_search, tune_config
from pipeline.local.run_directory import read_run_file, write_json

FINGERPRINTS = Fingerprints("data", "", "schema", "", CodeFingerprints(*"abcdefgh"))
SPACE: Space = {"model.width": Choice((8, 16)), "training.batch_size": Choice((8, 32))}
Score = Callable[[RunConfig], float | None]


def make_search(*overrides: str, space: Space = SPACE, trials: int = 4, objective: str = "auc") -> Search:
    settings = SearchSettings(trials=trials, objective=objective, oracle="random")
    return dataclasses.replace(plan_search("cmmd_demo", overrides, settings=settings), space=space)


def judge(config: RunConfig) -> float | None:
    """Narrow networks and small batches are best."""
    return 1 / config.model.width + 1 / config.training.batch_size


class Trainings:
    """Stands in for the Trainer: a score by the settings, `failing` for some, noting what it was asked."""

    def __init__(self, to: Path) -> None:
        self.to = to
        self.asked: list[tuple[RunConfig, Fingerprints]] = []
        self.states: list[str] = []
        self.score: Score = judge
        self.failed = ""
        self.stops_at = 0

    def train(self, training: Training, config: RunConfig, fingerprints: Fingerprints, trial: Trial) -> Trial:
        self.asked.append((config, fingerprints))
        self.states.append(read_run_file(self.to)["state"])
        if len(self.asked) == self.stops_at:
            raise DiskFull("Trainer: the disk is full")
        score = self.score(config)
        if score is None and self.failed:
            return dataclasses.replace(trial, failed=self.failed)
        model = f"artifacts/Trainer/model/{len(self.asked)}"
        figures = {str(training.objective): score}
        return dataclasses.replace(trial, figures=figures, epochs=2, seconds=3.0, model=model)


@pytest.fixture
def trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainings:
    stand_in = Trainings(tmp_path / "run")
    monkeypatch.setattr(Training, "train", lambda self, *given: stand_in.train(self, *given))
    monkeypatch.setattr(tuning, "take_fingerprints", lambda config, places: FINGERPRINTS)
    return stand_in


def tune(search: Search, to: Path, **request: Any) -> tuple[Any, list[str]]:
    """What the search concludes, and the lines that it prints."""
    data = to.parent / "the data"
    data.mkdir(exist_ok=True)
    console = Console(file=io.StringIO(), width=200)
    found = tune_config(search, RunRequest(data_root=data, to=to, **request), console=console)
    assert isinstance(console.file, io.StringIO)
    return found, console.file.getvalue().splitlines()


def test_the_best_settings_are_written_with_what_was_set_by_hand(
    trainings: Trainings, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    search = make_search("training.epochs=2", "model.dropout=0.25")
    found, _ = tune(search, run)
    values = {"model.width": 8, "training.batch_size": 8}
    assert (found.chosen, found.score, found.trials, found.failed) == (values, 0.25, 4, 0)
    assert json.loads((run / "best.json").read_text()) == {
        "training.epochs": 2,
        "model.dropout": 0.25,
        **values,
        "tuning": {
            "chosen": values,
            "objective": "malignancy/auc",
            "score": 0.25,
            "trials": 4,
            "failed": 0,
            "oracle": "random",
            "seed": 0,
        },
    }
    (best,) = [trial for trial in read_trials(run).values() if trial.values == values]
    assert read_run_file(run) == {
        "config": to_plain(resolve_config(search.config, None)),
        "state": "searched",
        "store": "metadata.sqlite",
        "pipeline": "cmmd-demo",
        "data_root": "../the data",
        "model": best.model,
        "log": "run.log",
    }
    assert set(trainings.states) == {"started"}


def test_what_it_wrote_is_a_config_of_the_best(trainings: Trainings, tmp_path: Path) -> None:
    tune(make_search("training.epochs=2"), tmp_path / "run")
    config = load_config("cmmd_demo", overrides=[f"@{tmp_path / 'run' / 'best.json'}"])
    assert (config.model.width, config.training.batch_size, config.training.epochs) == (8, 8, 2)
    assert config.tuning is not None


def test_a_search_where_a_run_has_finished_takes_its_end_away(trainings: Trainings, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tune(make_search(), run)
    finished = {"state": "finished", "report": "report/report.html", "pushed": "models/1", "blessed": True}
    write_json(run / "run.json", {**read_run_file(run), **finished})
    with pytest.raises(UsageError, match="--objective auk: no such figure"):
        tune(make_search(objective="auk"), run)
    assert read_run_file(run)["state"] == "finished"
    trainings.states.clear()
    tune(make_search("training.epochs=2"), run)
    assert set(trainings.states) == {"started"}
    assert {"report", "pushed", "blessed"}.isdisjoint(read_run_file(run))
    assert read_run_file(run)["state"] == "searched"


@pytest.mark.parametrize("previous", [False, True])
def test_it_ends_with_the_command_that_measures_the_best(
    trainings: Trainings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, previous: bool
) -> None:
    if previous:
        monkeypatch.setattr("pipeline.local.run.read_previous", lambda *given, **named: {})
        (tmp_path / "cases.parquet").touch()
    _, lines = tune(make_search(), tmp_path / "run", previous=tmp_path if previous else None)
    more = f" --previous {tmp_path}" if previous else ""
    assert lines[-2:] == [
        "best on eval: model.width 8, training.batch_size 8",
        f"what it is worth, on test: medimg run cmmd_demo --data '{tmp_path}/the data' --to {tmp_path}/run"
        f"{more} --set @{tmp_path}/run/best.json",
    ]


def test_each_trial_is_told_with_its_number_settings_and_score(trainings: Trainings, tmp_path: Path) -> None:
    trainings.score = lambda config: None if config.model.width == 16 else 0.5
    trainings.failed = "Trainer: no memory"
    found, lines = tune(make_search(trials=4), tmp_path / "run")
    assert (found.score, found.trials, found.failed) == (0.5, 4, 2)
    told = [line for line in lines if line.startswith("trial ")]
    assert [line.partition(":")[0] for line in told] == [f"trial {number} of 4" for number in (1, 2, 3, 4)]
    for line in told:
        result = lines[lines.index(line) + 1]
        wide = "model.width 16" in line
        assert result == ("  failed: Trainer: no memory" if wide else "  malignancy/auc 0.5000")
    values = [trial.values for trial in read_trials(tmp_path / "run").values()]
    assert len({json.dumps(one) for one in values}) == 4
    assert [(config.model.width, config.training.batch_size) for config, _ in trainings.asked] == [
        tuple(one.values()) for one in values
    ]


def test_a_search_without_any_score_ends_in_an_error_and_writes_no_best(
    trainings: Trainings, tmp_path: Path
) -> None:
    trainings.score = lambda config: None
    with pytest.raises(
        MedimgError, match="no trial of 4 has a score; the first: malignancy/auc is undefined"
    ):
        tune(make_search(), tmp_path / "run")
    assert not (tmp_path / "run" / "best.json").exists()
    assert read_run_file(tmp_path / "run")["state"] == "started"


def test_a_search_that_was_stopped_goes_on_with_what_is_left(trainings: Trainings, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainings.stops_at = 3
    with pytest.raises(DiskFull):
        tune(make_search(), run)
    assert len(read_trials(run)) == 2
    assert not (run / "best.json").exists()
    trainings.stops_at = 0
    stopped, *_ = trainings.asked[2:]
    before, trainings.asked = [config for config, _ in trainings.asked[:2]], []
    found, lines = tune(make_search(), run)
    assert trainings.asked[0] == stopped
    assert len(trainings.asked) == 2
    assert not any(config in before for config, _ in trainings.asked)
    assert (found.trials, found.score) == (4, 0.25)
    assert sum(line.startswith("trial ") for line in lines) == 4  # Those of the record too.
    trainings.asked = []
    assert tune(make_search(), run)[0] == found
    assert trainings.asked == []


def test_trials_of_other_settings_stay_in_the_record_and_out_of_the_conclusion(
    trainings: Trainings, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    tune(make_search(), run)
    trainings.score = lambda config: 0.01
    trainings.asked = []
    found, _ = tune(make_search("training.epochs=2"), run)
    assert len(trainings.asked) == 4
    assert (found.trials, found.score) == (4, 0.01)
    assert len(read_trials(run)) == 8


@pytest.mark.parametrize(("trials", "tried"), [(1, 1), (3, 3), (4, 4), (5, 4), (9, 4)])
def test_a_space_that_holds_no_more_ends_the_search_and_is_named(
    trainings: Trainings, tmp_path: Path, trials: int, tried: int
) -> None:
    found, lines = tune(make_search(trials=trials), tmp_path / "run")
    assert (found.trials, len(trainings.asked)) == (tried, tried)
    ended = lines.count("the space holds no more than 4 different settings")
    assert ended == (1 if trials > tried else 0)


def test_a_trial_with_other_weights_is_another_also_when_only_the_file_has_changed(
    trainings: Trainings, tmp_path: Path
) -> None:
    weights = tmp_path / "own.weights.h5"
    weights.write_text("one")
    space: Space = {"model.weights": Choice((None, str(weights)))}
    trainings.score = lambda config: 0.7
    search = make_search(space=space, trials=2)
    tune(search, tmp_path / "run")
    taken = {config.model.weights: fingerprints.weights for config, fingerprints in trainings.asked}
    assert taken[None] == ""
    assert len(taken[str(weights)]) == 64
    trainings.asked = []
    weights.write_text("two")
    tune(search, tmp_path / "run")
    assert [config.model.weights for config, _ in trainings.asked] == [str(weights)]
    assert trainings.asked[0][1].weights != taken[str(weights)]


@pytest.mark.parametrize(
    ("name", "overrides", "settings", "words"),
    [
        ("cmmd_demo", (), {"oracle": "grid"}, "--oracle grid: no such oracle; known: bayesian, random"),
        ("cmmd_dmo", (), {}, "did you mean 'cmmd_demo'"),
        ("cmmd_demo", ("task=segmentation",), {}, "segmentation"),
        ("cmmd_demo", ("model.widht=8",), {}, "did you mean"),
        (
            "cmmd_demo",
            ("training.learning_rate=0.1", "training.batch_size=8", "model.dropout=0", "model.width=8"),
            {},
            "nothing to search",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused(
    name: str, overrides: tuple[str, ...], settings: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        plan_search(name, overrides, settings=SearchSettings(**settings))  # type: ignore[arg-type]
