"""A whole run on a Flink session cluster of two hosts.

One may lose its TaskManager, or its worker pool, in the middle of CaseExampleGen. Such a run either finishes
or fails in one line; the next start finishes; either way the records and the figures are those of Beam's
local runner. Needs root, network namespaces, Java, Maven and some ten minutes a test:
`make test TESTS="-m long tests/e2e/test_flink_hosts.py"`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubeflow.flink.hosts import hosts
from kubeflow.flink.local import REPOSITORY, Flink, fetch_jars, session_cluster
from medimg.datasets import find_data_set
from medimg.errors import MedimgError
from medimg.hashing import hash_tree
from pipeline.config.overrides import load_config
from pipeline.config.places import RunRequest
from pipeline.local.run import run_config
from tests.e2e.conftest import TINY
from tests.e2e.runs import (
    aucs_of,
    evaluate_locally,
    evaluation_of,
    examples_of,
    score_of_age_50,
    statistics_of,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]

# Many small shards, so that some are left when the first is there; a clinical input, so that Transform has
# something to analyse.
OVERRIDES = [*TINY, "model.clinical_inputs=age_years", "examples.cases_per_shard=1"]
CONFIG = load_config("cmmd_demo", overrides=OVERRIDES)
# As Flink calls them, one of each component that has Beam: CaseExampleGen, StatisticsGen, Transform,
# Evaluator.
STEPS = ("Gather}", "GenerateStatistics[train]", "scale_to_z_score", "ComputeMetricsAndPlots")
# Of an AUC: training adds numbers up in another order each time, which may swap two of the 19 test cases.
ANOTHER_TRAINING = 0.05


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    try:
        fetch_jars("job-server", "cluster")
        with hosts(2):
            pass
    except MedimgError as reason:
        pytest.skip(f"no cluster: {reason}")
    folder = tmp_path_factory.mktemp("phantom") / "data"
    find_data_set("cmmd").write_phantom(folder, cases=60, seed=1, rows=800, columns=667)
    return folder


@pytest.fixture(scope="module")
def direct(data, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("direct") / "run"
    run_config(CONFIG, RunRequest(data_root=data, to=run))
    return run


def shards_of(run: Path) -> list[Path]:
    return sorted(run.glob("artifacts/CaseExampleGen/examples/*/Split-*/*"))


@contextmanager
def started(run: Path, data: Path, flink: Flink | None = None) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "cli.app", "run", "cmmd_demo", "--data", str(data), "--to", str(run)]
    settings = [part for item in OVERRIDES for part in ("--set", item)]
    engine = ["--beam", flink.beam, *(f"--beam-arg={one}" for one in flink.arguments)] if flink else []
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [*command, *settings, *engine],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_a_shard(run: Path, process: subprocess.Popen[str]) -> None:
    while not shards_of(run):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_a_run_on_two_hosts_writes_and_measures_what_a_local_one_does(data, direct, tmp_path):
    run, logs = tmp_path / "run", tmp_path / "logs"
    logs.mkdir()
    with session_cluster(logs) as flink, started(run, data, flink) as process:
        output, error = process.communicate()
    assert process.returncode == 0, (output, error)
    for number in (1, 2):
        worked = (logs / f"taskmanager-{number}.log").read_text()
        assert [step for step in STEPS if step not in worked] == []
    assert hash_tree(examples_of(run)) == hash_tree(examples_of(direct))
    assert statistics_of(run) == statistics_of(direct)
    assert score_of_age_50(run) == pytest.approx(score_of_age_50(direct), rel=1e-5)
    assert aucs_of(run) == pytest.approx(aucs_of(direct), abs=ANOTHER_TRAINING)
    # Free of that: the same model, measured once on the two hosts and once here.
    on_hosts = evaluation_of(run)
    assert len(on_hosts) > 100
    assert evaluate_locally(run, tmp_path / "evaluation") == pytest.approx(on_hosts, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("victim", ["taskmanager-1", "worker-pool-1"])
def test_a_run_that_loses_a_part_of_its_cluster_ends_with_the_records_of_a_local_one(
    victim, data, direct, tmp_path
):
    run, logs = tmp_path / "run", tmp_path / "logs"
    logs.mkdir()
    everything = len(list(examples_of(direct).glob("Split-*/*")))
    with session_cluster(logs) as flink, started(run, data, flink) as process:
        wait_for_a_shard(run, process)
        flink.kill(victim)
        there = len(shards_of(run))
        print(f"{victim} killed with {there} of {everything} shards written")
        assert there < everything
        output, error = process.communicate()
    print(f"exit {process.returncode}: {output.splitlines()[-1:]} {error.splitlines()[-1:]}")
    written = {path.relative_to(path.parents[1]): path.read_bytes() for path in shards_of(run)}
    assert all((examples_of(direct) / name).read_bytes() == content for name, content in written.items())
    if process.returncode not in (0, 3):
        assert process.returncode == 1
        told = [line for line in error.splitlines() if line.startswith("error: ")]
        assert len(told) == 1
        assert told[0].startswith("error: CaseExampleGen: ")
    # Without the cluster: the same command on Beam's local runner.
    with started(run, data) as process:
        output, error = process.communicate()
    assert process.returncode == 0, (output, error)
    assert hash_tree(examples_of(run)) == hash_tree(examples_of(direct))
    assert aucs_of(run) == pytest.approx(aucs_of(direct), abs=ANOTHER_TRAINING)
