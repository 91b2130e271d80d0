"""Neighbours, discrepancy and folds of a few cases, held against every pair of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from medimg.evaluation.representation.split_overlap import (
    find_class_neighbours,
    measure_discrepancy,
    measure_nearness,
    median_gamma,
    predict_split_membership,
    sum_kernels,
)


@pytest.fixture(scope="module")
def cases():
    """Vectors of unit length, groups of one to four cases, some in both splits, and which cases are test."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), generator.integers(1, 5, 30))
    vectors = generator.normal(size=(30, 4))[groups] + 0.6 * generator.normal(size=(len(groups), 4))
    is_test = np.where(groups < 5, generator.random(len(groups)) < 0.5, groups % 3 == 0)
    vectors[np.flatnonzero(is_test)[:2]] = vectors[np.flatnonzero(~is_test)[-2:]] + 0.01  # Nearly copies.
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), groups, is_test


def list_distances(vectors, others):
    return np.linalg.norm(vectors[:, None] - others[None], axis=2)


def test_nearness_is_that_of_every_pair(cases):
    vectors, groups, is_test = cases
    train, test = vectors[~is_test], vectors[is_test]
    train_groups, test_groups = groups[~is_test], groups[is_test]
    found = measure_nearness(train, test, train_groups=train_groups, test_groups=test_groups)
    to_train, to_test = list_distances(test, train), list_distances(test, test)
    to_test[test_groups[:, None] == test_groups[None]] = np.inf
    np.testing.assert_array_equal(found.is_in_train, to_train.min(axis=1) < to_test.min(axis=1))
    of_own_group = np.array([(test_groups == group).sum() for group in test_groups])
    assert found.in_train_by_chance == pytest.approx(
        np.mean(len(train) / (len(train) + len(test) - of_own_group))
    )
    within = list_distances(train, train)
    within[train_groups[:, None] == train_groups[None]] = np.inf
    nearest = np.sort(within.min(axis=1))
    bound = nearest[int(np.ceil(0.05 * (len(train) - 1)))]
    np.testing.assert_array_equal(found.is_close, to_train.min(axis=1) <= bound + 1e-9)
    assert found.close_by_chance == pytest.approx((nearest <= bound + 1e-9).mean())
    assert 0 < found.is_in_train.mean() < 1
    assert 0 < found.is_close.mean() < 1


def test_a_test_case_as_near_as_the_bound_is_close_and_one_beyond_it_is_not():
    # Each train case is at a right angle to all others, and so is the first test case.
    axes = np.eye(12)
    test = np.stack([axes[10], -axes[:10].sum(axis=0) / np.sqrt(10), (axes[0] + axes[1]) / np.sqrt(2)])
    near = measure_nearness(axes[:10], test, train_groups=np.arange(10), test_groups=np.arange(20, 23))
    assert near.is_close.tolist() == [True, False, True]
    assert near.close_by_chance == 1.0
    assert near.in_train_by_chance == pytest.approx(10 / 12)


def test_the_discrepancy_does_not_depend_on_how_cases_are_grouped_nor_on_the_rows_of_a_block(cases):
    vectors, groups, is_test = cases
    squared = list_distances(vectors, vectors) ** 2
    gamma = 0.5 / np.median(squared[np.triu_indices(len(vectors), k=1)])
    kernel = np.exp(-gamma * squared)
    np.fill_diagonal(kernel, 0)
    test, train = is_test.sum(), (~is_test).sum()
    expected = (
        kernel[np.ix_(~is_test, ~is_test)].sum() / (train * (train - 1))
        + kernel[np.ix_(is_test, is_test)].sum() / (test * (test - 1))
        - 2 * kernel[np.ix_(is_test, ~is_test)].mean()
    )
    for grouped in (groups, np.arange(len(groups))):
        assert measure_discrepancy(vectors, is_test, groups=grouped).value == pytest.approx(expected)
    assigned = np.stack([is_test, np.roll(is_test, 5)], axis=1).astype(float)
    whole = sum_kernels(vectors, assigned, gamma=gamma)
    assert whole[0] == pytest.approx(expected)
    np.testing.assert_allclose(sum_kernels(vectors, assigned, gamma=gamma, rows=7), whole)


def test_the_width_of_the_kernel_is_of_a_thousand_cases_at_most():
    vectors = np.random.default_rng(4).normal(size=(1001, 2))
    drawn = vectors[np.random.default_rng(0).permutation(1001)[:1000]]
    squared = list_distances(drawn, drawn)[np.triu_indices(1000, k=1)] ** 2
    found = median_gamma(vectors, np.random.default_rng(0))
    assert found == pytest.approx(0.5 / np.median(squared), rel=1e-9)
    whole = list_distances(vectors, vectors)[np.triu_indices(1001, k=1)] ** 2
    assert found != pytest.approx(0.5 / np.median(whole), rel=1e-9)


def test_the_p_value_counts_the_observed_split_among_500_others():
    generator = np.random.default_rng(1)
    apart = generator.normal(size=(60, 3)) + 9.0 * (np.arange(60) < 20)[:, None]
    is_test, groups = np.arange(60) < 20, np.arange(60)
    assert measure_discrepancy(apart, is_test, groups=groups).p_value == pytest.approx(1 / 501)
    alike = np.repeat(generator.normal(size=(30, 3)), 2, axis=0)
    each_once = measure_discrepancy(alike, np.arange(60) % 2 == 0, groups=groups)
    assert each_once.value < 0
    assert each_once.p_value > 0.95


def test_the_splits_are_told_apart_out_of_fold_by_a_balanced_regression_that_keeps_groups_together(cases):
    vectors, groups, is_test = cases
    found = predict_split_membership(vectors, is_test, groups=groups, seed=3)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=3).split(vectors, is_test, groups)
    expected = np.zeros((len(vectors), 2))
    for train, test in folds:
        model = LogisticRegression(class_weight="balanced").fit(vectors[train], is_test[train])
        expected[test] = model.predict_proba(vectors[test])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("chosen", [slice(None), slice(8)], ids=["many", "fewer than ten"])
def test_the_classes_of_neighbours_are_those_of_the_ten_nearest_of_other_groups(cases, chosen):
    vectors, groups, _ = (part[chosen] for part in cases)
    labels = np.random.default_rng(2).integers(0, 3, len(groups))
    queries = np.array([5, 0, 3])
    found = find_class_neighbours(vectors, labels, groups=groups, queries=queries, classes=4)
    for row, query in zip(found, queries, strict=True):
        others = np.flatnonzero(groups != groups[query])
        nearest = others[np.argsort(list_distances(vectors[[query]], vectors[others])[0])[:10]]
        expected = np.bincount(labels[nearest], minlength=4) / len(nearest)
        np.testing.assert_allclose(row, expected)
