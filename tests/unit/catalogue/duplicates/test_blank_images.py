"""Blank images: of one value in every pixel of every frame, each channel by itself."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from medimg.cases import Header
from medimg.catalogue.duplicates.blank_images import find_constant, is_constant
from tests.unit.dicom.written import write_dicom

RED_HWC = np.full((8, 6, 3), (10, 20, 200), np.uint8)
NEARLY_HWC = np.where(np.arange(48).reshape(8, 6, 1) == 47, np.uint8(9), RED_HWC)


@pytest.mark.parametrize(
    ("image", "blank"),
    [(RED_HWC, True), (NEARLY_HWC, False), (RED_HWC[..., 0], True), (NEARLY_HWC[..., 0], False)],
)
def test_a_picture_of_one_colour_is_blank_and_one_other_pixel_makes_it_none(tmp_path, image, blank):
    assert cv2.imwrite(str(tmp_path / "a.png"), image)
    assert is_constant(("a.png", "png"), root=str(tmp_path)) is blank


@pytest.mark.parametrize(("values", "blank"), [((7, 7, 7), True), ((7, 7, 8), False), ((7,), True)])
def test_frames_of_different_values_are_not_blank(tmp_path, values, blank):
    write_dicom(tmp_path / "a.dcm", *(np.full((8, 6), value, np.uint8) for value in values))
    assert is_constant(("a.dcm", "dicom"), root=str(tmp_path)) is blank


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_files_of_two_kinds_that_share_pixels_the_first_is_read_as_what_it_is(tmp_path: Path, order):
    assert cv2.imwrite(str(tmp_path / "a.png"), RED_HWC[..., 0])
    write_dicom(tmp_path / "b.dcm", RED_HWC[..., 0])
    headers = [Header("a.png", "png", 1, "a", "shared", {}), Header("b.dcm", "dicom", 1, "b", "shared", {})]
    assert find_constant([headers[number] for number in order], root=tmp_path) == {"shared"}


def test_only_what_several_files_share_and_can_be_read_is_called_blank(tmp_path: Path):
    for name in ("a", "b", "alone", "unhashed-1", "unhashed-2", "c", "d"):
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), RED_HWC)
    for name in ("c", "d"):
        (tmp_path / f"{name}.png").write_bytes(b"no picture any more")
    hashes = {"a": "shared", "b": "shared", "alone": "its own", "c": "broken", "d": "broken"}
    headers = [
        Header(f"{name}.png", "png", 1, name, hashes.get(name, ""), {})
        for name in ("a", "b", "alone", "unhashed-1", "unhashed-2", "c", "d")
    ]
    assert find_constant(headers, root=tmp_path) == {"shared"}
    assert find_constant(headers[2:5], root=tmp_path) == set()
