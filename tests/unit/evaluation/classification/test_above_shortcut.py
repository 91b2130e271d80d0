import numpy as np
import pytest

from medimg.errors import UsageError
from medimg.evaluation.classification.above_shortcut import measure_above_shortcut
from medimg.evaluation.classification.baselines import measure_baselines
from medimg.evaluation.figures import MeasurementSettings, measure
from medimg.evaluation.intervals import Bootstrap
from tests.unit.evaluation.classification.shortcut_tables import (
    HEADS,
    MALIGNANCY,
    draw_table,
    predict,
    value_of,
)


@pytest.fixture(scope="module")
def table():
    return draw_table()


@pytest.mark.parametrize("protocol", ["cases", "P4"])
def test_above_shortcut_is_the_difference_of_the_two_aucs(table, protocol):
    predictions = predict(table, strength=3)
    (figure,) = measure_above_shortcut(
        predictions, MeasurementSettings(HEADS, [protocol], bootstrap=Bootstrap(resamples=200))
    )
    assert (figure.name, figure.head) == ("auc_above_shortcut", "malignancy")
    (model,) = measure(
        predictions,
        MeasurementSettings(MALIGNANCY, [protocol], bootstrap=Bootstrap(resamples=0)),
        metrics=["auc"],
    )
    baselines = measure_baselines(
        predictions,
        table,
        MeasurementSettings(MALIGNANCY, [protocol], bootstrap=Bootstrap(resamples=0)),
        shortcuts=["source", "age_years"],
    )
    shortcut = value_of(baselines, "source + age_years", name="auc")
    assert figure.value == pytest.approx(model.value - shortcut.value)
    assert figure.low < figure.value < figure.high
    assert figure.low > 0
    assert (figure.n, figure.groups, figure.positives) == (model.n, model.groups, model.positives)
    assert figure.split == "test"


def test_protocols_and_heads_without_a_difference_are_passed_over_and_the_rest_is_measured(table):
    predictions = predict(table, strength=3).assign(shortcut_abnormality=0.5)
    views = {
        f"v_malignancy_{name}_CC": predictions[f"p_malignancy_{name}"] for name in MALIGNANCY["malignancy"]
    }
    figures = measure_above_shortcut(
        predictions.assign(**views),
        MeasurementSettings(
            {"density": ("low", "high"), "abnormality": HEADS["abnormality"], **MALIGNANCY},
            ["image", "P3", "cases"],
            bootstrap=Bootstrap(resamples=20),
        ),
    )
    assert [(figure.head, figure.protocol) for figure in figures] == [("malignancy", "cases")]


def test_the_first_case_without_a_shortcut_s_score_is_named(table):
    predictions = predict(table, strength=1)
    missing, another = predictions[predictions.split == "test"].index[[5, 9]]
    predictions.loc[[missing, another], "shortcut_malignancy"] = np.nan
    with pytest.raises(UsageError, match=f"no shortcut_malignancy for case {predictions.case_id[missing]},"):
        measure_above_shortcut(predictions, MeasurementSettings(MALIGNANCY, ["cases"]))


def test_patients_who_share_images_are_drawn_as_one_over_as_many_resamples_as_are_asked_for(table):
    predictions = predict(table, strength=3)
    clusters = [str(int(name) // 10) for name in predictions.group_id]
    bounds = []
    for columns in ({"cluster_id": clusters}, {"group_id": clusters}, {}):
        for resamples in (50, 51):
            (figure,) = measure_above_shortcut(
                predictions.assign(**columns),
                MeasurementSettings(MALIGNANCY, ["cases"], bootstrap=Bootstrap(resamples)),
            )
            bounds.append((figure.low, figure.high))
    assert bounds[:2] == bounds[2:4]
    assert len(set(bounds[2:])) == 4


def test_a_model_that_is_the_shortcut_is_exactly_nothing_above_it(table):
    predictions = predict(table, strength=1)
    copied = predictions.assign(
        p_malignancy_Malignant=predictions.shortcut_malignancy,
        p_malignancy_Benign=1 - predictions.shortcut_malignancy,
    )
    (figure,) = measure_above_shortcut(
        copied, MeasurementSettings(MALIGNANCY, ["cases"], bootstrap=Bootstrap(resamples=50))
    )
    assert (figure.value, figure.low, figure.high) == (0, 0, 0)


def test_the_paired_interval_is_narrower_than_that_of_unpaired_scores(table):
    predictions = predict(table, strength=1)
    near = (predictions.shortcut_malignancy + 0.02 * predictions.p_malignancy_Malignant) / 1.02
    like = predictions.assign(p_malignancy_Malignant=near, p_malignancy_Benign=1 - near)
    (paired,) = measure_above_shortcut(
        like, MeasurementSettings(MALIGNANCY, ["cases"], bootstrap=Bootstrap(resamples=200))
    )
    (single,) = measure(
        like, MeasurementSettings(MALIGNANCY, ["cases"], bootstrap=Bootstrap(resamples=200)), metrics=["auc"]
    )
    assert paired.high - paired.low < (single.high - single.low) / 2


def test_a_slice_of_one_class_has_no_difference(table):
    figures = measure_above_shortcut(
        predict(table, strength=3),
        MeasurementSettings(MALIGNANCY, ["cases"], slices=["source"], bootstrap=Bootstrap(resamples=50)),
    )
    assert {figure.slice: np.isnan(figure.value) for figure in figures} == {
        "overall": False,
        "source=D1": False,
        "source=D2": True,
    }
