"""By which settings `medimg catalogue` builds: the options', a config's, and what it refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.app import app
from tests.faults.catalogued import run_medimg, write_folder


@pytest.fixture
def data(tmp_path) -> Path:
    return write_folder(tmp_path / "data", pictures=12)


def settings_of(data: Path, *options: str) -> dict[str, object]:
    """The settings in the summary of a catalogue that was made with these options."""
    to = data.with_name("catalogue")
    code, out, error = run_medimg("catalogue", "--data", data, "--to", to, *options)
    assert code == 0, error or out
    summary = json.loads((to / "summary.json").read_text())
    return {**summary["split_settings"], **summary["label_settings"]}


def test_settings_are_the_defaults_or_the_options(data):
    found = settings_of(data, "folder")
    assert (found["ratios"], found["folds"], found["seed"]) == ([0.7, 0.15, 0.15], 0, 0)
    given = settings_of(
        data, "folder", "--split", "0.5,0.25,0.25", "--folds", "3", "--seed", "4", "--near-duplicates", "hash"
    )
    assert given == {
        **found, "ratios": [0.5, 0.25, 0.25], "folds": 3, "seed": 4, "near_duplicates": "hash"
    }  # fmt: skip


def test_set_takes_what_decides_a_catalogue(data, tmp_path):
    (tmp_path / "settings.json").write_text('{"split.seed": 2, "labels.keep": ["none"]}')
    found = settings_of(data, "folder", "--set", f"@{tmp_path / 'settings.json'}", "--set", "split.by=case")
    assert (found["seed"], found["keep"], found["by"]) == (2, ["none"], "case")


def test_with_a_config_settings_are_its_own_and_set_takes_all_its_keys(data):
    options = (
        "--config",
        "folder_classification",
        "--set",
        "training.epochs=3",
        "--set",
        "labels.keep=none,1",
    )
    for first in ((), ("folder",)):
        found = settings_of(data, *first, *options)
        assert (found["ratios"], found["keep"]) == ([0.6, 0.2, 0.2], ["none", "1"])
    assert settings_of(data, *options, "--seed", "9")["seed"] == 9


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), "no data set: expected its name, or --config NAME"),
        (("cmmd", "--config", "folder_classification"), "cmmd: config folder_classification is of folder"),
        (("folder", "--config", "folder_clasification"), "did you mean 'folder_classification'?"),
        (("folder", "--set", "training.epochs=3"), "--set training.epochs: no such config key"),
        (("folder", "--set", "split.seed=x"), "config key split.seed: "),
        (("folder", "--set", "split.folds=1"), "1 folds: expected 0 for none, or 2 and more"),
        (("--config", "folder_classification", "--set", "split.sed=1"), "did you mean 'split.seed'?"),
        (("--config", "cmmd_demo", "--set", "labels.keep=NA"), "the classes of cmmd are fixed"),
    ],
)
def test_what_is_no_setting_is_wrong_use(data, tmp_path, options, line):
    code, _, error = run_medimg("catalogue", "--data", data, "--to", tmp_path / "to", *options)
    assert (code, line in error) == (2, True), error
    assert not (tmp_path / "to").exists()


def test_the_command_that_init_names_next_builds_the_catalogue_of_its_settings(data):
    rows = (data / "labels.csv").read_text().splitlines()[1:]
    (data / "labels.csv").unlink()
    printed = CliRunner().invoke(app, ["init", "folder", str(data)]).stdout

    (data / "labels.csv").write_text("\n".join(["file,patient_id,label", *rows]) + "\n")
    [line] = [line for line in printed.splitlines() if line.startswith("then: medimg ")]
    code, out, error = run_medimg(*shlex.split(line)[2:])
    assert code == 0, error or out
    assert (data.with_name("data.catalogue") / "cases.parquet").is_file()
