"""The table of shortcuts and the logistic regression on it, against one that is set up by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from medimg.catalogue.tables import Catalogue
from medimg.errors import MedimgError, UsageError
from medimg.evaluation.classification.shortcuts import (
    fit_shortcuts,
    predict_from_shortcuts,
    score_cases,
    tabulate_shortcuts,
)
from tests.unit.evaluation.classification.shortcut_tables import HEADS, MALIGNANCY, draw_table

KINDS = ("a", "b", "c", "d")


def make_catalogue():
    cases = pd.DataFrame(
        {
            "case_id": ["1-L", "1-R", "2-L", "3-L"],
            "group_id": ["1", "1", "2", "3"],
            "status": ["used", "excluded", "used", "used"],
            "split": ["train", "", "train", "test"],
            "level_patient": ["1", "1", "2", "3"],
            "label_malignancy": ["Benign", "Malignant", None, "Benign"],
            "clinical_source": ["D1", "D1", "D2", "D1"],
            "clinical_age_years": [40.0, 40.0, None, 61.0],
            "image_count": [2, 3, 4, 1],
        }
    )
    return Catalogue(cases, pd.DataFrame(), pd.DataFrame(), {})


def test_the_table_has_every_case_with_what_is_asked_for_and_what_is_selected_by():
    table = tabulate_shortcuts(
        make_catalogue(),
        ["source", "group_image_count"],
        heads=["malignancy"],
        clinical=["age_years", "site"],
    )
    assert list(table) == [
        *("case_id", "group_id", "status", "split", "level_patient", "label_malignancy"),
        *("clinical_source", "group_image_count", "image_count", "clinical_age_years", "clinical_site"),
    ]
    assert table.group_image_count.tolist() == [5, 5, 4, 1]
    assert table.image_count.tolist() == [2, 3, 4, 1]
    assert table.clinical_site.isna().all()


@pytest.mark.parametrize(
    ("shortcut", "words"),
    [
        ("sorce", "no clinical column 'sorce', did you mean 'source'"),
        ("image_cout", "no clinical column 'image_cout', did you mean 'image_count'"),
    ],
)
def test_a_shortcut_that_the_catalogue_lacks_is_named_with_the_nearest(shortcut, words):
    with pytest.raises(UsageError, match=words):
        tabulate_shortcuts(make_catalogue(), [shortcut], heads=["malignancy"])


def make_rows(kinds, **columns):
    return pd.DataFrame(
        {"label_kind": kinds, **{f"clinical_{name}": value for name, value in columns.items()}}
    )


@pytest.mark.parametrize("found", [("a", "c"), ("b", "d"), ("a", "b", "d"), ("d", "c", "a")])
def test_each_class_has_its_own_column_though_the_fitted_rows_lack_others(found):
    rows = make_rows(np.repeat(found, 20), source=np.repeat(found, 20))
    model = fit_shortcuts(rows, ["source"], head="kind", classes=KINDS)
    asked = make_rows([None] * len(found), source=list(found))
    probabilities = predict_from_shortcuts(model, asked, ["source"], classes=KINDS)
    assert [KINDS[index] for index in probabilities.argmax(axis=1)] == list(found)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    for index, name in enumerate(KINDS):
        assert (probabilities[:, index] > 0).all() == (name in found)


def test_the_classes_order_is_that_of_the_head_and_not_of_the_alphabet():
    rows = make_rows(["z"] * 30 + ["a"] * 10, source=["same"] * 40)
    model = fit_shortcuts(rows, ["source"], head="kind", classes=("z", "a"))
    (probabilities,) = predict_from_shortcuts(model, rows.head(1), ["source"], classes=("z", "a"))
    assert probabilities == pytest.approx([0.75, 0.25], abs=0.01)


def test_numbers_are_standardised_with_the_median_and_a_flag_where_missing_and_texts_are_categories():
    generator = np.random.default_rng(0)
    count = 120
    age = np.where(generator.random(count) < 0.2, np.nan, 40 + generator.exponential(15, count))
    source = generator.choice(["D1", "D2", ""], count)
    positive = (np.nan_to_num(age, nan=80) / 30 + (source == "D2") + generator.normal(0, 1, count)) > 3
    rows = make_rows(np.where(positive, "b", "a"), age=age, source=np.where(source == "", None, source))
    model = fit_shortcuts(rows, ["age", "source"], head="kind", classes=("a", "b"))
    found = predict_from_shortcuts(model, rows, ["age", "source"], classes=("a", "b"))
    filled = np.where(np.isnan(age), np.nanmedian(age), age)
    numbers = np.stack([filled, np.isnan(age)], axis=1)
    design = np.hstack(
        [
            (numbers - numbers.mean(axis=0)) / numbers.std(axis=0),
            np.stack([source == name for name in ("", "D1", "D2")], axis=1),
        ]
    )
    by_hand = LogisticRegression(max_iter=1000).fit(design, positive)
    np.testing.assert_allclose(found, by_hand.predict_proba(design), atol=1e-4)


def test_missing_texts_are_one_category_however_they_are_written():
    kinds = ["a"] * 20 + ["b"] * 20
    rows = make_rows(kinds, scanner=["X"] * 15 + [None] * 5 + ["X"] * 5 + [None] * 15)
    asked = make_rows([None] * 4, scanner=[None, np.nan, pd.NA, ""])
    model = fit_shortcuts(rows, ["scanner"], head="kind", classes=("a", "b"))
    probabilities = predict_from_shortcuts(model, asked, ["scanner"], classes=("a", "b"))[:, 1]
    assert probabilities == pytest.approx(np.full(4, probabilities[0]))
    assert probabilities[0] > 0.6


def test_a_category_that_was_not_fitted_a_column_without_a_value_and_no_rows_are_predicted_too():
    rows = make_rows(["a"] * 10 + ["b"] * 30, source=["D1", "D2"] * 20, age=[np.nan] * 40)
    model = fit_shortcuts(rows, ["source", "age"], head="kind", classes=("a", "b"))
    asked = make_rows([None, None], source=["D3", "D1"], age=[np.nan, np.nan])
    probabilities = predict_from_shortcuts(model, asked, ["source", "age"], classes=("a", "b"))
    assert probabilities[0] == pytest.approx([0.25, 0.75], abs=0.05)
    none = predict_from_shortcuts(model, asked.head(0), ["source", "age"], classes=("a", "b"))
    assert none.shape == (0, 2)


def test_rows_labelled_with_no_class_of_the_head_do_not_count():
    rows = make_rows(["a"] * 10 + ["b"] * 10, source=["D1", "D2"] * 10)
    others = make_rows(["unsure", None] * 10, source=["D2"] * 20)
    first, second = (
        predict_from_shortcuts(
            fit_shortcuts(fitted, ["source"], head="kind", classes=("a", "b")),
            rows,
            ["source"],
            classes=("a", "b"),
        )
        for fitted in (rows, pd.concat([rows, others]))
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("kinds", "words"), [(["a", "a"], "a among 2 labelled cases"), ([None, "x"], "no class among 0 labelled")]
)
def test_a_regression_needs_two_classes(kinds, words):
    with pytest.raises(MedimgError, match=f"shortcuts for head 'kind': {words}"):
        fit_shortcuts(make_rows(kinds, source=["D1", "D2"]), ["source"], head="kind", classes=KINDS)


def test_scores_are_the_positive_class_s_of_every_head_of_two_classes():
    table = draw_table()
    reversed_heads = dict(reversed(HEADS.items()))
    scores = score_cases(table, ["source"], heads=reversed_heads)
    assert list(scores) == list(table.case_id)
    assert {tuple(of_case) for of_case in scores.values()} == {("malignancy",)}
    train = table[(table.status == "used") & (table.split == "train")]
    d1 = train[train.clinical_source == "D1"]
    of_source = {
        source: scores[table.case_id[table.clinical_source == source].iloc[0]]["malignancy"]
        for source in ("D1", "D2")
    }
    assert of_source["D1"] == pytest.approx((d1.label_malignancy == "Malignant").mean(), abs=0.03)
    assert of_source["D2"] > 0.9
    assert score_cases(table, [], heads=MALIGNANCY) == {case_id: {} for case_id in table.case_id}
