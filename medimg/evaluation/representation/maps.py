"""Embeddings, reduced, and two-dimensional maps of them.

An embedding is one vector per case, from a network or from plain pixels. Axes: N cases, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize

COMPONENTS = 50
"""Principal components that are kept: what van der Maaten and Hinton (2008) hand to t-SNE."""
PERPLEXITY = 30
UMAP_NEIGHBOURS, EXAGGERATION = 15, 4.0


def reduce_vectors(vectors_ND: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The first principal components, at most 50, scaled to unit length, float32.

    At unit length the squared Euclidean distance is twice the cosine distance, so that neighbours, maps and
    tests see one and the same geometry. A case that equals the mean of all stays at the origin.
    """
    components = PCA(min(COMPONENTS, *vectors_ND.shape), random_state=seed).fit_transform(vectors_ND)
    unit: np.ndarray = normalize(components).astype(np.float32)
    return unit


def map_tsne(vectors_ND: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Returns t-SNE (van der Maaten and Hinton 2008, Barnes-Hut 2014), [N, 2].

    It is started from the first two principal components. It keeps neighbours together. Sizes of clusters and
    distances between them mean nothing.
    """
    perplexity = min(PERPLEXITY, (len(vectors_ND) - 1) / 3)
    places: np.ndarray = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(
        vectors_ND
    )
    return places


def map_umap_like(vectors_ND: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Returns t-SNE whose attraction stays exaggerated fourfold, [N, 2].

    It has tighter clusters, and is nearly what UMAP draws (Boehm, Berens and Kobak 2022, JMLR 23:95).
    scikit-learn exaggerates for the first 250 iterations; here these are all.
    """
    perplexity = min(UMAP_NEIGHBOURS, (len(vectors_ND) - 1) / 3)
    exaggerated = TSNE(
        2, perplexity=perplexity, early_exaggeration=EXAGGERATION, max_iter=250, init="pca", random_state=seed
    )
    places: np.ndarray = exaggerated.fit_transform(vectors_ND)
    return places


MAPS: Mapping[str, Callable[..., np.ndarray]] = {"tsne": map_tsne, "umap_like": map_umap_like}
