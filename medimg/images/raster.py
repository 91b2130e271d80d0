"""PNG and JPEG files: their tags and pixels, grey or RGB, 8 or 16 bit."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from medimg.dicom.parse import refusing
from medimg.dicom.safety import LIMITS, Limits, allow_pixels
from medimg.errors import BadImage, UnreadableFile

BIT_DEPTH_AT, COLOUR_TYPE_AT = 24, 25
"""Bytes of a PNG file's IHDR chunk (ISO/IEC 15948 11.2.1)."""

JPEG_START = b"\xff\xd8\xff"

PLAIN_SEGMENTS = ("APP0", "APP2", "APP14")
"""JPEG application segments that say how to show a file: JFIF, colour profile, Adobe's transform.

Any other, and a comment, could name a patient.
"""


def read_raster_tags(
    path: str | os.PathLike[str], *, name: str = "", limits: Limits = LIMITS
) -> dict[str, str | int]:
    """Rows, Columns, BitsStored, SamplesPerPixel and PhotometricInterpretation of what `read_raster` returns.

    No pixel is decoded.

    Raises:
        UnreadableFile: neither PNG nor JPEG, damaged header, larger than the limits, or colours that are
            refused.
    """
    with _opened(path, name=name, limits=limits) as image:
        columns, rows = image.size
        if image.getexif().get(0x0112, 1) >= 5:  # EXIF orientations 5 to 8 swap rows and columns.
            rows, columns = columns, rows
        grey = image.mode in ("1", "L", "LA", "I;16", "I")
        return raster_tags((rows, columns) if grey else (rows, columns, 3), bits=_bits(path))


def raster_tags(shape: tuple[int, ...], *, bits: int) -> dict[str, str | int]:
    """The tags of an image of this shape, HW or HWC."""
    return {
        "Rows": shape[0],
        "Columns": shape[1],
        "BitsStored": bits,
        "SamplesPerPixel": 1 if len(shape) == 2 else 3,
        "PhotometricInterpretation": "MONOCHROME2" if len(shape) == 2 else "RGB",
    }


def read_raster(path: str | os.PathLike[str], *, name: str = "", limits: Limits = LIMITS) -> np.ndarray:
    """Decodes a PNG or JPEG file.

    A palette is applied, an opaque alpha channel dropped, and an EXIF rotation carried out.

    Returns:
        HW, or RGB as HWC, uint8 or uint16.

    Raises:
        UnreadableFile: as for `read_raster_tags`, or cut short, animated, or with pixels that are not opaque.
    """
    with _opened(path, name=name, limits=limits) as image:
        # Also where OpenCV decodes afterwards: Pillow says what is wrong with a damaged file, OpenCV only
        # that something is.
        image.load()
        pixels = (
            _read_deep_colour(path)
            if _is_deep_colour(path)
            else _to_grey_or_rgb(ImageOps.exif_transpose(image))
        )
        return np.ascontiguousarray(_drop_opaque_alpha(pixels))


def read_plain_jpeg(
    path: str | os.PathLike[str], *, channels: int, size: tuple[int, int] | None = None
) -> bytes | None:
    """The file as it is, where it is a JPEG that needs no more than decoding.

    It is opened once, and its pixels are not decoded.

    Args:
        channels: 1 for grey, 3 for RGB.
        size: (H, W), or None for any.

    Returns:
        None for any other file: another format, colours or size, a rotation, or more in it than pixels: EXIF,
            XMP and comments may name a patient.
        None too for one that Pillow cannot open or that is larger than the limits: `read_raster` says what is
        wrong with it.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb", buffering=0) as stream:
        if (
            os.pread(stream.fileno(), len(JPEG_START), 0) != JPEG_START
            or os.fstat(stream.fileno()).st_size > LIMITS.frame_bytes
        ):
            return None
        content = stream.readall()
    with suppress(UnreadableFile), refusing(""), Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        if _is_plain(image, channels=channels, size=size):
            return content
    return None


def _is_plain(image: Image.Image, *, channels: int, size: tuple[int, int] | None) -> bool:
    columns, rows = image.size
    wanted = image.format == "JPEG" and len(image.getbands()) == channels and size in (None, (rows, columns))
    plain = all(name in PLAIN_SEGMENTS for name, _ in getattr(image, "applist", ()))
    return wanted and plain and rows * columns * channels <= LIMITS.frame_bytes


@contextmanager
def _opened(path: str | os.PathLike[str], *, name: str, limits: Limits) -> Iterator[Image.Image]:
    with refusing(name or Path(path).name), Image.open(path, formats=("PNG", "JPEG")) as image:
        columns, rows = image.size
        samples = 4 if image.mode in ("P", "PA") else len(image.getbands())
        if rows * columns * samples * _bits(path) // 8 > limits.frame_bytes:
            raise BadImage(
                f"declares {rows} x {columns} pixels, expected at most {limits.frame_bytes} bytes decoded"
            )
        allow_pixels(rows * columns * samples, limits=limits)
        if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I"):
            raise BadImage(f"has colours of kind {image.mode}, expected grey or RGB")
        if getattr(image, "n_frames", 1) > 1 and image.format == "PNG":
            raise BadImage(f"is animated ({getattr(image, 'n_frames', 0)} frames), expected one image")
        yield image


def _bits(path: str | os.PathLike[str]) -> int:
    head = _head(path)
    return 16 if head[:4] == b"\x89PNG" and head[BIT_DEPTH_AT] == 16 else 8


def _head(path: str | os.PathLike[str]) -> bytes:
    with Path(path).open("rb") as stream:
        return stream.read(26)


def _is_deep_colour(path: str | os.PathLike[str]) -> bool:
    """16-bit PNG in colour or with alpha, which Pillow would cut to 8 bits without a word."""
    return _bits(path) == 16 and _head(path)[COLOUR_TYPE_AT] in (2, 4, 6)


def _read_deep_colour(path: str | os.PathLike[str]) -> np.ndarray:
    image_HWC = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image_HWC is None:
        raise BadImage("cannot be decoded, expected a complete PNG file")
    if _head(path)[COLOUR_TYPE_AT] == 4:  # Grey with alpha; OpenCV repeats the grey three times.
        return image_HWC[..., 2:]
    return cv2.cvtColor(image_HWC, cv2.COLOR_BGRA2RGBA if image_HWC.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _to_grey_or_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("P", "PA") or (image.mode == "RGB" and "transparency" in image.info):
        image = image.convert("RGBA")
    elif image.mode == "L" and "transparency" in image.info:
        image = image.convert("LA")
    pixels = np.asarray(image)
    if pixels.dtype == np.uint8:
        return pixels
    pixels = pixels.astype(np.uint16, copy=False)
    if (transparent := image.info.get("transparency")) is not None:  # Pillow makes no alpha of it.
        pixels = np.stack([pixels, np.where(pixels == transparent, 0, 65535).astype(np.uint16)], axis=2)
    return pixels


def _drop_opaque_alpha(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels
    transparent = int((pixels[..., -1] != np.iinfo(pixels.dtype).max).sum())
    if transparent:
        raise BadImage(
            f"has {transparent} pixels that are not opaque, expected an image without transparency"
        )
    return pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
