"""Embeddings: what is near stays near, and maps keep together what lies together."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from medimg.evaluation.representation.maps import MAPS, map_tsne, map_umap_like, reduce_vectors
from medimg.nearest_neighbours import find_neighbours


def test_reduced_vectors_keep_neighbours_and_have_unit_length():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(40, 8)) + 5.0
    reduced = reduce_vectors(vectors)
    assert reduced.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(reduced, axis=1), 1.0, rtol=1e-5)
    centred = vectors - vectors.mean(axis=0)
    np.testing.assert_array_equal(
        find_neighbours(reduced, reduced, 3)[0], find_neighbours(centred, centred, 3)[0]
    )


def test_more_than_fifty_dimensions_become_the_fifty_that_vary_most():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(90, 70)) * np.r_[np.full(2, 100.0), np.ones(68)]
    reduced = reduce_vectors(vectors)
    assert reduced.shape == (90, 50)
    assert (reduced[:, :2] ** 2).sum(axis=1).mean() > 0.9


@pytest.mark.parametrize("name", MAPS)
def test_a_map_keeps_together_what_lies_together_and_is_the_same_again(name):
    vectors, labels = draw_clusters(cases=90)
    places = MAPS[name](vectors, seed=1)
    assert places.shape == (90, 2)
    nearest = np.argsort(((places[:, None] - places[None]) ** 2).sum(axis=2), axis=1)[:, 1:6]
    assert (labels[nearest] == labels[:, None]).mean() > 0.95
    np.testing.assert_array_equal(places, MAPS[name](vectors, seed=1))


def test_maps_start_from_the_first_two_principal_components():
    vectors, _ = draw_clusters(cases=90)
    first = PCA(2, random_state=0).fit_transform(vectors)[:, 0]
    for draw in MAPS.values():
        assert abs(np.corrcoef(draw(vectors)[:, 0], first)[0, 1]) > 0.5


def test_the_map_of_many_cases_looks_at_thirty_neighbours():
    vectors, _ = draw_clusters(cases=120)
    expected = TSNE(2, perplexity=30, init="pca", random_state=3).fit_transform(vectors)
    np.testing.assert_array_equal(map_tsne(vectors, seed=3), expected)


def test_the_umap_like_map_draws_clusters_tighter_than_t_sne():
    vectors, labels = draw_clusters(cases=150)
    assert spread_within(map_umap_like(vectors), labels) < 0.7 * spread_within(map_tsne(vectors), labels)


def spread_within(places, labels):
    """Spread of the places round their cluster's middle, as a share of that round the middle of all."""
    middles = np.stack([places[labels == label].mean(axis=0) for label in range(3)])
    return np.linalg.norm(places - middles[labels]) / np.linalg.norm(places - places.mean(axis=0))


@pytest.mark.parametrize("name", MAPS)
def test_five_cases_are_mapped_too(name):
    assert np.isfinite(MAPS[name](reduce_vectors(np.random.default_rng(0).normal(size=(5, 9))))).all()


def draw_clusters(*, cases, apart=8.0):
    generator = np.random.default_rng(2)
    labels = np.arange(cases) % 3
    return reduce_vectors(np.eye(3, 12)[labels] * apart + generator.normal(size=(cases, 12))), labels
