"""Figures of embedded cases: each with its split, counts and interval, and a reason where there is none."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.intervals import Bootstrap
from medimg.evaluation.representation.figures import (
    NOTHING_TO_LEAK,
    EmbeddingSettings,
    measure_embedded,
    read_embedded,
    tabulate_classes,
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
    assert figures["leak_nearest"].low > 0.3


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
