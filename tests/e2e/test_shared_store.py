"""Whole runs at once on one store.

On a database all go on together, on a SQLite file one after the other, and each finds what it made.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from medimg.datasets import find_data_set
from pipeline.local.run_directory import read_run_file, store_lock
from pipeline.metadata import store
from pipeline.metadata.lineage import latest_nodes
from tests import databases
from tests.e2e.conftest import PATIENTS, TINY

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]

REPOSITORY = Path(__file__).resolve().parents[2]
OVERRIDES = [part for item in TINY for part in ("--set", item)]


def medimg(*words) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), store.PASSWORD: databases.PASSWORD}
    command = [sys.executable, "-m", "cli.app", *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


@pytest.fixture
def data(tmp_path) -> Path:
    find_data_set("cmmd").write_phantom(tmp_path / "data", cases=PATIENTS, seed=1)
    return tmp_path / "data"


def start(data: Path, run: Path, *more) -> subprocess.Popen[str]:
    return medimg("run", "cmmd_demo", "--data", data, "--to", run, *more, *OVERRIDES)


def finish(processes: list[subprocess.Popen[str]]) -> list[str]:
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return outputs


def expect_own_artifacts(uri: str, run: Path, *, states: set[str]) -> None:
    """All twelve components of a run ended well, and what they made lies in the run's own directory."""
    nodes = latest_nodes(store.open_store(uri), read_run_file(run)["pipeline"])
    assert len(nodes) == 12
    assert {node.state for node in nodes.values()} == states
    made = [
        artifact.uri
        for node in nodes.values()
        for artifacts in node.outputs.values()
        for artifact in artifacts
    ]
    assert all(uri.startswith(str(run)) for uri in made)


def test_two_pipelines_at_once_on_mariadb_lose_nothing(data, tmp_path, monkeypatch):
    monkeypatch.setenv(store.PASSWORD, databases.PASSWORD)
    runs = [tmp_path / "first", tmp_path / "second"]
    with databases.mariadb() as uri:
        finish([start(data, run, "--metadata", uri) for run in runs])
        for run in runs:
            expect_own_artifacts(uri, run, states={"complete"})
            lineage = medimg("lineage", run)
            assert "CatalogueGen" in lineage.communicate()[0]
            assert lineage.returncode == 0
        assert "cached" in finish([start(data, runs[0])])[0]
    written = [path for run in runs for path in run.rglob("*") if path.is_file()]
    assert [path for path in written if databases.PASSWORD.encode() in path.read_bytes()] == []
    assert any(b"mysql" in path.read_bytes() for path in written if path.name == "run.log")


def test_eight_starts_at_once_on_one_sqlite_store_wait_in_plain_words_and_then_all_finish(data, tmp_path):
    shared, runs = str(tmp_path / "shared.sqlite"), [tmp_path / "first", tmp_path / "second"]
    with store_lock(tmp_path, shared, Console()):
        processes = [start(data, run, "--metadata", shared) for run in runs * 4]
        # Of each directory one waits for the store, the others for the directory.
        waiting = sorted(process.stdout.readline() for process in processes)
    words = [f"another run is using {what}; waiting for it to end\n" for what in [*runs * 3, shared, shared]]
    assert waiting == sorted(words)
    finish(processes)
    for run in runs:
        # What the first start made the fourth found.
        expect_own_artifacts(shared, run, states={"cached"})
