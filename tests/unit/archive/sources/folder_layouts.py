"""Folders as users have them: two series of three images in every layout."""

from __future__ import annotations

import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
from pydicom.fileset import FileSet

from tests.unit.dicom.written import write_dicom

STUDY = "1.2.826.0.1.3680043.8.498.1"
FIRST, SECOND = f"{STUDY}.1", f"{STUDY}.2"
IMAGES = {"first/1-1": (FIRST, 1), "first/1-2": (FIRST, 2), "second/1-1": (SECOND, 1)}
RETRIEVER_HEAD = (
    "Series UID,Collection,Subject ID,Study UID,Modality,Number of Images,File Size,File Location"
)


def write_image(path: Path, series: str, number: int, *, grey: int = 0, **changed: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = {
        "PatientID": "P1",
        "PatientName": "P^1",
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": series,
        "SOPInstanceUID": f"{series}.{number}",
    }
    tags |= {
        "Modality": "MG",
        "StudyID": "1",
        "StudyDate": "20200101",
        "StudyTime": "120000",
        "SeriesNumber": series[-1],
        "InstanceNumber": str(number),
    }
    return write_dicom(path, np.full((4, 4), number + grey, np.uint8), **tags, **changed)


def write_images(folder: Path, *, suffix: str = ".dcm") -> dict[str, bytes]:
    """The content of IMAGES by SOPInstanceUID."""
    return {
        f"{series}.{number}": write_image(folder / f"{name}{suffix}", series, number).read_bytes()
        for name, (series, number) in IMAGES.items()
    }


def lay_out_retriever(folder: Path) -> dict[str, bytes]:
    images = write_images(folder / "CMMD" / "P1" / "study")
    rows = [
        RETRIEVER_HEAD,
        f"{FIRST},CMMD,P1,{STUDY},MG,2,10 KB,./x",
        f"{SECOND},CMMD,P1,{STUDY},MG,1,10 KB,./x",
    ]
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return images


def lay_out_loose(folder: Path) -> dict[str, bytes]:
    images = write_images(folder / "a" / "b", suffix="")
    (folder / "a" / "b" / "second" / "1-1").rename(folder / "picture.jpg")
    return images


def lay_out_zip(folder: Path) -> dict[str, bytes]:
    images = write_images(folder / "x")
    pack(folder / "all.zip", folder / "x")
    shutil.rmtree(folder / "x")
    return images


def lay_out_zip_per_series(folder: Path) -> dict[str, bytes]:
    images = write_images(folder / "x")
    for name in ("first", "second"):
        pack(folder / "zips" / f"{name}.ZIP", folder / "x" / name)
    shutil.rmtree(folder / "x")
    return images


def lay_out_dicomdir(folder: Path) -> dict[str, bytes]:
    images = write_images(folder / "x")
    medium = FileSet()
    for path in sorted((folder / "x").rglob("*.dcm")):
        medium.add(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        medium.write(folder / "cd")
    shutil.rmtree(folder / "x")
    return images


LAYOUTS = {
    "NBIA Data Retriever": lay_out_retriever,
    "loose, any suffix": lay_out_loose,
    "one zip": lay_out_zip,
    "a zip per series": lay_out_zip_per_series,
    "DICOMDIR": lay_out_dicomdir,
}


def pack(path: Path, folder: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in sorted(folder.rglob("*")):
            archive.write(one, one.relative_to(folder))
    return path
