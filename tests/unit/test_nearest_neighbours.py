"""Neighbours are near by their angle."""

import numpy as np
import pytest

from medimg import nearest_neighbours
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


def test_as_many_neighbours_as_references_are_all_of_them():
    indices, distances = find_neighbours(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]]), 2)
    assert indices.tolist() == [[1, 0]]
    np.testing.assert_allclose(distances, [[0, 1]], atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 10, 66, 67, 100])
def test_of_equally_near_references_the_first_come_first(k):
    # Every third is further away, and all others are copies.
    references = np.tile(np.array([[1.0, 0.0]]), (100, 1))
    references[::3] = [1.0, 1.0]
    near, far = ([row for row in range(100) if (row % 3 == 0) == is_far] for is_far in (False, True))
    assert find_neighbours(np.array([[1.0, 0.0]]), references, k)[0].tolist() == [(near + far)[:k]]


def test_of_excluded_references_the_first_fill_the_rest():
    keys = np.array([0]), np.array([0, 1, 0, 0])
    indices, distances = find_neighbours(np.eye(1, 2), np.eye(4, 2), 3, exclusion_keys=keys)
    assert indices.tolist() == [[1, 0, 2]]
    assert np.isinf(distances).tolist() == [[False, True, True]]


def test_a_vector_of_zeros_is_at_distance_1_from_everything():
    distances = find_neighbours(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 0.0], [-1.0, 0.0]]), 2)[1]
    np.testing.assert_allclose(distances, [[1, 1], [1, 2]])


def test_copies_in_single_precision_are_at_distance_0_of_each_other():
    vectors = np.random.default_rng(0).normal(size=(50, 400)).astype(np.float32)
    indices, distances = find_neighbours(vectors, vectors, 1)
    assert indices[:, 0].tolist() == list(range(50))
    assert distances.dtype == np.float64
    assert np.abs(distances).max() < 1e-12


def test_many_queries_in_blocks_have_the_same_neighbours_as_all_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    queries, references = rng.normal(size=(900, 5)), rng.normal(size=(300, 5))
    keys = np.arange(900) % 7, np.arange(300) % 7
    # 900 x 300 distances of 8 bytes are two blocks and more of 1 MiB.
    monkeypatch.setattr(nearest_neighbours, "WORKING_MEMORY_MIB", 1)
    indices, distances = find_neighbours(queries, references, 3, exclusion_keys=keys)
    normed = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (queries, references)]
    expected = 1 - normed[0] @ normed[1].T
    expected[keys[0][:, None] == keys[1]] = np.inf
    np.testing.assert_array_equal(indices, np.argsort(expected, axis=1, kind="stable")[:, :3])
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :3], atol=1e-12)
