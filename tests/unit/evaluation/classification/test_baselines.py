"""What shortcuts reach on a synthetic collection in which one says all and another nothing."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medimg.errors import MedimgError, UsageError
from medimg.evaluation.classification.baselines import (
    ALL_LABELLED,
    IN_SAMPLE,
    Baseline,
    measure_baselines,
    measure_in_sample,
    predict_baseline,
    tabulate_reach,
)
from medimg.evaluation.classification.shortcuts import (
    fit_shortcuts,
    predict_from_shortcuts,
    score_cases,
)
from medimg.evaluation.figures import MeasurementSettings, measure
from medimg.evaluation.folds import OUT_OF_FOLD
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


@pytest.fixture(scope="module")
def held_out(table):
    predictions = predict(table, strength=3)
    return measure_baselines(
        predictions,
        table,
        MeasurementSettings(HEADS, ["cases", "P4"], slices=["source"], bootstrap=Bootstrap(resamples=100)),
        shortcuts=["source", "age_years", "scanner"],
    )


def test_a_feature_alone_has_the_auc_of_the_feature_itself(table, held_out):
    rows = table[(table.status == "used") & (table.split == "test")]
    malignant = rows.label_malignancy == "Malignant"
    assert value_of(
        held_out, "source", name="auc", protocol="cases", slice="overall", head="malignancy"
    ).value == pytest.approx(roc_auc_score(malignant, rows.clinical_source == "D2"))
    known = draw_table().assign(clinical_age_years=lambda frame: frame.clinical_age_years.fillna(50))
    figures = measure_baselines(
        predict(known, strength=1),
        known,
        MeasurementSettings(MALIGNANCY, ["cases"], bootstrap=Bootstrap(resamples=0)),
        shortcuts=["age_years"],
    )
    rows = known[(known.status == "used") & (known.split == "test")]
    assert value_of(figures, "age_years", name="auc").value == pytest.approx(
        roc_auc_score(malignant, rows.clinical_age_years)
    )


def test_baselines_are_measured_on_the_models_cases_by_its_protocols(table, held_out):
    model = measure(
        predict(table, strength=3),
        MeasurementSettings(HEADS, ["cases", "P4"], slices=["source"], bootstrap=Bootstrap(resamples=100)),
    )
    of_model = {figure.key: figure for figure in model}
    compared = [one.figure for one in held_out if one.figure.n]
    assert {figure.protocol for figure in compared} == {"cases", "P4"}
    assert {figure.slice for figure in compared} == {"overall", "source=D1", "source=D2"}
    for figure in compared:
        beside = of_model[figure.key]
        assert (figure.n, figure.positives, figure.groups) == (beside.n, beside.positives, beside.groups)


def test_within_one_source_the_source_says_nothing(held_out):
    figure = value_of(held_out, "source", name="auc", protocol="cases", slice="source=D1", head="malignancy")
    assert figure.value == 0.5


def test_shortcuts_add_up_in_the_order_of_their_names(held_out):
    names = list(dict.fromkeys(one.baseline for one in held_out))
    assert names == [
        "prevalence",
        "source",
        "age_years",
        "scanner",
        "source + age_years",
        "source + age_years + scanner",
    ]
    overall = {
        name: value_of(held_out, name, name="auc", protocol="cases", slice="overall", head="malignancy").value
        for name in names
    }
    assert overall["prevalence"] == 0.5
    assert overall["source + age_years"] > max(overall["source"], overall["age_years"]) > overall["scanner"]


def test_the_prevalence_is_that_of_the_train_split(table, held_out):
    train = (
        table[(table.status == "used") & (table.split == "train")].label_malignancy == "Malignant"
    ).mean()
    test = table[(table.status == "used") & (table.split == "test")].label_malignancy == "Malignant"
    brier = value_of(
        held_out, "prevalence", name="brier", protocol="cases", slice="overall", head="malignancy"
    ).value
    assert brier == pytest.approx(((test - train) ** 2).mean())


def test_a_head_of_several_classes_has_baselines_too(held_out):
    age, nothing = (
        value_of(held_out, name, name="macro_auc", protocol="cases", slice="overall").value
        for name in ("age_years", "prevalence")
    )
    assert age > 0.6
    assert nothing == 0.5


def test_a_head_with_one_class_in_the_train_split_has_the_prevalence_for_every_baseline(table):
    alone = table.assign(label_malignancy=table.label_malignancy.where(table.split != "train", "Benign"))
    figures = measure_baselines(
        predict(table, strength=1),
        alone,
        MeasurementSettings(MALIGNANCY, ["cases"], bootstrap=Bootstrap(resamples=0)),
        shortcuts=["source"],
    )
    assert value_of(figures, "source", name="auc").value == 0.5


def test_all_labelled_cases_count_in_sample_excluded_ones_too_and_there_is_no_interval(table):
    figure = value_of(
        measure_in_sample(table, MeasurementSettings(MALIGNANCY, ["cases"]), shortcuts=["source"]),
        "source",
        name="auc",
    )
    assert (figure.n, figure.split) == (len(table), ALL_LABELLED)
    assert np.isnan(figure.low)
    assert figure.value == pytest.approx(
        roc_auc_score(table.label_malignancy == "Malignant", table.clinical_source == "D2")
    )


def test_in_sample_a_figure_says_that_it_is_and_one_without_a_value_says_why(table):
    settings = MeasurementSettings(MALIGNANCY, ["cases"], slices=["source"])
    figures = measure_in_sample(table, settings, shortcuts=["source"])
    notes = {
        name: value_of(figures, "source", name="auc", slice=name).note
        for name in ("overall", "source=D1", "source=D2")
    }
    assert notes == {
        "overall": IN_SAMPLE,
        "source=D1": IN_SAMPLE,
        "source=D2": "no value: a class is missing",
    }


def test_baselines_have_the_figures_that_need_no_threshold_and_none_of_single_views(table):
    predictions = predict(table, strength=1)
    views = {
        f"v_malignancy_{name}_CC": predictions[f"p_malignancy_{name}"] for name in MALIGNANCY["malignancy"]
    }
    settings = MeasurementSettings(HEADS, ["image", "cases"], bootstrap=Bootstrap(resamples=0))
    for figures in (
        measure_baselines(predictions.assign(**views), table, settings, shortcuts=["image_count"]),
        measure_in_sample(table.assign(**dict.fromkeys(views, 0.5)), settings, shortcuts=["image_count"]),
    ):
        assert {one.figure.protocol for one in figures} == {"cases"}
        assert {(one.figure.head, one.figure.name) for one in figures} == {
            *(("malignancy", name) for name in ("auc", "average_precision", "brier")),
            ("abnormality", "macro_auc"),
        }
    rows = table[(table.status == "used") & (table.split == "test")]
    found = measure_baselines(predictions, table, settings, shortcuts=["image_count"])
    assert value_of(found, "image_count", name="average_precision").value == pytest.approx(
        average_precision_score(rows.label_malignancy == "Malignant", rows.image_count)
    )


def test_the_order_of_the_predictions_changes_no_figure(table):
    predictions = predict(table, strength=1)
    settings = MeasurementSettings(MALIGNANCY, ["cases", "P4"], bootstrap=Bootstrap(resamples=20))
    first, second = (
        [
            (one.baseline, one.figure.key, pytest.approx(one.figure.value), pytest.approx(one.figure.low))
            for one in measure_baselines(rows, table, settings, shortcuts=["age_years"])
        ]
        for rows in (predictions, predictions.sample(frac=1.0, random_state=1))
    )
    assert [one[:2] for one in first] == [one[:2] for one in second]
    values = measure_baselines(predictions, table, settings, shortcuts=["age_years"])
    assert [(one.baseline, one.figure.key, one.figure.value, one.figure.low) for one in values] == second


def test_out_of_fold_each_fold_has_the_baseline_of_its_own_train_split(table):
    fold = table.group_id.astype(int) // 5 % 3
    table = table.assign(fold=fold.mask(table.status != "used"))
    used = table[table.status == "used"]
    cases = used.assign(
        split=OUT_OF_FOLD, p_malignancy_Benign=0.5, p_malignancy_Malignant=0.5, fold=used.fold.astype(int)
    ).sample(frac=1.0, random_state=0)
    figures = measure_baselines(
        cases,
        table,
        MeasurementSettings(MALIGNANCY, ["cases"], split=OUT_OF_FOLD, bootstrap=Bootstrap(resamples=0)),
        shortcuts=["source"],
    )
    malignant = (used.label_malignancy == "Malignant").to_numpy()
    # Of three folds one is tested, the next is eval, and the one after it train.
    train_of = {number: used[used.fold == (number + 2) % 3] for number in range(3)}
    prevalence = used.fold.map(lambda number: (train_of[number].label_malignancy == "Malignant").mean())
    assert len(set(prevalence)) == 3
    assert value_of(figures, "prevalence", name="brier").value == pytest.approx(
        ((prevalence - malignant) ** 2).mean()
    )
    scores = np.zeros(len(used))
    for number, train in train_of.items():
        model = fit_shortcuts(train, ["source"], head="malignancy", classes=MALIGNANCY["malignancy"])
        tested = (used.fold == number).to_numpy()
        scores[tested] = predict_from_shortcuts(
            model, used[tested], ["source"], classes=MALIGNANCY["malignancy"]
        )[:, 1]
    assert value_of(figures, "source", name="brier").value == pytest.approx(
        ((scores - malignant) ** 2).mean()
    )
    assert value_of(figures, "source", name="auc").value == pytest.approx(roc_auc_score(malignant, scores))


def test_without_a_label_to_fit_on_every_class_is_as_likely(table):
    unlabelled = table.assign(label_abnormality=table.label_abnormality.where(table.split != "train", None))
    (_, probabilities) = (
        predict_baseline(
            Baseline(names),
            table.head(4),
            fitted_on=unlabelled[unlabelled.split == "train"],
            head="abnormality",
            classes=HEADS["abnormality"],
        )
        for names in ((), ("source",))
    )
    np.testing.assert_allclose(probabilities, np.full((4, 3), 1 / 3))


def test_what_a_shortcut_reaches_on_all_and_on_other_cases_stands_in_rows_of_one_protocol_and_slice(
    table, held_out
):
    settings = MeasurementSettings(HEADS, ["P4", "cases"], slices=["source"])
    in_sample = measure_in_sample(table, settings, shortcuts=["scanner", "source", "image_count"])
    rows = tabulate_reach(in_sample, held_out)
    keys = [(row.baseline, row.all_labelled.protocol, row.all_labelled.slice) for row in rows]
    slices = ("overall", "source=D1", "source=D2")
    # In the order of the first; it has image_count, and the second age_years, that the other lacks.
    assert keys == [
        (name, protocol, part)
        for name in ("prevalence", "scanner", "source")
        for protocol in ("P4", "cases")
        for part in slices
    ]
    for row in rows:
        assert row.all_labelled.key[:-1] == row.held_out.key[:-1]
        assert (row.all_labelled.split, row.held_out.split) == (ALL_LABELLED, "test")
        assert (row.all_labelled.head, row.all_labelled.name) == ("malignancy", "auc")
    (macro,) = [
        row
        for row in tabulate_reach(in_sample, held_out, metric="macro_auc")
        if (row.baseline, row.held_out.slice) == ("source", "overall") and row.held_out.n
    ]
    assert macro.held_out.head == "abnormality"


def test_cases_that_the_table_lacks_are_counted_and_the_first_is_named(table):
    predictions = predict(table, strength=1)
    missing = sorted(predictions[predictions.split == "test"].case_id)[3:5]
    with pytest.raises(UsageError, match=rf"no row for case {missing[0]} \(2 such cases\)"):
        measure_baselines(
            predictions,
            table[~table.case_id.isin(missing)],
            MeasurementSettings(MALIGNANCY, ["cases"]),
            shortcuts=["source"],
        )
    other = predictions[predictions.split == "eval"].case_id.iloc[0]
    assert measure_baselines(
        predictions,
        table[table.case_id != other],
        MeasurementSettings(MALIGNANCY, ["cases"], bootstrap=Bootstrap(resamples=0)),
        shortcuts=["source"],
    )


def test_the_table_survives_parquet(table, tmp_path):
    table.to_parquet(tmp_path / "shortcuts.parquet")
    again = pd.read_parquet(tmp_path / "shortcuts.parquet")
    names = ["source", "age_years", "scanner", "image_count"]
    assert score_cases(again, names, heads=MALIGNANCY) == score_cases(table, names, heads=MALIGNANCY)


def test_cases_of_other_splits_change_no_score(table):
    names = ["source", "age_years"]
    swapped = table.label_malignancy.map({"Benign": "Malignant", "Malignant": "Benign"})
    changed = table.assign(
        label_malignancy=table.label_malignancy.where(
            (table.split == "train") & (table.status == "used"), swapped
        )
    )
    assert score_cases(changed, names, heads=MALIGNANCY) == score_cases(table, names, heads=MALIGNANCY)


def test_scores_that_cannot_be_fitted_are_refused_with_what_was_found(table):
    with pytest.raises(MedimgError, match="head 'malignancy': Benign among"):
        score_cases(table.assign(label_malignancy="Benign"), ["source"], heads=MALIGNANCY)
