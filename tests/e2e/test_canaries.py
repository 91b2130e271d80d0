"""No text of a header is in what a catalogue, a run, its report or a shared bundle writes and prints."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.faults.canaries import HOSPITAL_ID, find_canaries, find_marks, write_canaries

pytestmark = pytest.mark.slow
PATIENTS = 24
TINY = (
    "ingest.image_size=32,32",
    "model.image_size=32,32",
    "training.epochs=1",
    "evaluation.resamples=50",
    "evaluation.explained_cases=1",
    "evaluation.saliency_checked_cases=2",
    "data_gate.quarantined_share=0.9",
    'evaluation.gates=[{"metric": "auc", "head": "label", "lower_bound": -1.0}]',
    # A few steps teach it no more than which class is the more frequent.
    'evaluation.bless_without=["answered_classes"]',
)


@dataclass(frozen=True)
class Written:
    """All that was written below one folder, what was printed, and the files that hold an odd value."""

    to: Path
    printed: str
    muted: list[str]


def medimg(*arguments: object) -> str:
    """Runs the command in a process of its own: libraries write to the terminal behind Python's back."""
    command = [sys.executable, "-c", "from cli.app import main; main()", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Written:
    """Runs every command that reads data or what was made of them."""
    data = tmp_path_factory.mktemp("data") / "images"
    to = tmp_path_factory.mktemp("to")
    muted = write_canaries(data, patients=PATIENTS)
    settings = [part for item in TINY for part in ("--set", item)]
    printed = [
        medimg("catalogue", "folder", "--data", data, "--to", to / "catalogue", "--near-duplicates", "hash"),
        medimg("query", to / "catalogue", "SELECT * FROM images"),
        medimg("query", to / "catalogue", "SELECT * FROM cases"),
        medimg("run", "folder_classification", "--data", data, "--to", to / "run", *settings),
        medimg("report", to / "run"),
        medimg("share", to / "run", "--to", f"zip:{to / 'all.zip'}", "--with-images"),
        medimg("share", to / "run", "--to", f"folder:{to / 'bundle'}"),
        medimg("lineage", to / "run"),
    ]
    return Written(to, "\n".join(printed), muted)


def test_the_search_finds_what_it_is_for(tmp_path):
    write_canaries(tmp_path / "data", patients=1)
    found = find_canaries(tmp_path)
    assert any(HOSPITAL_ID in line for line in found)
    frame = pd.DataFrame({"a": [HOSPITAL_ID] * 9})
    (tmp_path / "packed").mkdir()
    frame.to_parquet(tmp_path / "packed" / "a.parquet", compression="zstd")
    frame.to_pickle(tmp_path / "packed" / "a.gz", compression="gzip")
    frame.to_csv(tmp_path / "packed" / "a.zip", compression="zip")
    with closing(sqlite3.connect(tmp_path / "packed" / "a.sqlite")) as database:
        frame.to_sql("a", database)
    places = {line.partition(":")[0].partition("!")[0] for line in find_canaries(tmp_path / "packed")}
    assert places == {"a.parquet", "a.gz", "a.zip", "a.sqlite"}


def test_no_text_of_a_header_is_below_the_folders_that_were_written(written):
    assert len(list(written.to.rglob("*"))) > 100
    assert find_canaries(written.to) == []


def test_no_text_of_a_header_is_printed(written):
    assert "report: " in written.printed
    assert find_marks(written.printed.encode()) == []


def test_every_file_is_accounted_for_and_odd_ones_are_named(written):
    summary = json.loads((written.to / "catalogue" / "summary.json").read_text())
    assert sum(summary["images"].values()) == summary["input"]["images"] == PATIENTS + len(written.muted) + 1
    images = pd.read_parquet(written.to / "catalogue" / "images.parquet").set_index("path")
    assert set(written.muted) <= set(images.index)
    reason = images.loc["PhotometricInterpretation0.dcm", "reason"]
    assert "PhotometricInterpretation (0028,0004) is a text of 14 characters, expected one of" in reason
