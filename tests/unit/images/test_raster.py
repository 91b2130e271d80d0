"""PNG and JPEG files are decoded to grey or RGB, or refused with the reason."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from medimg.dicom.safety import Limits
from medimg.errors import UnreadableFile
from medimg.images.raster import read_raster, read_raster_tags

GREY = np.random.default_rng(1).integers(0, 256, size=(20, 30), dtype=np.uint8)
COLOUR = np.random.default_rng(2).integers(0, 256, size=(20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "image",
    [GREY, COLOUR, GREY.astype(np.uint16) * 257, COLOUR.astype(np.uint16) * 251],
    ids=["L", "RGB", "L16", "RGB16"],
)
def test_png_values_come_back_as_written(tmp_path, image):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), image if image.ndim == 2 else image[..., ::-1])
    found, tags = read_raster(path), read_raster_tags(path)
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, image)
    assert (tags["Rows"], tags["Columns"], tags["BitsStored"]) == (20, 30, image.dtype.itemsize * 8)
    assert tags["PhotometricInterpretation"] == ("MONOCHROME2" if image.ndim == 2 else "RGB")


def test_a_palette_is_applied(tmp_path):
    image = Image.fromarray(COLOUR).quantize(16)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_raster(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


def test_a_jpeg_is_read_in_rgb_order(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 250
    Image.fromarray(red).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_raster(tmp_path / "a.jpg").astype(int) - red).max() < 6


def test_an_exif_rotation_is_carried_out(tmp_path):
    image = Image.fromarray(np.repeat(np.repeat(np.array([[0, 255]], np.uint8), 16, 0), 16, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned a quarter clockwise: left becomes top.
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = read_raster(tmp_path / "a.jpg")
    assert found.shape == (32, 16)
    assert (
        read_raster_tags(tmp_path / "a.jpg")["Rows"],
        read_raster_tags(tmp_path / "a.jpg")["Columns"],
    ) == found.shape
    assert found[:10].max() < 20 < 230 < found[-10:].min()


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_an_opaque_alpha_channel_is_dropped_and_a_transparent_one_refused(tmp_path, depth, kind):
    samples = [GREY] if kind == "grey" else list(COLOUR.transpose(2, 0, 1))
    alpha = np.full((20, 30), 255, np.uint8)
    pixels = np.stack([*samples, alpha], axis=2).astype(np.uint16) * (257 if depth == 16 else 1)
    (tmp_path / "a.png").write_bytes(png(pixels, depth=depth, colour_type=4 if kind == "grey" else 6))
    expected = pixels[..., 0] if kind == "grey" else pixels[..., :3]
    np.testing.assert_array_equal(read_raster(tmp_path / "a.png"), expected)
    pixels[3, 4:7, -1] = 0
    (tmp_path / "a.png").write_bytes(png(pixels, depth=depth, colour_type=4 if kind == "grey" else 6))
    with pytest.raises(UnreadableFile, match=r"^a.png: has 3 pixels that are not opaque"):
        read_raster(tmp_path / "a.png")


def png(pixels_HWC: np.ndarray, *, depth: int, colour_type: int) -> bytes:
    """Written by hand, because no library here writes 16-bit grey with alpha."""
    rows = pixels_HWC.astype(">u2" if depth == 16 else "u1")
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">LLBBBBB", pixels_HWC.shape[1], pixels_HWC.shape[0], depth, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(body)) + tag + body + struct.pack(">L", zlib.crc32(tag + body))
        for tag, body in chunks
    )


def test_cmyk_is_refused_by_name(tmp_path):
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(UnreadableFile, match=r"^a.jpg: has colours of kind CMYK, expected grey or RGB"):
        read_raster(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "deep.png"])
@pytest.mark.parametrize("share", [0.95, 0.5])
def test_a_file_that_is_cut_short_is_refused(tmp_path, name, share):
    path = tmp_path / name
    cv2.imwrite(str(path), COLOUR.astype(np.uint16) * 251 if name == "deep.png" else COLOUR)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UnreadableFile, match=f"^{name}: "):
        read_raster(path)


def test_a_declared_size_above_the_limit_is_refused_before_decoding(tmp_path):
    header = png(np.zeros((1, 1, 1)), depth=8, colour_type=0)
    body = struct.pack(">LLBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0)
    huge = (
        header[:8]
        + struct.pack(">L", 13)
        + b"IHDR"
        + body
        + struct.pack(">L", zlib.crc32(b"IHDR" + body))
        + header[33:]
    )
    (tmp_path / "huge.png").write_bytes(huge)
    with pytest.raises(
        UnreadableFile, match=r"declares 12000 x 12000 pixels, expected at most 1000000 bytes"
    ):
        read_raster(tmp_path / "huge.png", limits=Limits(frame_bytes=1_000_000))


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("<html>Not found</html>")
    with pytest.raises(UnreadableFile, match=r"^a.png: "):
        read_raster(tmp_path / "a.png")
