"""Images of one spot: candidates that share visual words, confirmed by keypoints that agree on one geometry.

As in Sivic and Zisserman 2003, Video Google: a text retrieval approach to object matching in videos.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.cluster import MiniBatchKMeans
from sklearn.feature_extraction.text import TfidfTransformer

from medimg.catalogue.duplicates.keypoints import (
    LEAST_AGREEING,
    MIRRORED,
    Keypoints,
    count_agreeing,
    take_roots,
)
from medimg.console.progress import show_progress
from medimg.nearest_neighbours import find_neighbours

WORDS = 500
CANDIDATES = 10
MOST_LEARNED = 200_000
"""Descriptors that words are learned from, and looked up at once: 100 MB."""


def find_same_spots(keypoints: Sequence[Keypoints], *, cases: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images that show the same spot.

    Of each image the CANDIDATES that share most words are compared: in a large cluster not every pair is
    found, but enough to hold it together.

    Args:
        cases: the case of each image; two images of one case are not compared.

    Returns:
        pairs_P2 of positions, the smaller one first, sorted; agreeing_P: keypoints that agree, LEAST_AGREEING
        or more.
    """
    _, numbers_N = np.unique(list(cases), return_inverse=True)
    pairs_P2 = list_candidates(embed_words(keypoints), cases_N=numbers_N)
    compared = show_progress(pairs_P2, total=len(pairs_P2), title="Comparing pairs of images")
    agreeing_P = np.array(
        [count_agreeing(keypoints[first], keypoints[second]) for first, second in compared], dtype=np.int64
    )
    found = agreeing_P >= LEAST_AGREEING
    return pairs_P2[found], agreeing_P[found]


def list_candidates(embeddings_NW: np.ndarray, *, cases_N: np.ndarray) -> np.ndarray:
    """Finds pairs of rows of different cases of which one is among the other's nearest.

    As pairs_P2: the smaller number first, sorted, each pair once.
    """
    rows = np.arange(len(embeddings_NW))
    count = min(CANDIDATES, len(rows) - 1)
    if count < 1:
        return np.zeros((0, 2), np.int64)
    neighbours, distances = find_neighbours(
        embeddings_NW, embeddings_NW, count, exclusion_keys=(cases_N, cases_N)
    )
    pairs = np.stack([np.repeat(rows, count), neighbours.ravel()], axis=1)[distances.ravel() < 1]
    return np.unique(np.sort(pairs, axis=1), axis=0)


def embed_words(keypoints: Sequence[Keypoints]) -> np.ndarray:
    """Each image as the weights of its visual words, which are the same for its mirror image.

    Returns:
        embeddings_NW: tf-idf weights, rows of length 1, or all zero for an image without keypoints.
    """
    counts = [len(one.descriptors_NB) for one in keypoints]
    if not sum(counts):
        return np.zeros((len(keypoints), 1))
    descriptors_NB = np.concatenate([one.descriptors_NB for one in keypoints])
    learned_NB = symmetrise(descriptors_NB[:: math.ceil(len(descriptors_NB) / MOST_LEARNED)])
    vocabulary = MiniBatchKMeans(
        min(WORDS, len(learned_NB)), random_state=0, n_init=1, batch_size=4096, max_iter=20
    ).fit(learned_NB)
    blocks = np.array_split(descriptors_NB, math.ceil(len(descriptors_NB) / MOST_LEARNED))
    words = np.concatenate([vocabulary.predict(symmetrise(block_NB)) for block_NB in blocks])
    owners = np.repeat(np.arange(len(keypoints)), counts)
    found = sparse.csr_matrix((np.ones(len(words)), (owners, words)), shape=(len(keypoints), words.max() + 1))
    weights_NW: np.ndarray = TfidfTransformer(sublinear_tf=True).fit_transform(found).toarray()
    return weights_NW


def symmetrise(descriptors_NB: np.ndarray) -> np.ndarray:
    """Descriptors that a mirror does not change, float32."""
    return take_roots(descriptors_NB) + take_roots(descriptors_NB[:, MIRRORED])
