"""Where each pixel of a stored image ends up in the prepared one, to the half pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset

from medimg.errors import UnreadableFile
from medimg.images.encoding import encode_png
from medimg.images.prepare import Ingest, prepare_image, resize
from tests.unit.dicom.test_read import some_pixels
from tests.unit.dicom.written import write_dicom


def write_png(path, image: np.ndarray):
    path.write_bytes(encode_png(image))
    return path


@pytest.mark.parametrize(
    ("shape", "ingest", "shape_within", "corner"),
    [
        # As much as fits, with what is left over on both sides; the odd pixel goes below and to the right.
        ((10, 10), Ingest((20, 40)), (20, 20), (0, 10)),
        ((10, 10), Ingest((40, 20)), (20, 20), (10, 0)),
        ((10, 10), Ingest((20, 41)), (20, 20), (0, 10)),
        ((10, 10), Ingest((43, 20)), (20, 20), (11, 0)),
        ((40, 20), Ingest((20, 20)), (20, 10), (0, 5)),
        ((20, 40), Ingest((20, 20)), (10, 20), (5, 0)),
        ((30, 20), Ingest((20, 20)), (20, 13), (0, 3)),  # 13.3 columns
        ((30, 25), Ingest((20, 20)), (20, 17), (0, 1)),  # 16.7 columns
        ((10, 10), Ingest((20, 40), orientation="mammogram"), (20, 20), (0, 0)),
        ((10, 10), Ingest((43, 20), orientation="mammogram"), (20, 20), (11, 0)),
        ((10, 10), Ingest((20, 40), crop="breast"), (20, 20), (0, 10)),
        ((10, 10), Ingest((20, 40), fit="stretch"), (20, 40), (0, 0)),
        ((10, 10), Ingest(None), (10, 10), (0, 0)),
        # Never less than one pixel.
        ((1000, 1), Ingest((20, 20)), (20, 1), (0, 9)),
        ((1, 1000), Ingest((20, 20)), (1, 20), (9, 0)),
    ],
)
def test_an_image_fills_its_target_from_this_corner(tmp_path, shape, ingest, shape_within, corner):
    path = write_png(tmp_path / "a.png", np.full(shape, 200, np.uint8))
    prepared = prepare_image(path, ingest=ingest)
    (top, left), (height, width) = corner, shape_within
    expected = np.zeros(ingest.image_size or shape, np.uint8)
    expected[top : top + height, left : left + width] = 200
    np.testing.assert_array_equal(prepared.pixels, expected)
    # Edges lie at halves: the corners of the image go to the corners of what it fills.
    for y, x in ((0, 0), (1, 1), (0, 1)):
        stored = (y * shape[0] - 0.5, x * shape[1] - 0.5, 1)
        reached = (top + y * height - 0.5, left + x * width - 0.5, 1)
        np.testing.assert_allclose(prepared.stored_to_prepared @ stored, reached)


@pytest.mark.parametrize("crop", ["breast", "none"])
@pytest.mark.parametrize(
    ("tags", "side"),
    [
        (["A", "F"], "left"),
        (["P", "F"], "right"),
        (["A", "H"], "left"),
        (["P", "H"], "right"),
        (None, "left"),
        (None, "right"),
    ],
)
def test_a_marked_pixel_is_where_its_point_is_after_flips_and_crop(tmp_path, tags, side, crop):
    image = np.zeros((300, 420), np.uint8)
    image[40:220, 30:170] = 120  # Off every edge and every middle.
    image[101, 77] = 255
    row, column = 101, 77
    if side == "right":
        image, column = image[:, ::-1].copy(), 419 - 77
    stated = {"PatientOrientation": tags} if tags else {}
    path = write_dicom(tmp_path / "a.dcm", image, WindowCenter=128, WindowWidth=256, **stated)
    ingest = Ingest(None, orientation="mammogram", crop=crop)
    prepared = prepare_image(path, ingest=ingest)
    y, x, _ = prepared.stored_to_prepared @ (row, column, 1)
    assert prepared.pixels[round(y), round(x)] == 255
    np.testing.assert_allclose((y, x), np.rint((y, x)))
    # The chest wall is at the left.
    half = prepared.pixels.shape[1] // 2
    assert prepared.pixels[:, :half].sum() >= prepared.pixels[:, -half:].sum()


@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    target=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    fit=st.sampled_from(["pad", "stretch"]),
    orientation=st.sampled_from(["mammogram", "none"]),
)
def test_points_come_back_from_any_target(tmp_path_factory, shape, target, fit, orientation):
    path = write_png(tmp_path_factory.mktemp("png") / "a.png", np.full(shape, 9, np.uint8))
    prepared = prepare_image(path, ingest=Ingest(target, fit=fit, orientation=orientation))
    assert prepared.pixels.shape == target
    points = np.array([[0, 0, 1], [shape[0] - 1, shape[1] - 1, 1], [shape[0] / 2, shape[1] / 3, 1]]).T
    placed = prepared.stored_to_prepared @ points
    np.testing.assert_allclose(np.linalg.inv(prepared.stored_to_prepared) @ placed, points, atol=1e-9)
    assert (placed[:2] >= -0.5).all()
    assert (np.array(target) - 0.5 >= placed[:2].T).all()


def test_the_chest_wall_is_sought_on_what_a_viewer_shows(tmp_path):
    # MONOCHROME1: tissue is dark in the file, and at the right.
    stored = np.full((300, 400), 4000, np.uint16)
    stored[50:250, 250:] = 100
    path = write_dicom(
        tmp_path / "a.dcm",
        stored,
        BitsStored=12,
        HighBit=11,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=2048,
        WindowWidth=4096,
    )
    pixels = prepare_image(path, ingest=Ingest(None, orientation="mammogram")).pixels
    assert pixels[100, :150].min() > 240
    assert pixels[100, 150:].max() < 10


def test_every_frame_is_shown_in_its_own_window(tmp_path):
    groups = []
    for center in (10, 20, 40):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth, window.VOILUTFunction = center, 20, "LINEAR_EXACT"
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    frames = [np.full((4, 4), 20, np.uint8)] * 3
    path = write_dicom(tmp_path / "a.dcm", *frames, PerFrameFunctionalGroupsSequence=groups)
    shown = [int(prepare_image(path, frame=frame, ingest=Ingest(None)).pixels[0, 0]) for frame in range(3)]
    assert shown == [255, 128, 0]


@pytest.mark.parametrize("frame", [1, -1])
def test_a_raster_has_one_frame(tmp_path, frame):
    path = write_png(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(UnreadableFile, match=rf"^a\.png: frame {frame} asked for, expected 0"):
        prepare_image(path, frame=frame, ingest=Ingest(None))


def test_what_is_no_image_is_refused_by_the_callers_name(tmp_path):
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(UnreadableFile, match=r"^b/a\.txt: is no image that can be read"):
        prepare_image(tmp_path / "a.txt", ingest=Ingest(None), name="b/a.txt")


@pytest.mark.parametrize(("bits", "expected"), [(8, [0, 1, 128, 255]), (16, [0, 257, 32768, 65535])])
def test_a_16_bit_png_is_scaled_to_the_bits_of_the_run(tmp_path, bits, expected):
    image = np.array([[0, 257, 32768, 65535]], np.uint16)
    pixels = prepare_image(write_png(tmp_path / "a.png", image), ingest=Ingest(None, bits=bits)).pixels
    assert pixels.tolist() == [expected]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("size", [(10, 15), (13, 7), (40, 60), (20, 30), (30, 20)])
def test_colours_are_resized_channel_by_channel_and_as_grey_is(dtype, size):
    image = some_pixels(dtype, (20, 30, 3))
    found = resize(image, size)
    assert (found.shape, found.dtype) == ((*size, 3), np.dtype(dtype))
    for channel in range(3):
        grey = np.ascontiguousarray(image[..., channel])
        expected = np.asarray(Image.fromarray(grey).resize(size[::-1], Image.Resampling.HAMMING))
        np.testing.assert_array_equal(found[..., channel], expected)


def test_the_luminance_of_colours_is_that_of_the_standard_for_television(tmp_path):
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    pixels = prepare_image(write_png(tmp_path / "a.png", image), ingest=Ingest(None)).pixels
    # ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.
    assert pixels.tolist() == [[76, 150, 29, 255]]
