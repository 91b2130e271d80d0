import math

import numpy as np
import pytest

from medimg.evaluation.classification.metrics import BINARY_METRICS
from medimg.evaluation.classification.weighted_sample import ScoredCases
from medimg.evaluation.paired_tests import adjust_holm, compare_aucs, compare_metrics, mcnemar
from tests.unit.evaluation.predictions import blur, draw_predictions
from tests.unit.evaluation.readers import FIRST, LABELS, SECOND


def test_two_readers_differ_as_in_proc():
    # roc.test(first, second, method="delong") of pROC 1.18.0: Z 2.126943, p 0.033424816152, 0.0109377677807
    # to 0.2677080655526 for first - second.
    test = compare_aucs(LABELS, SECOND, FIRST)
    assert test.p_value == pytest.approx(0.033424816152, abs=1e-11)
    assert (test.interval.low, test.interval.high) == pytest.approx(
        (0.0109377677807, 0.2677080655526), abs=1e-12
    )


def test_with_independent_cases_the_paired_bootstrap_agrees_with_delong():
    predictions = draw_predictions()
    labels = (predictions.label_malignancy == "Malignant").to_numpy().astype(int)
    first, second = (
        ScoredCases(
            labels, table[["p_malignancy_Benign", "p_malignancy_Malignant"]].to_numpy(), np.arange(300)
        )
        for table in (predictions, blur(predictions, noise=1.0))
    )
    # Under another name it is a metric as any other.
    drawn = compare_metrics(first, second, {"area": BINARY_METRICS["auc"]})["area"]
    exact = compare_aucs(labels, first.probabilities[:, 1], second.probabilities[:, 1])
    assert (drawn.interval.low, drawn.interval.high) == pytest.approx(
        (exact.interval.low, exact.interval.high), abs=0.005
    )


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [(4, 12, 0.076812744140625), (12, 21, 0.1637343543), (0, 0, 1.0), (3, 3, 1.0)],
)
def test_mcnemar_is_the_binomial_test_below_25_discordant_cases_and_that_of_r_above(
    only_first, only_second, p_value
):
    # 2 * pbinom(4, 16, 0.5), and mcnemar.test of R 4.2.2, which corrects for continuity: chi-squared 1.9394,
    # p 0.1637.
    right = np.repeat([True, False, True, False], [only_first, only_second, 50, 30])
    other = np.repeat([False, True, True, False], [only_first, only_second, 50, 30])
    assert mcnemar(right, other) == pytest.approx(p_value)


def test_holm_adjusts_step_by_step_and_does_not_count_what_is_undefined():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") of R 4.2.2.
    assert adjust_holm([0.01, 0.04, math.nan, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, math.nan, 0.06, 0.02], nan_ok=True
    )
