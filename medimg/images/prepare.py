"""From a file on disk to what the model sees: the one path that ExampleGen and prediction share.

decode -> modality LUT -> VOI LUT -> MONOCHROME1 inversion -> canonical orientation -> crop -> resize -> fit.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from medimg.cases import Tags
from medimg.dicom.parse import open_dicom, refusing, tags_of
from medimg.dicom.read import frame_of
from medimg.dicom.windowing import Display, linear_display, make_display
from medimg.errors import BadImage, UsageError
from medimg.images.breast_crop import Box, breast_box, stride_of
from medimg.images.breast_orientation import Flips, mammogram_flips
from medimg.images.formats import EXPECTED
from medimg.images.raster import read_plain_jpeg, read_raster
from medimg.images.scan import sniff
from medimg.numeric_types import Pixels, StoredValue

cv2.setNumThreads(1)  # Beam scales over files; threads of OpenCV's own would only compete with it.


WHOLE_FRAME = "no breast is told from air at a side of the frame; the whole frame is kept"


@dataclass(frozen=True)
class Ingest:
    """How images are prepared; part of a run's configuration.

    Attributes:
        image_size: (H, W) of the prepared image, each 1 to 16384, or None to keep the size after the crop.
        bits: of the prepared image; 16 keeps what a 12-bit detector saw.
        channels: 1 is grey (colours become luminance), 3 is RGB (grey is repeated).
        orientation: "mammogram" brings the chest wall to the left, see medimg.images.breast_orientation.
        crop: "breast" cuts the background off, see medimg.images.breast_crop.
        range: values of 16-bit pictures (not of DICOM files) that become black and white, for all of the set:
            0,4095 where they hold 12 bits. None takes 0 and 65535.
        fit: "pad" keeps the aspect ratio and fills with black, "stretch" does not.
    """

    image_size: tuple[Pixels, Pixels] | None
    bits: Literal[8, 16] = 8
    channels: Literal[1, 3] = 1
    orientation: Literal["mammogram", "none"] = "none"
    crop: Literal["breast", "none"] = "none"
    fit: Literal["pad", "stretch"] = "pad"
    range: tuple[StoredValue, StoredValue] | None = None

    def __post_init__(self) -> None:
        if self.range is not None and self.range[0] >= self.range[1]:
            raise UsageError(f"ingest.range is {self.range[0]},{self.range[1]}, expected the smaller first")


@dataclass(frozen=True)
class Prepared:
    """An image as the model sees it.

    Attributes:
        pixels: HW, or RGB as HWC, uint8 or uint16; larger is brighter.
        stored_to_prepared: 3x3, maps (y, x, 1) of the stored image to the prepared one; pixel centres are
            whole numbers.
        flag: what a person should look at, empty for nothing.
    """

    pixels: np.ndarray
    stored_to_prepared: np.ndarray
    flag: str = ""


def prepare_image(
    path: str | os.PathLike[str], *, frame: int = 0, ingest: Ingest, name: str = ""
) -> Prepared:
    """Reads one frame of a DICOM file, or a picture, and prepares it as the run's Ingest says.

    A grey image that fills only part of the target is left-aligned and vertically centred where mammograms
    are oriented, centred otherwise.

    Args:
        name: what errors call the file; its name without the folder by default.

    Raises:
        UnreadableFile: the file cannot be read, or its display attributes are wrong.
    """
    name = name or Path(path).name
    with refusing(name):
        kind = sniff(path)
        if kind == "dicom":
            with open_dicom(path, name=name) as file:
                stored = frame_of(file, frame=frame)
                return _prepare(
                    stored,
                    make_display(stored, file.dataset, frame=frame, bits=ingest.bits),
                    tags_of(file),
                    ingest,
                )
        if kind is None:
            raise BadImage(f"is no image that can be read, expected {EXPECTED}")
        if frame != 0:
            raise BadImage(f"frame {frame} asked for, expected 0 as the file holds one image")
        stored = read_raster(path, name=name)
        return _prepare(
            stored,
            _picture_display(stored.dtype, ingest),
            {},
            ingest,
        )


def _picture_display(dtype: np.dtype, ingest: Ingest) -> Display:
    black, white = (
        (0, int(np.iinfo(dtype).max)) if ingest.range is None or dtype == np.uint8 else ingest.range
    )
    return linear_display(dtype, smallest=black, largest=white, bits=ingest.bits)


def keep_image(path: str | os.PathLike[str], *, ingest: Ingest, name: str = "") -> bytes | None:
    """Returns a JPEG file that is already what `prepare_image` would make of it; None for any other.

    So nothing is decoded, encoded or lost.

    Raises:
        UnreadableFile: the file's bytes cannot be read.
    """
    if ingest.bits != 8 or (ingest.orientation, ingest.crop) != ("none", "none"):
        return None
    with refusing(name or Path(path).name):
        return read_plain_jpeg(path, channels=ingest.channels, size=ingest.image_size)


def _prepare(stored: np.ndarray, display: Display, tags: Tags, ingest: Ingest) -> Prepared:
    """Prepares an image: mirrored, cropped and resized as `ingest` says.

    For speed, with the same output, orientation and crop look at thinned views only, and the display chain
    runs on what is left after the crop.
    """
    flips = Flips()
    if ingest.orientation == "mammogram":
        step = stride_of(stored.shape)
        flips = mammogram_flips(tags, preview_HW=_grey(display.apply(stored[::step, ::step])))
    oriented = flips.apply(stored)
    box, flag = Box(0, 0, *oriented.shape[:2]), ""
    if ingest.crop == "breast":
        step = stride_of(oriented.shape)
        found = breast_box(_grey(display.apply(oriented[::step, ::step])), shape=oriented.shape)
        box, flag = (found, "") if found else (box, WHOLE_FRAME)
    image = np.ascontiguousarray(display.apply(oriented[box.slices]))
    image = _grey(image) if ingest.channels == 1 else image
    pixels, placed = _fit(image, ingest)
    if ingest.channels == 3 and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., np.newaxis], 3, axis=2)
    shifted = np.array([[1.0, 0, -box.top], [0, 1, -box.left], [0, 0, 1]])
    return Prepared(pixels, placed @ shifted @ flips.matrix(stored.shape), flag)


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)


def _fit(image: np.ndarray, ingest: Ingest) -> tuple[np.ndarray, np.ndarray]:
    """Resizes to the target; returns the pixels and the 3x3 map from image to target."""
    if ingest.image_size is None:
        return image, np.eye(3)
    target_height, target_width = ingest.image_size
    height, width = image.shape[:2]
    new_height, new_width = target_height, target_width
    if ingest.fit == "pad":
        scale = min(target_height / height, target_width / width)
        new_height, new_width = (
            max(1, min(target, round(old * scale)))
            for old, target in ((height, target_height), (width, target_width))
        )
    top = (target_height - new_height) // 2
    left = 0 if ingest.orientation == "mammogram" else (target_width - new_width) // 2
    resized = resize(image, (new_height, new_width))
    pixels = resized
    if (new_height, new_width) != (target_height, target_width):
        pixels = np.zeros((target_height, target_width, *image.shape[2:]), dtype=image.dtype)
        pixels[top : top + new_height, left : left + new_width] = resized
    scale_y, scale_x = new_height / height, new_width / width
    # Pixel centres are whole numbers, so that edges lie at halves: y' + 0.5 = scale * (y + 0.5) + top.
    placed = np.array(
        [[scale_y, 0, 0.5 * scale_y - 0.5 + top], [0, scale_x, 0.5 * scale_x - 0.5 + left], [0, 0, 1]]
    )
    return pixels, placed


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Anti-aliased resize of HW or HWC, uint8 or uint16, to (H, W) with Pillow's Hamming filter.

    Pillow widens the filter with the factor, so that shrinking averages over all pixels; 16 bit stays 16 bit.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    if image.ndim == 3 and image.dtype == np.uint16:  # Pillow has no 16-bit colours.
        return np.stack(
            [resize(np.ascontiguousarray(image[..., channel]), size) for channel in range(image.shape[2])],
            axis=2,
        )
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.HAMMING))
