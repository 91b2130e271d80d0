"""The mean colour of a case, from the bytes of its images."""

import cv2
import numpy as np
import pytest

from medimg.images.colour import COLOUR_COLUMNS, measure_colour

RED_BGR = (0, 0, 255)


def encode(image, kind=".png"):
    return cv2.imencode(kind, np.asarray(image, np.uint8))[1].tobytes()


def plain(bgr, shape=(96, 80)):
    return np.full((*shape, 3), bgr, np.uint8)


def test_the_mean_colour_of_a_red_image_is_that_of_red_in_cielab():
    # sRGB red is L* 53.2, a* 80.1, b* 67.2 (IEC 61966-2-1, D65).
    assert list(measure_colour([encode(plain(RED_BGR))])) == list(COLOUR_COLUMNS)
    assert list(measure_colour([encode(plain(RED_BGR))]).values()) == pytest.approx(
        [53.2, 80.1, 67.2], abs=0.2
    )


def test_a_jpeg_has_the_colour_of_the_png_that_it_was_made_of():
    image = np.random.default_rng(0).integers(0, 256, (12, 15, 3)).repeat(40, axis=0).repeat(40, axis=1)
    png, jpeg = (list(measure_colour([encode(image, kind)]).values()) for kind in (".png", ".jpg"))
    assert jpeg == pytest.approx(png, abs=1.0)


def test_images_of_a_case_count_alike_whatever_their_size():
    both = measure_colour([encode(plain((255, 255, 255), (200, 200))), encode(plain((0, 0, 0), (16, 16)))])
    assert both["colour_lightness"] == pytest.approx(50, abs=0.1)


def test_grey_images_have_no_colour_and_do_not_dilute_that_of_others():
    grey = encode(np.full((32, 32), 200))
    assert measure_colour([grey]) == measure_colour([]) == {}
    assert measure_colour([grey, encode(plain(RED_BGR))]) == measure_colour([encode(plain(RED_BGR))])
