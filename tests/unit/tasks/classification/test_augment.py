"""Augmentation: what each setting does to the pixels, measured on ramps of brightness.

A ramp says of each pixel where it came from, so that the affine map of every image is found by least squares.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf

from medimg.tasks.classification.augment import augment
from medimg.tasks.classification.settings import Augmentation
from tests.unit.tasks.classification.no_augmentation import STILL

HEIGHT, WIDTH = 40, 60
STEP_Y, STEP_X, GREY = 5, 3, 150
CENTRE = np.array([(HEIGHT - 1) / 2, (WIDTH - 1) / 2])
ROUNDING = 0.03
"""Of a map, because a pixel is a whole number."""


@dataclass(frozen=True)
class Changes:
    """Of each image: the map from output to input about the centre, where the centre came from, the contrast.

    Rows and columns are (y, x).
    """

    maps_N22: np.ndarray
    shifts_N2: np.ndarray
    contrast_N: np.ndarray

    @property
    def signs_N2(self) -> np.ndarray:
        """-1 along an axis that is flipped; as long as no image is turned by more than a right angle."""
        return np.sign(np.stack([self.maps_N22[:, 0, 0], self.maps_N22[:, 1, 1]], axis=1))

    @property
    def turns_N22(self) -> np.ndarray:
        """The maps without the flips, which come first on the way from output to input."""
        return self.maps_N22 * self.signs_N2[:, None, :]

    @property
    def degrees_N(self) -> np.ndarray:
        """How far an image is turned."""
        return np.degrees(np.arctan2(self.turns_N22[:, 0, 1], self.turns_N22[:, 1, 1]))

    @property
    def scales_N(self) -> np.ndarray:
        """How much larger the part of the image is that is seen."""
        return np.sqrt(np.linalg.det(self.turns_N22))


def measure(seed: int = 2, *, cases: int = 100, **settings: float | bool) -> Changes:
    """Augments cases of two views, whose three channels are a ramp down, a ramp to the right, and grey."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image_HWC = np.stack([rows * STEP_Y, columns * STEP_X, np.full_like(rows, GREY)], axis=-1).astype(
        np.uint8
    )
    images_NVHWC = np.broadcast_to(image_HWC, (cases, 2, *image_HWC.shape))
    changed = augment(
        {"images": tf.constant(images_NVHWC)},
        dataclasses.replace(STILL, **settings),
        tf.constant([1, seed], tf.int64),
    )["images"].numpy()
    near = np.hypot(rows - CENTRE[0], columns - CENTRE[1]) < 12
    places_PK = np.stack([rows[near] - CENTRE[0], columns[near] - CENTRE[1], np.ones(near.sum())], axis=1)
    seen_NPC = changed.reshape(-1, HEIGHT, WIDTH, 3)[:, near].astype(float)
    contrast_N = seen_NPC[..., 2].mean(axis=1) / GREY
    origins_NP2 = seen_NPC[..., :2] / contrast_N[:, None, None] / (STEP_Y, STEP_X)
    fitted_N2K = np.stack([np.linalg.lstsq(places_PK, one, rcond=None)[0].T for one in origins_NP2])
    return Changes(fitted_N2K[:, :, :2], fitted_N2K[:, :, 2] - CENTRE, contrast_N)


def expect_spread(values: np.ndarray, largest: float, *, rounding: float) -> None:
    """Values on both sides of 0, near the largest change and not beyond it."""
    assert values.min() < -0.9 * largest
    assert values.max() > 0.9 * largest
    assert np.abs(values).max() <= largest + rounding
    assert abs(values.mean()) < 0.2 * largest


def expect_still(changes: Changes, *but: str) -> None:
    """Nothing is done to an image except what is named."""
    if "maps_N22" not in but:
        np.testing.assert_allclose(changes.maps_N22, np.broadcast_to(np.eye(2), (200, 2, 2)), atol=ROUNDING)
    if "shifts_N2" not in but:
        np.testing.assert_allclose(changes.shifts_N2, 0, atol=10 * ROUNDING)
    if "contrast_N" not in but:
        np.testing.assert_allclose(changes.contrast_N, 1)


def make_images() -> dict[str, tf.Tensor]:
    random = np.random.default_rng(0)
    return {
        "images": tf.constant(random.integers(0, 200, (3, 2, 20, 16, 1), dtype=np.uint8)),
        "view_present": tf.constant([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]),
    }


def test_no_augmentation_leaves_images_as_they_are() -> None:
    inputs = make_images()
    np.testing.assert_array_equal(
        augment(inputs, STILL, tf.constant([1, 2], tf.int64))["images"], inputs["images"]
    )


def test_what_is_no_image_passes() -> None:
    inputs = make_images()
    changed = augment(inputs, Augmentation(), tf.constant([1, 2], tf.int64))
    np.testing.assert_array_equal(changed["view_present"], inputs["view_present"])


@pytest.mark.parametrize("other", [(1, 3), (2, 2)])
def test_the_same_seed_augments_alike_and_another_does_not(other: tuple[int, int]) -> None:
    inputs = make_images()
    first, again, differing = (
        augment(inputs, Augmentation(), tf.constant(seed, tf.int64))["images"].numpy()
        for seed in ((1, 2), (1, 2), other)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != differing).any()


@pytest.mark.parametrize(("vertical", "axis"), [(True, 0), (False, 1)])
def test_a_flip_mirrors_some_images_exactly_and_leaves_the_others(vertical: bool, axis: int) -> None:
    settings = dataclasses.replace(STILL, flip_vertical=vertical, flip_horizontal=not vertical)
    before = make_images()["images"].numpy().reshape(6, 20, 16)
    after = (
        augment(make_images(), settings, tf.constant([1, 2], tf.int64))["images"].numpy().reshape(6, 20, 16)
    )
    outcomes = {
        "same" if (b == a).all() else "mirrored" if (np.flip(b, axis) == a).all() else "other"
        for b, a in zip(before, after, strict=True)
    }
    assert outcomes == {"same", "mirrored"}


@pytest.mark.parametrize(("setting", "axis"), [("flip_vertical", 0), ("flip_horizontal", 1)])
def test_every_other_image_or_so_is_flipped_along_its_axis_alone(setting: str, axis: int) -> None:
    signs_N2 = measure(**{setting: True}).signs_N2
    assert 0.35 < (signs_N2[:, axis] < 0).mean() < 0.65
    assert (signs_N2[:, 1 - axis] > 0).all()


def test_a_rotation_turns_about_the_centre_by_up_to_the_degrees_either_way() -> None:
    changes = measure(rotate_degrees=30)
    expect_spread(changes.degrees_N, 30, rounding=0.3)
    squares_N22 = changes.maps_N22 @ changes.maps_N22.transpose(0, 2, 1)
    np.testing.assert_allclose(squares_N22, np.broadcast_to(np.eye(2), (200, 2, 2)), atol=ROUNDING)
    np.testing.assert_allclose(np.linalg.det(changes.maps_N22), 1, atol=ROUNDING)
    expect_still(changes, "maps_N22")


def test_a_zoom_shows_more_or_less_about_the_centre_by_up_to_the_fraction() -> None:
    changes = measure(zoom_fraction=0.25)
    expect_spread(changes.scales_N - 1, 0.25, rounding=0.005)
    np.testing.assert_allclose(changes.maps_N22, changes.scales_N[:, None, None] * np.eye(2), atol=ROUNDING)
    expect_still(changes, "maps_N22")


@pytest.mark.parametrize(("axis", "side"), [(0, HEIGHT), (1, WIDTH)])
def test_a_shift_is_by_up_to_the_fraction_of_the_side_along_each_axis(axis: int, side: int) -> None:
    changes = measure(shift_fraction=0.15)
    expect_spread(changes.shifts_N2[:, axis], 0.15 * side, rounding=0.1)
    expect_still(changes, "shifts_N2")


def test_a_contrast_scales_brightness_by_up_to_the_fraction_either_way() -> None:
    changes = measure(contrast_fraction=0.25)
    expect_spread(changes.contrast_N - 1, 0.25, rounding=0.005)
    expect_still(changes, "contrast_N")


def test_what_would_be_brighter_than_white_is_white() -> None:
    images = np.full((50, 1, 4, 4, 1), 100, np.uint8)
    images[:, :, 2:] = 200
    settings = dataclasses.replace(STILL, contrast_fraction=0.9)
    changed = augment({"images": tf.constant(images)}, settings, tf.constant([1, 2], tf.int64))["images"]
    dark_N, bright_N = (changed.numpy()[:, 0, row, 0, 0].astype(int) for row in (0, 3))
    np.testing.assert_allclose(bright_N, np.minimum(2 * dark_N, 255), atol=1)
    assert (dark_N > 150).any()


def test_what_comes_from_outside_the_image_is_black() -> None:
    white = {"images": tf.fill((50, 1, 20, 20, 1), tf.constant(255, tf.uint8))}
    settings = dataclasses.replace(STILL, shift_fraction=0.5)
    changed = augment(white, settings, tf.constant([1, 2], tf.int64))["images"].numpy()
    assert (changed.min(axis=(1, 2, 3, 4)) == 0).mean() > 0.8
    assert (changed.max(axis=(1, 2, 3, 4)) == 255).all()


def test_each_change_of_each_view_is_drawn_by_itself() -> None:
    changes = measure(
        cases=200,
        flip_vertical=True,
        flip_horizontal=True,
        rotate_degrees=20,
        shift_fraction=0.05,
        zoom_fraction=0.1,
        contrast_fraction=0.2,
    )
    drawn = {
        "flips y": changes.signs_N2[:, 0],
        "flips x": changes.signs_N2[:, 1],
        "degrees": changes.degrees_N,
        "scale": changes.scales_N,
        "shift y": changes.shifts_N2[:, 0],
        "shift x": changes.shifts_N2[:, 1],
        "contrast": changes.contrast_N,
    }
    for (one, first), (other, second) in itertools.combinations(drawn.items(), 2):
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.25, (one, other)
    for name, values_N in drawn.items():
        views_V = values_N.reshape(-1, 2).T
        assert abs(np.corrcoef(*views_V)[0, 1]) < 0.3, name
