"""Outlined lesions as masks.

Outlines arrive in pixels of the prepared image: ingest has moved them along with its flips, crop and resize.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from medimg.cases import Annotation

FRACTION_BITS = 8
"""OpenCV draws at fractions of a pixel in fixed point: 1/256 of a pixel."""


def draw_mask(annotations: Iterable[Annotation], *, shape: tuple[int, int]) -> np.ndarray:
    """Fills the outlines, bool [H, W]; what reaches over the image's edge is cut off."""
    mask_HW = np.zeros(shape, np.uint8)
    for item in annotations:
        vertices_N2 = list_vertices(item)[:, ::-1]
        fixed = np.rint(vertices_N2 * 2**FRACTION_BITS).astype(np.int32)
        cv2.fillPoly(mask_HW, [fixed], (1,), shift=FRACTION_BITS)
    return mask_HW.astype(bool)


def list_vertices(annotation: Annotation) -> np.ndarray:
    """The (y, x) corners of a polygon or a box, [N, 2]."""
    points_N2 = np.asarray(annotation.points, dtype=np.float64)
    if annotation.kind == "polygon":
        return points_N2
    (top, left), (bottom, right) = points_N2
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left)])


def widen(mask_HW: np.ndarray, *, pixels: int) -> np.ndarray:
    """The mask and all within so many pixels of it."""
    if not pixels:
        return mask_HW
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask_HW.astype(np.uint8), disc).astype(bool)
