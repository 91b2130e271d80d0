"""Perceptual hashes that know an image again after recompression, resizing, flips and quarter turns.

Nothing else, so no crop and no zoom.

A hash is the signs of the low frequencies of a small grey copy, as in pHash (Zauner 2010, Implementation and
benchmarking of perceptual image hash functions) and PDQ (Davis and Rosen 2019, PDQ and TMK + PDQF), whose 16
x 16 frequencies and threshold it has. imagehash knows no flips, and OpenCV's img_hash is in another build
than ours.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.fft import dctn

from medimg.catalogue.duplicates.thumbnails import make_thumbnail

SIDE = 64
FREQUENCIES = 16
BITS = FREQUENCIES**2 - 1
LEAST_CONTRAST = 2.0
"""Standard deviation in grey levels of 255 below which an image shows nothing that tells it from others."""
BLOCK_VALUES = 2**25


def hash_image(grey_HW: np.ndarray) -> np.ndarray:
    """The hash of one image.

    Args:
        grey_HW: uint8, of any size.

    Returns:
        hash_UV, int8 of FREQUENCIES x FREQUENCIES: 1 or -1, and 0 for the mean, which is not compared; all 0
        for an image without contrast, which is then near to nothing, itself included.
    """
    thumbnail_HW = make_thumbnail(grey_HW, side=SIDE).astype(np.float32)
    if thumbnail_HW.std() < LEAST_CONTRAST:
        return np.zeros((FREQUENCIES, FREQUENCIES), np.int8)
    low_UV = dctn(thumbnail_HW)[:FREQUENCIES, :FREQUENCIES]
    hash_UV = np.where(low_UV > 0, 1, -1).astype(np.int8)
    hash_UV[0, 0] = 0
    return hash_UV


def iterate_turned(hashes_NUV: np.ndarray) -> Iterator[np.ndarray]:
    """Returns the hashes of the images as they are, flipped, and turned by 90, 180 and 270 degrees.

    Eight arrays of the same shape.

    No pixel is needed: a flip changes the sign of every second frequency of its axis, and a transposition
    swaps the axes.
    """
    alternating = (-1) ** np.arange(FREQUENCIES, dtype=np.int8)
    for hashes in (hashes_NUV, hashes_NUV.swapaxes(1, 2)):
        for vertical in (np.ones_like(alternating), alternating):
            for horizontal in (np.ones_like(alternating), alternating):
                yield hashes * vertical[:, np.newaxis] * horizontal


def find_close_hashes(hashes_NUV: np.ndarray, *, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds all pairs of hashes that differ in at most `distance` of BITS bits.

    However one of the two images is flipped or turned.

    Exact: each hash is compared with each, as a product of matrices of signs, whose blocks hold BLOCK_VALUES
    values whatever N is.

    Args:
        hashes_NUV: as `hash_image` makes them.

    Returns:
        pairs_P2 of positions, the smaller one first, sorted; distances_P in bits.
    """
    count = len(hashes_NUV)
    signs_NB = hashes_NUV.reshape(count, -1).astype(np.float32)
    found, distances = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    rows = max(1, BLOCK_VALUES // max(count, 1))
    for start in range(0, count, rows):
        block = hashes_NUV[start : start + rows]
        likeness = np.full((len(block), count - start), -BITS, np.float32)
        for turned in iterate_turned(block):
            np.maximum(
                likeness, turned.reshape(len(block), -1).astype(np.float32) @ signs_NB[start:].T, out=likeness
            )
        first, second = np.nonzero(likeness >= BITS - 2 * distance)
        later = second > first
        found.append(np.stack([first[later], second[later]], axis=1) + start)
        distances.append((BITS - likeness[first[later], second[later]]).astype(np.int64) // 2)
    return np.concatenate(found), np.concatenate(distances)
