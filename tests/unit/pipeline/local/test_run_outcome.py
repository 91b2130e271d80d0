"""What a finished run came to, as its store and its report say, and where people then find the report."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from medimg.reporting.run_facts import RunFacts, write_facts
from pipeline.config.overrides import load_config
from pipeline.config.places import Places
from pipeline.local.run import OpenRun, collect_outcome
from pipeline.local.run_directory import RunOutcome, explain_stranger
from pipeline.metadata import lineage
from pipeline.metadata.lineage import Node

CONFIG = load_config("cmmd_demo")


def make_node(name: str, channel: str, uri: Path, **noted: int | str) -> Node:
    artifact = mlmd.Artifact(uri=str(uri))
    for key, value in noted.items():
        kind = "int_value" if isinstance(value, int) else "string_value"
        setattr(artifact.custom_properties[key], kind, value)
    other = mlmd.Artifact(uri=str(uri.with_name("other")))
    return Node(name, "complete", {channel: [artifact, other]})


@dataclasses.dataclass
class Finished:
    """A run whose store has all nodes, under the name `pipeline`."""

    folder: Path
    nodes: dict[str, Node]
    pipeline: str = "cmmd-demo-1"

    def collect(self, monkeypatch: pytest.MonkeyPatch) -> RunOutcome:
        by_pipeline = {"cmmd-demo-1": self.nodes, "cmmd-demo": self.nodes if not self.pipeline else {}}
        monkeypatch.setattr(lineage, "latest_nodes", lambda store, pipeline: by_pipeline[pipeline])
        store = str(self.folder / "metadata.sqlite")
        places = Places("", "", store, "", "", "", "", pipeline=self.pipeline)
        return collect_outcome(OpenRun(self.folder, CONFIG, places, {}))


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    made = tmp_path / "artifacts"
    report = made / "ReportGen" / "report" / "9"
    report.mkdir(parents=True)
    (report / "report.html").write_text("the new one")
    gates = (("auc 0.7, expected 0.8", False), ("auc 0.9, expected 0.8", True), ("drift", False))
    facts = RunFacts(
        "t", "c", "cmmd", {"malignancy": ("a", "b")}, gates=gates, summary={"images": {"quarantined": 3}}
    )
    write_facts(report, facts)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "stale.html").touch()
    nodes = (
        make_node("ReportGen", "report", report),
        make_node("Evaluator", "blessing", made / "blessing", blessed=0),
        make_node("CaseExampleGen", "rejects", made / "rejects", count=4),
        make_node("CatalogueGen", "catalogue", made / "CatalogueGen" / "catalogue" / "1"),
        make_node("Trainer", "model", made / "Trainer" / "model" / "6"),
        make_node("Pusher", "pushed_model", made / "pushed", pushed_version="17"),
    )
    return Finished(tmp_path, {node.name: node for node in nodes})


def test_the_outcome_is_what_store_and_report_say(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finished.collect(monkeypatch) == RunOutcome(
        blessed=False,
        failed_gates=("auc 0.7, expected 0.8", "drift"),
        quarantined=7,
        catalogue="artifacts/CatalogueGen/catalogue/1",
        model="artifacts/Trainer/model/6",
        pushed="models/17",
        report="report/report.html",
    )


def test_the_new_report_takes_the_place_of_the_old(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished.collect(monkeypatch)
    names = [path.name for path in sorted((finished.folder / "report").iterdir())]
    assert names == ["facts.json", "report.html"]
    assert (finished.folder / "report" / "report.html").read_text() == "the new one"
    assert Path(finished.nodes["ReportGen"].outputs["report"][0].uri, "report.html").exists()


@pytest.mark.parametrize(("noted", "blessed"), [({"blessed": 1}, True), ({"blessed": 0}, False), ({}, None)])
def test_a_model_that_nothing_gated_is_neither_blessed_nor_not(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, noted: dict[str, int], blessed: bool | None
) -> None:
    finished.nodes["Evaluator"] = make_node("Evaluator", "blessing", finished.folder / "b", **noted)
    assert finished.collect(monkeypatch).blessed is blessed


def test_a_model_that_was_not_pushed_has_no_folder(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finished.folder / "models" / "99").mkdir(parents=True)  # Of a run before.
    finished.nodes["Pusher"] = make_node("Pusher", "pushed_model", finished.folder / "pushed")
    assert finished.collect(monkeypatch).pushed == ""


def test_a_run_without_a_name_in_its_store_has_the_configs(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dataclasses.replace(finished, pipeline="").collect(monkeypatch).pushed == "models/17"


@pytest.mark.parametrize(
    ("store", "shown"),
    [("metadata.sqlite", "{run}/metadata.sqlite"), ("mysql://me@host/runs", "mysql://me@host/runs")],
)
def test_a_store_that_has_not_seen_the_run_is_named_with_it(tmp_path: Path, store: str, shown: str) -> None:
    line = explain_stranger(tmp_path, store)
    assert line == (
        f"{shown.format(run=tmp_path)} knows nothing of {tmp_path}; expected the store that it was run with"
    )
