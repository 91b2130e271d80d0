"""The command line as a user meets it: exit codes, one-line errors, lineage, comparison."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from medimg.errors import UsageError
from tests.e2e.conftest import TINY

pytestmark = pytest.mark.e2e

OVERRIDES = [part for item in TINY for part in ("--set", item)]


@pytest.fixture
def medimg(capsys, monkeypatch):
    """Runs the command as its entry point does, but in this process: a start takes seconds.

    Returns exit code and what stderr got.
    """
    from cli.app import main

    def medimg(*arguments):
        monkeypatch.setattr(sys, "argv", ["medimg", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, capsys.readouterr().err

    return medimg


def medimg_here(*arguments):
    """Runs the command in this process: TensorFlow is imported once."""
    from cli.app import app

    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("catalogue", "cmmdd", "--data", ".", "--to", "x"), "cmmd"),
        (("catalogue", "cmmd", "--data", "absent", "--to", "x"), "absent"),
        (("catalogue", "cmmd", "--data", ".", "--to", "x", "--split", "0.5,0.5"), "--split"),
        (("catalogue", "cmmd", "--data", ".", "--to", "x", "--split", "nan,nan,nan"), "--split"),
        (
            ("run", "cmmd_classification", "--data", ".", "--to", "x", "--set", "model.widht=8"),
            "did you mean 'model.width'?",
        ),
        (("run", "nothing", "--data", ".", "--to", "x"), "no config"),
        (("catalogue", "folder", "--data", ".", "--to", __file__), "is a file, expected a folder"),
        (("run", "cmmd_demo", "--data", ".", "--to", f"{__file__}/below"), "is a file, expected a folder"),
        (
            ("catalogue", "folder", "--data", "no\n\x1b[31msuch", "--to", "x"),
            "no\\n\\x1b[31msuch: no such folder",
        ),
        (("lineage", "absent"), "not a run"),
        (("lineage",), "--patient"),
        (("compare", "absent", "absent"), "metrics.json"),
        (("share", "absent", "--to", "zip:a.zip"), "not a run"),
        (("share", "absent", "--to", "a.zip"), "zip:FILE.zip"),
        (("rescore", "absent.zip"), "no such file"),
        (("query", "absent", "SELECT 1"), "absent"),
        (("run", "cmmd_demo", "--data", ".", "--to", "x", "--beam-arg", "--runner=DaskRunner"), "DaskRunner"),
    ],
)
def test_wrong_use_ends_with_exit_2_and_one_line(medimg, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, error = medimg(*arguments)
    assert code == 2
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_a_run_below_its_gate_is_not_blessed_and_says_which_gate(tiny_run):
    gate = 'evaluation.gates=[{"metric": "auc", "head": "malignancy", "lower_bound": 1.01}]'
    code, output = medimg_here(
        "run", "cmmd_demo", "--data", tiny_run.data, "--to", tiny_run.run, *OVERRIDES, "--set", gate
    )
    assert code == 3
    assert "NOT BLESSED" in output
    assert "auc" in output.split("NOT BLESSED")[1]
    code, output = medimg_here("run", "cmmd_demo", "--data", tiny_run.data, "--to", tiny_run.run, *OVERRIDES)
    assert code == 0
    assert "BLESSED" in output


def test_lineage_walks_from_the_pushed_model_to_the_catalogue(tiny_run):
    code, output = medimg_here("lineage", tiny_run.run)
    assert code == 0
    for name in (
        "Pusher",
        "Trainer",
        "Transform",
        "CaseExampleGen",
        "CatalogueGen",
        "images_used",
        "content_hash",
    ):
        assert name in output


def test_lineage_of_a_patient_names_split_and_models(tiny_run):
    import pandas as pd

    cases = pd.read_parquet(tiny_run.run / tiny_run.outcome.catalogue / "cases.parquet")
    case = cases[cases.status == "used"].iloc[0]
    code, output = medimg_here("lineage", "--patient", case.group_id, "--in", tiny_run.run.parent)
    assert code == 0
    assert case.split in output
    assert "Model #" in output
    assert "has seen" in medimg_here("lineage", "--patient", "nobody", "--in", tiny_run.run.parent)[1]
    written = f" {case.group_id.lower()}\u200b"
    assert medimg_here("lineage", "--patient", written, "--in", tiny_run.run.parent)[1] == output
    mistyped = medimg_here("lineage", "--patient", f"{case.group_id}9", "--in", tiny_run.run.parent)[1]
    assert case.group_id in mistyped.partition("has seen")[2].partition("near: ")[2]


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ((), "metadata.sqlite: no such file, expected the store of ML Metadata that"),
        (("--metadata", "other.sqlite"), "other.sqlite knows nothing of"),
    ],
)
def test_lineage_never_takes_a_store_that_does_not_know_a_run_for_a_patient_whom_no_run_has_seen(
    tiny_run, tmp_path, monkeypatch, metadata, words
):
    from pipeline.metadata.store import open_store

    monkeypatch.chdir(tmp_path)
    open_store("other.sqlite")
    (tmp_path / "runs" / "moved").mkdir(parents=True)
    shutil.copy(tiny_run.run / "run.json", "runs/moved")
    for question in (("runs/moved",), ("--patient", "D1-0001", "--in", "runs")):
        with pytest.raises(UsageError, match=words):
            medimg_here("lineage", *question, *metadata)
    assert not (tmp_path / "runs/moved/metadata.sqlite").exists()


def test_compare_puts_equal_figures_in_one_row(tiny_run):
    code, output = medimg_here("compare", tiny_run.run, tiny_run.run)
    assert code == 0
    assert "+0.000" in output


def test_a_shared_run_scores_the_same_again_and_names_no_path_of_this_machine(tiny_run, tmp_path):
    bundle = tmp_path / "bundle"
    code, output = medimg_here("share", tiny_run.run, "--to", f"folder:{bundle}")
    assert code == 0
    assert "measured anew" not in output
    assert medimg_here("rescore", bundle)[0] == 0
    for path in filter(Path.is_file, bundle.rglob("*")):
        for secret in (tmp_path, tiny_run.run, tiny_run.data, Path.home(), Path.cwd()):
            assert f"{secret}/".encode() not in path.read_bytes(), path
    (bundle / "metrics.json").write_text("[]")
    assert medimg_here("rescore", bundle)[0] == 1


def test_report_renders_the_same_page_again(tiny_run):
    page = tiny_run.run / "report" / "report.html"
    before = page.read_text()
    page.unlink()
    code, _ = medimg_here("report", tiny_run.run)
    assert code == 0
    assert page.read_text() == before


def test_a_copy_across_the_folders_of_an_official_split_is_told_by_the_catalogue(tmp_path):
    data, to = tmp_path / "data", tmp_path / "catalogue"
    assert medimg_here("phantom", "tissue", "--to", data, "--cases", 8)[0] == 0
    original = next(path for path in sorted((data / "train" / "liver").iterdir()) if path.suffix == ".jpg")
    turned_HWC = np.ascontiguousarray(np.rot90(cv2.imread(str(original))))
    assert cv2.imwrite(
        str(data / "test" / "liver" / "turned.jpg"), turned_HWC, [cv2.IMWRITE_JPEG_QUALITY, 60]
    )
    code, told = medimg_here("catalogue", "tissue", "--data", data, "--to", to, "--near-duplicates", "hash")
    assert code == 0
    assert "1 pairs of cases are near duplicates by hash" in told
    leak = "leak: 1 of 1 pairs of near duplicates lie in different splits"
    assert f"{leak} (first: test/liver/turned.jpg in test, train/liver/" in told
    code, told = medimg_here("query", to, "SELECT case_id, other_case_id FROM pairs")
    assert told.split()[-2:] == ["test/liver/turned.jpg", f"train/liver/{original.name}"]
