"""Two whole runs at once on one MariaDB: both finish, each finds what it made, and the password stays where it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medimg.datasets import find_data_set
from pipeline import store
from pipeline.lineage import latest_nodes
from pipeline.run_local import read_run_file
from tests import databases
from tests.e2e.conftest import TINY

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]

REPOSITORY = Path(__file__).resolve().parents[2]


def medimg(*words) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), store.PASSWORD: databases.PASSWORD}
    command = [sys.executable, "-m", "pipeline.cli", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_two_pipelines_at_once_on_mariadb_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv(store.PASSWORD, databases.PASSWORD)
    find_data_set("cmmd").write_phantom(tmp_path / "data", cases=60, seed=1)
    overrides = [part for item in TINY for part in ("--set", item)]
    runs = [tmp_path / "first", tmp_path / "second"]
    with databases.mariadb() as uri:
        processes = [medimg("run", "cmmd_demo", "--data", tmp_path / "data", "--to", run, "--metadata", uri, *overrides) for run in runs]
        outputs = [process.communicate(timeout=1500)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], outputs
        opened = store.open_store(uri)
        for run in runs:
            nodes = latest_nodes(opened, read_run_file(run)["pipeline"])
            assert len(nodes) == 12
            assert {node.state for node in nodes.values()} == {"complete"}
            made = [artifact.uri for node in nodes.values() for artifacts in node.outputs.values() for artifact in artifacts]
            assert all(uri.startswith(str(run)) for uri in made)
            lineage = medimg("lineage", run)
            assert "CatalogueGen" in lineage.communicate(timeout=300)[0]
            assert lineage.returncode == 0
        again = medimg("run", "cmmd_demo", "--data", tmp_path / "data", "--to", runs[0], *overrides)
        assert "cached" in again.communicate(timeout=600)[0]
        assert again.returncode == 0
    written = [path for run in runs for path in run.rglob("*") if path.is_file()]
    assert [path for path in written if databases.PASSWORD.encode() in path.read_bytes()] == []
    assert any(b"mysql" in path.read_bytes() for path in written if path.name == "run.log")
