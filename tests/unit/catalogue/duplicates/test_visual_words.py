"""Images of different cases that show the same spot, found by their visual words."""

from __future__ import annotations

import pytest

from medimg.catalogue.duplicates.keypoints import LEAST_AGREEING
from medimg.catalogue.duplicates.visual_words import find_same_spots
from tests.unit.catalogue.duplicates.test_keypoints import make_keypoints


@pytest.mark.parametrize(
    ("count", "found"),
    [
        (LEAST_AGREEING - 1, []),
        (LEAST_AGREEING, [LEAST_AGREEING]),
        (LEAST_AGREEING + 1, [LEAST_AGREEING + 1]),
    ],
)
def test_as_many_keypoints_as_must_agree_make_a_pair_of_two_cases(count: int, found: list[int]) -> None:
    images = [make_keypoints(count), make_keypoints(20, first=60), make_keypoints(count)]
    pairs_P2, agreeing_P = find_same_spots(images, cases=["a", "b", "c"])
    assert agreeing_P.tolist() == found
    assert pairs_P2.tolist() == [[0, 2]] * len(found)
    assert find_same_spots(images, cases=["a", "b", "a"])[0].tolist() == []
