import math

import cv2
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import spearmanr

from medimg.explain.saliency_checks import (
    chance,
    energy_inside,
    points_at,
    rank_correlation,
    structural_similarity,
)

SHAPE = (100, 80)
LESION = np.zeros(SHAPE, bool)
LESION[40:50, 20:30] = True


def spot(y, x, value=1.0):
    map_HW = np.zeros(SHAPE, np.float32)
    map_HW[y, x] = value
    return map_HW


@pytest.mark.parametrize(
    ("y", "x", "hit"), [(45, 25, 1.0), (50, 25, 1.0), (52, 25, 1.0), (53, 25, 0.0), (45, 60, 0.0)]
)
def test_a_map_points_at_a_lesion_if_its_highest_value_is_within_three_percent_of_the_longer_side(y, x, hit):
    assert points_at(spot(y, x), LESION) == hit


def test_two_equally_high_places_of_which_one_is_the_lesion_are_half_a_hit():
    assert points_at(spot(45, 25) + spot(5, 5), LESION) == 0.5


def test_a_map_without_evidence_points_nowhere_and_has_no_energy_in_the_lesion():
    empty = np.zeros(SHAPE, np.float32)
    assert points_at(empty, LESION) == 0
    assert energy_inside(empty, LESION) == 0


def test_energy_is_the_share_of_the_sum_inside_without_tolerance():
    assert energy_inside(spot(45, 25, 3.0) + spot(50, 25, 1.0), LESION) == pytest.approx(0.75)


def make_tissue(columns):
    """Noise as far as `columns`, then background of one value."""
    image = np.full(SHAPE, 30, np.uint8)
    image[:, :columns] = np.random.default_rng(0).integers(60, 200, (SHAPE[0], columns))
    return image


def test_chance_is_what_random_maps_on_the_breast_reach():
    generator = np.random.default_rng(1)
    maps = [np.where(np.arange(SHAPE[1]) <= 50, generator.random(SHAPE), 0) for _ in range(1500)]
    pointing, energy = chance(LESION, image_HW=make_tissue(50))
    assert pointing == pytest.approx(np.mean([points_at(one, LESION) for one in maps]), abs=0.02)
    assert energy == pytest.approx(np.mean([energy_inside(one, LESION) for one in maps]), abs=0.001)


def test_chance_is_not_diluted_by_constant_background_nor_raised_by_a_bright_lesion():
    half, whole = make_tissue(40), make_tissue(80)
    half[LESION] = 255
    assert chance(LESION, image_HW=half)[1] == pytest.approx(2 * chance(LESION, image_HW=whole)[1], rel=0.05)


def test_a_map_is_like_itself_at_any_scale_and_unlike_its_reverse():
    map_HW = np.random.default_rng(1).random((64, 52)).astype(np.float32)
    assert rank_correlation(map_HW, 5 * map_HW) == pytest.approx(1)
    assert structural_similarity(map_HW, 5 * map_HW) == pytest.approx(1)
    assert rank_correlation(map_HW, 1 - map_HW) == pytest.approx(-1)
    assert structural_similarity(map_HW, 1 - map_HW) < 0


def test_likeness_to_a_map_without_evidence_is_undefined():
    map_HW = np.random.default_rng(1).random(SHAPE).astype(np.float32)
    assert math.isnan(rank_correlation(map_HW, np.zeros(SHAPE, np.float32)))
    assert math.isnan(rank_correlation(np.ones(SHAPE, np.float32), map_HW))
    assert math.isnan(structural_similarity(np.zeros(SHAPE, np.float32), map_HW))
    assert math.isnan(structural_similarity(map_HW, np.ones(SHAPE, np.float32)))


@pytest.mark.parametrize(
    ("shape", "shrunk"), [((64, 40), None), ((65, 40), (64, 39)), ((128, 96), (64, 48)), ((30, 256), (8, 64))]
)
def test_maps_are_compared_at_64_pixels_of_the_longer_side(shape, shrunk):
    generator = np.random.default_rng(2)
    first, second = (generator.random(shape).astype(np.float32) for _ in range(2))
    smaller = [
        one if shrunk is None else cv2.resize(one, shrunk[::-1], interpolation=cv2.INTER_AREA)
        for one in (first, second)
    ]
    assert rank_correlation(first, second) == pytest.approx(
        spearmanr(smaller[0].ravel(), smaller[1].ravel()).statistic, abs=1e-6
    )
    if min(smaller[0].shape) >= 11:  # As large as the window of structural similarity.
        scaled = [tf.constant((one / one.max())[..., None]) for one in smaller]
        assert structural_similarity(first, 3 * second) == pytest.approx(
            float(tf.image.ssim(*scaled, max_val=1.0)), abs=1e-5
        )


def test_any_map_points_at_a_lesion_that_is_everywhere_and_none_at_one_that_is_nowhere():
    map_HW = np.random.default_rng(3).random(SHAPE).astype(np.float32)
    assert (points_at(map_HW, np.ones(SHAPE, bool)), energy_inside(map_HW, np.ones(SHAPE, bool))) == (1, 1)
    assert (points_at(map_HW, np.zeros(SHAPE, bool)), energy_inside(map_HW, np.zeros(SHAPE, bool))) == (0, 0)
