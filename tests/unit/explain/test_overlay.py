import io

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from medimg.cases import Annotation
from medimg.explain.overlay import draw_legend, draw_outlines, lay_over

IMAGE = np.tile(np.arange(0, 200, 2, dtype=np.uint8), (80, 1))


@pytest.mark.parametrize("highest", [1.0, 0.0], ids=["in this view", "in the whole case"])
def test_where_there_is_no_evidence_the_image_is_untouched(highest):
    laid = lay_over(IMAGE, np.zeros((20, 25), np.float32), highest=highest)
    assert (laid == IMAGE[..., None]).all()


def test_the_place_of_the_evidence_is_coloured_and_more_so_the_more_there_is():
    map_HW = np.zeros((80, 100), np.float32)
    map_HW[10:20, 10:20], map_HW[50:60, 10:20] = 1.0, 0.5
    distance = np.abs(lay_over(IMAGE, map_HW, highest=1.0).astype(int) - IMAGE[..., None]).sum(axis=2)
    assert distance[15, 15] > distance[55, 15] > 0
    assert distance[:, 40:].max() == 0


@pytest.mark.parametrize(("value", "share"), [(0.0, 0.0), (1.0, 0.5), (2.0, 1.0), (5.0, 1.0), (-1.0, 0.0)])
def test_the_highest_value_of_the_case_has_seven_tenths_of_the_brightest_colour(value, share):
    laid = lay_over(np.full((8, 8), 100, np.uint8), np.full((4, 4), value, np.float32), highest=2.0)
    opacity = 0.7 * share
    expected = 100 * (1 - opacity) + 255 * opacity * np.array(mpl.colormaps["viridis"](share)[:3])
    assert np.abs(laid - expected).max() <= 0.51


def test_an_outline_is_closed_and_goes_through_its_corners():
    black = np.zeros((20, 30, 3), np.uint8)
    drawn = draw_outlines(black, [Annotation("CC", "mass", "polygon", ((2, 3), (2, 25), (15, 25)))])
    assert (drawn[2, 3:26] == 255).all()
    assert (drawn[2:16, 25] == 255).all()
    assert drawn[8, 12:16].max() == 255  # The third side leads back to the first corner.
    assert set(np.unique(drawn)) == {0, 255}
    assert black.max() == 0
    assert drawn[12, 5].max() == 0


def test_views_of_a_case_share_one_scale():
    map_HW = np.full((80, 100), 0.5, np.float32)
    assert not (lay_over(IMAGE, map_HW, highest=1.0) == lay_over(IMAGE, map_HW, highest=0.5)).all()


@pytest.mark.parametrize("image", [IMAGE.astype(np.uint16) * 257, np.repeat(IMAGE[..., None], 3, axis=2)])
def test_deep_and_coloured_images_look_as_their_grey_8_bit_twins(image):
    map_HW = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    assert (lay_over(image, map_HW, highest=1.0) == lay_over(IMAGE, map_HW, highest=1.0)).all()


def test_an_outline_is_a_white_line_around_the_lesion():
    drawn = draw_outlines(
        lay_over(IMAGE, np.zeros((8, 8), np.float32), highest=1.0),
        [Annotation("CC", "mass", "box", ((10, 20), (30, 60)))],
    )
    assert (drawn[10, 20:61] == 255).all()
    assert (drawn[20, 40] == IMAGE[20, 40]).all()


def test_the_legend_is_the_same_picture_every_time():
    assert draw_legend() == draw_legend()
    assert Image.open(io.BytesIO(draw_legend())).size[0] > 300


def test_the_legend_shows_every_colour_from_none_to_the_strongest_side_by_side():
    picture = np.asarray(Image.open(io.BytesIO(draw_legend())).convert("RGB")).astype(int)
    grey = np.full((1, 5), 128, np.uint8)
    colours = lay_over(grey, np.linspace(0, 1, 5)[None], highest=1.0)[0].astype(int)
    columns = []
    for colour in colours:
        is_there = np.abs(picture - colour).max(axis=2) <= 3
        assert is_there.any(axis=1).sum() >= 10  # As high as a strip that can be seen.
        columns.append(np.flatnonzero(is_there.sum(axis=0) >= 10).mean())
    assert columns == sorted(columns)


def test_the_legend_has_no_figures_beside_its_strip():
    picture = np.asarray(Image.open(io.BytesIO(draw_legend())).convert("L"))
    strip = np.flatnonzero((picture < 200).sum(axis=1) > 200)
    middle = strip[len(strip) // 4 : -len(strip) // 4]
    # The frame's left line is the first that is dark all along; 2 pixels of it may be smoothed.
    first = np.flatnonzero((picture[middle] < 200).all(axis=0))[0]
    assert (picture[middle, : first - 2] == 255).all()
