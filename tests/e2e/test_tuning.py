"""A search in small: killed and started again without the test split, and a trial killed for its memory.

A run of the chosen settings follows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from cli.results import print_lineage, print_patient
from pipeline.config.overrides import load_config
from pipeline.metadata.lineage import open_store, properties_of
from tests.e2e.conftest import PATIENTS, TINY
from tests.e2e.runs import PIPELINE, nodes_of, output_of
from tests.e2e.test_cross_validation import written

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SMALL = (*TINY, "training.epochs=1")
TRAINING = "decoded and kept on disk"


def start(run, data, *, trials):
    command = [
        sys.executable,
        "-m",
        "cli.app",
        "tune",
        "cmmd_demo",
        "--data",
        str(data),
        "--to",
        str(run),
        "--trials",
        str(trials),
    ]
    overrides = [part for item in SMALL for part in ("--set", item)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        [*command, *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )


def read_until(process, *wanted):
    """Lines of a process up to one with each of the wanted words in turn; all of them if it ends before."""
    lines, left = [], list(wanted)
    for line in process.stdout:
        lines.append(line)
        if left and left[0] in line:
            left.pop(0)
            if not left:
                break
    return "".join(lines)


def worker_of(process):
    """The process that trains."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return next(
        int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    )


def trainings(run):
    """Every execution of the Trainer in their order."""
    store = open_store(run / "metadata.sqlite")
    context = store.get_context_by_type_and_name("node", f"{PIPELINE}.Trainer")
    return sorted(store.get_executions_by_context(context.id), key=lambda one: one.id)


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """A search of three trials, killed in the second and continued without the test split; what it printed.

    And a fourth whose worker was killed.
    """
    from medimg.datasets import find_data_set, write_phantom

    home = tmp_path_factory.mktemp("tuning")
    run, data = home / "run", home / "data"
    write_phantom(find_data_set("cmmd"), data, cases=PATIENTS, seed=1)
    killed = start(run, data, trials=3)
    before = read_until(killed, "trial 2 of 3", TRAINING)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    test = output_of(run, "CaseExampleGen", "examples") / "Split-test"
    aside = shutil.move(test, home / "aside")
    test.mkdir()
    continued = start(run, data, trials=3)
    after, _ = continued.communicate()
    assert continued.returncode == 0, after
    test.rmdir()
    shutil.move(aside, test)
    chosen = json.loads((run / "best.json").read_text())
    lineage, components = written(print_lineage, run), set(nodes_of(run))
    starved = start(run, data, trials=4)
    read_until(starved, "trial 4 of 4", TRAINING)
    os.kill(worker_of(starved), signal.SIGKILL)
    last, _ = starved.communicate()
    assert starved.returncode == 0, last
    return {
        "run": run,
        "data": data,
        "before": before,
        "after": after,
        "chosen": chosen,
        "lineage": lineage,
        "components": components,
        "last": last,
    }


def test_a_killed_search_goes_on_where_it_was_and_trains_nothing_twice(search):
    scores = re.compile(r"trial 1 of 3: (.*)\n(?:.*\n)*?  malignancy/auc ([\d.]+)\n")
    first, again = scores.search(search["before"]), scores.search(search["after"])
    assert first.groups() == again.groups()
    assert search["before"].count(TRAINING) == 2
    assert search["after"].count(TRAINING) == 2
    assert TRAINING not in search["after"].split("trial 2 of 3")[0]


def test_no_trial_reads_the_test_split(search):
    assert "trial 3 of 3" in search["after"]
    assert (
        len([trial for trial in json.loads((search["run"] / "trials.json").read_text()) if trial["figures"]])
        == 3
    )
    assert not {"Evaluator", "Pusher", "ReportGen"} & search["components"]


def test_everything_before_training_is_done_once(search):
    assert not re.search(
        r"(CatalogueGen|CaseExampleGen|StatisticsGen|Transform) +[\d.]+ s", search["after"] + search["last"]
    )


def test_a_trial_that_runs_out_of_memory_is_recorded_and_the_search_goes_on(search):
    assert "failed: its process was killed, as the system does when memory runs out" in search["last"]
    assert json.loads((search["run"] / "best.json").read_text())["tuning"]["failed"] == 1
    killed = trainings(search["run"])[-1]
    assert properties_of(killed)["tuning.failed"].startswith("its process was killed")
    assert mlmd.Execution.State.Name(killed.last_known_state) == "FAILED"


def test_each_trial_is_in_the_store_with_its_settings_and_its_score(search):
    trials = {
        json.dumps(trial["values"]): trial
        for trial in json.loads((search["run"] / "trials.json").read_text())
    }
    noted = [noted for one in trainings(search["run"]) if "tuning.score" in (noted := properties_of(one))]
    assert len(noted) == 3
    for one in noted:
        assert one["tuning.score"] == pytest.approx(
            trials[one["tuning.settings"]]["figures"][one["tuning.objective"]], rel=1e-5
        )


def test_the_table_ranks_the_trials_and_the_best_is_written_as_settings(search):
    trials = json.loads((search["run"] / "trials.json").read_text())
    best = max(trials[:3], key=lambda trial: trial["figures"]["malignancy/auc"])
    assert search["chosen"]["tuning"]["chosen"] == best["values"]
    assert search["chosen"]["training.epochs"] == 1
    assert re.search(
        rf"\n 1 +{trials.index(best) + 1} .*{best['figures']['malignancy/auc']:.4f}", search["after"]
    )


def test_lineage_takes_the_directory_of_a_search(search):
    assert "best model of a search, not yet measured on test" in search["lineage"]
    assert "tuning.score" in search["lineage"]
    assert "CatalogueGen" in search["lineage"]


def test_a_run_of_the_best_trains_nothing_and_its_report_says_how_it_was_chosen(search):
    from pipeline.config.places import RunRequest
    from pipeline.local.run import run_config

    run = search["run"]
    config = load_config("cmmd_demo", overrides=[f"@{run / 'best.json'}"])
    outcome = run_config(config, RunRequest(data_root=search["data"], to=run))
    assert nodes_of(run)["Trainer"].state == "cached"
    assert outcome.model == next(
        trial["model"]
        for trial in json.loads((run / "trials.json").read_text())
        if trial["values"] == config.tuning.chosen
    )
    words = "of 4 trials, 1 of which failed, by malignancy/auc on the eval split"
    assert words in (run / "report" / "report.html").read_text()
    assert words in (run / "report" / "model_card.md").read_text()
    assert "pushed model" in written(print_lineage, run)
    assert written(print_patient, "D1-0001", run).count("Model #") >= 3
