import numpy as np
import pandas as pd
import pytest

from medimg.errors import UsageError
from medimg.evaluation.classification.merging import Merge, check_merges, merge_heads, merge_predictions
from medimg.evaluation.figures import MeasurementSettings, measure
from medimg.evaluation.intervals import Bootstrap

HEADS = {"tissue": ("lung", "skin_1", "skin_2")}
ORGAN = Merge("organ", "tissue", {"skin": ("skin_1", "skin_2")})


def draw(probabilities_NC, labels):
    table = pd.DataFrame(
        {"case_id": [str(index) for index in range(len(labels))], "label_tissue": labels, "split": "test"}
    )
    table["group_id"] = table["case_id"]
    for index, name in enumerate(HEADS["tissue"]):
        column = np.array(probabilities_NC, dtype=float)[:, index]
        table[f"p_tissue_{name}"] = table[f"m0_tissue_{name}"] = table[f"v_tissue_{name}_image"] = column
    return table


def test_the_classes_that_no_union_names_stay_in_their_place():
    assert merge_heads(HEADS, [ORGAN]) == {"tissue": ["lung", "skin_1", "skin_2"], "organ": ["lung", "skin"]}


def test_a_confusion_within_a_union_is_a_mistake_of_the_head_and_none_of_the_merged_one():
    table = draw([(0.9, 0.1, 0.0), (0.1, 0.4, 0.5), (0.1, 0.5, 0.4)], ["lung", "skin_1", "skin_2"])
    merged = merge_predictions(table, [ORGAN], heads=HEADS)
    figures = measure(
        merged,
        MeasurementSettings(merge_heads(HEADS, [ORGAN]), ["cases"], bootstrap=Bootstrap(resamples=0)),
        metrics=["accuracy"],
    )
    assert {figure.head: figure.value for figure in figures} == {"tissue": pytest.approx(1 / 3), "organ": 1.0}


def test_a_union_is_taken_though_each_of_its_classes_is_less_likely_than_another():
    merged = merge_predictions(draw([(0.4, 0.3, 0.3)], ["skin_1"]), [ORGAN], heads=HEADS)
    for column in ("p_organ_skin", "m0_organ_skin", "v_organ_skin_image"):
        assert merged[column].tolist() == [pytest.approx(0.6)]


def test_a_case_without_a_label_or_a_view_stays_without():
    table = draw([(0.4, 0.3, 0.3)], [None])
    table[[f"v_tissue_{name}_image" for name in HEADS["tissue"]]] = np.nan
    merged = merge_predictions(table, [ORGAN], heads=HEADS)
    assert merged[["label_organ", "v_organ_skin_image"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("merge", "words"),
    [
        (Merge("tissue", "tissue", {}), "'tissue': there is a head of that name already"),
        (Merge("organ", "tisue", {}), "no head 'tisue'; did you mean 'tissue'"),
        (
            Merge("organ", "tissue", {"skin": ("skin_1", "skin_3")}),
            "head tissue has no class 'skin_3'; did you mean 'skin_",
        ),
        (Merge("organ", "tissue", {"a": ("skin_1",), "b": ("skin_1",)}), "class 'skin_1' is merged 2 times"),
        (
            Merge("organ", "tissue", {"lung": ("skin_1", "skin_2")}),
            "union 'lung' is called as a class that it does not hold",
        ),
        (Merge("organ", "tissue", {"all": HEADS["tissue"]}), r"one class is left \(all\)"),
    ],
)
def test_a_merge_that_cannot_be_measured_is_refused(merge, words):
    with pytest.raises(UsageError, match=words):
        check_merges([merge], heads=HEADS)
