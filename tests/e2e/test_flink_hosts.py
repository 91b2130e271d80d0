"""A whole run on a Flink session cluster of two hosts, of which one loses its TaskManager, or its worker pool, in the middle of CaseExampleGen.

The run either finishes or fails in one line; the next start finishes; either way the records and the figures are those of Beam's local runner.
Needs root, network namespaces, Java, Maven and some ten minutes a test: `make test TESTS="-m long tests/e2e/test_flink_hosts.py"`.
"""

from __future__ import annotations

import json
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
from medimg.fingerprints import hash_tree
from pipeline.config import load_config
from pipeline.lineage import latest_nodes, open_store
from pipeline.run_local import run_config
from tests.e2e.conftest import TINY

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]

# Many small shards, so that some are left when the first is there; a clinical input, so that Transform has something to analyse.
OVERRIDES = [*TINY, "model.clinical_inputs=age_years", "examples.cases_per_shard=1"]


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
    run_config(load_config("cmmd_demo", overrides=OVERRIDES), data_root=data, to=run)
    return run


def shards_of(run: Path) -> list[Path]:
    return sorted(run.glob("artifacts/CaseExampleGen/examples/*/Split-*/*"))


def examples_of(run: Path) -> Path:
    return Path(latest_nodes(open_store(run / "metadata.sqlite"), "cmmd-demo")["CaseExampleGen"].outputs["examples"][0].uri)


def aucs_of(run: Path) -> dict[str, float]:
    figures = json.loads((run / "report" / "metrics.json").read_text())
    return {figure["protocol"]: figure["value"] for figure in figures if (figure["name"], figure["slice"]) == ("auc", "overall")}


@contextmanager
def started(run: Path, data: Path, flink: Flink) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "pipeline.cli", "run", "cmmd_demo", "--data", str(data), "--to", str(run), "--beam", flink.beam]
    flags = [*(f"--beam-arg={one}" for one in flink.arguments), *(part for item in OVERRIDES for part in ("--set", item))]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_a_shard(run: Path, process: subprocess.Popen[str]) -> None:
    while not shards_of(run):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("victim", ["taskmanager-1", "worker-pool-1"])
def test_a_run_that_loses_a_part_of_its_cluster_ends_with_the_records_of_a_local_one(victim, data, direct, tmp_path):
    run = tmp_path / "run"
    everything = len(list(examples_of(direct).glob("Split-*/*")))
    (tmp_path / "one").mkdir()
    with session_cluster(tmp_path / "one") as flink, started(run, data, flink) as process:
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
    (tmp_path / "two").mkdir()
    with session_cluster(tmp_path / "two") as flink, started(run, data, flink) as process:
        output, error = process.communicate()
    assert process.returncode == 0, (output, error)
    assert hash_tree(examples_of(run)) == hash_tree(examples_of(direct))
    assert aucs_of(run) == pytest.approx(aucs_of(direct), abs=0.05)
