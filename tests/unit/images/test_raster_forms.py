"""Each form that a PNG or JPEG file may have: what is read of it agrees with its tags, or it is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from medimg.dicom.safety import Limits
from medimg.errors import UnreadableFile
from medimg.images.raster import raster_tags, read_raster, read_raster_tags
from tests.unit.images.test_raster import COLOUR, GREY, png

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.T,
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].T,
    8: lambda image: np.rot90(image),
}
"""EXIF orientation to what shows the image upright (CIPA DC-008 4.6.4)."""


@pytest.mark.parametrize("orientation", TURNS)
def test_each_exif_orientation_is_carried_out_and_so_tagged(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    found, tags = read_raster(tmp_path / "a.png"), read_raster_tags(tmp_path / "a.png")
    np.testing.assert_array_equal(found, TURNS[orientation](GREY))
    assert (tags["Rows"], tags["Columns"]) == found.shape


def forms() -> dict[str, Callable[[object], None]]:
    """Name to what writes such a PNG of 20 x 30 pixels."""
    alpha = np.full((20, 30, 1), 255, np.uint8)
    deep_alpha = np.full((20, 30, 1), 65535, np.uint16)
    deep = GREY.astype(np.uint16)[..., np.newaxis] * 257

    def save(image: Image.Image) -> Callable[[object], None]:
        return image.save

    def write(pixels: np.ndarray, depth: int, colour_type: int) -> Callable[[object], None]:
        return lambda path: path.write_bytes(png(pixels, depth=depth, colour_type=colour_type))

    return {
        "1": save(Image.fromarray(GREY).convert("1")),
        "L": save(Image.fromarray(GREY)),
        "LA": save(Image.fromarray(np.concatenate([GREY[..., np.newaxis], alpha], axis=2))),
        "P": save(Image.fromarray(COLOUR).quantize(16)),
        "RGB": save(Image.fromarray(COLOUR)),
        "RGBA": save(Image.fromarray(np.concatenate([COLOUR, alpha], axis=2))),
        "L16": write(deep, 16, 0),
        "LA16": write(np.concatenate([deep, deep_alpha], axis=2), 16, 4),
        "RGB16": write(np.repeat(deep, 3, axis=2), 16, 2),
        "RGBA16": write(np.concatenate([np.repeat(deep, 3, axis=2), deep_alpha], axis=2), 16, 6),
    }


@pytest.mark.parametrize(
    ("form", "shape", "bits", "decoded_bytes"),
    [
        ("1", (20, 30), 8, 600),
        ("L", (20, 30), 8, 600),
        ("LA", (20, 30), 8, 1200),
        ("P", (20, 30, 3), 8, 2400),  # A palette becomes four colours.
        ("RGB", (20, 30, 3), 8, 1800),
        ("RGBA", (20, 30, 3), 8, 2400),
        ("L16", (20, 30), 16, 1200),
        ("RGB16", (20, 30, 3), 16, 3600),
    ],
)
def test_each_form_has_its_shape_its_bits_and_its_size(tmp_path, form, shape, bits, decoded_bytes):
    path = tmp_path / "a.png"
    forms()[form](path)
    found = read_raster(path, limits=Limits(frame_bytes=decoded_bytes))
    assert (found.shape, found.dtype) == (shape, np.dtype(f"u{bits // 8}"))
    assert read_raster_tags(path, limits=Limits(frame_bytes=decoded_bytes)) == raster_tags(shape, bits=bits)
    for read in (read_raster, read_raster_tags):
        with pytest.raises(
            UnreadableFile, match=f"declares 20 x 30 pixels, expected at most {decoded_bytes - 1} bytes"
        ):
            read(path, limits=Limits(frame_bytes=decoded_bytes - 1))


@pytest.mark.parametrize(("form", "shape"), [("LA16", (20, 30)), ("RGBA16", (20, 30, 3))])
def test_16_bits_with_alpha_keep_their_values(tmp_path, form, shape):
    path = tmp_path / "a.png"
    forms()[form](path)
    found, tags = read_raster(path), read_raster_tags(path)
    assert (found.shape, found.dtype) == (shape, np.uint16)
    np.testing.assert_array_equal(found if found.ndim == 2 else found[..., 1], GREY.astype(np.uint16) * 257)
    assert (tags["Rows"], tags["Columns"], tags["BitsStored"]) == (20, 30, 16)


def test_black_and_white_are_0_and_255(tmp_path):
    mask = GREY > 100
    Image.fromarray(mask).save(tmp_path / "a.png")
    found = read_raster(tmp_path / "a.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, mask * np.uint8(255))


def test_a_grey_16_bit_png_of_pillow_keeps_its_values(tmp_path):
    deep = GREY.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "a.png")  # Pillow's mode "I;16".
    found = read_raster(tmp_path / "a.png")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, deep)


@pytest.mark.parametrize("form", ["L", "RGB", "P"])
def test_a_colour_that_is_named_transparent_is_refused_where_it_occurs(tmp_path, form):
    grey = np.full((20, 30), 7, np.uint8)
    grey[2, 3:8] = 9
    image = Image.fromarray(grey)
    transparent: object = 9
    if form == "RGB":
        image, transparent = image.convert("RGB"), (9, 9, 9)
    if form == "P":
        image = image.convert("P")
    image.save(tmp_path / "a.png", transparency=transparent)
    with pytest.raises(UnreadableFile, match=r"^a\.png: has 5 pixels that are not opaque"):
        read_raster(tmp_path / "a.png")
    unused: object = (200, 0, 0) if form == "RGB" else 200
    image.save(tmp_path / "a.png", transparency=unused)
    assert read_raster(tmp_path / "a.png").shape == ((20, 30) if form == "L" else (20, 30, 3))


@pytest.mark.parametrize("level", [9, 0x0900])
def test_a_grey_of_16_bits_that_is_named_transparent_is_refused_where_it_occurs(tmp_path, level):
    deep = np.full((20, 30), 7, np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png", transparency=level)
    np.testing.assert_array_equal(read_raster(tmp_path / "a.png"), deep)
    deep[2, 3:8] = level
    Image.fromarray(deep).save(tmp_path / "a.png", transparency=level)
    with pytest.raises(UnreadableFile, match=r"^a\.png: has 5 pixels that are not opaque"):
        read_raster(tmp_path / "a.png")


@pytest.mark.parametrize("alpha", [0, 254])
def test_one_pixel_that_is_not_opaque_is_refused(tmp_path, alpha):
    pixels = np.concatenate([COLOUR, np.full((20, 30, 1), 255, np.uint8)], axis=2)
    pixels[19, 29, 3] = alpha
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(UnreadableFile, match="has 1 pixels that are not opaque"):
        read_raster(tmp_path / "a.png")


def test_an_animation_of_two_images_is_refused(tmp_path):
    frames = [Image.fromarray(COLOUR), Image.fromarray(COLOUR[::-1])]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(UnreadableFile, match=r"is animated \(2 frames\), expected one image"):
        read_raster(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["GIF", "PPM", "TGA", "ICO"])
def test_another_format_is_refused_whatever_it_is_called(tmp_path, kind):
    Image.fromarray(COLOUR).save(tmp_path / "a.png", format=kind)
    with pytest.raises(UnreadableFile, match=r"^a\.png: "):
        read_raster(tmp_path / "a.png")
