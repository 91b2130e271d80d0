"""A search for settings: KerasTuner proposes, the pipeline's own Trainer tries, the eval split judges.

Each trial is a run of the pipeline up to the Trainer, in one directory and one store, so that catalogue,
records, statistics and Transform graph are made once. No trial reads a record of the test split. Started
again, the search proposes the same settings in the same order and finds in its record what has been tried, so
that it goes on where it was stopped: neither KerasTuner's state nor a score is kept that other data could
make wrong.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from medimg.console.terminal import make_console, say
from medimg.errors import DiskFull, MedimgError, UsageError, nearest
from medimg.tasks.search_space import Space
from pipeline.cache_keys import Fingerprints, take_fingerprints, weights_fingerprint
from pipeline.config.overrides import list_keys, load_config, read_keys, to_plain
from pipeline.config.places import RunRequest
from pipeline.config.resolve import check_task
from pipeline.config.run_config import RunConfig, Tuning
from pipeline.experiments.search_space import apply_values, load_space, to_hyperparameters, to_values
from pipeline.experiments.subprocess_worker import Worker
from pipeline.experiments.trials import (
    Objective,
    Trial,
    describe,
    find_objective,
    note_trial,
    print_trials,
    rank,
    read_trials,
    write_trials,
)
from pipeline.local.run import OpenRun, open_run, run_components
from pipeline.local.run_directory import RUN_FILE, SEARCHED, relative, write_json
from pipeline.metadata.lineage import newest_execution, outputs_of
from pipeline.metadata.store import open_store

if TYPE_CHECKING:
    import keras_tuner
    from keras_tuner.engine.trial import Trial as KerasTrial

BEST_FILE = "best.json"
ORACLES = ("bayesian", "random")


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How settings are searched.

    Attributes:
        trials: proposals at most, 1 or more.
        objective: a figure of the eval split: `HEAD/METRIC`, or a metric of the first head.
        oracle: of KerasTuner: "bayesian" draws three trials per setting at random before it learns from them,
            "random" all.
        seed: of the oracle, 0 or more.
    """

    trials: int = 20
    objective: str = "auc"
    oracle: str = "bayesian"
    seed: int = 0


@dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes:
        name, config: the config's file, and what it says of all trials.
        given: dotted key to value of what was set by hand: it is not searched, and belongs to the experiment.
        space: dotted key to what it is chosen from.
        settings: how.
    """

    name: str
    config: RunConfig
    given: Mapping[str, object]
    space: Space
    settings: SearchSettings


def plan_search(
    name: str, overrides: Sequence[str] = (), *, settings: SearchSettings | None = None
) -> Search:
    """Plans the search over the config called `name`, with `--set` overrides.

    Raises:
        UsageError: a config, task, key, value or oracle that does not exist, or nothing to search.
    """
    settings = settings or SearchSettings()
    if settings.oracle not in ORACLES:
        raise UsageError(f"--oracle {settings.oracle}: no such oracle; {nearest(settings.oracle, ORACLES)}")
    config = load_config(name, overrides=overrides)
    check_task(config)  # The task says what is searched.
    if config.tuning:
        raise UsageError(
            "tuning: a search has chosen settings of this config already; "
            "expected a config without, or --set tuning=null"
        )
    given = read_keys(config, list_keys(overrides))
    return Search(name, config, given, load_space(name, config, fixed=given), settings)


def tune_config(search: Search, request: RunRequest, *, console: Console | None = None) -> Tuning:
    """Tries settings under the request's directory and prints the trials by rank.

    Writes the best to `best.json` there, for `medimg run --set @FILE`.

    Raises:
        UsageError: a figure that is not measured, or as for `run_config`.
        MedimgError: what comes before training failed, or every trial did.
    """
    console = console or make_console()
    with open_run(search.config, request, console=console) as run:
        objective = find_objective(search.settings.objective, run.config.heads)
        # Whatever run has finished here: the newest model is no longer its own.
        state = {
            "config": to_plain(run.config),
            "state": "started",
            "store": run.facts["store"],
            "pipeline": run.facts["pipeline"],
        }
        write_json(run.folder / RUN_FILE, state)
        trials = try_settings(run, search, objective=objective, console=console)
        tuning = conclude(trials, search, objective=objective)
        print_trials(trials, objective, console=console)
        best = rank(trials, objective)[0]
        write_json(
            run.folder / BEST_FILE, {**search.given, **best.values, "tuning": dataclasses.asdict(tuning)}
        )
        data = os.path.relpath(request.data_root.resolve(), run.folder)
        write_json(
            run.folder / RUN_FILE,
            {**state, "state": SEARCHED, "data_root": data, "model": best.model, "log": "run.log"},
        )
        say(console, f"best on eval: {describe(best.values)}")
        given = ["--previous", str(request.previous)] if request.previous else []
        given += ["--split-file", str(request.split_file)] if request.split_file else []
        command = [
            "medimg",
            "run",
            search.name,
            "--data",
            str(request.data_root),
            "--to",
            str(request.to),
            *given,
            "--set",
            f"@{request.to / BEST_FILE}",
        ]
        say(console, f"what it is worth, on test: {shlex.join(command)}")
    return tuning


def conclude(trials: Sequence[Trial], search: Search, *, objective: Objective) -> Tuning:
    """What a run of the best trial's settings says of their choice.

    Raises MedimgError where no trial has a score.
    """
    best = rank(trials, objective)[0]
    score = best.score(objective)
    if score is None:
        raise MedimgError(f"no trial of {len(trials)} has a score; the first: {trials[0].reason(objective)}")
    failed = sum(trial.score(objective) is None for trial in trials)
    how = search.settings
    return Tuning(best.values, str(objective), score, len(trials), failed, how.oracle, how.seed)


def try_settings(run: OpenRun, search: Search, *, objective: Objective, console: Console) -> list[Trial]:
    """Asks the oracle and tries what it proposes until it has no more.

    What the record has is not tried again. In the order of the search.
    """
    say(console, "reading the data root")
    fingerprints = take_fingerprints(run.config, run.places)
    known = read_trials(run.folder)
    tried: dict[str, Trial] = {}
    with tempfile.TemporaryDirectory() as scratch, Worker() as worker:
        training = Training(run, fingerprints, objective, worker, console)
        oracle = make_oracle(search, objective, folder=scratch)
        # An oracle may propose the same twice where the space is small; only other settings count.
        for number in range(1, search.settings.trials + 1):
            asked = oracle.create_trial("search")
            if asked.status != "RUNNING":
                say(console, f"the space holds no more than {len(tried)} different settings")
                break
            values = to_values(asked.hyperparameters.values, search.space)
            say(console, f"trial {number} of {search.settings.trials}: {describe(values)}")
            config = apply_values(run.config, values)
            mine = dataclasses.replace(fingerprints, weights=weights_fingerprint(config.model.weights))
            key = trial_key(config, mine)
            if key not in known:
                known[key] = training.train(config, mine, Trial(key, values))
                write_trials(run.folder, known.values())
            tried[key] = known[key]
            score = tell(oracle, asked, tried[key], objective)
            result = (
                f"failed: {tried[key].reason(objective)}" if score is None else f"{objective} {score:.4f}"
            )
            say(console, f"  {result}")
    return list(tried.values())


def make_oracle(search: Search, objective: Objective, *, folder: str) -> keras_tuner.Oracle:
    """KerasTuner's oracle, as silent as it can be made."""
    import keras_tuner
    from keras_tuner.engine.base_tuner import BaseTuner

    kind = {
        "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
        "random": keras_tuner.oracles.RandomSearchOracle,
    }[search.settings.oracle]
    oracle = kind(
        objective=keras_tuner.Objective(str(objective), objective.direction),
        max_trials=search.settings.trials,
        hyperparameters=to_hyperparameters(search.space),
        seed=search.settings.seed + 1,  # It takes 0 for "draw one".
        max_consecutive_failed_trials=search.settings.trials + 1,
    )
    oracle.verbose = 0
    BaseTuner(oracle, directory=folder)  # Tells it where to write; it will not work without.
    return oracle


def tell(oracle: keras_tuner.Oracle, asked: KerasTrial, trial: Trial, objective: Objective) -> float | None:
    """Tells the oracle how its proposal ended; returns the score."""
    score = trial.score(objective)
    if score is not None:
        oracle.update_trial(asked.trial_id, {str(objective): score})
    asked.status = "FAILED" if score is None else "COMPLETED"
    oracle.end_trial(asked)
    return score


def trial_key(config: RunConfig, fingerprints: Fingerprints) -> str:
    """Names a trial by what decides its result.

    Not by what comes after training, nor by the model that was pushed last.
    """
    code = fingerprints.code
    content = [getattr(fingerprints, name) for name in ("data", "previous", "catalogue", "schema", "weights")]
    sources = [code.catalogue, code.examples, code.transform, code.trainer]
    plain = to_plain(config)
    catalogue = ("data_set", "labels", "scan", "split")
    settings = {name: plain[name] for name in (*catalogue, "task", "ingest", "examples", "model", "training")}
    return hashlib.sha256(json.dumps([content, sources, settings], sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class Training:
    """Runs the pipeline up to the Trainer, in a process of its own."""

    run: OpenRun
    fingerprints: Fingerprints
    objective: Objective
    worker: Worker
    console: Console
    prepared: bool = False

    def train(self, config: RunConfig, fingerprints: Fingerprints, trial: Trial) -> Trial:
        """Trains with the trial's config, notes in ML Metadata what came of it and returns that.

        One that failed says why.

        Raises:
            MedimgError: what comes before training failed, or the disk is full.
        """
        self.prepare()
        store, pipeline = open_store(self.run.places.metadata), self.run.facts["pipeline"]
        before = newest_execution(store, pipeline, "Trainer")
        try:
            run = dataclasses.replace(self.run, config=config)
            self.worker.call(work, run, fingerprints, "Trainer", True)
        except DiskFull:
            raise
        except MedimgError as error:
            trial = dataclasses.replace(trial, failed=str(error))
        execution = newest_execution(store, pipeline, "Trainer")
        if execution is None or (before is not None and execution.id == before.id):
            return trial  # It failed before its training began.
        outputs = {} if trial.failed else outputs_of(store, execution.id)
        if not trial.failed:
            trial = read_result(
                trial,
                self.run.folder,
                model=Path(outputs["model"][0].uri),
                model_run=Path(outputs["model_run"][0].uri),
            )
        note_trial(store, trial, self.objective, execution=execution, models=outputs.get("model", []))
        return trial

    def prepare(self) -> None:
        """Once, and with each component on the terminal: all that comes before training."""
        if not self.prepared:
            say(self.console, "starting TFX")
            self.worker.call(work, self.run, self.fingerprints, "Transform", False)
            self.prepared = True


def work(run: OpenRun, fingerprints: Fingerprints, last: str, quiet: bool) -> None:
    """Runs the pipeline up to the component `last`, in the worker."""
    run_components(run, fingerprints, console=make_console(quiet=quiet), last=last)


def read_result(trial: Trial, run: Path, *, model: Path, model_run: Path) -> Trial:
    """The trial with what the Trainer has written: its figures on eval, and how long it took."""
    from components.trainer.facts import HISTORY_FILE
    from components.trainer.serving import FACTS_FILE

    figures = json.loads((model / "Format-Serving" / FACTS_FILE).read_text())["eval"]
    members = json.loads((model_run / HISTORY_FILE).read_text())["members"]
    epochs = [epoch for member in members for epoch in member["history"]]
    seconds = sum(epoch["seconds"] for epoch in epochs)
    return dataclasses.replace(
        trial, figures=figures, epochs=len(epochs), seconds=seconds, model=relative(str(model), run)
    )
