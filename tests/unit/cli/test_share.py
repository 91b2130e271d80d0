import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from rich.console import Console

from cli.compare import compare_runs
from cli.share import parse_target, rescore_bundle, share_run
from medimg.errors import UsageError
from medimg.reporting.bundle import derive
from tests.unit.reporting.test_bundle import write_sources


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What `medimg share` needs of a finished run."""
    run = tmp_path_factory.mktemp("runs") / "first"
    derive(write_sources(run / "report", resamples=20, slices=[]))
    (run / "run.json").write_text(json.dumps({"state": "finished"}))
    return run


@pytest.fixture
def told(tmp_path):
    """A console and what it was told."""
    console = Console(file=(tmp_path / "told.txt").open("w+"), width=40)
    return console, lambda: (console.file.flush(), (tmp_path / "told.txt").read_text().splitlines())[1]


def test_shared_results_can_be_scored_again_and_compared_with_the_run(run, tmp_path, told):
    console, lines = told
    share_run(run, parse_target(f"folder:{tmp_path / 'folder'}"), console=console)
    share_run(run, parse_target(f"zip:{tmp_path / 'first.zip'}"), console=console)
    assert "images of patients stay here; --with-images takes them along" in lines()
    assert rescore_bundle(tmp_path / "folder", console=console)
    assert rescore_bundle(tmp_path / "first.zip", console=console)
    figures = len(json.loads((run / "report" / "metrics.json").read_text()))
    assert sum(line.startswith(f"{figures} of {figures} figures") for line in lines()) == 2
    compare_runs([run, tmp_path / "folder"], to=tmp_path / "all.csv", console=console)
    assert len((tmp_path / "all.csv").read_text().splitlines()) == figures + 1


def test_what_differs_is_printed_one_line_each(run, tmp_path, told):
    console, lines = told
    share_run(run, parse_target(f"folder:{tmp_path / 'folder'}"), console=console)
    metrics = tmp_path / "folder" / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"n": 300', '"n": 301', 1))
    assert not rescore_bundle(tmp_path / "folder", console=console)
    assert "auc of malignancy, overall, P1, breast, test: n 301, measured 300" in lines()
    assert any(line.startswith("metrics.json: sha256 is") for line in lines())


def test_a_report_that_other_code_has_written_is_said_to_differ(run, tmp_path, told):
    console, lines = told
    older = shutil.copytree(run, tmp_path / "older")
    metrics = json.loads((older / "report" / "metrics.json").read_text())
    (older / "report" / "metrics.json").write_text(json.dumps(metrics[1:]))
    share_run(older, parse_target(f"zip:{tmp_path / 'older.zip'}"), console=console)
    assert lines()[0].startswith("measured anew: 1 figure not as in the run's report")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("first.zip", "expected mlflow:URI, folder:PATH or zip:FILE.zip"),
        ("mlflow:", "expected mlflow:URI"),
        ("s3:bucket", "expected mlflow:URI"),
        ("zip:first.tar", "expected a file FILE.zip"),
        ("zip:absent/first.zip", "in a folder that is there"),
        ("folder:full", "expected a new or empty folder"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch, target, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full" / "of").mkdir(parents=True)
    with pytest.raises(UsageError, match=words):
        parse_target(target)


def test_a_run_that_has_not_finished_is_not_shared(tmp_path):
    (tmp_path / "run.json").write_text('{"state": "started"}')
    with pytest.raises(UsageError, match="has not finished"):
        share_run(tmp_path, parse_target(f"zip:{tmp_path / 'a.zip'}"))


def test_scoring_again_needs_no_tfx_beam_or_tensorflow(run, tmp_path):
    share_run(run, parse_target(f"zip:{tmp_path / 'first.zip'}"))
    absent = ["tfx", "apache_beam", "tensorflow", "keras", "ml_metadata", "mlflow"]
    without = f"import sys; sys.modules |= dict.fromkeys({absent})"
    code = f"{without}; sys.argv = ['medimg', 'rescore', 'first.zip']; from cli.app import main; main()"
    here = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=here, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 differences from the manifest" in done.stdout


@pytest.mark.parametrize(
    ("names", "to", "words"),
    [([""], None, "1 runs"), (["", ""], "a.pdf", r"\.csv or \.html"), (["", "absent"], None, "not a run")],
)
def test_a_comparison_of_nothing_is_refused(run, names, to, words):
    with pytest.raises(UsageError, match=words):
        compare_runs([run / name for name in names], to=to and run / to)


def test_a_zip_of_the_results_holds_no_image_and_one_with_images_does(run, tmp_path):
    for name, with_images in (("without.zip", False), ("with.zip", True)):
        share_run(run, parse_target(f"zip:{tmp_path / name}"), with_images=with_images)
    counts = []
    for name in ("without.zip", "with.zip"):
        held = zipfile.ZipFile(tmp_path / name).namelist()
        counts.append(sum(one.startswith("gallery/") for one in held))
    assert counts == [0, 1]
