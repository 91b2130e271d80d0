"""How many keypoints of two images lie in the same arrangement, on descriptors that cannot be confused."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.catalogue.duplicates.keypoints import (
    LEAST_AGREEING,
    LEAST_SPREAD_PIXELS,
    Keypoints,
    count_inliers,
)


def make_keypoints(count: int, *, spread: float = 30.0, first: int = 0) -> Keypoints:
    """So many points in a grid, each with a descriptor of its own direction, from number `first` on."""
    places = np.stack(np.divmod(np.arange(count), 4), axis=1).astype(np.float32)
    descriptors = np.zeros((count, 128), np.uint8)
    descriptors[np.arange(count), np.arange(first, first + count)] = 255
    return Keypoints(places * np.float32(spread), descriptors)


@pytest.mark.parametrize(
    ("count", "found"),
    [
        (LEAST_AGREEING - 1, 0),
        (LEAST_AGREEING, LEAST_AGREEING),
        (LEAST_AGREEING + 1, LEAST_AGREEING + 1),
        (0, 0),
    ],
)
def test_so_many_must_agree_and_no_fewer(count: int, found: int) -> None:
    assert count_inliers(make_keypoints(count), make_keypoints(count)) == found


@pytest.mark.parametrize(("shared", "found"), [(LEAST_AGREEING - 1, 0), (LEAST_AGREEING, LEAST_AGREEING)])
def test_only_keypoints_that_both_images_have_agree(shared: int, found: int) -> None:
    one, other = make_keypoints(40), make_keypoints(40, first=40 - shared)
    moved = Keypoints(np.roll(one.points_N2, shared, axis=0), other.descriptors_NB)
    assert count_inliers(one, moved) == found


def test_what_agrees_in_one_small_place_is_a_label() -> None:
    wide = make_keypoints(16, spread=10.0)
    middle = np.median(wide.points_N2, axis=0)
    distance = np.median(np.linalg.norm(wide.points_N2 - middle, axis=1))
    for factor, found in ((1.01, 16), (0.99, 0)):
        points = wide.points_N2 * np.float32(factor * LEAST_SPREAD_PIXELS / distance)
        keypoints = Keypoints(points, wide.descriptors_NB)
        assert count_inliers(keypoints, keypoints) == found
