"""Small copies of images, and the plainest embedding there is: their pixels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medimg.images.prepare import resize

SIDE = 32
"""Pixels of a thumbnail's side: stain, illumination and layout remain, no cell or hair does."""


def make_thumbnail(image: np.ndarray, *, side: int = SIDE) -> np.ndarray:
    """Averages the image down (or interpolates it up) to a square, its aspect ratio given up.

    So a turned copy has the turned thumbnail.

    Args:
        image: HW, or RGB as HWC, uint8 or uint16.

    Returns:
        of the same type and channels, `side` x `side`.
    """
    return resize(np.ascontiguousarray(image), (side, side))


def embed_pixels(images: Iterable[np.ndarray]) -> np.ndarray:
    """Embeds images by the colours of their thumbnails alone: what any learned embedding has to beat.

    Args:
        images: each HW, or RGB as HWC, uint8 or uint16, of any size; drawn one at a time.

    Returns:
        embeddings_ND, float32, D = SIDE * SIDE * 3, values from -1 (black) to 1; D is the same for grey
        images, whose channels are equal.
    """
    rows = [embed_thumbnail(make_thumbnail(image)) for image in images]
    return np.stack(rows) if rows else np.zeros((0, SIDE * SIDE * 3), np.float32)


def embed_thumbnail(thumbnail: np.ndarray) -> np.ndarray:
    """The pixels of one thumbnail, HW or HWC, as a vector from -1 to 1."""
    rgb_HWC = thumbnail if thumbnail.ndim == 3 else np.repeat(thumbnail[..., np.newaxis], 3, axis=2)
    return (rgb_HWC.astype(np.float32) * (2 / np.iinfo(thumbnail.dtype).max) - 1).ravel()
