"""Every case out of fold: which rows its baseline may be fitted on, and the figures of each fold."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medimg.evaluation.figures import MeasurementSettings, measure
from medimg.evaluation.folds import OUT_OF_FOLD, list_fits, measure_folds, note_folds
from medimg.evaluation.intervals import Bootstrap
from medimg.evaluation.protocols import find_protocols
from tests.unit.evaluation.predictions import HEADS, draw_predictions

FOLDS = 4
MALIGNANCY = {"malignancy": HEADS["malignancy"]}


@pytest.fixture(scope="module")
def pooled():
    table = draw_predictions(patients=80)
    return table.assign(split=OUT_OF_FOLD, fold=np.arange(160) // 2 % FOLDS)


def make_table():
    """Two rows of each fold, one of which is excluded, and two that were dealt to none."""
    fold = [0, 0, 1, 1, 2, 2, 3, 3, None, None]
    return pd.DataFrame(
        {
            "case_id": [f"case {index}" for index in range(10)],
            "fold": pd.array(fold, dtype="Int64"),
            "status": ["used", "excluded"] * 5,
            "split": ["train", "eval", "eval", "train", "test", "eval", "train", "test", "train", "train"],
            "clinical_source": [None, "D1"] * 5,
        }
    )


def test_a_baseline_of_cases_out_of_fold_is_fitted_on_what_was_the_train_split_of_their_fold():
    cases = pd.DataFrame({"case_id": ["a", "b", "c"], "fold": [0, 2, 0]})
    fits = [
        (list(tested.case_id), list(fitted.case_id))
        for tested, fitted in list_fits(cases, make_table(), split=OUT_OF_FOLD)
    ]
    # The fold after the tested one is eval, the two others are train; excluded rows are in neither.
    assert fits == [
        (["a", "c"], ["case 4", "case 6"]),
        ([], ["case 0", "case 6"]),
        (["b"], ["case 0", "case 2"]),
        ([], ["case 2", "case 4"]),
    ]


@pytest.mark.parametrize("split", ["test", "eval", "train"])
def test_a_baseline_of_any_other_split_is_fitted_on_the_used_rows_of_train(split):
    cases = pd.DataFrame({"case_id": ["a"]})
    ((tested, fitted),) = list_fits(cases, make_table(), split=split)
    assert list(tested.case_id) == ["a"]
    assert list(fitted.case_id) == ["case 0", "case 6", "case 8"]


def test_each_fold_has_its_own_figures_without_intervals(pooled):
    (protocol,) = find_protocols(["P1"])
    stray = pooled.head(8).assign(split="test", fold=7)
    figures = measure_folds(
        pd.concat([pooled, stray]), heads=MALIGNANCY, protocol=protocol, metrics=["auc", "accuracy"]
    )
    assert list(figures) == [0, 1, 2, 3]
    for number, of_fold in figures.items():
        rows = pooled[pooled.fold == number]
        values = {figure.name: figure for figure in of_fold}
        assert list(values) == ["auc", "accuracy"]
        assert values["auc"].value == pytest.approx(
            roc_auc_score(rows.label_malignancy == "Malignant", rows.p_malignancy_Malignant)
        )
        assert (values["auc"].n, values["auc"].split, values["auc"].protocol) == (40, OUT_OF_FOLD, "P1")
        assert math.isnan(values["auc"].low)


def test_folds_are_answered_by_the_costs(pooled):
    (protocol,) = find_protocols(["P1"])
    costs = {"malignancy": np.array([[0.0, 1.0], [9.0, 0.0]])}
    found = measure_folds(pooled, heads=MALIGNANCY, protocol=protocol, metrics=["sensitivity"], costs=costs)
    for number, (figure,) in found.items():
        malignant = pooled[(pooled.fold == number) & (pooled.label_malignancy == "Malignant")]
        assert figure.value == pytest.approx((malignant.p_malignancy_Malignant >= 0.1).mean())


def test_pooled_figures_say_how_many_models_are_behind_them_before_their_own_note(pooled):
    settings = MeasurementSettings(MALIGNANCY, ["P1"], split=OUT_OF_FOLD, bootstrap=Bootstrap(0))
    figures = measure(pooled, settings, metrics=["auc"])
    words = "folds pooled, each scored by a model that was trained without it"
    assert [one.note for one in note_folds(figures, 4)] == [f"4 {words}; no interval: none is asked for"]
    assert note_folds(figures, 1)[0].note.startswith(f"1 {words}")
    assert note_folds(figures, 0) == figures
