"""Costs of wrong answers: the predicted class is that of least expected cost, in every figure alike."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multinomial

from medimg.errors import UsageError
from medimg.evaluation.classification.costs import (
    Costs,
    check_costs,
    make_cost_matrices,
    make_cost_matrix,
    read_cost_matrices,
)
from medimg.evaluation.classification.metrics import evaluate
from medimg.evaluation.classification.weighted_sample import make_sample, predict_classes

CLASSES = ("nv", "bkl", "mel")
HEADS = {"diagnosis": CLASSES, "malignancy": ("Benign", "Malignant")}
MISSED_MELANOMA = Costs("diagnosis", {"mel": {"nv": 20, "bkl": 10}, "bkl": {"mel": 2}})


def test_pairs_that_are_not_named_cost_one_and_right_answers_nothing() -> None:
    np.testing.assert_array_equal(
        make_cost_matrix(MISSED_MELANOMA, CLASSES), [[0, 1, 1], [1, 0, 2], [20, 10, 0]]
    )


def test_each_head_with_costs_has_its_matrix_from_values_of_a_config_too() -> None:
    free = Costs("malignancy", {"Benign": {"Malignant": 0.0}, "Malignant": {"Benign": 3, "Malignant": 0}})
    matrices = make_cost_matrices([MISSED_MELANOMA, free], heads=HEADS)
    plain = [{"head": one.head, "matrix": one.matrix} for one in (MISSED_MELANOMA, free)]
    for found in (matrices, read_cost_matrices(plain, heads=HEADS)):
        assert list(found) == ["diagnosis", "malignancy"]
        np.testing.assert_array_equal(found["diagnosis"], make_cost_matrix(MISSED_MELANOMA, CLASSES))
        np.testing.assert_array_equal(found["malignancy"], [[0, 0], [3, 0]])


def test_the_predicted_class_is_the_one_of_least_expected_cost() -> None:
    costs_CC = make_cost_matrix(MISSED_MELANOMA, CLASSES)
    generator = np.random.default_rng(0)
    probabilities_NC = generator.dirichlet(np.ones(3), 200)
    expected = []
    for p in probabilities_NC:
        costs = [
            p[0] * costs_CC[0, answer] + p[1] * costs_CC[1, answer] + p[2] * costs_CC[2, answer]
            for answer in range(3)
        ]
        expected.append(costs.index(min(costs)))
    np.testing.assert_array_equal(predict_classes(probabilities_NC, costs_CC), expected)


def test_equal_costs_decide_as_no_costs_do() -> None:
    probabilities_NC = np.random.default_rng(0).dirichlet(np.ones(3), 200)
    np.testing.assert_array_equal(
        predict_classes(probabilities_NC, 1 - np.eye(3)), predict_classes(probabilities_NC)
    )
    two_NC = np.array([[0.5, 0.5], [0.51, 0.49], [0.25, 0.75]])
    np.testing.assert_array_equal(predict_classes(two_NC, 1 - np.eye(2)), predict_classes(two_NC))


def test_of_two_classes_the_costs_are_a_threshold() -> None:
    costs_CC = make_cost_matrix(Costs("malignancy", {"Malignant": {"Benign": 9}}), HEADS["malignancy"])
    scores_N = np.array([0.05, 0.0999, 0.1001, 0.4])
    np.testing.assert_array_equal(
        predict_classes(np.stack([1 - scores_N, scores_N], axis=1), costs_CC), [0, 0, 1, 1]
    )


def test_no_other_rule_costs_less_where_the_probabilities_are_right() -> None:
    generator = np.random.default_rng(1)
    probabilities_NC = generator.dirichlet((8, 2, 0.5), 20_000)
    labels_N = multinomial.rvs(1, probabilities_NC, random_state=generator).argmax(axis=1)
    costs_CC = make_cost_matrix(MISSED_MELANOMA, CLASSES)
    samples = [
        make_sample(labels_N, probabilities_NC, costs_CC=decided_by) for decided_by in (costs_CC, None)
    ]
    by_costs, by_likelihood = ((sample.confusion[0] * costs_CC).sum() / len(labels_N) for sample in samples)
    figures = evaluate(labels_N, probabilities_NC, classes=CLASSES, costs_CC=costs_CC)
    assert by_costs < 0.8 * by_likelihood
    assert figures["mean_cost"] == pytest.approx(by_costs)
    assert (
        figures["sensitivity_mel"]
        > evaluate(labels_N, probabilities_NC, classes=CLASSES)["sensitivity_mel"] + 0.3
    )


def test_without_costs_there_is_no_mean_cost_and_what_needs_no_decision_does_not_change() -> None:
    generator = np.random.default_rng(2)
    labels_N, probabilities_NC = generator.integers(3, size=60), generator.dirichlet(np.ones(3), 60)
    plain = evaluate(labels_N, probabilities_NC, classes=CLASSES)
    with_costs = evaluate(
        labels_N, probabilities_NC, classes=CLASSES, costs_CC=make_cost_matrix(MISSED_MELANOMA, CLASSES)
    )
    assert set(with_costs) - set(plain) == {"mean_cost"}
    for name in ("macro_auc", "auc_mel", "average_precision_mel", "sensitivity_mel_at_specificity_95"):
        assert with_costs[name] == plain[name]
    assert with_costs["accuracy"] != plain["accuracy"]


@pytest.mark.parametrize(
    ("head", "matrix", "message"),
    [
        ("diagnoses", {}, "'diagnoses': no such head, did you mean 'diagnosis'"),
        ("diagnosis", {"mell": {"nv": 2}}, "no class 'mell'"),
        ("diagnosis", {"mel": {"nvs": 2}}, "no class 'nvs'"),
        ("diagnosis", {"mel": {"nv": -1}}, "-1 for mel answered as nv, expected 0 or more"),
        ("diagnosis", {"mel": {"nv": float("inf")}}, "inf for mel answered as nv"),
        ("diagnosis", {"mel": {"mel": 1}}, "1 for mel answered rightly, expected 0"),
        ("diagnosis", {"mel": {"mel": 0.5}}, "0.5 for mel answered rightly, expected 0"),
        ("diagnosis", {"nv": {"mel": 0}, "bkl": {"mel": 0}}, "answering mel never costs anything"),
    ],
)
def test_costs_that_no_decision_follows_from_are_refused_in_one_line(
    head: str, matrix: dict[str, dict[str, float]], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as found:
        check_costs([Costs("malignancy", {}), Costs(head, matrix)], heads=HEADS, prevalence="train")
    assert "\n" not in str(found.value)


def test_a_head_has_costs_once_and_probabilities_at_the_datas_own_frequencies() -> None:
    nothing_for_one = Costs("malignancy", {"Malignant": {"Benign": 5, "Malignant": 0}})
    check_costs([MISSED_MELANOMA, nothing_for_one], heads=HEADS, prevalence="train")
    check_costs([Costs("diagnosis", {"nv": {"mel": 0, "bkl": 0}})], heads=HEADS, prevalence="train")
    with pytest.raises(UsageError, match="found twice"):
        check_costs([MISSED_MELANOMA, MISSED_MELANOMA], heads=HEADS, prevalence="train")
    with pytest.raises(UsageError, match=r"logit_adjustment=post_hoc makes .* expected none"):
        check_costs([MISSED_MELANOMA], heads=HEADS, prevalence="balanced")
