"""The files of ../shared/tools/make_faulty_images.py give what its docstring calls right.

Other instances of each kind are in the tests beside and in tests/unit; these here need the script.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from medimg.catalogue import index
from medimg.catalogue.summary import count_quarantined
from medimg.images.prepare import WHOLE_FRAME, Ingest, prepare_image
from tests.faults.catalogued import catalogue, noise, write_folder
from tests.unit.datasets.hospital import read_here

GREY = np.add.outer(np.arange(64), np.arange(64)) * 16 % 4096
HOSPITAL_ID = "REAL-HOSPITAL-ID-4711"
BESIDES = ("6_pectoral_mask.png",)
REPORT = "10_report.dcm"
ONE_IMAGE = ("1a_space_after_eoi.dcm", "1b_garbage_after_eoi.dcm", "3_jpegls_same_uid.dcm", "3_native.dcm")
NAMED = {
    "4a_cut_in_header.dcm": ("cut short", "behind BitsAllocated (0028,0100)"),
    "4b_cut_in_pixel_element.dcm": ("is cut short in PixelData (7FE0,0010)", "expected 12"),
    "5_group2_vr_ffff.dcm": ("MediaStorageSOPClassUID (0002,0002)", "0xFFFF", "expected UI"),
    "8_voi_lut_empty.dcm": ("LUTData (0028,3006) is empty", "expected 4096 values"),
}


@pytest.fixture(scope="module")
def found(shared_tools, tmp_path_factory):
    """The catalogue of all files; the same image has the same patient and label in each of its files."""
    data = tmp_path_factory.mktemp("faulty") / "data"
    subprocess.run([sys.executable, shared_tools / "make_faulty_images.py", data], check=True)
    for name in BESIDES:
        (data / name).rename(data.parent / name)
    files = sorted(path.name for path in data.iterdir())
    for number in range(12):
        Image.fromarray(noise(number + 900)).save(data / f"{number:02d}.png")
    rows = [f"{number:02d}.png,P{number},{'ab'[number % 2]}" for number in range(12)]
    for number, name in enumerate(files):
        patient, label = ("one", "a") if name in ONE_IMAGE else (f"F{number}", "ab"[number % 2])
        rows.append(f"{name},{patient},{label}")
    (data / "labels.csv").write_text("\n".join(["file,patient_id,label", *rows]) + "\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(index, "guarded_map", read_here)
        made = catalogue(data)
    assert made.code == 0
    return data, made


def prepare(found, name: str, **settings):
    return prepare_image(found[0] / name, ingest=Ingest(None, **settings))


@pytest.mark.parametrize("name", ONE_IMAGE)
def test_bytes_after_the_end_marker_are_no_harm(found, name):
    shown = prepare(found, name, bits=16).pixels
    np.testing.assert_array_equal(shown, np.rint(GREY / GREY.max() * 65535))


def test_a_jfif_frame_is_ycbcr(found):
    shown = prepare(found, "2_jfif_ycbcr_tag_rgb.dcm", channels=3).pixels
    np.testing.assert_allclose(shown.reshape(-1, 3).mean(axis=0), (200, 60, 40), atol=3)
    assert found[1].status("2_jfif_ycbcr_tag_rgb.dcm")[0] == "used"


@pytest.mark.parametrize("patients", [("Q", "Q"), ("Q", "R")])
def test_of_one_image_in_two_transfer_syntaxes_one_stays(found, tmp_path, monkeypatch, patients):
    names = ("3_jpegls_same_uid.dcm", "3_native.dcm")
    data = write_folder(tmp_path / "data")
    with (data / "labels.csv").open("a") as table:
        for name, patient in zip(names, patients, strict=True):
            shutil.copy(found[0] / name, data)
            table.write(f"{name},{patient},a\n")
    monkeypatch.setattr(index, "guarded_map", read_here)
    made = catalogue(data)
    assert sorted(made.status(name)[0] for name in names) == ["excluded", "used"]
    assert made.summary["images"] == {"used": 13, "unlabelled": 0, "excluded": 1, "quarantined": 0}


@pytest.mark.parametrize("name", NAMED)
def test_damage_is_named_by_its_element(found, name):
    status, reason = found[1].status(name)
    assert status == "quarantined"
    for words in NAMED[name]:
        assert words in reason
    assert f"quarantined: {reason}" in found[1].out


def test_the_breast_crop_keeps_the_breast(found):
    mask = cv2.imread(str(found[0].parent / BESIDES[0]), cv2.IMREAD_GRAYSCALE) > 0
    prepared = prepare(found, "6_pectoral.png", crop="breast")
    corner = (np.linalg.inv(prepared.stored_to_prepared) @ (0, 0, 1)).round().astype(int)
    height, width = prepared.pixels.shape
    kept = mask[corner[0] : corner[0] + height, corner[1] : corner[1] + width].sum() / mask.sum()
    assert kept >= 0.99
    assert prepared.pixels.size < mask.size
    assert prepared.flag == ""


def test_of_a_turned_spot_view_the_paddle_is_not_all_that_stays(found):
    name = "7_paddle_rotated.dcm"
    prepared = prepare(found, name, crop="breast", orientation="mammogram")
    assert [flag for flag in found[1].flags(name) if flag.startswith("orientation: R\\P")]
    # The breast, stored below row 260 and left of column 1250, ends up whole and upright.
    height, width = prepared.pixels.shape
    assert height >= 1250
    assert width >= 788 - 260
    assert (prepared.pixels > prepared.pixels.max() // 4).mean() > 0.8
    assert prepared.flag in ("", WHOLE_FRAME)


def test_text_in_an_ultrasound_needs_review(found):
    flag = "burned-in text: US without BurnedInAnnotation (0028,0301), needs review"
    assert flag in found[1].flags("9_us_text_no_flag.dcm")
    assert found[1].status("9_us_text_no_flag.dcm")[0] == "used"
    assert " burned-in text" in found[1].out


def test_a_report_is_no_image(found):
    assert REPORT not in found[1].images.index
    assert f"excluded, not images: 1 DICOM without pixels (Basic Text SR): {REPORT}" in found[1].out
    assert found[1].cases.loc[REPORT, "status"] == "excluded"


def test_a_bmp_is_read(found):
    assert found[1].status("11_named_in_labels.bmp") == ("used", "")


def test_nothing_is_lost(found):
    summary = found[1].summary
    assert sum(summary["cases"].values()) == summary["input"]["cases"] == 26
    assert sum(summary["images"].values()) == summary["input"]["images"] == 25
    assert count_quarantined(summary) == summary["images"]["quarantined"] == len(NAMED)


def test_the_hospitals_id_is_nowhere(found):
    data, made = found
    written = b"".join(path.read_bytes() for path in data.with_name("data.cat").rglob("*") if path.is_file())
    said = f"{made.out} {made.error} {made.summary} {made.cases.to_csv()} {made.images.to_csv()}"
    assert HOSPITAL_ID not in said
    assert HOSPITAL_ID.encode() not in written


def test_every_file_of_the_script_is_looked_at(found):
    files = {path.name for path in found[0].iterdir()} - {"labels.csv"}
    pictures = {name for name in files if name[:2].isdigit() and name.endswith(".png")}
    looked_at = {*ONE_IMAGE, *NAMED, REPORT, "2_jfif_ycbcr_tag_rgb.dcm", "6_pectoral.png"}
    looked_at |= {"7_paddle_rotated.dcm", "9_us_text_no_flag.dcm", "11_named_in_labels.bmp"}
    assert files - pictures == looked_at
