import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from medimg.evaluation.classification.delong import auc_interval, estimate_aucs
from tests.unit.evaluation.obuchowski import draw_unequal_patients, estimate_by_loops
from tests.unit.evaluation.readers import FIRST, LABELS, SECOND, TOMOGRAPHY_LABELS, TOMOGRAPHY_RATINGS


def draw_patients(patients=200, *, seed=0):
    """Two breasts per patient, of which either may be malignant.

    What is seen and what is there are correlated within the patient.
    """
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), 2)
    labels = (generator.normal(0, 1, patients)[patient] + generator.normal(0, 1, 2 * patients) > 0).astype(
        int
    )
    return (
        labels,
        labels + generator.normal(0, 1.0, patients)[patient] + generator.normal(0, 0.7, 2 * patients),
        patient,
    )


def test_the_tomography_ratings_of_hanley_and_mcneil_have_their_published_auc_and_interval():
    # AUC 0.893 in Radiology 143:29 (1982); DeLong's standard error 0.0307 and interval 0.83295 to 0.95339 in
    # Stata's manual (roctab), and in pROC.
    aucs = estimate_aucs(TOMOGRAPHY_LABELS, TOMOGRAPHY_RATINGS[:, None])
    assert aucs.values[0] == pytest.approx(0.89317106, abs=5e-9)
    assert np.sqrt(aucs.covariance[0, 0]) == pytest.approx(0.03072441, abs=5e-9)
    interval = auc_interval(TOMOGRAPHY_LABELS, TOMOGRAPHY_RATINGS)
    assert (interval.low, interval.high) == pytest.approx((0.83295233, 0.95338980), abs=5e-9)


def test_the_wfns_grades_of_robin_have_their_published_auc_and_interval():
    # Robin et al., BMC Bioinformatics 12:77 (2011): outcome after subarachnoid haemorrhage by WFNS grade, AUC
    # 0.824 (0.749-0.899).
    labels = np.repeat([0, 1], [72, 41])
    grades = np.r_[np.repeat(range(1, 6), [37, 20, 3, 8, 4]), np.repeat(range(1, 6), [2, 12, 1, 8, 18])]
    interval = auc_interval(labels, grades)
    assert (interval.low, interval.high) == pytest.approx((0.7485348878, 0.8988228358), abs=5e-10)


def test_two_readers_have_the_covariance_of_proc():
    # var(roc) and cov(roc, roc) of pROC 1.18.0.
    aucs = estimate_aucs(LABELS, np.stack([FIRST, SECOND], axis=1))
    assert aucs.values == pytest.approx([0.953125, 0.813802083333])
    assert aucs.covariance == pytest.approx(
        np.array([[0.000934810914855, 0.000601309317130], [0.000601309317130, 0.004558559546724]]), abs=1e-14
    )


def test_cases_of_one_patient_each_have_the_variance_of_independent_cases():
    labels, scores, _ = draw_patients()
    alone = estimate_aucs(labels, scores[:, None]).covariance
    assert estimate_aucs(labels, scores[:, None], groups=np.arange(len(labels))).covariance == pytest.approx(
        alone
    )


def test_the_clustered_variance_is_that_of_leaving_out_each_patient_in_turn():
    labels, scores, patient = draw_patients()
    left_out = [
        estimate_aucs(labels[patient != one], scores[patient != one, None]).values[0] for one in range(200)
    ]
    jackknife = 199 / 200 * ((left_out - np.mean(left_out)) ** 2).sum()
    assert estimate_aucs(labels, scores[:, None], groups=patient).covariance[0, 0] == pytest.approx(
        jackknife, rel=0.03
    )
    assert estimate_aucs(labels, scores[:, None]).covariance[0, 0] != pytest.approx(jackknife, rel=0.03)


def test_auc_and_covariance_of_patients_with_several_cases_are_obuchowskis():
    labels, scores, patients = draw_unequal_patients()
    aucs = estimate_aucs(labels, scores, groups=patients)
    values, covariance = estimate_by_loops(labels, scores, patients)
    assert aucs.values == pytest.approx(values)
    assert aucs.covariance == pytest.approx(covariance, abs=1e-14)
    assert len({len(set(patients[chosen])) for chosen in (labels == 1, labels == 0, labels >= 0)}) == 3


def test_names_of_patients_are_text_whatever_their_type():
    labels, scores, patients = draw_unequal_patients()
    named = np.array([f"patient {number}" for number in patients])
    assert estimate_aucs(labels, scores, groups=named).covariance == pytest.approx(
        estimate_aucs(labels, scores, groups=patients).covariance
    )


@given(st.integers(0, 1000), st.sampled_from([np.exp, lambda scores: 3 * scores - 7, np.arctan]))
def test_an_auc_and_its_interval_depend_on_the_order_alone_and_turn_with_the_scores(seed, monotone):
    generator = np.random.default_rng(seed)
    labels = np.r_[0, 0, 1, 1, generator.integers(0, 2, 20)]
    scores = (labels * 0.7 + generator.normal(0, 1, 24)).round(1)
    interval, same, turned = (
        auc_interval(labels, changed) for changed in (scores, monotone(scores), -scores)
    )
    value = roc_auc_score(labels, scores)
    assert estimate_aucs(labels, scores[:, None]).values[0] == pytest.approx(value)
    assert interval.low <= value <= interval.high
    assert (same.low, same.high) == pytest.approx((interval.low, interval.high))
    assert (turned.low, turned.high) == pytest.approx((1 - interval.high, 1 - interval.low))
    more = auc_interval(np.tile(labels, 3), np.tile(scores, 3))
    assert more.high - more.low < interval.high - interval.low


def test_an_interval_is_cut_off_at_0_and_at_1():
    labels, scores = np.repeat([0, 1], 6), np.array([0, 1, 2, 3, 4, 6, 5, 7, 8, 9, 10, 11])
    best, worst = auc_interval(labels, scores), auc_interval(1 - labels, scores)
    assert (best.high, worst.low) == (1, 0)
    assert 0.8 < best.low < 35 / 36
    assert worst.high == pytest.approx(1 - best.low)


@pytest.mark.parametrize("rare", [0, 1])
def test_a_class_of_one_case_has_an_auc_and_no_interval(rare):
    labels = np.where(np.arange(12) == 4, rare, 1 - rare)
    assert estimate_aucs(labels, np.arange(12.0)[:, None]).values[0] == pytest.approx((4, 7)[1 - rare] / 11)
    interval = auc_interval(labels, np.arange(12.0))
    assert np.isnan([interval.low, interval.high]).all()
    assert interval.note == "no interval: DeLong's variance is not defined or 0 here"


def test_counting_each_case_twice_changes_the_clustered_interval_little_and_the_naive_one_much():
    labels, scores, _ = draw_patients()
    twice, double = np.tile(np.arange(400), 2), (np.tile(labels, 2), np.tile(scores, 2))
    once, clustered, naive = (
        interval.high - interval.low
        for interval in (
            auc_interval(labels, scores),
            auc_interval(*double, groups=twice),
            auc_interval(*double),
        )
    )
    assert clustered == pytest.approx(once, rel=0.01)
    assert naive == pytest.approx(once / np.sqrt(2), rel=0.01)


def test_a_perfect_ranking_has_no_delong_interval_and_says_so():
    interval = auc_interval(LABELS, LABELS)
    assert np.isnan(interval.low)
    assert "variance" in interval.note
