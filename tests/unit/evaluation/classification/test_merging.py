import numpy as np
import pandas as pd
import pytest

from medimg.errors import UsageError
from medimg.evaluation.classification.merging import Merge, check_merges, merge_heads, merge_predictions
from medimg.evaluation.figures import MeasurementSettings, measure
from medimg.evaluation.intervals import Bootstrap

HEADS = {"tissue": ("lung", "skin_1", "skin_2")}
ORGAN = Merge("organ", "tissue", {"skin": ("skin_1", "skin_2")})
ORGAN_2 = Merge("organ 2", "tissue", {"rest": ("lung", "skin_1")})


def draw(probabilities_NC, labels):
    table = pd.DataFrame(
        {"case_id": [str(index) for index in range(len(labels))], "label_tissue": labels, "split": "test"}
    )
    table["group_id"] = table["case_id"]
    for index, name in enumerate(HEADS["tissue"]):
        column = np.array(probabilities_NC, dtype=float)[:, index]
        for kind in ("p_tissue_{}", "m0_tissue_{}", "m1_tissue_{}", "v_tissue_{}_CC", "v_tissue_{}_MLO"):
            table[kind.format(name)] = column
    return table


def test_the_classes_that_no_union_names_stay_in_their_place():
    merged = merge_heads(HEADS, [ORGAN])
    assert merged == {"tissue": ["lung", "skin_1", "skin_2"], "organ": ["lung", "skin"]}
    assert list(merged) == ["tissue", "organ"]
    parts = Merge("part", "tissue", {"rest": ("skin_2", "lung")})
    assert merge_heads(HEADS, [parts])["part"] == ["rest", "skin_1"]
    assert merge_heads({"side": ("z", "b", "a")}, [Merge("pair", "side", {"y": ("b", "a")})])["pair"] == [
        "z",
        "y",
    ]


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
    for column in ("p_organ_{}", "m0_organ_{}", "m1_organ_{}", "v_organ_{}_CC", "v_organ_{}_MLO"):
        assert merged[column.format("skin")].tolist() == [pytest.approx(0.6)]
        assert merged[column.format("lung")].tolist() == [pytest.approx(0.4)]
    assert merged.label_organ.tolist() == ["skin"]


def test_a_sum_of_probabilities_is_no_more_than_one():
    thirds = draw([(0.0, 0.7, 0.3 + 1e-6)], ["skin_1"])
    assert merge_predictions(thirds, [ORGAN], heads=HEADS).p_organ_skin.tolist() == [1.0]


def test_a_union_may_bear_the_name_of_a_class_that_it_holds():
    check_merges([Merge("organ", "tissue", {"skin_1": ("skin_1", "skin_2")}), ORGAN_2], heads=HEADS)


def test_a_case_without_a_label_or_a_view_stays_without():
    table = draw([(0.4, 0.3, 0.3)], [None])
    table[[f"v_tissue_{name}_CC" for name in HEADS["tissue"]]] = np.nan
    merged = merge_predictions(table, [ORGAN], heads=HEADS)
    assert merged[["label_organ", "v_organ_skin_CC"]].isna().all(axis=None)
    assert merged.v_organ_skin_MLO.tolist() == [pytest.approx(0.6)]


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
        check_merges([ORGAN_2, merge], heads=HEADS)


def test_two_merges_have_two_names():
    with pytest.raises(UsageError, match="'organ': there is a head of that name already"):
        check_merges([ORGAN, ORGAN], heads=HEADS)
