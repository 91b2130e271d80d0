"""What one map is worth.

Does it point at the lesion, how much of it is there, and does it change when what was learned is taken away?
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import tensorflow as tf
from scipy.stats import spearmanr

from medimg.explain.reference_masks import widen

TOLERANCE = 0.03
"""Share of the longer side by which a point may miss a lesion.

15 pixels of PASCAL VOC's 500 in Zhang et al. 2018.
"""

COMPARED_SIDE = 64
"""Maps are compared at this longest side.

They are smooth, and a rank correlation over a million interpolated pixels says no more.
"""


def points_at(map_HW: np.ndarray, mask_HW: np.ndarray) -> float:
    """Returns 1 if the highest value is on the lesion or within TOLERANCE of it, else 0.

    Of several highest values the share that is; 0 for a map without any evidence, which points nowhere. This
    is the pointing game (Zhang et al. 2018, arXiv 1608.00507, section 5.2).
    """
    highest = map_HW.max()
    if highest <= 0:
        return 0.0
    return float(widen_by_tolerance(mask_HW)[map_HW == highest].mean())


def energy_inside(map_HW: np.ndarray, mask_HW: np.ndarray) -> float:
    """Returns the share of the map's sum that is on the lesion; 0 for a map without any evidence.

    This is the energy-based pointing game (Wang et al. 2020, arXiv 1910.01279, section 4.2).
    """
    total = map_HW.sum(dtype=np.float64)
    return float(map_HW[mask_HW].sum(dtype=np.float64) / total) if total > 0 else 0.0


def chance(mask_HW: np.ndarray, *, image_HW: np.ndarray) -> tuple[float, float]:
    """Returns what `points_at` and `energy_inside` are on average for a random map.

    Its values are independent over the body, and 0 elsewhere. Exact, not drawn: any pixel is the highest with
    the same chance. The body is what has any texture, and the lesion: the background of a processed mammogram
    and what an image was padded with are constant, and a random map of them too would be too easy to beat.

    Args:
        image_HW: grey, uint8.
    """
    body_HW = (cv2.morphologyEx(image_HW, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0) | mask_HW
    return float(widen_by_tolerance(mask_HW)[body_HW].mean()), float(mask_HW[body_HW].mean())


def widen_by_tolerance(mask_HW: np.ndarray) -> np.ndarray:
    """Where a point counts as a hit."""
    return widen(mask_HW, pixels=round(TOLERANCE * max(mask_HW.shape)))


def rank_correlation(first_HW: np.ndarray, second_HW: np.ndarray) -> float:
    """Spearman's correlation of two maps' values, -1 to 1; NaN where one is the same everywhere."""
    first, second = (shrink(one) for one in (first_HW, second_HW))
    if any_is_constant(first_HW, second_HW, first, second):
        return math.nan
    return float(spearmanr(first.ravel(), second.ravel()).statistic)


def structural_similarity(first_HW: np.ndarray, second_HW: np.ndarray) -> float:
    """SSIM (Wang et al. 2004) of two maps, each divided by its highest value, -1 to 1.

    NaN where one is the same everywhere.
    """
    first, second = (shrink(one) for one in (first_HW, second_HW))
    if any_is_constant(first_HW, second_HW, first, second):
        return math.nan
    pair = [tf.constant(one / one.max(), tf.float32)[..., None] for one in (first, second)]
    return float(tf.image.ssim(*pair, max_val=1.0))


def any_is_constant(*maps: np.ndarray) -> bool:
    """Whether a map is the same everywhere; a shrunk one may differ from itself by a rounding error."""
    return any(np.ptp(map_HW) == 0 for map_HW in maps)


def shrink(map_HW: np.ndarray) -> np.ndarray:
    """The map by area averaging at COMPARED_SIDE; a smaller one as it is."""
    scale = COMPARED_SIDE / max(map_HW.shape)
    if scale >= 1:
        return map_HW
    height, width = (max(1, round(side * scale)) for side in map_HW.shape)
    smaller: np.ndarray = cv2.resize(map_HW, (width, height), interpolation=cv2.INTER_AREA)
    return smaller
