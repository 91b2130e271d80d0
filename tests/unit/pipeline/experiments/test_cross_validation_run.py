"""A cross-validation with its folds replaced: how many there may be, in which order, what they come to."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd
from rich.console import Console

from medimg.errors import DiskFull, MedimgError, UsageError
from medimg.reporting.run_facts import RunFacts
from pipeline.config.overrides import load_config
from pipeline.config.places import RunRequest
from pipeline.config.resolve import resolve_config
from pipeline.config.run_config import RunConfig
from pipeline.experiments import cross_validation
from pipeline.experiments.cross_validation import MOST_FOLDS, check_complete, pool_folds, run_folds
from pipeline.local.run_directory import RunOutcome, claim_directory, read_run_file
from pipeline.metadata.lineage import Node

CONFIG = load_config("cmmd_demo")
GATES = (("auc 0.7, expected 0.8", False), ("auc 0.9, expected 0.8", True), ("auc 0.5, expected 0.6", False))


def outcome_of(fold: int, *, quarantined: int = 0) -> RunOutcome:
    return RunOutcome(None, (), quarantined, f"artifacts/catalogue/{fold}", "m", "models/1", "report/r")


class Folds:
    """Stands in for the runs of the folds and for the pooling of their reports."""

    def __init__(self) -> None:
        self.ran: list[tuple[RunConfig, RunRequest]] = []
        self.pooled: list[tuple[Sequence[Path], Path, object]] = []
        self.derived: list[Path] = []
        self.checked: list[tuple[Any, ...]] = []
        self.quarantined = (2, 7, 3)
        self.error: MedimgError | None = None
        self.fails_at = 0
        self.incomplete = ""

    def run_config(self, config: RunConfig, request: RunRequest, *, console: object) -> RunOutcome:
        self.ran.append((config, request))
        fold = len(self.ran) - 1
        if self.error and fold == self.fails_at:
            raise self.error
        return outcome_of(fold, quarantined=self.quarantined[fold % 3])

    def pool_reports(self, folders: Sequence[Path], to: Path, *, gates: object) -> RunFacts:
        self.pooled.append((folders, to, gates))
        return RunFacts("t", "c", "cmmd", {"malignancy": ("a", "b")}, blessed=False, gates=GATES)

    def check_complete(
        self, run: Path, fold: Path, outcome: RunOutcome, *, unlabelled: bool, console: object
    ) -> None:
        self.checked.append((run, fold, outcome, unlabelled))
        if self.incomplete:
            raise MedimgError(self.incomplete)


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> Folds:
    stand_in = Folds()
    for name in ("run_config", "pool_reports", "check_complete"):
        monkeypatch.setattr(cross_validation, name, getattr(stand_in, name))
    monkeypatch.setattr(cross_validation, "derive", stand_in.derived.append)
    return stand_in


def cross_validate(tmp_path: Path, count: int, config: RunConfig = CONFIG, **more: Any) -> tuple[Any, str]:
    request = RunRequest(data_root=tmp_path, to=tmp_path / "cv", **more)
    console = Console(file=io.StringIO(), width=200)
    outcome = run_folds(config, request, folds=count, console=console)
    assert isinstance(console.file, io.StringIO)
    return outcome, console.file.getvalue()


@pytest.mark.parametrize("count", [3, 4, MOST_FOLDS])
def test_three_folds_to_the_most_are_run(folds: Folds, tmp_path: Path, count: int) -> None:
    folds.error = MedimgError("stop")
    folds.fails_at = 0
    with pytest.raises(MedimgError, match="fold 0: stop"):
        cross_validate(tmp_path, count)
    assert len(read_run_file(tmp_path / "cv")["folds"]) == count


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (-1, "--folds -1: expected 3 or more, one to test, one to choose the epoch on"),
        (0, "--folds 0: expected 3 or more"),
        (2, "--folds 2: expected 3 or more"),
        (MOST_FOLDS + 1, f"--folds {MOST_FOLDS + 1}: expected at most {MOST_FOLDS}"),
    ],
)
def test_fewer_or_more_folds_are_refused_before_any_work(
    folds: Folds, tmp_path: Path, count: int, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        cross_validate(tmp_path, count)
    assert not (tmp_path / "cv").exists()


def test_each_fold_is_tested_once_below_one_directory(folds: Folds, tmp_path: Path) -> None:
    _, text = cross_validate(tmp_path, 4, beam_args=("--x",), metadata=str(tmp_path / "shared.sqlite"))
    assert [config.split.test_fold for config, _ in folds.ran] == [0, 1, 2, 3]
    assert {config.split.folds for config, _ in folds.ran} == {4}
    assert {config.evaluation.gates for config, _ in folds.ran} == {()}
    run = tmp_path / "cv"
    assert [request.to for _, request in folds.ran] == [run / "folds" / str(fold) for fold in range(4)]
    for _, request in folds.ran:
        assert (request.parent, request.data_root, request.beam_args) == (run, tmp_path, ("--x",))
        assert request.metadata == str(tmp_path / "shared.sqlite")
    assert text.splitlines() == [
        "fold 0 to test, fold 1 for eval, 2 to train",
        "fold 1 to test, fold 2 for eval, 2 to train",
        "fold 2 to test, fold 3 for eval, 2 to train",
        "fold 3 to test, fold 0 for eval, 2 to train",
        "the 4 models say what such a model is worth; none is pushed",
    ]


@pytest.mark.parametrize("kind", [MedimgError, UsageError, DiskFull])
def test_the_error_of_a_fold_names_it_keeps_its_kind_and_ends_the_run(
    folds: Folds, tmp_path: Path, kind: type[MedimgError]
) -> None:
    folds.error, folds.fails_at = kind("Trainer: no memory"), 1
    with pytest.raises(MedimgError) as caught:
        cross_validate(tmp_path, 3)
    assert type(caught.value) is kind
    assert str(caught.value) == "fold 1: Trainer: no memory"
    assert len(folds.ran) == 2
    assert read_run_file(tmp_path / "cv")["state"] == "started"
    assert folds.pooled == []


def test_the_whole_is_judged_by_the_gates_on_all_folds(folds: Folds, tmp_path: Path) -> None:
    outcome, _ = cross_validate(tmp_path, 3)
    run = tmp_path / "cv"
    assert folds.pooled == [
        (
            [run / "folds" / str(fold) / "report" for fold in range(3)],
            run / "report",
            resolve_config(CONFIG, None).evaluation.gates,
        )
    ]
    assert folds.derived == [run / "report"]
    assert outcome == RunOutcome(
        blessed=False,
        failed_gates=("auc 0.7, expected 0.8", "auc 0.5, expected 0.6"),
        quarantined=7,
        catalogue="folds/0/artifacts/catalogue/0",
        model="",
        pushed="",
        report="report/report.html",
    )
    written = read_run_file(run)
    assert (written["state"], written["quarantined"], written["folds"]) == (
        "finished",
        7,
        ["folds/0", "folds/1", "folds/2"],
    )


@pytest.mark.parametrize("unlabelled", [False, True])
def test_a_run_with_a_case_that_was_not_tested_does_not_finish(
    folds: Folds, tmp_path: Path, unlabelled: bool
) -> None:
    folds.incomplete = "cases that are usable but tested in no fold: 1"
    config = dataclasses.replace(CONFIG, examples=dataclasses.replace(CONFIG.examples, unlabelled=unlabelled))
    with pytest.raises(MedimgError, match="tested in no fold"):
        cross_validate(tmp_path, 3, config)
    run = tmp_path / "cv"
    assert folds.checked == [(run, run / "folds" / "0", outcome_of(0, quarantined=2), unlabelled)]
    assert read_run_file(run)["state"] == "started"


def test_the_same_directory_goes_on_with_as_many_folds_and_no_other_number(
    folds: Folds, tmp_path: Path
) -> None:
    cross_validate(tmp_path, 3)
    again, _ = cross_validate(tmp_path, 3)
    assert len(folds.ran) == 6
    with pytest.raises(UsageError, match="belongs to a run with --folds 3"):
        cross_validate(tmp_path, 4)
    assert again.quarantined == 7


@pytest.mark.parametrize("quarantined", [(5, 1, 2), (1, 5, 2), (1, 2, 5)])
def test_the_most_that_a_fold_could_not_read_counts(
    folds: Folds, tmp_path: Path, quarantined: tuple[int, ...]
) -> None:
    outcomes = [outcome_of(fold, quarantined=count) for fold, count in enumerate(quarantined)]
    found = pool_folds(CONFIG, tmp_path, names=["a", "b", "c"], outcomes=outcomes)
    assert (found.quarantined, found.catalogue) == (5, "a/artifacts/catalogue/0")


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cross-validation whose first fold has cases of each status, two of them with a rejected image."""
    # Brings TFX along.
    artifacts = ModuleType("components.artifacts")
    vars(artifacts)["Rejects"] = SimpleNamespace(FILE="rejects.json")
    monkeypatch.setitem(sys.modules, "components.artifacts", artifacts)
    fold = tmp_path / "folds" / "0"
    fold.mkdir(parents=True)
    facts = claim_directory(fold, CONFIG, parent=tmp_path)
    status = {"used": "used", "odd": "used", "half": "used", "bare": "unlabelled", "out": "excluded"}
    cases = pd.DataFrame({"case_id": list(status), "status": list(status.values())})
    read = {fold / "artifacts" / "catalogue" / "0": SimpleNamespace(cases=cases)}
    monkeypatch.setattr(cross_validation, "read_catalogue", read.__getitem__)
    rejects = [
        {"case_id": "odd", "reason": "no image is left"},
        {"case_id": "half", "reason": "one image", "kept": 1},
    ]
    (tmp_path / "rejects.json").write_text(json.dumps({"rejects": rejects}))
    node = Node("CaseExampleGen", "complete", {"rejects": [mlmd.Artifact(uri=str(tmp_path))]})
    monkeypatch.setattr(cross_validation, "open_store", lambda uri: Path(uri).resolve())
    known = {(tmp_path / "metadata.sqlite", facts["pipeline"]): {"CaseExampleGen": node}}
    monkeypatch.setattr(cross_validation, "latest_nodes", lambda *asked: known[asked])
    return tmp_path


@pytest.mark.parametrize(
    ("predicted", "unlabelled", "words"),
    [
        ({"used", "half"}, False, ""),
        ({"used", "half", "bare"}, True, ""),
        ({"used", "half"}, True, "usable but tested in no fold: 1 (such as bare)"),
        ({"used", "half", "bare"}, False, "tested but not usable: 1 (such as bare)"),
        ({"used"}, False, "usable but tested in no fold: 1 (such as half)"),
        ({"half"}, False, "usable but tested in no fold: 1 (such as used)"),
        ({"used", "half", "odd"}, False, "tested but not usable: 1 (such as odd)"),
        ({"used", "half", "out"}, False, "tested but not usable: 1 (such as out)"),
        ({"x", "a", "half"}, False, "usable but tested in no fold: 1 (such as used)"),
        ({"used", "half", "x", "a"}, False, "tested but not usable: 2 (such as a)"),
    ],
)
def test_every_usable_case_is_tested_but_for_those_that_could_not_be_read(
    whole: Path, predicted: set[str], unlabelled: bool, words: str
) -> None:
    (whole / "report").mkdir()
    rows = [case for case in sorted(predicted) for _ in range(2)]  # By two heads.
    pd.DataFrame({"case_id": rows}).to_parquet(whole / "report" / "predictions.parquet")
    found = ""
    try:
        check_complete(
            whole, whole / "folds" / "0", outcome_of(0), unlabelled=unlabelled, console=Console(quiet=True)
        )
    except MedimgError as error:
        found = str(error)
    assert found == (f"cases that are {words}, expected none" if words else "")
