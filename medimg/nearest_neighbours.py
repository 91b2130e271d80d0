"""Nearest neighbours of vectors, whatever they are of.

Axes: N references, Q queries, D dimensions, k neighbours.
"""

from __future__ import annotations

import numpy as np
from sklearn import config_context
from sklearn.metrics import pairwise_distances_chunked

WORKING_MEMORY_MIB = 128


def find_neighbours(
    queries_QD: np.ndarray,
    references_ND: np.ndarray,
    k: int,
    *,
    exclusion_keys: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k nearest references of each query by cosine distance, nearest first.

    Of equally near ones the first. A query that is among the references finds itself, at distance 0. A vector
    of zeros is at distance 1 from everything.

    Args:
        exclusion_keys: a key of each query, [Q], and of each reference, [N]; references with the query's key
            are passed over.

    Returns:
        indices: int [Q, k], rows of the references.
        distances: float64 [Q, k], in [0, 2]: 1 minus the cosine; infinite where fewer than k references are
            left.

    Raises:
        ValueError: k is not between 1 and the number of references, or the vectors differ in their
            dimensions.
    """
    if not 1 <= k <= len(references_ND):
        raise ValueError(f"k is {k}, expected 1 to {len(references_ND)}, the number of references")

    def choose(distances_BN: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
        if exclusion_keys is not None:
            distances_BN[exclusion_keys[0][start : start + len(distances_BN), None] == exclusion_keys[1]] = (
                np.inf
            )
        # A partition alone may take any of those that are as far as the k-th.
        farthest_B1 = np.partition(distances_BN, k - 1, axis=1)[:, k - 1 : k]
        nearer_BN, tied_BN = distances_BN < farthest_B1, distances_BN == farthest_B1
        room_B1 = k - nearer_BN.sum(axis=1, keepdims=True)
        tied_BN &= np.cumsum(tied_BN, axis=1, dtype=np.int32) <= room_B1
        nearest_Bk = np.nonzero(nearer_BN | tied_BN)[1].reshape(-1, k)
        chosen_Bk = np.take_along_axis(distances_BN, nearest_Bk, axis=1)
        order_Bk = np.argsort(chosen_Bk, axis=1, kind="stable")
        return np.take_along_axis(nearest_Bk, order_Bk, axis=1), np.take_along_axis(
            chosen_Bk, order_Bk, axis=1
        )

    # float32 would put copies at distances of some 1e-7 from each other, in an order that no other machine
    # repeats.
    pair = queries_QD.astype(np.float64), references_ND.astype(np.float64)
    with config_context(working_memory=WORKING_MEMORY_MIB):
        blocks = list(pairwise_distances_chunked(*pair, metric="cosine", reduce_func=choose))
    indices, distances = zip(*blocks, strict=True)
    return np.concatenate(indices), np.concatenate(distances)
