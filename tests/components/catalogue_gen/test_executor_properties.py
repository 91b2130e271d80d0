"""What CatalogueGen makes of its properties: the catalogue's options, and what is noted on the artifact."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from components.artifacts import Catalogue
from components.catalogue_gen import executor
from medimg.cases import Case, ImageRef, LabelSettings, ScanSettings
from medimg.catalogue.build import BuildOptions
from medimg.catalogue.split import Assignment, SplitSettings
from medimg.catalogue.tables import read_catalogue
from pipeline.metadata.lineage import properties_of
from tests.small_catalogue import write_small_catalogue

SPLIT = SplitSettings(ratios=(0.5, 0.25, 0.25), seed=7)
ORIGIN = {"source": "idc", "version": "24", "licence": "CC BY 4.0", "doi": "10.1", "collection": ""}
SUMMARY: dict[str, Any] = {
    "content_hash": "ab",
    "images": {"used": 3, "quarantined": 1},
    "cases": {"used": 2, "unlabelled": 0},
    "provenance": [
        ORIGIN,
        {**ORIGIN, "source": "nbia", "version": ""},
        {**ORIGIN, "version": "23", "licence": ""},
    ],
    "receipts": {"with": 2, "without": 1},
}


def write(to: Path, summary: dict[str, Any]) -> Path:
    case = Case("a", "g", (ImageRef("a.dcm", "CC"),), labels={"malignancy": "Benign"})
    write_small_catalogue(to, [case], {"a": Assignment("train")}, summary=summary)
    return to


def execute(to: Path, **given: str) -> dict[str, Any]:
    """Runs the executor; returns the artifact's properties."""
    artifact = Catalogue()
    artifact.uri = str(to)
    properties = {
        "data_set": "cmmd",
        "data_root": "root",
        "labels": json.dumps({"keep": ["NA", "none"]}),
        "scan": json.dumps({"follow_links": True}),
        "split": json.dumps(asdict(SPLIT)),
        "previous": "earlier",
        "split_file": "mine.csv",
        "index": "index.parquet",
        **given,
    }
    executor.Executor().Do({}, {"catalogue": [artifact]}, properties)
    return properties_of(artifact.mlmd_artifact)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a catalogue is built from, which is not done."""
    noted: dict[str, Any] = {}

    def find(name: str, **settings: object) -> str:
        noted["data_set"] = {"name": name, **settings}
        return f"data set {name}"

    def build(data_set: str, *, data_root: Path, to: Path, options: BuildOptions) -> Any:
        noted["build"] = (data_set, data_root, to, options)
        return read_catalogue(write(to, SUMMARY))

    monkeypatch.setattr(executor, "find_data_set", find)
    monkeypatch.setattr(executor, "build_catalogue", build)
    return noted


def test_a_catalogue_is_built_as_all_of_its_properties_say(built: dict[str, Any], tmp_path: Path) -> None:
    execute(tmp_path / "to")
    assert built["data_set"] == {
        "name": "cmmd",
        "labels": LabelSettings(keep=("NA", "none")),
        "scan": ScanSettings(follow_links=True),
    }
    options = BuildOptions(
        SPLIT, previous=Path("earlier"), split_file=Path("mine.csv"), index_path=Path("index.parquet")
    )
    assert built["build"] == ("data set cmmd", Path("root"), tmp_path / "to", options)


def test_a_path_that_is_not_given_is_none(built: dict[str, Any], tmp_path: Path) -> None:
    execute(tmp_path / "to", previous="", split_file="", made="")
    options = built["build"][-1]
    assert (options.previous, options.split_file) == (None, None)


def test_a_catalogue_that_is_given_is_taken_as_it_is(built: dict[str, Any], tmp_path: Path) -> None:
    made = write(tmp_path / "made", {**SUMMARY, "content_hash": "of another time"})
    noted = execute(tmp_path / "to", made=str(made))
    assert built == {}
    assert noted["content_hash"] == "of another time"
    assert read_catalogue(tmp_path / "to").cases["case_id"].tolist() == ["a"]


@pytest.mark.parametrize("fetched", [True, False])
def test_the_artifact_has_its_counts_and_where_the_data_come_from(
    built: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: bool
) -> None:
    monkeypatch.setitem(SUMMARY, "provenance", SUMMARY["provenance"] if fetched else [])
    counts = {"images_used": 3, "images_quarantined": 1, "cases_used": 2, "cases_unlabelled": 0}
    origin = {
        "images_with_receipt": 2,
        "source": "idc; nbia",
        "version": "24; 23",
        "licence": "CC BY 4.0",
        "doi": "10.1",
    }
    expected = {"data_set": "cmmd", "content_hash": "ab", **counts, **(origin if fetched else {})}
    assert execute(tmp_path / "to") == expected
