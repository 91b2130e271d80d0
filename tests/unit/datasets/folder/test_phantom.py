import csv
import hashlib
from pathlib import PurePosixPath

import cv2
import numpy as np
import pydicom
import pytest

from medimg.datasets.folder.phantom import draw_image, write_phantom
from medimg.errors import UsageError


def read_labels(root):
    with (root / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_names_an_image_of_one_of_three_formats(tmp_path):
    write_phantom(tmp_path, cases=40, seed=0)
    rows = read_labels(tmp_path)
    assert {PurePosixPath(row["file"]).suffix for row in rows} == {".dcm", ".png", ".jpg"}
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")} == {
        row["file"] for row in rows
    } | {"labels.csv"}
    for row in rows:
        path = tmp_path / row["file"]
        image_HW = (
            pydicom.dcmread(path).pixel_array
            if path.suffix == ".dcm"
            else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        )
        assert (image_HW.ndim, image_HW.dtype) == (2, np.uint8)


def test_both_classes_an_empty_label_and_metadata_are_there(tmp_path):
    write_phantom(tmp_path, cases=40, seed=0)
    rows = read_labels(tmp_path)
    assert {row["label"] for row in rows} == {"disc", "ring", ""}
    assert {row["scanner"] for row in rows} == {"north", "south"}
    assert all(20 <= int(row["age"]) < 80 for row in rows)


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_phantom(tmp_path / name, cases=6, seed=1)
    one, two = (
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    )
    assert one == two


def test_a_ring_is_hollow_and_a_disc_is_not():
    for seed in range(5):
        for label, hollow in (("disc", False), ("ring", True)):
            _, mask_HW = draw_image(label, rng=np.random.default_rng(seed))
            middle = np.argwhere(mask_HW).mean(axis=0).round().astype(int)
            assert mask_HW[tuple(middle)] != hollow


def test_one_patient_is_refused(tmp_path):
    with pytest.raises(UsageError, match="expected at least 2"):
        write_phantom(tmp_path, cases=1, seed=0)
