"""The config as a report shows it."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorflow_model_analysis.proto import validation_result_pb2

from components.report_gen import run_facts
from components.report_gen.run_facts import flatten, gather_facts, without_folders
from medimg.hashing import hash_tree
from pipeline.config.overrides import load_config, to_plain
from tests.components.report_gen.test_evaluator_results import make_validation


def test_a_file_of_weights_is_shown_without_its_folder():
    config = {"name": "a", "model": {"weights": "/elsewhere/b0.h5", "width": 8}}
    shown = dict(flatten(without_folders(config)))
    assert shown == {"name": "a", "model.weights": "b0.h5", "model.width": "8"}
    assert without_folders({"model": {"weights": None}}) == {"model": {"weights": None}}


REJECTS = [
    {"case_id": "w", "reason": "no breast was found on w.dcm", "kept": "whole frame"},
    {"case_id": "a", "reason": "truncated"},
    {"case_id": "v", "reason": "cut short", "kept": "other views"},
    {"case_id": "x", "reason": "no breast was found on x.dcm", "kept": "whole frame"},
]


def gather(folder: Path, *overrides: str, title: str = "CMMD"):
    """The facts of a run of the demo, whose components wrote the least that they can."""
    contents = {
        "gate/gate.json": {"warnings": ["drifted"]},
        "rejects/rejects.json": {"rejects": REJECTS},
        "model/medimg.json": {"prevalence": "balanced"},
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    inputs = {name: [SimpleNamespace(uri=str(folder / name))] for name in ("gate", "rejects", "evaluation")}
    config = to_plain(load_config("cmmd_demo", overrides=overrides))
    summary = {"title": title, "licence": "CC BY 4.0", "doi": "10.1", "content_hash": "ab", "synthetic": True}
    return gather_facts(
        inputs,
        {"config": json.dumps(config), "facts": json.dumps({"data": "d", "trainer": "t"})},
        catalogue=SimpleNamespace(summary=summary),
        evaluated={
            ("malignancy", "cases/auc", "overall"): 0.9,
            ("malignancy", "cases/auc", "source=D1"): 0.4,
        },
        model=folder / "model",
    )


def test_the_facts_are_those_of_the_run_with_what_went_wrong_first(tmp_path, monkeypatch):
    monkeypatch.setattr(run_facts.tfma, "load_validation_result", lambda uri: make_validation())
    facts = gather(tmp_path, "evaluation.slices=source,laterality")
    assert (facts.title, facts.config_name, facts.data_set) == ("CMMD: malignancy", "cmmd-demo", "cmmd")
    assert (facts.licence, facts.doi, facts.split, facts.prevalence) == (
        "CC BY 4.0",
        "10.1",
        "test",
        "balanced",
    )
    assert facts.heads == {"malignancy": ["Benign", "Malignant"]}
    assert facts.warnings == [
        "a could not be read while writing Examples: truncated",
        "v could not be read while writing Examples: cut short",
        "images that were not cropped: 2, no breast was found on w.dcm",
        "drifted",
    ]
    assert facts.versions["keras"] == version("keras")
    assert facts.versions.keys() == {
        "tfx", "tensorflow", "keras", "apache-beam", "tensorflow-model-analysis",
        "tensorflow-data-validation", "ml-metadata", "pydicom", "numpy",
    }  # fmt: skip
    assert facts.summary["content_hash"] == "ab"
    assert facts.hashes == {
        "catalogue": "ab",
        "data": "d",
        "trainer": "t",
        "model": hash_tree(tmp_path / "model"),
    }
    assert facts.blessed is False
    passed = [(text.rpartition(": ")[2], ok) for text, ok in facts.gates]
    assert [ok for _, ok in passed] == [True, False, True]
    assert [text for text, _ in passed][:2] == ["found 0.900", "found 0.400"]
    assert facts.slices == ["source", "laterality"]
    assert facts.config["training.epochs"] == "30"
    assert facts.synthetic
    assert [(one["slice"], one["value"]) for one in facts.evaluated] == [("overall", 0.9), ("source=D1", 0.4)]


def test_what_is_measured_is_as_the_config_says(tmp_path, monkeypatch):
    monkeypatch.setattr(run_facts.tfma, "load_validation_result", lambda uri: make_validation())
    settings = {
        "protocols": ["P1", "P4"],
        "resamples": 123,
        "shortcuts": ["source"],
        "costs": [{"head": "malignancy", "matrix": {"Malignant": {"Benign": 5}}}],
    }
    balancing = ("training.class_weights=false", "evaluation.gates=[]")
    given = [f"evaluation.{name}={json.dumps(value)}" for name, value in settings.items()]
    facts = gather(tmp_path, *given, *balancing)
    assert (facts.protocols, facts.resamples, facts.shortcuts) == (["P1", "P4"], 123, ["source"])
    assert facts.costs == {"malignancy": [[0, 1], [5, 0]]}
    assert facts.config["evaluation.protocols"] == '["P1", "P4"]'
    assert facts.blessed is None


def test_a_run_that_passed_its_gates_is_told_so(tmp_path, monkeypatch):
    passed = validation_result_pb2.ValidationResult(validation_ok=True)
    monkeypatch.setattr(run_facts.tfma, "load_validation_result", lambda uri: passed)
    facts = gather(tmp_path, "evaluation.slices=source,laterality")
    assert facts.blessed is True
    assert {ok for _, ok in facts.gates} == {True}


def test_without_a_gate_there_is_no_blessing_and_without_a_title_the_data_sets_name(tmp_path, monkeypatch):
    monkeypatch.setattr(run_facts.tfma, "load_validation_result", lambda uri: pytest.fail("nothing to read"))
    facts = gather(tmp_path, "evaluation.gates=[]", title="")
    assert facts.blessed is None
    assert facts.gates == []
    assert facts.title == "cmmd: malignancy"
