"""The mean colour of a case: what a stain, a camera or a light leaves in every image that it made."""

from __future__ import annotations

import io
from collections.abc import Iterable

import cv2
import numpy as np
from PIL import Image

COLOUR_COLUMNS = ("colour_lightness", "colour_green_red", "colour_blue_yellow")
"""CIELAB's L* of 0 to 100, a* and b*, D65: distances in it are about as large as they look (CIE 015:2018)."""


def measure_colour(images: Iterable[bytes]) -> dict[str, float]:
    """Mean CIELAB colour over all coloured images of a case, each image counting alike, by column.

    Empty where every image is grey.

    Args:
        images: the bytes of PNGs or JPEGs.
    """
    means = [mean_lab(data) for data in images if Image.open(io.BytesIO(data)).mode == "RGB"]
    return dict(zip(COLOUR_COLUMNS, np.mean(means, axis=0).tolist(), strict=True)) if means else {}


def mean_lab(data: bytes) -> np.ndarray:
    """Mean L*, a*, b* of a coloured image, [3]."""
    # An eighth of the size: a JPEG's means of blocks are stored as such, so that most of its decoding is left
    # out.
    image_HWC = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
    lab_HWC = cv2.cvtColor(image_HWC.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    mean: np.ndarray = lab_HWC.mean(axis=(0, 1), dtype=np.float64)
    return mean
