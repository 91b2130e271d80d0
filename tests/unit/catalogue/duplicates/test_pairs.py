"""From pairs of images to pairs of cases: where the limit lies, and which value stands for two cases."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.catalogue.duplicates.near import HASH_DISTANCE, Signature, choose_by_cases, pair_cases
from medimg.catalogue.duplicates.perceptual_hash import BITS, FREQUENCIES, find_close_hashes, hash_image
from medimg.catalogue.rows import NearPair

SIGNS_UV = np.where(np.random.default_rng(1).random((FREQUENCIES, FREQUENCIES)) < 0.5, -1, 1).astype(np.int8)
SIGNS_UV[0, 0] = 0


def differing(bits: int) -> np.ndarray:
    """The hash with so many other bits; of none a flip or a turn of the image would be nearer."""
    other = SIGNS_UV.copy().ravel()
    other[1 : bits + 1] *= -1
    return other.reshape(FREQUENCIES, FREQUENCIES)


@pytest.mark.parametrize(("bits", "near"), [(0, True), (30, True), (31, True), (32, False)])
def test_up_to_pdqs_threshold_of_31_bits_two_images_are_near_duplicates(bits, near):
    signatures = [Signature(SIGNS_UV, None), Signature(differing(bits), None)]
    pairs = pair_cases(signatures, owned=[{"b"}, {"a"}])
    assert pairs == [NearPair(("a", "b"), bits, None)] * near
    assert (HASH_DISTANCE, BITS) == (31, 255)


@pytest.mark.parametrize(("distance", "found"), [(4, 0), (5, 1), (6, 1)])
def test_the_distance_asked_for_is_included(distance, found):
    pairs_P2, distances_P = find_close_hashes(np.stack([SIGNS_UV, differing(5)]), distance=distance)
    assert pairs_P2.tolist() == [[0, 1]] * found
    assert distances_P.tolist() == [5] * found


def test_without_images_there_is_no_pair():
    assert pair_cases([], owned=[]) == []


@pytest.mark.parametrize(
    ("choose", "expected"), [(min, {("a", "b"): 2, ("a", "c"): 4}), (max, {("a", "b"): 9, ("a", "c"): 4})]
)
def test_each_two_cases_have_one_value_whichever_of_their_images_are_alike_and_in_which_order(
    choose, expected
):
    owned = [{"a"}, {"b"}, {"b", "a"}, {"c"}, {"a"}]
    pairs_P2 = np.array([[0, 1], [1, 4], [0, 4], [0, 2], [3, 0]])
    found = choose_by_cases(pairs_P2, np.array([5, 2, 1, 9, 4]), owned=owned, choose=choose)
    assert found == expected


@pytest.mark.parametrize(("swing", "has_hash"), [(1, False), (3, True), (15, True)])
def test_an_image_of_less_than_two_grey_levels_of_contrast_has_no_hash(swing, has_hash):
    checks_HW = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((8, 8)))
    hash_UV = hash_image((100 + 2 * swing * checks_HW).astype(np.uint8))
    assert hash_UV.any() == has_hash
    assert hash_UV[0, 0] == 0
