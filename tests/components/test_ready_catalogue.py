"""`catalogue --config` and `run` deal the same split, and `run --catalogue` uses what is there."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from medimg.datasets import find_data_set
from medimg.errors import MedimgError
from pipeline.local import run as local_run
from tests.faults.catalogued import run_medimg, write_folder

TABLES = ("cases.parquet", "images.parquet", "pairs.parquet", "summary.json")
SEED = ("--set", "split.seed=5")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("ready") / "data"
    find_data_set("cmmd").write_phantom(root, cases=24, seed=2)
    return root


@pytest.fixture(scope="module")
def made(data) -> Path:
    """A catalogue of another split than the defaults of `medimg catalogue` would give."""
    return make_catalogue(data, data.with_name("made"), "--config", "cmmd_demo", *SEED)


@pytest.fixture
def to_catalogue(monkeypatch):
    """Lets `medimg run` end once it has its catalogue; what follows takes minutes and is not the question."""
    whole = functools.partial(local_run.run_components, last="CatalogueGen")

    def run(*arguments, **options) -> None:
        whole(*arguments, **options)
        raise MedimgError("ended after the catalogue")

    monkeypatch.setattr(local_run, "run_components", run)


def make_catalogue(data: Path, to: Path, *options: str) -> Path:
    code, out, error = run_medimg("catalogue", "--data", data, "--to", to, *options)
    assert code == 0, error or out
    return to


def run_to_catalogue(data: Path, to: Path, *options: object) -> Path:
    """Runs the demo's config and returns the catalogue that the run has."""
    code, out, error = run_medimg("run", "cmmd_demo", "--data", data, "--to", to, *options)
    assert (code, error) == (1, "error: ended after the catalogue"), error or out
    [catalogue] = (to / "artifacts" / "CatalogueGen" / "catalogue").iterdir()
    return catalogue


def read(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def test_a_catalogue_by_a_config_is_that_of_its_run(data, made, to_catalogue, tmp_path):
    assert read(run_to_catalogue(data, tmp_path / "run", *SEED)) == read(made)


def test_without_the_config_the_split_is_another(data, made):
    plain = make_catalogue(data, data.with_name("plain"), "cmmd")
    splits = [pd.read_parquet(one / "cases.parquet")["split"].to_list() for one in (made, plain)]
    assert splits[0] != splits[1]


def test_a_run_uses_the_catalogue_that_it_is_given_and_nothing_is_read_again(
    data, made, to_catalogue, tmp_path, monkeypatch
):
    # Marked, so that no other catalogue could be equal to it; a run takes it as it is.
    marked = tmp_path / "marked"
    shutil.copytree(made, marked)
    summary = json.loads((marked / "summary.json").read_text())
    (marked / "summary.json").write_text(json.dumps({**summary, "marked": True}))
    monkeypatch.setattr("medimg.catalogue.index.read_files", lambda *_, **__: iter(()))
    assert read(run_to_catalogue(data, tmp_path / "run", *SEED, "--catalogue", marked)) == read(marked)


def refuse(data: Path, tmp_path: Path, *options: object) -> str:
    """The line that ends a run before any work."""
    code, out, error = run_medimg("run", "cmmd_demo", "--data", data, "--to", tmp_path / "run", *options)
    assert code == 2, (code, out, error)
    assert not (tmp_path / "run" / "artifacts").exists()
    return error


def test_a_catalogue_of_other_settings_is_refused_by_the_setting(data, made, tmp_path):
    error = refuse(data, tmp_path, "--catalogue", made)
    assert f"{made}: made with split.seed=5, the config has 0" in error
    assert "medimg catalogue --config" in error


def test_a_catalogue_of_other_labels_is_refused_by_the_setting(tmp_path):
    root = write_folder(tmp_path / "data")
    made = make_catalogue(root, tmp_path / "made", "--config", "folder_classification")
    options = ("--set", "labels.keep=NA", "--catalogue", made)
    code, _, error = run_medimg(
        "run", "folder_classification", "--data", root, "--to", tmp_path / "run", *options
    )
    assert (code, f'{made}: made with labels.keep=[], the config has ["NA"]' in error) == (2, True), error


def test_a_catalogue_of_another_data_set_is_refused(made, tmp_path):
    root = write_folder(tmp_path / "data")
    options = ("--data", root, "--to", tmp_path / "run", "--catalogue", made)
    code, _, error = run_medimg("run", "folder_classification", *options)
    assert (code, f"{made}: a catalogue of cmmd, expected one of folder" in error) == (2, True)


def test_a_catalogue_of_other_data_is_refused(data, made, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    min((tmp_path / "data").rglob("*.dcm")).unlink()
    error = refuse(tmp_path / "data", tmp_path, *SEED, "--catalogue", made)
    assert f"{made}: made of other data than {tmp_path / 'data'} holds now" in error


def test_a_catalogue_whose_tables_were_changed_is_refused(data, made, tmp_path):
    shutil.copytree(made, tmp_path / "made")
    cases = pd.read_parquet(tmp_path / "made" / "cases.parquet").assign(split="train")
    cases.to_parquet(tmp_path / "made" / "cases.parquet")
    error = refuse(data, tmp_path, *SEED, "--catalogue", tmp_path / "made")
    assert f"{tmp_path / 'made' / 'cases.parquet'}: changed since the catalogue was made" in error


def test_a_catalogue_by_a_split_file_needs_the_same_file_again(data, to_catalogue, tmp_path):
    groups = pd.read_parquet(make_catalogue(data, tmp_path / "plain", "cmmd") / "cases.parquet")["group_id"]
    rows = [f"{group},{['train', 'eval', 'test'][index % 3]}" for index, group in enumerate(groups.unique())]
    given = tmp_path / "split.csv"
    given.write_text("\n".join(["patient,split", *rows]))
    made = make_catalogue(data, tmp_path / "made", "--config", "cmmd_demo", "--split-file", str(given))
    error = refuse(data, tmp_path, "--catalogue", made)
    assert f"{made}: made with --split-file split.csv; expected the same beside --catalogue" in error
    used = run_to_catalogue(data, tmp_path / "with", "--catalogue", made, "--split-file", given)
    assert read(used) == read(made)


def test_what_would_deal_another_split_is_refused_beside_a_catalogue(data, made, tmp_path):
    given = (*SEED, "--catalogue", made)
    assert "--previous beside --catalogue" in refuse(data, tmp_path, *given, "--previous", made)
    assert "--catalogue beside --folds" in refuse(data, tmp_path, *given, "--folds", 3)
