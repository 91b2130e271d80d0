"""Embeddings: one vector per case, from a network or from plain pixels; who lies next to whom in them, and two-dimensional maps of them.

Axes: N cases, D dimensions; Q queries, k neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.sparse.csgraph import connected_components
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, SpectralEmbedding
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import kneighbors_graph
from sklearn.preprocessing import normalize

COMPONENTS = 50
"""Principal components that are kept: what van der Maaten and Hinton (2008) hand to t-SNE."""
PERPLEXITY = 30
GRAPH_NEIGHBOURS = 15
"""Of each case in the graph behind the spectral map, as in UMAP."""
WORKING_MEMORY_MIB = 128


def reduce_vectors(vectors_ND: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The first principal components, at most 50, scaled to unit length, float32.

    At unit length the squared Euclidean distance is twice the cosine distance, so that neighbours, maps and tests see one and the same geometry.
    A case that equals the mean of all stays at the origin.
    """
    components = PCA(min(COMPONENTS, *vectors_ND.shape), random_state=seed).fit_transform(vectors_ND)
    unit: np.ndarray = normalize(components).astype(np.float32)
    return unit


def find_neighbours(
    queries_QD: np.ndarray, references_ND: np.ndarray, k: int, *, kin: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest references of each query by cosine distance, nearest first, of equally near ones the first.

    A query that is among the references finds itself, at distance 0. A vector of zeros is at distance 1 from everything.

    Args:
        kin: a key of each query, [Q], and of each reference, [N]; references with the query's key are passed over.

    Returns:
        indices: int [Q, k], rows of the references.
        distances: float64 [Q, k], in [0, 2]: 1 minus the cosine; infinite where fewer than k references are left.

    Raises:
        ValueError: k is not between 1 and the number of references, or the vectors differ in their dimensions.
    """
    if not 1 <= k <= len(references_ND):
        raise ValueError(f"k is {k}, expected 1 to {len(references_ND)}, the number of references")

    def choose(distances_BN: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
        if kin is not None:
            distances_BN[kin[0][start : start + len(distances_BN), None] == kin[1]] = np.inf
        nearest_Bk = np.sort(np.argpartition(distances_BN, k - 1, axis=1)[:, :k], axis=1)
        chosen_Bk = np.take_along_axis(distances_BN, nearest_Bk, axis=1)
        order_Bk = np.argsort(chosen_Bk, axis=1, kind="stable")
        return np.take_along_axis(nearest_Bk, order_Bk, axis=1), np.take_along_axis(chosen_Bk, order_Bk, axis=1)

    # float32 would put copies at distances of some 1e-7 from each other, in an order that no other machine repeats.
    pair = queries_QD.astype(np.float64), references_ND.astype(np.float64)
    with config_context(working_memory=WORKING_MEMORY_MIB):
        blocks = list(pairwise_distances_chunked(*pair, metric="cosine", reduce_func=choose))
    indices, distances = zip(*blocks, strict=True)
    return np.concatenate(indices), np.concatenate(distances)


def map_tsne(vectors_ND: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton 2008; Barnes-Hut 2014), [N, 2], started from the first two principal components.

    It keeps neighbours together. Sizes of clusters and distances between them mean nothing.
    """
    perplexity = min(PERPLEXITY, (len(vectors_ND) - 1) / 3)
    places: np.ndarray = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors_ND)
    return places


def map_spectral(vectors_ND: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Laplacian eigenmap (Belkin and Niyogi 2003) of the graph of nearest neighbours, [N, 2]: what UMAP starts from, without what it adds.

    Where the graph falls into parts the number of neighbours is doubled until it does not: each part would be a point of its own.
    """
    neighbours = min(GRAPH_NEIGHBOURS, len(vectors_ND) - 1)
    graph = join_neighbours(vectors_ND, neighbours)
    while connected_components(graph, directed=False, return_labels=False) > 1:
        neighbours = min(2 * neighbours, len(vectors_ND) - 1)
        graph = join_neighbours(vectors_ND, neighbours)
    # Its default solver inverts the graph's matrix: 108 s instead of 0.2 s for 10,000 cases, and the same map.
    places: np.ndarray = SpectralEmbedding(2, affinity="precomputed", eigen_solver="lobpcg", random_state=seed).fit_transform(graph)
    return places


def join_neighbours(vectors_ND: np.ndarray, neighbours: int) -> np.ndarray:
    """Sparse symmetric [N, N]: 1 where two are neighbours of each other, a half where only one is the other's."""
    graph = kneighbors_graph(vectors_ND, neighbours)
    return (graph + graph.T) / 2


MAPS: Mapping[str, Callable[..., np.ndarray]] = {"tsne": map_tsne, "spectral": map_spectral}
