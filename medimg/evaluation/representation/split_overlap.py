"""How alike two splits are, and how alike the classes.

Measured by nearest neighbours, by the maximum mean discrepancy, and by a classifier that tells the splits
apart.

Axes: N cases, D dimensions, T cases of the test split, C classes, P assignments of groups to splits. Vectors
are of `reduce_vectors`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import euclidean_distances
from sklearn.metrics.pairwise import rbf_kernel

from medimg.evaluation.representation.leakage_estimate import CLASSIFIERS, deal_folds, predict_out_of_fold
from medimg.nearest_neighbours import find_neighbours

CLOSE = 0.05
"""Share of the train cases that lie as close to another group's train case as those that count as close."""
CLASS_NEIGHBOURS = 10
PERMUTATIONS = 500
MEDIAN_OF = 1000
"""Cases whose distances the median is taken of; it needs no more."""
ROUNDING = 1e-12


@dataclass(frozen=True)
class Nearness:
    """Where the test cases' nearest neighbours are.

    A group's other cases in the test split are passed over, for they are alike by nature.

    Attributes:
        is_in_train: bool [T], whether the nearest case is a train case.
        in_train_by_chance: the share of that if the split had nothing to do with the vectors.
        is_close: bool [T], whether a train case is as near as the nearest 5 % of the train cases have one of
            another group.
        close_by_chance: the share of the train cases of which that is true.
    """

    is_in_train: np.ndarray
    in_train_by_chance: float
    is_close: np.ndarray
    close_by_chance: float


@dataclass(frozen=True)
class Discrepancy:
    """The squared maximum mean discrepancy.

    Attributes:
        value: about 0 for two samples of one distribution.
        p_value: of that.
    """

    value: float
    p_value: float


def measure_nearness(
    train_ND: np.ndarray, test_TD: np.ndarray, *, train_groups: np.ndarray, test_groups: np.ndarray
) -> Nearness:
    """Returns whether test cases are nearer to train cases than chance would put them.

    Copies are, and so are other images of a train group.

    Args:
        train_groups, test_groups: what each case belongs to; at least two in train.
    """
    _, number = np.unique(np.concatenate([train_groups, test_groups]), return_inverse=True)
    train_N, test_T = number[: len(train_groups)], number[len(train_groups) :]
    # No key of a train case equals that of a test case: a group in both splits is just what is looked for.
    keys = np.concatenate([np.full(len(train_N), -1), test_T])
    nearest_T1, _ = find_neighbours(
        test_TD, np.concatenate([train_ND, test_TD]), 1, exclusion_keys=(test_T, keys)
    )
    candidates_T = len(keys) - np.bincount(test_T)[test_T]
    _, to_train_T1 = find_neighbours(test_TD, train_ND, 1)
    _, within_train_N1 = find_neighbours(train_ND, train_ND, 1, exclusion_keys=(train_N, train_N))
    bound = np.quantile(within_train_N1, CLOSE, method="higher")
    return Nearness(
        is_in_train=nearest_T1[:, 0] < len(train_N),
        in_train_by_chance=float(np.mean(len(train_N) / candidates_T)),
        is_close=to_train_T1[:, 0] <= bound + ROUNDING,
        close_by_chance=float(np.mean(within_train_N1 <= bound + ROUNDING)),
    )


def measure_discrepancy(
    vectors_ND: np.ndarray, is_test: np.ndarray, *, groups: np.ndarray, seed: int = 0
) -> Discrepancy:
    """Returns the maximum mean discrepancy of train and test, unbiased and squared (Gretton et al. 2012).

    Its kernel is Gaussian, of the median distance's width. The p-value is of 500 permutations that move a
    group's cases of one split together: single cases of a group are no independent draws. Of a group that is
    in both splits the two parts move on their own.

    Args:
        is_test: bool [N].
        groups: [N]; at least two in each split.
    """
    generator = np.random.default_rng(seed)
    _, unit_N = np.unique(
        [f"{group}\n{test}" for group, test in zip(groups, is_test, strict=True)], return_inverse=True
    )
    is_test_unit = np.zeros(unit_N.max() + 1, dtype=bool)
    is_test_unit[unit_N] = is_test
    assignments = np.stack(
        [is_test_unit, *(generator.permutation(is_test_unit) for _ in range(PERMUTATIONS))], axis=1
    )
    values_P = sum_kernels(
        vectors_ND, assignments[unit_N].astype(np.float64), gamma=median_gamma(vectors_ND, generator)
    )
    return Discrepancy(float(values_P[0]), float(np.mean(values_P >= values_P[0] - ROUNDING)))


def median_gamma(vectors_ND: np.ndarray, generator: np.random.Generator) -> float:
    """1 / (2 median²) of the distances between cases, of 1,000 drawn ones where there are more."""
    drawn = vectors_ND[generator.permutation(len(vectors_ND))[:MEDIAN_OF]]
    squared = euclidean_distances(drawn, squared=True)[np.triu_indices(len(drawn), k=1)]
    return 0.5 / max(float(np.median(squared)), ROUNDING)


def sum_kernels(
    vectors_ND: np.ndarray, is_test_NP: np.ndarray, *, gamma: float, rows: int = 1000
) -> np.ndarray:
    """The unbiased squared discrepancy under each assignment, [P].

    The kernel's matrix is made some rows at a time.
    """
    vectors_ND = vectors_ND.astype(np.float64)
    total, of_test_P, within_test_P = 0.0, np.zeros(is_test_NP.shape[1]), np.zeros(is_test_NP.shape[1])
    for start in range(0, len(vectors_ND), rows):
        kernel_BN = rbf_kernel(vectors_ND[start : start + rows], vectors_ND, gamma=gamma)
        kernel_BN[np.arange(len(kernel_BN)), np.arange(start, start + len(kernel_BN))] = 0.0
        total += kernel_BN.sum()
        of_test_P += kernel_BN.sum(axis=1) @ is_test_NP[start : start + rows]
        within_test_P += (is_test_NP[start : start + rows] * (kernel_BN @ is_test_NP)).sum(axis=0)
    test_P = is_test_NP.sum(axis=0)
    train_P = len(vectors_ND) - test_P
    between_P = of_test_P - within_test_P
    within_train_P = total - 2 * between_P - within_test_P
    return (
        within_train_P / (train_P * (train_P - 1))
        + within_test_P / (test_P * (test_P - 1))
        - 2 * between_P / (train_P * test_P)
    )


def predict_split_membership(
    vectors_ND: np.ndarray, is_test: np.ndarray, *, groups: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Returns the probability of being a test case, [N, 2], out of fold.

    This is the classifier two-sample test (Lopez-Paz and Oquab 2017): a logistic regression, in folds that
    keep groups together. Where the splits are drawn from one distribution its AUC is about 0.5.
    """
    labels_N = is_test.astype(int)
    folds = deal_folds(vectors_ND, labels_N, groups=groups, seed=seed)
    return predict_out_of_fold(CLASSIFIERS["logistic"], vectors_ND, labels_N, folds=folds, classes=2)


def find_class_neighbours(
    vectors_ND: np.ndarray,
    labels: np.ndarray,
    *,
    groups: np.ndarray,
    queries: np.ndarray,
    classes: int,
) -> np.ndarray:
    """Returns of each query the share of its nearest neighbours that is of each class, [Q, C].

    They are the 10 nearest in other groups.

    Args:
        labels: class index, [N].
        queries: rows of the cases that are asked, [Q].
    """
    _, group_N = np.unique(groups, return_inverse=True)
    indices_Qk, distances_Qk = find_neighbours(
        vectors_ND[queries],
        vectors_ND,
        min(CLASS_NEIGHBOURS, len(vectors_ND)),
        exclusion_keys=(group_N[queries], group_N),
    )
    is_there_Qk = np.isfinite(distances_Qk)
    counts_QC = np.stack(
        [((labels[indices_Qk] == index) & is_there_Qk).sum(axis=1) for index in range(classes)], axis=1
    )
    return counts_QC / is_there_Qk.sum(axis=1, keepdims=True)
