"""What holds train against test.

Nothing is found between two samples of one distribution, a shift and copies are.
"""

from __future__ import annotations

import numpy as np
import pytest

from medimg.evaluation.classification.metrics import auc
from medimg.evaluation.representation.maps import reduce_vectors
from medimg.evaluation.representation.split_overlap import (
    find_class_neighbours,
    measure_discrepancy,
    measure_nearness,
    predict_split_membership,
)
from tests.unit.evaluation.representation.vectors import deal_groups, draw_vectors


def draw_splits(*, shift=0.0, seed=0, per_group=2):
    vectors, groups = draw_vectors(150, per_group=per_group, seed=seed)
    is_test = deal_groups(groups, seed=seed) == "test"
    vectors[is_test, 0] += shift
    return reduce_vectors(vectors), is_test, groups


def compare_nearness(vectors, is_test, groups):
    return measure_nearness(
        vectors[~is_test], vectors[is_test], train_groups=groups[~is_test], test_groups=groups[is_test]
    )


def test_the_p_value_of_two_samples_of_one_distribution_is_small_as_rarely_as_it_should_be():
    p_values = [
        measure_discrepancy(*draw_splits(seed=seed)[:2], groups=draw_splits(seed=seed)[2], seed=seed).p_value
        for seed in range(20)
    ]
    assert sum(p <= 0.05 for p in p_values) <= 4  # Of 20 at 5 %: 5 or more would come up in 1 of 400 draws.
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.25)


def test_single_cases_of_a_group_are_not_taken_for_independent_draws():
    """Five nearly equal images per group.

    Permuting cases instead of groups would find a difference in most of these equal splits.
    """
    found = 0
    for seed in range(10):
        vectors, groups = draw_vectors(40, per_group=5, own=0.1, seed=seed)
        is_test = deal_groups(groups, seed=seed) == "test"
        found += (
            measure_discrepancy(reduce_vectors(vectors), is_test, groups=groups, seed=seed).p_value <= 0.05
        )
    assert found <= 3


def test_a_shifted_test_split_is_found_by_discrepancy_classifier_and_neighbours():
    vectors, is_test, groups = draw_splits(shift=3.0)
    discrepancy = measure_discrepancy(vectors, is_test, groups=groups)
    assert discrepancy.p_value < 0.01
    assert discrepancy.value > 0
    assert auc(is_test, predict_split_membership(vectors, is_test, groups=groups)[:, 1]) > 0.8
    near = compare_nearness(vectors, is_test, groups)
    assert near.is_in_train.mean() < near.in_train_by_chance - 0.2


def test_the_discrepancy_is_gretton_s_unbiased_estimate():
    generator = np.random.default_rng(1)
    vectors, is_test = generator.normal(size=(7, 3)), np.array([0, 0, 0, 0, 1, 1, 1], dtype=bool)
    squared = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    kernel = np.exp(-squared / (2 * np.median(squared[np.triu_indices(7, k=1)])))
    pairs = {(one, other): [] for one in (0, 1) for other in (0, 1)}
    for i in range(7):
        for j in range(7):
            if i != j:
                pairs[int(is_test[i]), int(is_test[j])].append(kernel[i, j])
    expected = np.mean(pairs[0, 0]) + np.mean(pairs[1, 1]) - 2 * np.mean(pairs[0, 1])
    assert measure_discrepancy(vectors, is_test, groups=np.arange(7)).value == pytest.approx(expected)


def test_without_copies_test_cases_are_as_near_to_train_as_chance_has_it():
    near = compare_nearness(*draw_splits(per_group=3))
    assert near.is_in_train.mean() == pytest.approx(near.in_train_by_chance, abs=0.12)
    assert near.is_close.mean() == pytest.approx(near.close_by_chance, abs=0.06)


@pytest.mark.parametrize("same_group", [True, False])
def test_copies_across_the_splits_raise_both_shares_whether_or_not_they_bear_one_group_s_name(same_group):
    vectors, is_test, groups = draw_splits(per_group=1)
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    copied = test[: len(test) // 2]
    vectors[copied] = vectors[train[: len(copied)]] + 1e-4
    if same_group:
        groups[copied] = groups[train[: len(copied)]]
    near = compare_nearness(vectors, is_test, groups)
    assert near.is_in_train[: len(copied)].all()
    assert near.is_close[: len(copied)].all()
    assert near.is_in_train.mean() > near.in_train_by_chance + 0.1
    assert near.is_close.mean() > near.close_by_chance + 0.35


def test_neighbours_of_a_case_s_own_group_say_nothing_of_its_class():
    vectors, groups = draw_vectors(60, per_group=4, own=0.01, seed=3)
    labels = groups % 3
    shares = find_class_neighbours(vectors, labels, groups=groups, queries=np.arange(len(labels)), classes=3)
    assert shares.shape == (240, 3)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert shares[np.arange(240), labels].mean() == pytest.approx(1 / 3, abs=0.1)


def test_classes_that_lie_apart_are_their_own_neighbours():
    vectors, groups = draw_vectors(40, seed=4)
    labels = groups % 2
    vectors[labels == 1] += 10
    shares = find_class_neighbours(
        vectors - vectors.mean(axis=0), labels, groups=groups, queries=np.array([0, 1]), classes=2
    )
    assert shares.tolist() == [[1.0, 0.0], [0.0, 1.0]]
