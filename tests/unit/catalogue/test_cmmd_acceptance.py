"""CMMD's real headers and clinical table (with synthetic pixels) against the published figures and errata."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from medimg.catalogue.build import BuildOptions, build_catalogue
from medimg.catalogue.split import SplitSettings
from medimg.catalogue.tables import Catalogue
from medimg.datasets.cmmd.cases import DATA_SET


def write_tree(to: Path, shared_data: Path, *options: str) -> Path:
    subprocess.run(
        [sys.executable, str(shared_data.parent / "tools" / "make_cmmd.py"), str(to), *options],
        check=True,
        capture_output=True,
    )
    return to


def build(root: Path, to: Path, previous: Path | None = None) -> Catalogue:
    return build_catalogue(
        DATA_SET,
        data_root=root,
        to=to,
        options=BuildOptions(SplitSettings(), previous=previous, index_path=to.with_suffix(".index")),
    )


def pairs_of(summary: Mapping[str, Any]) -> dict[tuple[str, str], bool]:
    return {(pair["cases"][0], pair["cases"][1]): pair["label_conflict"] for pair in summary["duplicates"]}


def test_a_sample_of_the_patients_has_whole_patients_and_adds_up(shared_data, tmp_path):
    root = write_tree(tmp_path / "data", shared_data, "--patients", "40", "--rows", "60", "--columns", "50")
    catalogue = build(root, tmp_path / "catalogue")
    assert catalogue.summary["before_exclusions"]["groups"] == 40
    assert sum(catalogue.summary["images"].values()) == len(list(root.rglob("*.dcm")))
    split = catalogue.cases[catalogue.cases["split"].notna()]
    assert (split.groupby("group_id")["split"].nunique() == 1).all()
    # The table names all 1,775 patients: each breast that is not in the sample is told.
    assert len(catalogue.summary["anomalies"]) > 1000


@pytest.mark.slow
def test_the_whole_collection_has_the_published_counts_and_its_errata_are_found(shared_data, tmp_path):
    root = write_tree(tmp_path / "data", shared_data, "--rows", "96", "--columns", "80")
    summary = build(root, tmp_path / "catalogue").summary
    assert summary["before_exclusions"] == {
        "groups": 1775, "images": 5202, "labelled_cases": 1872, "unlabelled_cases": 729,
        "classes": {"Benign": 556, "Malignant": 1316},
        "labelled_images": 3744, "unlabelled_images": 1458,
    }  # fmt: skip
    assert pairs_of(summary) == {
        ("D1-0202-L", "D2-0284-L"): False,
        ("D1-0202-R", "D2-0284-R"): False,
        ("D1-0808-R", "D1-1292-R"): True,
    }
    assert summary["quality_flags"] == {"BitsStored differs": 2}
    assert summary["quarantined"]["total"] == 0


@pytest.mark.slow
def test_a_tenth_more_patients_move_none_of_the_old_ones(shared_data, tmp_path):
    root = write_tree(tmp_path / "data", shared_data, "--patients", "330", "--rows", "48", "--columns", "40")
    held_back = tmp_path / "held back"
    held_back.mkdir()
    for folder in sorted(root.iterdir())[::11]:
        if folder.is_dir():
            folder.rename(held_back / folder.name)
    before = build(root, tmp_path / "before").cases.set_index("case_id")["split"]
    for folder in held_back.iterdir():
        folder.rename(root / folder.name)
    after = build(root, tmp_path / "after", previous=tmp_path / "before").cases.set_index("case_id")["split"]
    assert len(after) > len(before)
    assert after.loc[before.index].equals(before)
