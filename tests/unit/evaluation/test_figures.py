import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medimg.errors import UsageError
from medimg.evaluation.classification.metrics import METRICS
from medimg.evaluation.classification.weighted_sample import ScoredCases
from medimg.evaluation.figures import (
    MeasurementSettings,
    measure,
)
from medimg.evaluation.intervals import Bootstrap, bootstrap_intervals
from medimg.evaluation.protocols import Protocol, find_protocols, roll_up
from tests.unit.evaluation.predictions import HEADS, draw_predictions

MALIGNANCY = {"malignancy": HEADS["malignancy"]}


def find(figures, name, *, slice_name="overall", protocol="P1", head="malignancy"):
    (figure,) = [
        f for f in figures if (f.name, f.slice, f.protocol, f.head) == (name, slice_name, protocol, head)
    ]
    return figure


@pytest.fixture(scope="module")
def predictions():
    return draw_predictions()


@pytest.fixture(scope="module")
def figures(predictions):
    return measure(
        predictions,
        MeasurementSettings(
            HEADS,
            ["P1", "P2", "P4"],
            slices=["source", "laterality"],
            bootstrap=Bootstrap(resamples=100),
        ),
    )


def test_a_figure_is_the_metric_of_its_slice_with_its_counts(predictions, figures):
    d1 = predictions[predictions.clinical_source == "D1"]
    figure = find(figures, "auc", slice_name="source=D1")
    assert figure.value == pytest.approx(
        roc_auc_score(d1.label_malignancy == "Malignant", d1.p_malignancy_Malignant)
    )
    assert (figure.n, figure.positives, figure.groups) == (
        len(d1),
        (d1.label_malignancy == "Malignant").sum(),
        d1.group_id.nunique(),
    )
    assert (figure.level, figure.split) == ("breast", "test")
    assert figure.low < figure.value < figure.high


def test_protocol_p2_is_p1_on_d1(figures):
    assert find(figures, "auc", protocol="P2").value == find(figures, "auc", slice_name="source=D1").value


def test_a_patient_is_positive_if_either_breast_is_and_has_the_higher_probability(predictions, figures):
    patients = predictions.assign(truth=predictions.label_malignancy == "Malignant").groupby("level_patient")
    truth, score = patients.truth.max(), patients.p_malignancy_Malignant.max()
    figure = find(figures, "auc", protocol="P4")
    assert figure.value == pytest.approx(roc_auc_score(truth, score))
    assert (figure.n, figure.groups, figure.positives) == (150, 150, truth.sum())


def test_a_value_that_differs_within_a_patient_is_in_no_patient_slice(figures):
    assert {f.slice for f in figures if f.protocol == "P4"} == {"overall", "source=D1", "source=D2"}


def test_cases_without_a_label_count_for_no_figure_of_that_head(predictions, figures):
    assert find(figures, "macro_auc", head="abnormality").n == predictions.label_abnormality.notna().sum()
    assert find(figures, "auc").n == len(predictions)


def test_a_protocol_without_meaning_for_a_head_says_so(figures):
    assert "two classes" in find(figures, "macro_auc", head="abnormality", protocol="P4").note


@pytest.fixture(scope="module")
def with_unlabelled(predictions):
    """Of every fifth patient the right breast has no label; every seventh patient lacks a view."""
    patient = predictions.index // 2
    unlabelled = (patient % 5 == 0) & (predictions.index % 2 == 1)
    return predictions.assign(
        label_malignancy=predictions.label_malignancy.mask(unlabelled, None),
        image_count=[1 if number % 7 == 0 else 2 for number in patient],
    )


def test_protocol_p3_counts_the_unlabelled_breasts_of_four_view_patients_as_negative(with_unlabelled):
    four_views = with_unlabelled[with_unlabelled.image_count == 2]
    figure = find(
        measure(with_unlabelled, MeasurementSettings(MALIGNANCY, ["P3"], bootstrap=Bootstrap(resamples=20))),
        "auc",
        protocol="P3",
    )
    positive = four_views.label_malignancy == "Malignant"
    assert figure.value == pytest.approx(roc_auc_score(positive, four_views.p_malignancy_Malignant))
    assert (figure.n, figure.positives, figure.groups) == (
        len(four_views),
        positive.sum(),
        four_views.group_id.nunique(),
    )


def test_unlabelled_cases_count_for_p3_alone(with_unlabelled):
    labelled = with_unlabelled[with_unlabelled.label_malignancy.notna()]
    for name in ("P1", "P2", "P4"):
        settings = MeasurementSettings(MALIGNANCY, [name], bootstrap=Bootstrap(resamples=20))
        pairs = zip(measure(with_unlabelled, settings), measure(labelled, settings), strict=True)
        assert all((one.n, one.value) == (other.n, other.value) for one, other in pairs)


def test_p3_without_unlabelled_cases_has_no_figure_and_says_how_to_get_one(predictions):
    (figure,) = measure(predictions.assign(image_count=2), MeasurementSettings(MALIGNANCY, ["P3"]))
    assert figure.n == 0
    assert "examples.unlabelled" in figure.note


def test_a_protocol_of_cases_of_which_none_was_scored_has_no_figure_and_says_so(predictions):
    d2 = predictions[predictions.clinical_source == "D2"]
    (figure,) = measure(
        d2, MeasurementSettings(MALIGNANCY, ["P2"], slices=[], bootstrap=Bootstrap(resamples=0))
    )
    assert (figure.n, figure.note) == (0, "P2 counts cases with source D1; none of them was scored")
    assert math.isnan(figure.value)


def test_a_protocol_without_figures_does_not_keep_those_after_it_from_theirs(predictions):
    settings = MeasurementSettings(MALIGNANCY, ["image", "P1"], bootstrap=Bootstrap(resamples=0))
    found = measure(predictions, settings, metrics=["accuracy"])
    assert [(one.protocol, one.name, one.n) for one in found] == [
        ("image", "auc", 0),
        ("P1", "accuracy", 300),
    ]


def test_p3_has_no_meaning_for_a_head_without_its_class(predictions):
    (figure,) = measure(predictions, MeasurementSettings({"abnormality": HEADS["abnormality"]}, ["P3"]))
    assert "no class of this head" in figure.note


def test_the_image_level_takes_each_view_alone_with_the_label_of_its_breast(predictions):
    views = {
        "CC": predictions.p_malignancy_Malignant**2,
        "MLO": predictions.p_malignancy_Malignant.mask(predictions.index % 4 == 0),
    }
    table = predictions.assign(**{f"v_malignancy_Malignant_{role}": score for role, score in views.items()})
    table = table.assign(**{f"v_malignancy_Benign_{role}": 1 - score for role, score in views.items()})
    figure = find(
        measure(table, MeasurementSettings(MALIGNANCY, ["image"], bootstrap=Bootstrap(resamples=50))),
        "auc",
        protocol="image",
    )
    scores = pd.concat(views.values()).dropna()
    assert figure.value == pytest.approx(
        roc_auc_score(table.label_malignancy[scores.index] == "Malignant", scores)
    )
    assert (figure.level, figure.n, figure.groups) == ("image", 300 + 225, 150)


def test_without_probabilities_of_single_views_the_image_level_says_so(predictions):
    (figure,) = measure(predictions, MeasurementSettings(MALIGNANCY, ["image"]))
    assert "no probability from one view" in figure.note


def test_costs_decide_the_answers_of_their_head_alone(predictions):
    settings = MeasurementSettings(HEADS, ["P1"], bootstrap=Bootstrap(resamples=0))
    found = measure(predictions, settings, costs={"malignancy": np.array([[0.0, 1.0], [9.0, 0.0]])})
    malignant = predictions[predictions.label_malignancy == "Malignant"]
    assert find(found, "sensitivity").value == pytest.approx((malignant.p_malignancy_Malignant >= 0.1).mean())
    assert [one.head for one in found if one.name == "mean_cost"] == ["malignancy"]
    labelled = predictions[predictions.label_abnormality.notna()]
    columns = [f"p_abnormality_{name}" for name in HEADS["abnormality"]]
    answers = np.array(HEADS["abnormality"])[labelled[columns].to_numpy().argmax(axis=1)]
    accuracy = find(found, "accuracy", head="abnormality")
    assert accuracy.value == pytest.approx((answers == labelled.label_abnormality).mean())
    assert accuracy.positives is None
    both = labelled.label_abnormality == "both"
    assert find(found, "sensitivity_both", head="abnormality").value == pytest.approx(
        (answers[both] == "both").mean()
    )


def test_the_intervals_are_of_as_many_resamples_as_are_asked_for(predictions):
    labels = (predictions.label_malignancy == "Malignant").to_numpy().astype(int)
    cases = ScoredCases(
        labels, predictions.p_malignancy_Malignant.to_numpy(), predictions.group_id.to_numpy()
    )
    bootstrap = Bootstrap(resamples=70, seed=3)
    expected = bootstrap_intervals(cases, {"auc": METRICS["auc"]}, bootstrap)["auc"]
    (figure,) = measure(
        predictions, MeasurementSettings(MALIGNANCY, ["P1"], bootstrap=bootstrap), metrics=["auc"]
    )
    assert (figure.low, figure.high) == pytest.approx((expected.low, expected.high))


def test_slices_are_named_by_their_values_in_order_and_cases_without_a_value_are_in_none(predictions):
    ages = np.array([62.5, 40.0, float(np.float32(0.1)), np.nan, 9.0, 40.0])
    table = predictions.assign(
        clinical_age=ages[np.arange(300) // 50], clinical_views=np.arange(300) // 150 + 2
    )
    settings = MeasurementSettings(
        MALIGNANCY, ["cases"], slices=["age", "views"], bootstrap=Bootstrap(resamples=0)
    )
    found = measure(table, settings, metrics=["accuracy"])
    assert [(one.slice, one.n) for one in found] == [
        ("overall", 300),
        ("age=0.1", 50),
        ("age=40", 100),
        ("age=62.5", 50),
        ("age=9", 50),
        ("views=2", 150),
        ("views=3", 150),
    ]


def test_patients_who_share_images_are_drawn_as_one(predictions):
    joined = predictions.assign(cluster_id=[f"{int(name[3:]) // 3}" for name in predictions.group_id])
    by_hand = predictions.assign(group_id=joined.cluster_id)
    for protocol in ("P1", "P4"):
        together, alone, expected = (
            find(
                measure(
                    table, MeasurementSettings(MALIGNANCY, [protocol], bootstrap=Bootstrap(resamples=50))
                ),
                "auc",
                protocol=protocol,
            )
            for table in (joined, predictions, by_hand)
        )
        assert (together.low, together.high) == (expected.low, expected.high) != (alone.low, alone.high)
        assert (together.groups, together.value) == (150, alone.value)


def test_mean_rolls_up_several_classes_and_leaves_out_units_that_disagree(predictions):
    rolled = roll_up(
        predictions,
        protocol=find_protocols(["patient-mean"])[0],
        head="abnormality",
        classes=HEADS["abnormality"],
    )
    labelled = predictions[predictions.label_abnormality.notna()]
    agreeing = labelled.groupby("level_patient").label_abnormality.nunique() == 1
    assert set(rolled.case_id) == set(agreeing[agreeing].index)
    first = labelled[labelled.level_patient == rolled.case_id[0]]
    assert rolled.p_abnormality_mass[0] == pytest.approx(first.p_abnormality_mass.mean())


def test_other_splits_and_the_order_of_rows_change_nothing(predictions):
    settings = MeasurementSettings(MALIGNANCY, ["P4"], bootstrap=Bootstrap(50))
    shuffled = pd.concat(
        [predictions.sample(frac=1, random_state=0), predictions.head(20).assign(split="train")]
    )
    for first, second in zip(measure(predictions, settings), measure(shuffled, settings), strict=True):
        assert (first.n, first.value, first.low) == pytest.approx((second.n, second.value, second.low))


def test_a_slice_of_one_class_has_counts_and_a_reason_but_no_value(predictions):
    table = predictions.assign(clinical_source=predictions.clinical_source.mask(predictions.index < 6, "D3"))
    table.loc[table.clinical_source == "D3", "label_malignancy"] = "Benign"
    figure = find(
        measure(
            table,
            MeasurementSettings(MALIGNANCY, ["P1"], slices=["source"], bootstrap=Bootstrap(resamples=20)),
        ),
        "auc",
        slice_name="source=D3",
    )
    assert math.isnan(figure.value)
    assert (figure.n, figure.positives) == (6, 0)
    assert "class is missing" in figure.note


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"slices": ["sourc"]}, "did you mean 'clinical_source'"),
        ({"slices": ["source", "lateralty"]}, "did you mean 'clinical_laterality'"),
        ({"heads": {"malignant": ("Benign", "Malignant")}}, "label_malignancy"),
        ({"heads": {"malignancy": ("benign", "malignant")}}, "p_malignancy_benign"),
        ({"protocols": [Protocol("X", "exam", "max", "")]}, "level_exam"),
        ({"protocols": [Protocol("X", "breast", "none", "", images_per_group=4)]}, "image_count"),
    ],
)
def test_a_missing_column_is_named_with_the_nearest(predictions, change, words):
    with pytest.raises(UsageError, match=words):
        measure(predictions, dataclasses.replace(MeasurementSettings(MALIGNANCY, ["P1"]), **change))


def test_figures_that_need_the_datas_frequencies_are_refused_by_name_and_the_others_stay(predictions):
    settings = MeasurementSettings(HEADS, ["P1"], bootstrap=Bootstrap(resamples=0))
    meant = dataclasses.replace(settings, prevalence="balanced")
    before, after = measure(predictions, settings), measure(predictions, meant)
    assert {(one.head, one.name) for one in before} == {(one.head, one.name) for one in after}
    values = {(one.head, one.name): one.value for one in before}
    refused = {one.name for one in after if one.note.startswith("not measured: it needs probabilities")}
    assert refused >= {"brier", "ece", "net_benefit_2", "accuracy", "sensitivity", "f1"}
    assert not refused & {"auc", "average_precision", "sensitivity_at_specificity_90"}
    for one in after:
        if one.name in refused and one.head == "malignancy":
            assert math.isnan(one.value)
            assert one.n == 0
        else:
            assert one.value == pytest.approx(values[one.head, one.name], nan_ok=True)
    chosen = measure(predictions, meant, metrics={"auc", "brier"})
    assert [one.name for one in chosen if one.head == "malignancy"] == ["auc", "brier"]


def test_an_unknown_protocol_is_refused():
    with pytest.raises(UsageError, match="'P1'"):
        find_protocols(["P11"])
