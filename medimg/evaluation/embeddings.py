"""Embeddings: one vector per case, from a network or from plain pixels, and who lies next to whom in them.

Axes: N cases, D dimensions; Q queries, k neighbours.
"""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors


def find_neighbours(queries_QD: np.ndarray, references_ND: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest references of each query by cosine distance, nearest first.

    A query that is among the references finds itself, at distance 0. A vector of zeros is at distance 1 from everything.

    Returns:
        indices: int [Q, k], rows of the references.
        distances: float [Q, k], in [0, 2]: 1 minus the cosine.

    Raises:
        ValueError: k is not between 1 and the number of references, or the vectors differ in their dimensions.
    """
    search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(references_ND)
    distances_Qk, indices_Qk = search.kneighbors(queries_QD)
    return indices_Qk, distances_Qk
