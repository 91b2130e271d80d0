"""The folders of ../shared/tools/make_messy_folders.py give what its docstring calls right.

Other instances of each kind are in the tests beside and in tests/unit; these here need the script.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from medimg.catalogue import index
from medimg.catalogue.summary import count_quarantined
from medimg.images.prepare import Ingest, prepare_image
from tests.faults.catalogued import catalogue
from tests.unit.datasets.hospital import read_here

FRAME = Ingest((64, 64))


@pytest.fixture(scope="session")
def folders(shared_tools, tmp_path_factory):
    """One folder for each name in the script's docstring."""
    to = tmp_path_factory.mktemp("messy")
    subprocess.run([sys.executable, shared_tools / "make_messy_folders.py", to], check=True)
    return to


@pytest.fixture(autouse=True)
def _read_in_this_process(monkeypatch):
    monkeypatch.setattr(index, "guarded_map", read_here)


def counts(found) -> dict[str, int]:
    """The cases by status, without zeros; nothing is lost."""
    assert sum(found.summary["cases"].values()) == found.summary["input"]["cases"]
    assert sum(found.summary["images"].values()) == found.summary["input"]["images"]
    return {status: count for status, count in found.summary["cases"].items() if count}


def anomalies(found) -> str:
    return "\n".join(found.summary["anomalies"])


def test_na_label(folders):
    found = catalogue(folders / "na_label")
    assert counts(found) == {"used": 8, "unlabelled": 4}
    assert set(found.cases["label_label"].dropna()) == {"a", "b"}
    assert "4 cells taken as missing ('NA' 4); --set labels.keep=na" in found.out


def test_na_patient(folders):
    found = catalogue(folders / "na_patient")
    assert counts(found) == {"used": 8}
    assert found.cases["group_id"].is_unique
    for row, name in enumerate(("00.png", "01.png", "02.png", "03.png"), start=2):
        assert found.status(name) == ("excluded", f"labels.csv row {row}: no patient_id")
        assert f"excluded: labels.csv row {row}: no patient_id: {name}" in found.out


def test_comma_in_name(folders):
    found = catalogue(folders / "comma_in_name")
    assert found.code == 2
    assert found.error.startswith("error: labels.csv row 4: 4 cells, expected 3")
    assert "Doe" not in found.error


def test_cp1252_label(folders):
    found = catalogue(folders / "cp1252_label")
    assert counts(found) == {"used": 12}
    assert set(found.cases["label_label"]) == {"gutartig", "b\u00f6sartig"}
    assert "labels.csv: read as cp1252" in found.out


def test_decimal_comma(folders):
    found = catalogue(folders / "decimal_comma")
    assert counts(found) == {"used": 12}
    assert sorted(found.cases["clinical_age"]) == [40.5 + number for number in range(12)]


def test_one_and_1_0(folders):
    found = catalogue(folders / "one_and_1.0")
    assert counts(found) == {"used": 12}
    assert set(found.cases["label_label"]) == {"0", "1"}
    assert "'1' and '1.0' are one class written in 2 forms" in found.out


def test_split_train_test(folders):
    found = catalogue(folders / "split_Train_Test", data_set="tissue")
    assert counts(found) == {"used": 24}
    [label] = [column for column in found.cases if column.startswith("label_")]
    assert set(found.cases[label]) == {"ADI", "TUM"}
    for folder, splits in {"Train": {"train", "eval"}, "Test": {"test"}}.items():
        of_folder = found.cases[found.cases.index.str.startswith(folder)]
        assert len(of_folder) == 12
        assert set(of_folder["split"]) == splits


def test_tiff_rows(folders):
    found = catalogue(folders / "tiff_rows")
    assert counts(found) == {"used": 24}
    assert found.status("12.tif") == ("used", "")


def test_macosx(folders):
    found = catalogue(folders / "macosx")
    assert counts(found) == {"used": 12}
    assert count_quarantined(found.summary) == 0
    assert "excluded, not images: 12 left behind by macOS" in found.out


def test_padding(folders):
    found = catalogue(folders / "padding")
    assert counts(found) == {"used": 13}
    shown = prepare_image(folders / "padding" / "pad.dcm", ingest=FRAME).pixels
    inside = shown[16:48, 16:48].copy()
    assert (inside.min(), inside.max()) == (0, 255)
    shown[16:48, 16:48] = 0
    assert shown.max() == 0


def test_window_far_off(folders):
    found = catalogue(folders / "window_far_off")
    assert counts(found) == {"used": 13}
    flag = "window: WindowCenter (0028,1050) 3174 with WindowWidth (0028,1051) 2426 leaves 1 grey level"
    assert [one for one in found.flags("w.dcm") if one.startswith(flag)]
    assert "1 window" in found.out


def test_spacing_comma(folders):
    found = catalogue(folders / "spacing_comma")
    assert counts(found) == {"used": 13}
    flag = "unreadable: PixelSpacing (0028,0030) is '0.05,0.05', expected a decimal number"
    assert flag in found.flags("s.dcm")
    assert "1 unreadable" in found.out


def test_png12(folders):
    found = catalogue(folders / "png12")
    assert counts(found) == {"used": 12}
    assert "12 pictures of 16 bits, 00.png for one, hold values of 12 bits" in found.out
    assert "set ingest.range=0,4095" in found.out
    path = folders / "png12" / "00.png"
    ranged = prepare_image(path, ingest=Ingest((64, 64), range=(0, 4095))).pixels
    assert prepare_image(path, ingest=FRAME).pixels.max() < 20
    np.testing.assert_allclose(ranged.max(), 255, atol=1)


def test_accession_as_patient(folders):
    found = catalogue(folders / "accession_as_patient")
    assert counts(found) == {"used": 16}
    leak = "leak: 4 values of PatientID (0010,0020) occur in more than one group (first: ACC000 and ACC001)"
    assert f"anomaly: {leak}" in found.out
    [row] = [row for row in found.summary["leakage"] if row["common"].startswith("the same PatientID")]
    assert sum(row["pairs"].values()) > 0
    assert "PAT0" not in found.out + anomalies(found)


def test_every_folder_of_the_script_has_its_test(folders):
    names = {path.name for path in folders.iterdir() if path.is_dir() and path.suffix != ".cat"}
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {name.replace(".", "_").lower() for name in names} <= tests
