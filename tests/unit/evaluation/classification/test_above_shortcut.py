import numpy as np
import pytest

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
    assert (figure.n, figure.groups) == (model.n, model.groups)


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
