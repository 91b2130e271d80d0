"""Embeddings: one vector per case, from a network or from plain pixels; who lies next to whom in them, and two-dimensional maps of them.

Axes: N cases, D dimensions; Q queries, k neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances_chunked
from sklearn.preprocessing import normalize

COMPONENTS = 50
"""Principal components that are kept: what van der Maaten and Hinton (2008) hand to t-SNE."""
PERPLEXITY = 30
UMAP_NEIGHBOURS, EXAGGERATION = 15, 4.0
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


def map_umap_like(vectors_ND: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """t-SNE whose attraction stays exaggerated fourfold, [N, 2]: nearly what UMAP draws (Boehm, Berens and Kobak 2022, JMLR 23:95), tighter clusters.

    scikit-learn exaggerates for the first 250 iterations; here these are all.
    """
    perplexity = min(UMAP_NEIGHBOURS, (len(vectors_ND) - 1) / 3)
    exaggerated = TSNE(2, perplexity=perplexity, early_exaggeration=EXAGGERATION, max_iter=250, init="pca", random_state=seed)
    places: np.ndarray = exaggerated.fit_transform(vectors_ND)
    return places


MAPS: Mapping[str, Callable[..., np.ndarray]] = {"tsne": map_tsne, "umap_like": map_umap_like}
