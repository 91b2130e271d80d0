"""PNG, JPEG, TIFF, BMP and WebP files: their tags and pixels, grey or RGB, 8 or 16 bit."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from medimg.dicom.parse import refusing
from medimg.dicom.safety import LIMITS, Limits, allow_pixels
from medimg.errors import BadImage, UnreadableFile
from medimg.images.formats import EXPECTED, READ, sniff_picture

# Its limit is for pixels; ours, in bytes, is asked before anything is decoded.
Image.MAX_IMAGE_PIXELS = None
# What texts and colour profiles inflate to; Pillow takes a file with more than 1 MB for a damaged one.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = LIMITS.inflated_bytes

BIT_DEPTH_AT, COLOUR_TYPE_AT = 24, 25
"""Bytes of a PNG file's IHDR chunk (ISO/IEC 15948 11.2.1)."""

ORIENTATION = 0x0112
"""EXIF tag."""

JPEG_START = READ["jpeg"][0]

BITS, PHOTOMETRIC, SAMPLES, SAMPLE_FORMAT, SUBFILE = 258, 262, 277, 339, 254
"""Tags of a TIFF page (TIFF 6.0 section 8, supplement 1)."""
WHITE_IS_ZERO, UNSIGNED, UNDEFINED, WHOLE_PAGE = 0, 1, 4, 0

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
        UnreadableFile: none of the formats, damaged header, larger than the limits, several pages or frames,
            or colours or numbers that are refused.
    """
    with _opened(path, name=name, limits=limits) as image:
        columns, rows = image.size
        turned = not isinstance(image, TiffImageFile) and image.getexif().get(ORIENTATION, 1) >= 5
        if turned:  # EXIF orientations 5 to 8 swap rows and columns.
            rows, columns = columns, rows
        grey = image.mode in ("1", "L", "LA", "I;16", "I;16B", "I")
        return raster_tags((rows, columns) if grey else (rows, columns, 3), bits=_bits(path, image))


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
    """Decodes a PNG, JPEG, TIFF, BMP or WebP file.

    A palette is applied, an opaque alpha channel dropped, and an EXIF rotation carried out.

    Returns:
        HW, or RGB as HWC, uint8 or uint16.

    Raises:
        UnreadableFile: as for `read_raster_tags`, or cut short, or with pixels that are not opaque.
    """
    with _opened(path, name=name, limits=limits) as image:
        # Also where OpenCV decodes afterwards: Pillow says what is wrong with a damaged file, OpenCV only
        # that something is.
        image.load()
        if _is_deep_colour(path, image):
            pixels = _read_deep_colour(path)
        elif isinstance(image, TiffImageFile):
            pixels = _to_grey_or_rgb(image)  # Pillow has turned it as its tag says.
            if image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO and pixels.dtype == np.uint16:
                pixels = 65535 - pixels  # It does so itself for 8 bits.
        else:
            # Pillow copies the image also where nothing is to be turned.
            upright = image.getexif().get(ORIENTATION, 1) == 1
            pixels = _to_grey_or_rgb(image if upright else ImageOps.exif_transpose(image))
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
    # Pillow maps a TIFF file that it opens by its path, and then does not turn a page of orientation 5 to 8.
    with refusing(name or Path(path).name), Path(path).open("rb") as stream:
        kind = sniff_picture(_head(path))
        if kind is None:
            raise BadImage(f"is no picture that can be read, expected {EXPECTED}")
        with _blaming_file(kind), Image.open(stream, formats=[name.upper() for name in READ]) as image:
            _check_picture(path, image, limits)
            yield image


def _check_picture(path: str | os.PathLike[str], image: Image.Image, limits: Limits) -> None:
    """Raises BadImage for what is not read, before any pixel is decoded."""
    columns, rows = image.size
    samples = 4 if image.mode in ("P", "PA") else len(image.getbands())
    if rows * columns * samples * _bits(path, image) // 8 > limits.frame_bytes:
        raise BadImage(
            f"declares {rows} x {columns} pixels, expected at most {limits.frame_bytes} bytes decoded"
        )
    allow_pixels(rows * columns * samples, limits=limits)
    if isinstance(image, TiffImageFile):
        _check_tiff(image)
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "I"):
        raise BadImage(f"has colours of kind {image.mode}, expected grey or RGB")
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format in ("PNG", "WEBP"):
        raise BadImage(f"is animated ({count} frames), expected one image")


def _check_tiff(image: TiffImageFile) -> None:
    """One page of unsigned integers; what else a TIFF file may hold is refused by name."""
    if image.n_frames > 1:
        raise BadImage(f"has {image.n_frames} pages, expected one image")
    if int(image.tag_v2.get(SUBFILE, WHOLE_PAGE)) != WHOLE_PAGE:
        raise BadImage("begins with a reduced copy or a mask of another page, expected the image itself")
    bits, formats = image.tag_v2.get(BITS, (1,)), image.tag_v2.get(SAMPLE_FORMAT, (UNSIGNED,))
    if not set(formats) <= {UNSIGNED, UNDEFINED} or max(bits) > 16:
        raise BadImage(
            f"has {max(bits)}-bit samples of SampleFormat {max(formats)}, expected unsigned integers of at "
            "most 16 bits (SampleFormat 1)"
        )


@contextmanager
def _blaming_file(kind: str) -> Iterator[None]:
    """Turns what Pillow raises for a damaged file into words for its user."""
    try:
        yield
    except (BadImage, UnreadableFile, MemoryError, RecursionError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadImage(f"cannot be decoded as {kind.upper()}: it is damaged or cut short") from error


def _bits(path: str | os.PathLike[str], image: Image.Image) -> int:
    """Bits of a sample as `read_raster` returns it, 8 or 16."""
    if isinstance(image, TiffImageFile):
        return 16 if max(image.tag_v2.get(BITS, (1,))) > 8 else 8
    return 16 if image.format == "PNG" and _head(path)[BIT_DEPTH_AT] == 16 else 8


def _head(path: str | os.PathLike[str]) -> bytes:
    with Path(path).open("rb") as stream:
        return stream.read(26)


def _is_deep_colour(path: str | os.PathLike[str], image: Image.Image) -> bool:
    """16 bits in colour or with alpha, which Pillow would cut to 8 without a word."""
    if _bits(path, image) != 16:
        return False
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2.get(SAMPLES, 1)) > 1
    return _head(path)[COLOUR_TYPE_AT] in (2, 4, 6)


def _read_deep_colour(path: str | os.PathLike[str]) -> np.ndarray:
    image_HWC = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image_HWC is None or image_HWC.dtype != np.uint16 or image_HWC.ndim != 3:
        raise BadImage("cannot be decoded, expected a complete file of 16-bit RGB")
    head = _head(path)
    if head.startswith(READ["png"]) and head[COLOUR_TYPE_AT] == 4:
        return image_HWC[..., 2:]  # Grey with alpha; OpenCV repeats the grey three times.
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
