"""What `medimg run` says of bad data: the anomalies of the catalogue, and what a gate stops it for."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path

import pytest
from PIL import Image

from medimg.errors import MedimgError
from pipeline.local import run as local_run
from tests.faults.catalogued import noise, run_medimg, write_folder

SMALL = ("--set", "model.image_size=32,32", "--set", "ingest.image_size=32,32", "--set", "data_gate.drift=1")


def write_bad_folder(folder: Path) -> Path:
    """Thirty pictures, five cut short, three of a format that is not read, six rows without a file."""
    cut, gifs = [f"cut/{index}.png" for index in range(5)], [f"{index}.gif" for index in range(3)]
    root = write_folder(
        folder, named=[*cut, *gifs, *(f"absent-{index}.png" for index in range(6))], pictures=30
    )
    (root / "cut").mkdir()
    for name in cut:
        (root / name).write_bytes((root / "00.png").read_bytes()[:900])
    for index, name in enumerate(gifs):
        Image.fromarray(noise(100 + index)).save(root / name)
    return root


def test_a_gate_names_itself_once_the_reasons_the_list_and_the_setting(tmp_path):
    root = write_bad_folder(tmp_path / "data")
    code, out, error = run_medimg(
        "run", "folder_classification", "--data", root, "--to", tmp_path / "run", *SMALL
    )
    assert code == 1, out
    assert error.startswith("error: DataGate: 14 of 44 images are quarantined (31.8%), ")
    assert error.count("DataGate") == 1
    assert (
        "data_gate.quarantined_share allows 5.0%: 6 x labels.csv names it and it is not in the folder ("
        in error
    )
    assert (
        "; 5 x cannot be decoded as PNG: it is damaged or cut short (cut/0.png); 3 x is a picture " in error
    )
    _, _, command = error.partition("the list: medimg ")
    words = shlex.split(command.partition(" (and ")[0])
    code, listed, _ = run_medimg(*words)
    assert code == 0
    assert all(name in listed for name in ("cut/4.png", "2.gif", "absent-5.png"))
    assert listed.count("cut/") == 2 * 5

    anomalies = out[out.index("anomaly: ") :]
    assert anomalies.count("anomaly: ") == 6
    assert "anomaly: labels.csv row 40: absent-0.png is not in the folder" in anomalies
    assert "could not be read" not in out
    _, _, where = anomalies.partition("in all, see `anomalies` in ")
    assert Path(where.split()[0]).is_file()


def test_a_run_has_no_line_on_anomalies_where_there_is_none(tmp_path, monkeypatch):
    def run(*arguments, **options) -> None:
        functools.partial(local_run_components, last="CatalogueGen")(*arguments, **options)
        raise MedimgError("ended after the catalogue")

    local_run_components = local_run.run_components
    monkeypatch.setattr(local_run, "run_components", run)
    root = write_folder(tmp_path / "data", pictures=30)
    code, out, _ = run_medimg("run", "folder_classification", "--data", root, "--to", tmp_path / "run")
    assert (code, "anomaly" in out) == (1, False)


@pytest.mark.parametrize("text", ["Trainer: no room", "Trainer has no room", "no room"])
def test_who_speaks_is_named_once(tmp_path, text):
    said = local_run.explain(MedimgError(text), component="Trainer", run=tmp_path)
    assert said.count("Trainer") == 1
    assert said.startswith("Trainer")
