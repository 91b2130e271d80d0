"""Cross-validation on this machine: a run per fold below one directory, and one report of all cases.

Each case is scored by a model that has not seen it.

Shared by the folds: the index of the data, so that no file is read twice for the catalogue, and the store.
Records are decoded again for each fold, for they are written by split.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence, Set
from pathlib import Path

import pandas as pd
from rich.console import Console

from medimg.catalogue.split import SPLITS
from medimg.catalogue.tables import read_catalogue
from medimg.console.terminal import make_console
from medimg.errors import MedimgError, UsageError
from medimg.reporting.bundle import PREDICTIONS_FILE, derive
from medimg.reporting.fold_pooling import pool_reports
from pipeline.config.places import RunRequest
from pipeline.config.run_config import RunConfig
from pipeline.local.run import check_inputs, run_config
from pipeline.local.run_directory import (
    RunOutcome,
    claim_directory,
    locate_store,
    make_directory,
    read_run_file,
    run_lock,
    store_lock,
    write_run_file,
)
from pipeline.metadata.lineage import latest_nodes
from pipeline.metadata.store import open_store

REPORT = "report"
MOST_FOLDS = 1000


def fold_config(config: RunConfig, fold: int, *, folds: int) -> RunConfig:
    """The config of one fold: it is the test split, the next one eval, the others train.

    No gate, for these hold for all folds together.

    Whatever is chosen by train and eval of this config (an epoch, a temperature, settings in a search) is
    chosen without the fold that is tested, so that a search per fold is a nested one.
    """
    return dataclasses.replace(
        config,
        split=dataclasses.replace(config.split, folds=folds, test_fold=fold),
        evaluation=dataclasses.replace(config.evaluation, gates=()),
    )


def run_folds(
    config: RunConfig, request: RunRequest, *, folds: int, console: Console | None = None
) -> RunOutcome:
    """Runs every fold below the directory, pools what they predict, and judges the gates on that.

    The same directory again does only what is left.

    Raises:
        UsageError: fewer than 3 folds or more than MOST_FOLDS, a gate that no run could meet, or as for
            `run_config`.
        MedimgError: a fold failed, and the message names it; or a case that should be tested was not.
    """
    console = console or make_console()
    if folds < len(SPLITS):
        raise UsageError(
            f"--folds {folds}: expected {len(SPLITS)} or more, "
            "one to test, one to choose the epoch on, the others to train"
        )
    if folds > MOST_FOLDS:
        raise UsageError(f"--folds {folds}: expected at most {MOST_FOLDS}, each is a whole run")
    config = check_inputs(config, request)
    run = make_directory(request.to)
    with run_lock(run, console):
        names = [f"folds/{fold}" for fold in range(folds)]
        facts = claim_directory(run, config, request.metadata, folds=names)
        outcomes = []
        for fold, name in enumerate(facts["folds"]):
            console.print(
                f"fold {fold} to test, fold {(fold + 1) % folds} for eval, {folds - 2} to train",
                style="bold",
                highlight=False,
            )
            below = dataclasses.replace(request, to=run / name, parent=run)
            outcomes.append(run_fold(config, fold, folds=folds, request=below, console=console))
        outcome = pool_folds(config, run, names=facts["folds"], outcomes=outcomes)
        check_complete(
            run, run / facts["folds"][0], outcomes[0], unlabelled=config.examples.unlabelled, console=console
        )
        console.print(f"the {folds} models say what such a model is worth; none is pushed", highlight=False)
        write_run_file(run, config, request, outcome=outcome, facts=facts)
    return outcome


def run_fold(
    config: RunConfig, fold: int, *, folds: int, request: RunRequest, console: Console | None = None
) -> RunOutcome:
    """Runs one fold; an error of it names the fold."""
    try:
        return run_config(fold_config(config, fold, folds=folds), request, console=console)
    except MedimgError as error:
        raise type(error)(f"fold {fold}: {error}") from error


def pool_folds(
    config: RunConfig, run: Path, *, names: Sequence[str], outcomes: Sequence[RunOutcome]
) -> RunOutcome:
    """Writes the report of all folds and says what they came to."""
    facts = pool_reports([run / name / REPORT for name in names], run / REPORT, gates=config.evaluation.gates)
    derive(run / REPORT)
    failed = [text for text, passed in facts.gates if not passed]
    return RunOutcome(
        blessed=facts.blessed,
        failed_gates=tuple(failed),
        quarantined=max(outcome.quarantined for outcome in outcomes),
        catalogue=str(Path(names[0], outcomes[0].catalogue)),
        model="",
        pushed="",
        report=f"{REPORT}/report.html",
    )


def check_complete(run: Path, fold: Path, outcome: RunOutcome, *, unlabelled: bool, console: Console) -> None:
    """Raises MedimgError unless every usable case is predicted.

    Those that could not be read when the records were written are excepted. That each is predicted once only
    is checked by `pool_reports`.

    Args:
        fold, outcome: any of the folds; all have the same cases and read the same files.
    """
    from components.artifacts import (
        Rejects,
    )  # Brings TFX along, for which a refusal of wrong use need not wait.

    cases = read_catalogue(fold / outcome.catalogue).cases
    usable = set(
        cases.loc[cases["status"].isin(["used", "unlabelled"] if unlabelled else ["used"]), "case_id"]
    )
    facts = read_run_file(fold)
    with store_lock(fold, facts["store"], console):
        nodes = latest_nodes(open_store(locate_store(fold, facts["store"])), facts["pipeline"])
    written = json.loads(Path(nodes["CaseExampleGen"].outputs["rejects"][0].uri, Rejects.FILE).read_text())
    unreadable = {reject["case_id"] for reject in written["rejects"] if "kept" not in reject}
    predicted = set(pd.read_parquet(run / REPORT / PREDICTIONS_FILE, columns=["case_id"])["case_id"])
    expect_cases(predicted, expected=usable - unreadable)


def expect_cases(predicted: Set[str], *, expected: Set[str]) -> None:
    """Raises MedimgError unless these cases, and no others, are predicted."""
    for odd, what in (
        (expected - predicted, "usable but tested in no fold"),
        (predicted - expected, "tested but not usable"),
    ):
        if odd:
            raise MedimgError(f"cases that are {what}: {len(odd)} (such as {min(odd)}), expected none")
