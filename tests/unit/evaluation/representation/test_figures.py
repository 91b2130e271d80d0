"""Figures of embedded cases: each with its split, counts and interval, and a reason where there is none."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from medimg.evaluation.intervals import Bootstrap, mean_interval
from medimg.evaluation.representation.figures import (
    NOTHING_TO_LEAK,
    EmbeddingSettings,
    measure_embedded,
    read_embedded,
    tabulate_classes,
    tabulate_embedded,
)
from medimg.evaluation.representation.leakage_estimate import estimate_leak
from medimg.evaluation.representation.maps import MAPS, reduce_vectors
from medimg.evaluation.representation.split_overlap import (
    find_class_neighbours,
    measure_discrepancy,
    measure_nearness,
    predict_split_membership,
)
from tests.unit.evaluation.representation.vectors import CLASSES, deal_groups, draw_vectors, tabulate_vectors

MEASURING = EmbeddingSettings("finding", CLASSES, bootstrap=Bootstrap(resamples=200))


def draw_table(*, groups=60, per_group=4, own=0.2, shift=0.0, embedding="pixels"):
    vectors, group_N = draw_vectors(groups, per_group=per_group, own=own)
    splits = deal_groups(group_N)
    vectors[splits == "test", 0] += shift
    labels = np.random.default_rng(1).integers(2, size=groups)[group_N]
    return tabulate_vectors(vectors, group_N, splits=splits, labels=labels, embedding=embedding)


def measure_by_name(table):
    return {figure.name: figure for figure in measure_embedded(table, MEASURING)}


def test_every_figure_of_two_splits_of_one_distribution_holds_what_chance_gives():
    figures = measure_by_name(draw_table())
    for name in ("nearest_in_train", "close_to_train", "other_class_neighbours"):
        figure, chance = figures[f"{name}_pixels"], figures[f"{name}_by_chance_pixels"].value
        assert figure.low <= figure.value <= figure.high
        assert figure.low - 0.1 <= chance <= figure.high + 0.1, name
    assert figures["split_auc_pixels"].low <= 0.5 <= figures["split_auc_pixels"].high
    assert figures["mmd_p_value_pixels"].value > 0.05
    assert {
        (figure.n, figure.groups, figure.split)
        for name, figure in figures.items()
        if name.startswith(("nearest", "close", "other"))
    } == {(72, 18, "test")}


def test_figures_are_what_holds_the_measured_split_against_train_under_their_own_names():
    table = draw_table(groups=50, shift=1.0)
    held = table.replace({"split": {"test": "eval"}})
    third = (
        held[held.split == "eval"].head(40).assign(split="test", case_id=lambda rows: rows.case_id + "-test")
    )
    settings = EmbeddingSettings("finding", CLASSES, split="eval", bootstrap=Bootstrap(resamples=40, seed=2))
    found = {figure.name: figure for figure in measure_embedded(pd.concat([held, third]), settings)}
    vectors, is_test = np.stack(list(table.vector)), (table.split == "test").to_numpy()
    groups = table.group_id.to_numpy()
    near = measure_nearness(
        vectors[~is_test], vectors[is_test], train_groups=groups[~is_test], test_groups=groups[is_test]
    )
    discrepancy = measure_discrepancy(vectors, is_test, groups=groups, seed=2)
    scores = predict_split_membership(vectors, is_test, groups=groups, seed=2)[:, 1]
    expected = {
        "nearest_in_train": near.is_in_train.mean(),
        "nearest_in_train_by_chance": near.in_train_by_chance,
        "close_to_train": near.is_close.mean(),
        "close_to_train_by_chance": near.close_by_chance,
        "mmd_squared": discrepancy.value,
        "mmd_p_value": discrepancy.p_value,
        "split_auc": roc_auc_score(is_test, scores),
    }
    assert {name: found[f"{name}_pixels"].value for name in expected} == pytest.approx(expected)
    assert {found[f"{name}_pixels"].split for name in expected} == {"eval"}
    interval = mean_interval(near.is_in_train, groups[is_test], settings.bootstrap)
    assert (found["nearest_in_train_pixels"].low, found["nearest_in_train_pixels"].high) == pytest.approx(
        (interval.low, interval.high)
    )
    assert found["split_auc_pixels"].n == len(table)


def test_neighbours_of_other_classes_are_counted_on_the_measured_split_and_chance_on_all_labelled_cases():
    table = draw_table(groups=40)
    table["label_finding"] = np.where(table.index % 7 < 2, "malignant", table.label_finding)
    figures = measure_by_name(table)
    vectors, groups = np.stack(list(table.vector)), table.group_id.to_numpy()
    labels = (table.label_finding == "malignant").to_numpy().astype(int)
    queries = np.flatnonzero(table.split == "test")
    shares = find_class_neighbours(vectors, labels, groups=groups, queries=queries, classes=2)
    own = shares[np.arange(len(queries)), labels[queries]]
    assert figures["other_class_neighbours_pixels"].value == pytest.approx(1 - own.mean())
    prevalence = np.array([1 - labels.mean(), labels.mean()])
    assert figures["other_class_neighbours_by_chance_pixels"].value == pytest.approx(
        1 - prevalence[labels[queries]].mean()
    )
    by_class = tabulate_classes(read_embedded(table, "pixels", MEASURING), MEASURING)
    for label in (0, 1):
        np.testing.assert_allclose(by_class[label], shares[labels[queries] == label].mean(axis=0))


def test_patients_who_share_images_are_one_group():
    table = draw_table(groups=60, per_group=1)
    joined = table.assign(cluster_id=[f"{int(group) // 4}" for group in table.group_id])
    figures = measure_by_name(joined)
    assert figures["nearest_in_train_pixels"].groups == joined[joined.split == "test"].cluster_id.nunique()
    assert figures["leak_nearest"].groups == 15
    assert figures["leak_nearest"].note != NOTHING_TO_LEAK


def test_one_pair_of_cases_can_leak_and_cases_of_one_class_or_of_few_groups_give_no_estimate():
    table = draw_table(groups=40, per_group=1)
    paired = table.assign(cluster_id=table.cluster_id.replace("39", "38"))
    assert math.isfinite(measure_by_name(paired)["leak_nearest"].value)
    alone = measure_by_name(paired.assign(label_finding="benign"))["leak_logistic"]
    assert (alone.note, math.isnan(alone.value)) == ("no estimate: all cases are of one class", True)
    few = draw_table(groups=18)
    few = measure_by_name(few[few.group_id.isin([*map(str, range(9))])])["leak_nearest"]
    assert few.note == "no estimate: 9 groups, needs 10"
    assert few.split == "all embedded"


def test_a_split_of_five_groups_is_enough_and_the_smaller_of_both_is_named():
    table = draw_table(groups=17)
    assert table[table.split == "test"].group_id.nunique() == 5
    assert "split_auc_pixels" in measure_by_name(table)
    turned = table.replace({"split": {"train": "test", "test": "train"}})
    few = turned[
        (turned.split == "test") | (turned.group_id != turned[turned.split == "train"].group_id.iloc[0])
    ]
    assert measure_by_name(few)["nearest_in_train_pixels"].note == (
        "no figure: the train split has 4 groups, needs 5"
    )


def test_cases_that_are_all_of_one_group_have_no_neighbours_of_other_groups():
    table = draw_table(groups=20).assign(cluster_id="all")
    cases = read_embedded(table, "pixels", MEASURING)
    assert np.isnan(tabulate_classes(cases, MEASURING)).all()


def test_the_table_has_a_row_per_case_and_embedding_with_its_vector_and_its_places():
    generator = np.random.default_rng(0)
    cases = draw_table(groups=12, per_group=1).drop(columns=["embedding", "vector"])
    cases = cases.assign(clinical_age=50, label_density="low")
    vectors = {name: generator.normal(size=(12, 6)) for name in ("pixels", "model")}
    table = tabulate_embedded(cases, vectors, seed=4)
    columns = [
        "case_id",
        "group_id",
        "cluster_id",
        "split",
        "label_finding",
        "label_density",
        "embedding",
        "vector",
    ]
    assert list(table) == [*columns, *(f"{name}_{axis}" for name in MAPS for axis in "xy")]
    for name, of_cases in vectors.items():
        rows = table[table.embedding == name]
        assert list(rows.case_id) == list(cases.case_id)
        reduced = reduce_vectors(of_cases, seed=4)
        np.testing.assert_array_equal(np.stack(list(rows.vector)), reduced)
        for drawn, draw in MAPS.items():
            places = rows[[f"{drawn}_x", f"{drawn}_y"]].to_numpy()
            np.testing.assert_array_equal(places, draw(reduced, seed=4))


def test_a_shift_of_the_test_split_is_in_the_figures():
    figures = measure_by_name(draw_table(shift=4.0))
    assert figures["split_auc_pixels"].low > 0.7
    assert figures["mmd_p_value_pixels"].value < 0.01
    assert figures["nearest_in_train_pixels"].high < figures["nearest_in_train_by_chance_pixels"].value


def test_what_folds_by_case_gain_over_folds_by_group_is_the_leak_with_its_interval():
    figures = measure_by_name(draw_table())
    for name in ("nearest", "logistic"):
        by_case, by_group, leak = (
            figures[f"{what}_{name}"] for what in ("folds_by_case", "folds_by_group", "leak")
        )
        assert leak.value == pytest.approx(by_case.value - by_group.value)
        assert leak.split == by_case.split == "all embedded"
        assert (leak.n, leak.groups) == (240, 60)
        assert leak.low < leak.value < leak.high
        assert by_group.low < by_group.value < by_group.high
    assert figures["leak_nearest"].low > 0.3
    assert figures["folds_by_group_nearest"].value < 0.65
    cases = read_embedded(draw_table(), "pixels", MEASURING)
    estimates = estimate_leak(cases.vectors, cases.labels, groups=cases.groups, classes=2)
    for name, estimate in estimates.items():
        for part, scores in (("case", estimate.by_case), ("group", estimate.by_group)):
            assert figures[f"folds_by_{part}_{name}"].value == pytest.approx(
                balanced_accuracy_score(cases.labels, scores[:, 1] >= 0.5)
            )


def test_one_case_per_group_has_nothing_to_leak_and_says_so():
    figures = measure_by_name(draw_table(groups=80, per_group=1))
    assert math.isnan(figures["leak_nearest"].value)
    assert figures["leak_nearest"].note == NOTHING_TO_LEAK
    assert "folds_by_case_nearest" not in figures


def test_a_split_of_few_groups_has_figures_without_an_interval_and_one_of_fewer_has_a_reason_in_their_place():
    few = measure_by_name(draw_table(groups=20))["nearest_in_train_pixels"]
    assert 0 <= few.value <= 1
    assert few.note.startswith("no interval: 6 groups")
    fewer = measure_by_name(draw_table(groups=14))
    assert fewer["nearest_in_train_pixels"].note == "no figure: the test split has 4 groups, needs 5"
    assert "split_auc_pixels" not in fewer


def test_a_leak_is_measured_on_pixels_alone_and_every_embedding_has_its_own_names():
    table = pd.concat([draw_table(), draw_table(embedding="model", shift=4.0)])
    figures = measure_by_name(table)
    assert figures["split_auc_model"].value > figures["split_auc_pixels"].value + 0.2
    assert sum(name.startswith("leak_") for name in figures) == 2
    assert len(measure_embedded(table, MEASURING)) == len(figures)


def test_the_order_of_the_rows_changes_no_figure():
    table = draw_table()
    first, second = (
        pd.DataFrame(map(vars, measure_embedded(rows, MEASURING)))
        for rows in (table, table.sample(frac=1.0, random_state=3))
    )
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_cases_without_a_label_count_for_the_splits_alone():
    table = draw_table()
    table.loc[table.index % 4 == 0, "label_finding"] = None
    figures = measure_by_name(table)
    assert figures["nearest_in_train_pixels"].n == 72
    assert figures["other_class_neighbours_pixels"].n == 54
    assert figures["leak_nearest"].n == 180


def test_the_table_of_classes_has_a_row_per_true_class_that_adds_up_to_one():
    table = draw_table()
    shares = tabulate_classes(read_embedded(table, "pixels", MEASURING), MEASURING)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    only_benign = table[(table["split"] == "train") | (table["label_finding"] == "benign")]
    shares = tabulate_classes(read_embedded(only_benign, "pixels", MEASURING), MEASURING)
    assert np.isfinite(shares[0]).all()
    assert np.isnan(shares[1]).all()
