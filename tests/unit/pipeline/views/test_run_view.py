"""A finished run as the notebook finds and reads it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from filelock import FileLock, Timeout
from ml_metadata.proto.metadata_store_pb2 import ArtifactType

from medimg.errors import UsageError
from medimg.evaluation.figures import Figure
from pipeline.local.run_directory import LOCK_FILE, STORE_FILE, locate_store
from pipeline.metadata.store import open_store
from pipeline.views import run as view
from pipeline.views.run import find_runs, open_metadata, read_figures, read_run
from tests.unit.pipeline.metadata.memory_store import Store


def write_run(folder: Path, *, state: str = "finished", store: str = "metadata.sqlite") -> Path:
    folder.mkdir(parents=True)
    facts = {"state": state, "store": store, "pipeline": "demo"}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def test_finished_runs_of_a_folder_are_found_by_name_and_nothing_else(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in ("b", "c", "a")]
    write_run(tmp_path / "started", state="started")
    write_run(tmp_path / "deep" / "er")
    (tmp_path / "empty").mkdir()
    assert find_runs(tmp_path) == sorted(runs)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store in memory for every run."""
    store = Store()
    monkeypatch.setattr(view, "open_metadata", store.opened)
    monkeypatch.setattr(view, "read_figures", lambda report: SimpleNamespace(report=report))
    return store


def test_a_run_is_read_with_its_own_latest_executions(tmp_path: Path, known: Store) -> None:
    folder = write_run(tmp_path / "run")
    model = known.make(uri="/elsewhere/artifacts/Trainer/model/7")
    known.run("Trainer", made=(model,))
    known.run("ReportGen", made=(known.make("Report"),))
    known.run("Trainer", made=(known.make(),), pipeline="other")
    found = read_run(str(folder))
    assert (found.folder, set(found.nodes)) == (folder.resolve(), {"Trainer", "ReportGen"})
    assert found.output("Trainer", "made") == folder.resolve() / "artifacts" / "Trainer" / "model" / "7"
    assert found.data.report == folder.resolve() / "report"


def test_a_store_without_the_run_and_a_run_that_has_not_finished_are_refused(
    tmp_path: Path, known: Store
) -> None:
    known.run("ReportGen", pipeline="other")
    with pytest.raises(UsageError, match=r"metadata\.sqlite knows nothing of .*run; expected the store"):
        read_run(write_run(tmp_path / "run"))
    with pytest.raises(UsageError, match="the run has not finished"):
        read_run(write_run(tmp_path / "half", state="started"))


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    with (
        pytest.raises(UsageError, match=r"metadata\.sqlite: no such file, expected the store"),
        open_metadata(folder),
    ):
        pass
    assert not (folder / "metadata.sqlite").exists()


@pytest.mark.parametrize("where", ["metadata.sqlite", "shared/metadata.sqlite"])
def test_a_store_is_open_to_nobody_else_while_it_is_read(tmp_path: Path, where: str) -> None:
    folder = write_run(tmp_path / "run", store=str(folder_of(tmp_path, where)))
    open_store(locate_store(folder, str(folder_of(tmp_path, where)))).put_artifact_type(
        ArtifactType(name="Kept")
    )
    locks = [folder / LOCK_FILE] if where == STORE_FILE else [folder / LOCK_FILE, tmp_path / f"{where}.lock"]
    with open_metadata(folder) as found:
        assert "Kept" in [kind.name for kind in found.get_artifact_types()]
        for lock in locks:
            with pytest.raises(Timeout):
                FileLock(lock).acquire(timeout=0)
    for lock in locks:
        FileLock(lock).acquire(timeout=0).lock.release()


def folder_of(root: Path, where: str) -> str | Path:
    """A run's own store by name, one that runs share by its path."""
    if where == STORE_FILE:
        return where
    (root / where).parent.mkdir(exist_ok=True)
    return root / where


def test_figures_of_the_models_protocols_on_the_measured_split_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def figure(protocol: str, split: str) -> Figure:
        return Figure("auc", "m", "overall", protocol, "case", split, 9, 4, 9, 0.5, 0.4, 0.6)

    figures = [
        figure(protocol, split) for protocol in ("cases", "p1", "saliency") for split in ("test", "eval")
    ]
    monkeypatch.setattr(
        view, "read_facts", lambda report: SimpleNamespace(protocols=("cases", "p1"), split="test")
    )
    monkeypatch.setattr(view, "read_metrics", lambda path: figures)
    pd.DataFrame({"case_id": ["a"]}).to_parquet(tmp_path / view.PREDICTIONS_FILE)
    data = read_figures(tmp_path)
    assert [(one.protocol, one.split) for one in data.figures] == [("cases", "test"), ("p1", "test")]
    assert list(data.predictions.case_id) == ["a"]
