"""Nearest neighbours among embeddings, whatever made them."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 10


def find_neighbours(embeddings_ND: np.ndarray | sparse.csr_matrix, *, count: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of rows of which one is among the other's nearest by cosine; exact, in blocks that fit into memory.

    A search by neighbours and not by a least cosine: the number of pairs then grows with the rows and not with their square, however alike they are.
    Rows that are all zero are nobody's neighbours.

    Args:
        embeddings_ND: one row per image, dense or sparse.
        count: neighbours of each row, itself not counted.

    Returns:
        pairs_P2 of row numbers, the smaller one first, sorted, each pair once; cosines_P.
    """
    rows = embeddings_ND.shape[0]
    if rows < 2:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    search = NearestNeighbors(n_neighbors=min(count, rows - 1), metric="cosine", algorithm="brute").fit(embeddings_ND)
    distances, neighbours = search.kneighbors()
    ends = np.stack([np.repeat(np.arange(rows), neighbours.shape[1]), neighbours.ravel()], axis=1)
    pairs_P2, first = np.unique(np.sort(ends, axis=1), axis=0, return_index=True)
    cosines_P = 1 - distances.ravel()[first]
    near = cosines_P > 0
    return pairs_P2[near], cosines_P[near]
