"""The leak of a split by case.

It is found where groups have several images that resemble each other, and absent where they have not.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier

from medimg.evaluation.representation.leakage_estimate import estimate_leak
from medimg.evaluation.representation.maps import reduce_vectors
from tests.unit.evaluation.representation.vectors import draw_vectors


def score(*, per_group, own, groups=60):
    """Accuracy by case and by group of each classifier.

    The label has nothing to do with the vectors but for the group that they show.
    """
    vectors, group_N = draw_vectors(groups, per_group=per_group, own=own)
    labels = np.random.default_rng(1).integers(2, size=groups)[group_N]
    leaks = estimate_leak(reduce_vectors(vectors), labels, groups=group_N, classes=2)
    return {
        name: (
            np.mean(leak.by_case.argmax(axis=1) == labels),
            np.mean(leak.by_group.argmax(axis=1) == labels),
        )
        for name, leak in leaks.items()
    }


def test_nearly_equal_images_of_a_group_leak_its_label_to_a_split_by_case_and_to_no_split_by_group():
    by_case, by_group = score(per_group=5, own=0.1)["nearest"]
    assert by_case > 0.95
    assert by_group == pytest.approx(0.5, abs=0.15)


def test_a_logistic_regression_gains_less_than_the_nearest_neighbour_which_knows_each_image():
    both = score(per_group=5, own=0.1)
    assert 0 < both["logistic"][0] - both["logistic"][1] < both["nearest"][0] - both["nearest"][1]


def test_images_that_share_nothing_but_the_name_of_their_group_leak_nothing():
    vectors, _ = draw_vectors(300, seed=5)
    group_N = np.repeat(np.arange(60), 5)
    labels = group_N % 2
    for leak in estimate_leak(reduce_vectors(vectors), labels, groups=group_N, classes=2).values():
        by_case, by_group = (
            np.mean(scores.argmax(axis=1) == labels) for scores in (leak.by_case, leak.by_group)
        )
        assert by_case - by_group == pytest.approx(0, abs=0.12)


def test_each_case_is_answered_by_classifiers_that_were_fitted_without_its_fold():
    vectors, group_N = draw_vectors(24, per_group=3, own=0.3, seed=2)
    labels = np.random.default_rng(1).integers(3, size=24)[group_N]
    found = estimate_leak(vectors, labels, groups=group_N, classes=3, seed=6)
    models = {
        "nearest": KNeighborsClassifier(1),
        "logistic": LogisticRegression(class_weight="balanced", max_iter=1000),
    }
    assert list(found) == list(models)
    for name, model in models.items():
        for groups, scores in ((np.arange(72), found[name].by_case), (group_N, found[name].by_group)):
            expected = np.zeros((72, 3))
            for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=6).split(
                vectors, labels, groups
            ):
                expected[test] = model.fit(vectors[train], labels[train]).predict_proba(vectors[test])
            np.testing.assert_allclose(scores, expected)


def test_where_all_other_folds_are_of_one_class_that_is_the_answer():
    vectors, group_N = draw_vectors(10, per_group=2)
    labels = (group_N == 3).astype(int)
    estimates = estimate_leak(vectors, labels, groups=group_N, classes=2)
    for leak in estimates.values():
        np.testing.assert_array_equal(leak.by_group[group_N == 3], [[1, 0], [1, 0]])


def test_a_class_that_only_one_group_has_is_scored_0_where_that_group_is_left_out():
    vectors, group_N = draw_vectors(20, per_group=2)
    labels = np.where(group_N == 7, 2, group_N % 2)
    by_group = estimate_leak(reduce_vectors(vectors), labels, groups=group_N, classes=3)["logistic"].by_group
    assert (by_group[group_N == 7, 2] == 0).all()
    np.testing.assert_allclose(by_group.sum(axis=1), 1.0)
