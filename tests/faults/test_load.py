"""The same files give the same catalogue however busy the machine is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from tests.faults.catalogued import noise, run_medimg
from tests.unit.dicom.written import JPEG_2000, JPEG_LS, RLE, write_dicom

CT = "1.2.840.10008.5.1.4.1.1.2"
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
TABLES = ("cases.parquet", "images.parquet", "pairs.parquet", "summary.json")
SPIN = "while True: pass"


def write_png(path: Path, seed: int) -> None:
    Image.fromarray(noise(seed, bits=8 + 8 * (seed % 2), size=200)).save(path.with_suffix(".png"))


def write_picture(path: Path, seed: int) -> None:
    endings = (".jpg", ".tif", ".bmp", ".webp")
    Image.fromarray(noise(seed, size=160)).convert("RGB").save(path.with_suffix(endings[seed % 4]))


def write_slice(path: Path, seed: int) -> None:
    syntaxes = ({}, {"syntax": RLE}, {"syntax": JPEG_LS}, {"syntax": JPEG_2000})
    tags = {"SOPClassUID": CT, "SOPInstanceUID": f"1.2.{seed}", "PatientID": f"H{seed}", "Modality": "CT"}
    write_dicom(path.with_suffix(".dcm"), noise(seed, bits=12, size=180), **syntaxes[seed % 4], **tags)


def write_frames(path: Path, seed: int) -> None:
    frames = [noise(1000 * seed + index, bits=12, size=128) for index in range(24)]
    tags = {"SOPClassUID": TOMOSYNTHESIS, "SOPInstanceUID": f"1.3.{seed}", "Modality": "MG"}
    write_dicom(path.with_suffix(".dcm"), *frames, syntax=JPEG_LS if seed % 2 else RLE, **tags)


def write_faulty(path: Path, seed: int) -> None:
    write_slice(path, seed)
    whole = path.with_suffix(".dcm").read_bytes()
    cuts = (whole[: len(whole) // 2], whole[:300], b"GIF89a" + bytes(50), b"no image")
    path.with_suffix(".dcm").write_bytes(cuts[seed % 4])


KINDS = (write_png, write_picture, write_slice, write_frames, write_slice, write_picture)
FAULTY_EVERY = 15


def write_mixed(folder: Path, count: int) -> Path:
    """Writes so many files of all kinds, each 15th of them faulty, and labels.csv."""
    folder.mkdir(parents=True)
    for seed in range(count):
        write = write_faulty if seed % FAULTY_EVERY == FAULTY_EVERY - 1 else KINDS[seed % len(KINDS)]
        write(folder / f"{seed:03d}", seed)
    names = sorted(path.name for path in folder.iterdir())
    rows = [f"{name},P{number:03d},{'ab'[number % 2]}" for number, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["file,patient_id,label", *rows]) + "\n")
    return folder


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Runs so many processes that spin, until the end of the block."""
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def catalogue_bytes(data: Path, to: Path) -> dict[str, bytes]:
    """The files of a new catalogue, without the index, which knows times of files."""
    code, _, error = run_medimg(
        "catalogue", "folder", "--data", data, "--to", to, "--near-duplicates", "hash"
    )
    assert code == 0, error
    return {name: (to / name).read_bytes() for name in TABLES}


def test_a_catalogue_is_the_same_at_rest_and_beside_busy_loops(tmp_path):
    data = write_mixed(tmp_path / "data", 36)
    at_rest = catalogue_bytes(data, tmp_path / "rest")
    with busy(2 * (os.cpu_count() or 1)):
        assert catalogue_bytes(data, tmp_path / "busy") == at_rest
    assert b"quarantined" in at_rest["summary.json"]
