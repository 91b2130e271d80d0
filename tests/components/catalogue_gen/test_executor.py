"""CatalogueGen notes on its artifact where the data come from: the lineage reaches back to the archive."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from components.artifacts import Catalogue
from components.catalogue_gen import executor
from medimg.archive.receipts import Receipt, Receipts
from medimg.catalogue.split import SplitSettings
from medimg.catalogue.tables import read_catalogue
from medimg.datasets import find_data_set
from pipeline.metadata.lineage import list_counts, name_origin, properties_of

STANDARD = SplitSettings()
IDC = {
    "collection": "cmmd",
    "source": "idc",
    "version": "24",
    "licence": "CC BY 4.0",
    "doi": "10.7937/tcia.eqde-4b16",
}


def add_receipts(root: Path, receipts: Iterable[tuple[Path, dict[str, str]]]) -> None:
    """Receipts of these files as they lie there, each with what it says of where the file comes from."""
    written = Receipts(root)
    for path, origin in receipts:
        content = path.read_bytes()
        name = path.relative_to(root).as_posix()
        hashes = {
            "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        written.add(
            Receipt(
                path=name,
                bytes=len(content),
                url=f"https://archive.example/{name}",
                series=name,
                **hashes,
                **origin,
            )
        )


def catalogue_properties(
    root: Path, to: Path, *, split: SplitSettings = STANDARD
) -> dict[str, str | int | float]:
    """What lineage reads of the artifact after the executor has run."""
    artifact = Catalogue()
    artifact.uri = str(to / "catalogue")
    values = {
        "data_set": "cmmd",
        "data_root": str(root),
        "labels": json.dumps({"keep": []}),
        "scan": json.dumps({"follow_links": False}),
        "split": json.dumps(asdict(split)),
        "previous": "",
        "split_file": "",
        "index": str(to / "index.parquet"),
    }
    executor.Executor().Do({}, {"catalogue": [artifact]}, values)
    return properties_of(artifact.mlmd_artifact)


def test_lineage_names_source_version_licence_and_doi_of_a_fetch(tmp_path):
    root = tmp_path / "data"
    find_data_set("cmmd").write_phantom(root, cases=16, seed=3)
    made = catalogue_properties(root, tmp_path / "without")
    assert name_origin(made) == ""
    assert not made.keys() & {*IDC, "images_with_receipt"}

    first, *others = sorted(root.rglob("*.dcm"))
    add_receipts(root, [(first, {**IDC, "source": "nbia", "version": ""}), *((path, IDC) for path in others)])
    made = catalogue_properties(root, tmp_path / "with")
    assert (
        name_origin(made)
        == "collection cmmd, source idc; nbia, version 24, licence CC BY 4.0, doi 10.7937/tcia.eqde-4b16"
    )
    assert f"images_with_receipt {1 + len(others)}" in list_counts(made)


def test_near_duplicates_are_searched_as_the_split_settings_say(tmp_path):
    root = tmp_path / "data"
    find_data_set("cmmd").write_phantom(root, cases=16, seed=3)
    catalogue_properties(root, tmp_path, split=SplitSettings(near_duplicates="hash"))
    summary = read_catalogue(tmp_path / "catalogue").summary
    assert summary["near_duplicates"]["search"] == "hash"
    assert summary["near_duplicates"]["images"] == summary["images"]["used"] + summary["images"]["unlabelled"]
