"""Neighbours are near by their angle."""

import numpy as np
import pytest

from medimg.nearest_neighbours import find_neighbours


def test_the_neighbours_of_a_vector_are_those_of_the_smallest_angle_nearest_first():
    references = np.array([[0.0, 1.0], [10.0, 0.5], [-1.0, 0.0], [1.0, 1.0]])
    indices, distances = find_neighbours(np.array([[2.0, 0.0]]), references, 3)
    assert indices.tolist() == [[1, 3, 0]]
    np.testing.assert_allclose(distances, [[1 - 10 / np.hypot(10, 0.5), 1 - np.sqrt(0.5), 1.0]], atol=1e-12)


@pytest.mark.parametrize("k", [0, 5])
def test_more_neighbours_than_there_are_references_or_none_at_all_are_refused(k):
    with pytest.raises(ValueError, match=f"k is {k}, expected 1 to 4"):
        find_neighbours(np.eye(2), np.eye(4, 2), k)


def test_kin_are_passed_over_and_missing_neighbours_are_infinitely_far():
    vectors = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    groups = np.array([0, 0, 1])
    indices, distances = find_neighbours(vectors, vectors, 2, exclusion_keys=(groups, groups))
    assert indices[:, 0].tolist() == [2, 2, 1]
    assert np.isinf(distances[:2, 1]).all()
    assert np.isfinite(distances[2]).all()
