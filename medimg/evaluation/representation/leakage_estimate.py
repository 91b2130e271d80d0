"""Estimates what a split by case would leak, from plain pixels and simple classifiers.

The leak is what such a split gains over one that keeps groups together. Several images of one lesion, or
crops of one slide, resemble each other more than their classes do. A split that puts some of them into train
and some into test rewards a model for recognising them.

Axes: N cases, D dimensions, C classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier

FOLDS = 5
CLASSIFIERS: Mapping[str, BaseEstimator] = {
    "nearest": KNeighborsClassifier(1),
    "logistic": LogisticRegression(class_weight="balanced", max_iter=1000),
}


@dataclass(frozen=True)
class Leak:
    """A classifier's probabilities out of fold, [N, C] each.

    Attributes:
        by_case: in folds dealt case by case.
        by_group: in folds that keep groups together.
    """

    by_case: np.ndarray
    by_group: np.ndarray


def estimate_leak(
    vectors_ND: np.ndarray, labels: np.ndarray, *, groups: np.ndarray, classes: int, seed: int = 0
) -> dict[str, Leak]:
    """The nearest neighbour's and a logistic regression's answers under both ways of dealing.

    What they gain by the first is what leaks.

    Args:
        vectors_ND: of `reduce_vectors`.
        labels: class index, [N], of at least two classes.
        groups: [N], at least 5; where no group has two cases there is nothing to leak, and the two are alike.
    """
    by_case = deal_folds(vectors_ND, labels, groups=np.arange(len(labels)), seed=seed)
    by_group = deal_folds(vectors_ND, labels, groups=groups, seed=seed)
    return {
        name: Leak(
            predict_out_of_fold(model, vectors_ND, labels, folds=by_case, classes=classes),
            predict_out_of_fold(model, vectors_ND, labels, folds=by_group, classes=classes),
        )
        for name, model in CLASSIFIERS.items()
    }


def deal_folds(
    vectors_ND: np.ndarray, labels: np.ndarray, *, groups: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of train and test of five folds, stratified, no group in two."""
    with warnings.catch_warnings():
        # Of a class with fewer than five cases; a fold without one is scored all the same.
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(
            StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(vectors_ND, labels, groups)
        )


def predict_out_of_fold(
    model: BaseEstimator,
    vectors_ND: np.ndarray,
    labels: np.ndarray,
    *,
    folds: Iterable[tuple[np.ndarray, np.ndarray]],
    classes: int,
) -> np.ndarray:
    """Probabilities [N, C] of each case by a classifier that was fitted without its fold.

    0 for a class that the other folds lack.
    """
    probabilities_NC = np.zeros((len(labels), classes))
    for train, test in folds:
        known = np.unique(labels[train])
        if len(known) == 1:
            probabilities_NC[test, known] = 1.0
        else:
            probabilities_NC[np.ix_(test, known)] = (
                clone(model).fit(vectors_ND[train], labels[train]).predict_proba(vectors_ND[test])
            )
    return probabilities_NC
