"""PNG and JPEG as the payload of Examples."""

import io

import numpy as np
import pytest
from PIL import Image

from medimg.errors import MedimgError
from medimg.images.encoding import EncodedSlices, decode, encode_png
from tests.unit.dicom.test_read import some_pixels

IMAGES = [
    some_pixels("uint8", (20, 30)),
    some_pixels("uint16", (20, 30)),
    some_pixels("uint8", (20, 30, 3)),
    some_pixels("uint16", (20, 30, 3)),
]


@pytest.mark.parametrize("image", IMAGES, ids=["L", "L16", "RGB", "RGB16"])
def test_what_is_encoded_comes_back(image):
    decoded = decode(encode_png(image))
    assert decoded.dtype == image.dtype
    np.testing.assert_array_equal(decoded, image)


def test_another_reader_sees_the_same_colours():
    with Image.open(io.BytesIO(encode_png(IMAGES[2]))) as image:
        np.testing.assert_array_equal(np.asarray(image), IMAGES[2])


def test_a_jpeg_is_decoded_to_red_green_blue():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 250
    target = io.BytesIO()
    Image.fromarray(red).save(target, format="JPEG", quality=95)
    assert np.abs(decode(target.getvalue()).astype(int) - red).max() < 6


def test_slices_are_decoded_again_each_time_they_are_iterated():
    slices = EncodedSlices(tuple(encode_png(image) for image in IMAGES[:2]))
    for _ in range(2):
        for found, image in zip(slices, IMAGES[:2], strict=True):
            np.testing.assert_array_equal(found, image)


def test_bytes_that_are_no_image_are_refused_with_their_number():
    with pytest.raises(MedimgError, match="a slice of 8 bytes cannot be decoded, expected PNG or JPEG"):
        decode(b"no image")
