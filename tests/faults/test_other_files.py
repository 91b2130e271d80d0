"""What lies beside images and is none: files of desktops and file servers, DICOM objects without pixels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydicom.uid import UID

from medimg.datasets import find_data_set, write_phantom
from tests.faults.catalogued import catalogue, noise, write_folder
from tests.unit.dicom.written import make_dataset, write_dicom

APPLE_DOUBLE = b"\0\5\x16\7" + b"\0" * 200
LEFT_BEHIND = {
    "__MACOSX/._00.png": "macOS",
    "scans/._07.dcm": "macOS",
    "scans/.DS_Store": "macOS",
    "Thumbs.db": "Windows",
    "$RECYCLE.BIN/S-1-5/deleted.jpg": "Windows",
    "@eaDir/00.png/SYNOFILE_THUMB_M.png": "a file server",
}
WITHOUT_PIXELS = {
    "1.2.840.10008.5.1.4.1.1.88.11": "Basic Text SR",
    "1.2.840.10008.5.1.4.1.1.88.59": "Key Object Selection Document",
    "1.2.840.10008.5.1.4.1.1.11.1": "Grayscale Softcopy Presentation State",
    "1.2.840.10008.5.1.4.1.1.481.5": "RT Plan",
    "1.2.840.10008.5.1.4.1.1.104.1": "Encapsulated PDF",
    "1.2.840.10008.1.3.10": "Media Storage Directory",
    "1.3.46.670589.11.0.0.12.1": "a private SOP class",
}


def write_object(path: Path, sop_class: str) -> None:
    """A DICOM file of a class without pixels, as valid as `write_dicom` makes images."""
    dataset = make_dataset([noise(1)], SOPClassUID=UID(sop_class))
    for keyword in [element.keyword for element in dataset if element.tag.group in (0x0028, 0x7FE0)]:
        delattr(dataset, keyword)
    dataset.save_as(path, enforce_file_format=True)


def test_what_desktops_and_file_servers_leave_behind_is_counted_by_who_left_it(tmp_path):
    data = write_folder(tmp_path / "data")
    for name in LEFT_BEHIND:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(APPLE_DOUBLE)
    # A thumbnail and a deleted file can be read as an image, and are none of the data's.
    shutil.copy(data / "03.png", data / "@eaDir/00.png/SYNOFILE_THUMB_M.png")
    found = catalogue(data)
    assert found.summary["images"] == {"used": 12, "unlabelled": 0, "excluded": 0, "quarantined": 0}
    assert found.summary["other_files"] == 1 + len(LEFT_BEHIND)
    assert {row["kind"]: row["files"]["names"] for row in found.summary["not_images"]} == {
        f"left behind by {writer}": sorted(name for name in LEFT_BEHIND if LEFT_BEHIND[name] == writer)
        for writer in set(LEFT_BEHIND.values())
    }
    assert "excluded, not images: 3 left behind by macOS: __MACOSX/._00.png" in found.out


def test_a_picture_that_only_begins_like_a_file_of_macos_is_a_picture(tmp_path):
    data = write_folder(tmp_path / "data", named=["._own.png"])
    shutil.move(data / "03.png", data / "._own.png")
    assert catalogue(data).status("._own.png") == ("used", "")


def test_dicom_objects_without_pixels_are_counted_by_their_class(tmp_path):
    data = write_folder(tmp_path / "data")
    for number, sop_class in enumerate(WITHOUT_PIXELS):
        write_object(data / f"{number}.dcm", sop_class)
    found = catalogue(data)
    assert found.summary["images"] == {"used": 12, "unlabelled": 0, "excluded": 0, "quarantined": 0}
    assert {row["kind"]: row["files"]["total"] for row in found.summary["not_images"]} == {
        f"DICOM without pixels ({name})": 1 for name in WITHOUT_PIXELS.values()
    }
    assert "excluded, not images: 1 DICOM without pixels (Basic Text SR): 0.dcm" in found.out


def test_an_image_that_lost_its_pixels_is_no_other_object(tmp_path):
    data = write_folder(tmp_path / "data")
    dataset = make_dataset([noise(1)], SOPClassUID=UID("1.2.840.10008.5.1.4.1.1.2"))
    del dataset.PixelData
    dataset.save_as(data / "ct.dcm", enforce_file_format=True)
    write_dicom(data / "private.dcm", noise(2), SOPClassUID=UID("1.3.46.670589.11.0.0.12.1"))
    found = catalogue(data)
    assert found.status("ct.dcm")[0] == "quarantined"
    assert found.status("private.dcm")[0] == "excluded"  # It has pixels and no row, as any image.
    assert found.summary["not_images"] == []


def test_a_folder_of_other_objects_alone_says_what_they_are(tmp_path):
    data = write_folder(tmp_path / "data", pictures=0, named=["0.dcm", "1.dcm"])
    for name in ("0.dcm", "1.dcm"):
        write_object(data / name, "1.2.840.10008.5.1.4.1.1.481.5")
    found = catalogue(data)
    assert (found.code, found.error.count("\n")) == (2, 0)
    assert "no readable image among 3 files, 2 DICOM without pixels (RT Plan)" in found.error


@pytest.mark.parametrize("folder", ["@eaDir", "train/@eaDir", "train/__MACOSX", "train/pancreas/@eaDir"])
def test_class_folders_are_none_of_a_file_servers(tmp_path, folder):
    write_phantom(find_data_set("tissue"), tmp_path / "data", cases=8, seed=0)
    (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
    tile = next((tmp_path / "data").rglob("*.jpg"))
    shutil.copy(tile, tmp_path / "data" / folder / "thumb.jpg")
    found = catalogue(tmp_path / "data", data_set="tissue")
    assert found.code == 0
    assert found.summary["not_images"][0]["files"]["names"] == [f"{folder}/thumb.jpg"]


def test_what_is_left_behind_changes_no_fingerprint(tmp_path):
    data = write_folder(tmp_path / "data")
    before = catalogue(data).summary["content_hash"]
    (data / ".DS_Store").write_bytes(b"\0" * 30)
    write_object(data / "report.dcm", "1.2.840.10008.5.1.4.1.1.88.11")
    assert catalogue(data).summary["content_hash"] == before
