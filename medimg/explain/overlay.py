"""Maps laid over images, in colours that colour-blind readers tell apart (viridis).

The colour is stronger where the map is.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas

from medimg.cases import Annotation
from medimg.explain.reference_masks import list_vertices

COLOURS = "viridis"
STRONGEST = 0.7
"""Opacity where the map is highest; the image still shows through."""

OUTLINE_RGB = (255, 255, 255)


def lay_over(image_HW: np.ndarray, map_HW: np.ndarray, *, highest: float) -> np.ndarray:
    """The image with the map over it, uint8 RGB of the image's size.

    Args:
        image_HW: uint8, or HWC RGB.
        map_HW: at least 0, of any size; stretched to the image's.
        highest: the map's value that gets the strongest colour: that of the whole case, so that its views can
            be compared.
    """
    grey_HWC = to_rgb(image_HW).astype(np.float32)
    share_HW = cv2.resize(
        np.clip(map_HW / highest if highest > 0 else map_HW * 0, 0, 1).astype(np.float32),
        grey_HWC.shape[1::-1],
    )
    colour_HWC = mpl.colormaps[COLOURS](share_HW)[..., :3].astype(np.float32) * 255
    opacity_HW1 = STRONGEST * share_HW[..., None]
    return np.rint(grey_HWC * (1 - opacity_HW1) + colour_HWC * opacity_HW1).astype(np.uint8)


def draw_outlines(image_HWC: np.ndarray, annotations: Iterable[Annotation]) -> np.ndarray:
    """A copy with the outlines of lesions in white, one pixel wide."""
    drawn = image_HWC.copy()
    for item in annotations:
        cv2.polylines(
            drawn, [np.rint(list_vertices(item)[:, ::-1]).astype(np.int32)], isClosed=True, color=OUTLINE_RGB
        )
    return drawn


def to_rgb(image_HW: np.ndarray) -> np.ndarray:
    """uint8 RGB [H, W, 3] of an 8 or 16 bit image, grey or RGB."""
    image = (image_HW >> 8).astype(np.uint8) if image_HW.dtype == np.uint16 else image_HW
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def draw_legend() -> bytes:
    """Returns a PNG of the colours over mid grey, from no evidence to the most in the case.

    It says too what the white line is.
    """
    ramp = lay_over(
        np.full((16, 256), 128, np.uint8), np.linspace(0, 1, 256)[None].repeat(16, axis=0), highest=1.0
    )
    canvas = Canvas(figsize=(4.2, 0.9), dpi=100, layout="constrained")
    axes = canvas.add_subplot()
    axes.imshow(ramp, extent=(0, 1, 0, 1), aspect="auto")
    axes.set_yticks([])
    axes.set_xticks([0, 0.5, 1], ["none", "half", "most in this case"])
    axes.set_title("Evidence for the class that is named; white line: outlined lesion", fontsize=8)
    axes.tick_params(labelsize=8)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
