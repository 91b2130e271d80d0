"""A cross-validation in small: three runs, one report of all cases."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from rich.console import Console

from cli.compare import compare_runs
from cli.results import print_lineage, print_metrics, print_outcome, print_patient, rewrite_report
from pipeline.config.overrides import load_config
from pipeline.config.places import RunRequest
from pipeline.metadata.lineage import latest_nodes, open_store
from tests.e2e.conftest import TINY

pytestmark = pytest.mark.e2e

FOLDS = 3
SMALLER = ("training.epochs=1", "evaluation.explained_cases=1", "evaluation.saliency_checked_cases=2")


def run_small(run, data):
    from pipeline.experiments.cross_validation import run_folds

    config = load_config("cmmd_demo", overrides=[*TINY, *SMALLER])
    return run_folds(config, RunRequest(data_root=data, to=run), folds=FOLDS)


@pytest.fixture(scope="module")
def folds(tiny_run, tmp_path_factory):
    run = tmp_path_factory.mktemp("folds") / "run"
    return run, run_small(run, tiny_run.data)


def states_of(run):
    """State of each component's latest execution, by fold and component."""
    states = {}
    for number in range(FOLDS):
        facts = json.loads((run / "folds" / str(number) / "run.json").read_text())
        nodes = latest_nodes(open_store(run / "metadata.sqlite"), facts["pipeline"])
        states |= {(number, name): node.state for name, node in nodes.items()}
    return states


def written(print_it, *arguments, **options):
    """What a function prints on a wide terminal."""
    console = Console(record=True, width=200)
    print_it(*arguments, console=console, **options)
    return console.export_text()


def test_every_usable_case_is_tested_once_by_a_model_that_did_not_see_its_patient(folds):
    run, outcome = folds
    predictions = pd.read_parquet(run / "report" / "predictions.parquet")
    cases = pd.read_parquet(run / outcome.catalogue / "cases.parquet")
    assert sorted(predictions.case_id) == sorted(cases.case_id[cases.status == "used"])
    for number in range(FOLDS):
        catalogue = json.loads((run / "folds" / str(number) / "run.json").read_text())["catalogue"]
        mine = pd.read_parquet(run / "folds" / str(number) / catalogue / "cases.parquet")
        trained_on = set(mine.group_id[mine.split.isin(["train", "eval"])])
        assert trained_on
        assert not trained_on & set(predictions.group_id[predictions.fold == number])


def test_the_gates_hold_for_the_pooled_figures_and_no_model_is_pushed(folds):
    run, outcome = folds
    assert outcome.blessed
    assert not list(run.rglob("models/*"))
    facts = json.loads((run / "run.json").read_text())
    assert (facts["state"], facts["blessed"], facts["pushed"], facts["folds"]) == (
        "finished",
        True,
        "",
        ["folds/0", "folds/1", "folds/2"],
    )
    figures = json.loads((run / "report" / "metrics.json").read_text())
    assert {figure["split"] for figure in figures} == {"out of fold"}


def test_the_folds_share_one_index_and_one_store(folds):
    run, _ = folds
    for name in ("index.parquet", "metadata.sqlite"):
        assert [path.parent for path in run.rglob(name)] == [run]


def test_the_same_directory_again_does_nothing_again_and_gives_the_same_figures(folds, tiny_run):
    run, outcome = folds
    before = (run / "report" / "metrics.json").read_bytes()
    assert run_small(run, tiny_run.data) == outcome
    assert set(states_of(run).values()) == {"cached"}
    assert (run / "report" / "metrics.json").read_bytes() == before


def test_report_compare_and_lineage_take_the_directory_also_where_it_is_moved_to(folds, tiny_run, tmp_path):
    run, outcome = folds
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    before = (moved / "report" / "report.html").read_bytes()
    (moved / "report" / "report.html").unlink()
    rewrite_report(moved)
    assert (moved / "report" / "report.html").read_bytes() == before
    assert "cases out of fold, 95 % intervals" in written(print_metrics, moved)
    assert "BLESSED" in written(print_outcome, moved, outcome)
    assert "out of fold" in written(compare_runs, [moved, tiny_run.run])
    assert written(print_lineage, moved).count("CatalogueGen") == FOLDS
    patient = pd.read_parquet(moved / "report" / "predictions.parquet").group_id[0]
    assert written(print_patient, patient, moved).count("Model #") == FOLDS
