"""The box holds the breast, never less, and hardly more."""

import numpy as np
import pytest

from medimg.images.breast_crop import Box, breast_box, stride_of


def box_of(image: np.ndarray) -> Box:
    step = stride_of(image.shape)
    return breast_box(image[::step, ::step], shape=image.shape)


def draw(shape: tuple[int, int], bright: Box, *, dtype: str = "uint8") -> np.ndarray:
    image = np.zeros(shape, dtype)
    image[bright.slices] = np.iinfo(dtype).max // 2
    return image


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("seed", range(5))
def test_the_box_holds_the_whole_breast_and_at_most_8_pixels_more(seed, dtype):
    top, left, height, width = (
        np.random.default_rng(seed).integers((0, 0, 120, 120), (200, 200, 400, 300)).tolist()
    )
    bright = Box(top, left, top + height, left + width)
    box = box_of(draw((701, 603), bright, dtype=dtype))
    assert top - 8 < box.top <= top
    assert left - 8 < box.left <= left
    assert top + height <= box.bottom < top + height + 8
    assert left + width <= box.right < left + width + 8


@pytest.mark.parametrize(
    ("shape", "stride"),
    [
        ((255, 1000), 1),
        ((1000, 255), 1),
        ((256, 256), 8),
        ((256, 1000), 8),
        ((1000, 256), 8),
        ((300, 300, 3), 8),
    ],
)
def test_images_are_thinned_from_256_pixels_on_in_both_directions(shape, stride):
    assert stride_of(shape) == stride


@pytest.mark.parametrize(
    ("bright", "expected"),
    [
        (Box(0, 0, 10, 10), Box(0, 0, 10, 10)),  # 100 of 10,000 pixels are 1 %.
        (Box(40, 40, 49, 51), Box(0, 0, 100, 100)),
        (Box(89, 89, 100, 100), Box(89, 89, 100, 100)),
    ],
)
def test_a_region_of_1_percent_is_a_breast_and_a_smaller_one_a_speck(bright, expected):
    assert box_of(draw((100, 100), bright)) == expected


def test_parts_that_touch_at_a_corner_are_one_breast():
    image = draw((100, 100), Box(10, 10, 40, 40))
    image[40:60, 40:60] = 120
    assert box_of(image) == Box(10, 10, 60, 60)


def test_the_largest_region_is_that_of_the_most_pixels():
    ring = draw((100, 100), Box(0, 0, 100, 100))
    ring[2:98, 2:98] = 0
    ring[30:70, 30:70] = 120
    assert box_of(ring) == Box(30, 30, 70, 70)


def test_the_high_byte_of_16_bits_says_what_is_bright():
    image = np.full((100, 90), 0x00FF, np.uint16)
    image[20:60, 0:50] = 0x8000
    assert box_of(image) == Box(20, 0, 60, 50)


def test_small_images_are_looked_at_pixel_by_pixel():
    assert box_of(draw((100, 90), Box(11, 0, 83, 37))) == Box(11, 0, 83, 37)


def test_a_burnt_in_label_does_not_widen_the_box():
    image = draw((800, 600), Box(100, 0, 700, 300))
    image[10:60, 500:590] = 255
    assert box_of(image).right < 310


@pytest.mark.parametrize(
    "image", [np.zeros((300, 400), np.uint8), np.full((300, 400), 9, np.uint16), np.zeros((1, 1), np.uint8)]
)
def test_an_image_with_nothing_in_it_is_kept_whole(image):
    assert box_of(image) == Box(0, 0, *image.shape)


def test_specks_alone_are_no_breast():
    image = np.zeros((800, 800), np.uint8)
    image[::200, ::200] = 255
    assert box_of(image) == Box(0, 0, 800, 800)
