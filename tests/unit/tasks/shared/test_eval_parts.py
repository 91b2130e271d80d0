"""Who chooses the epoch and on whom it is calibrated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg.tasks.shared.eval_parts import EvalParts, part_eval


def part(groups: np.ndarray) -> EvalParts:
    return part_eval(groups, labelled=np.ones(len(groups), bool))


def name_groups(count: int, *, cases: int = 2) -> np.ndarray:
    return np.repeat([f"patient-{number}" for number in range(count)], cases)


@given(count=st.integers(1, 90), cases=st.integers(1, 3), seed=st.integers(0, 3))
def test_no_group_is_on_both_sides_of_a_choice(count: int, cases: int, seed: int) -> None:
    groups = np.random.default_rng(seed).permutation(name_groups(count, cases=cases))
    parts = part(groups)
    held_out = np.zeros(len(groups), int)
    for one in parts.held_out:
        assert not set(groups[one.cases]) & set(groups[one.chosen_by])
        assert one.cases.any()
        assert one.chosen_by.any()
        held_out += one.cases
    np.testing.assert_array_equal(held_out, parts.calibrate.astype(int))
    assert parts.choose.any()
    for group in np.unique(groups):
        assert len(set(parts.names[groups == group])) == 1


def test_of_forty_groups_a_half_chooses_and_the_other_is_calibrated_on() -> None:
    parts = part(name_groups(400))
    assert set(parts.names) == {"choose", "calibrate"}
    assert 320 < parts.choose.sum() < 480
    np.testing.assert_array_equal(parts.choose, parts.names == "choose")
    np.testing.assert_array_equal(parts.calibrate, parts.names == "calibrate")
    assert set(part(name_groups(40)).names) == {"choose", "calibrate"}


@pytest.mark.parametrize(("count", "folds"), [(39, 2), (5, 2), (3, 2), (2, 2)])
def test_of_fewer_all_choose_and_each_half_is_answered_by_the_choice_of_the_other(
    count: int, folds: int
) -> None:
    parts = part(name_groups(count))
    assert set(parts.names) == {"cross-fitted"}
    assert parts.choose.all()
    sizes = [int(one.cases.sum()) for one in parts.held_out]
    assert len(sizes) == folds
    assert max(sizes) - min(sizes) <= 2
    for one in parts.held_out:
        np.testing.assert_array_equal(one.chosen_by, ~one.cases)


def test_one_group_chooses_and_nothing_is_calibrated() -> None:
    parts = part(np.array(["a", "a", "a"]))
    assert set(parts.names) == {"choose"}
    assert parts.choose.all()
    assert not parts.calibrate.any()
    assert not parts.held_out


def test_a_group_stays_in_its_part_when_others_come() -> None:
    first, more = name_groups(60), name_groups(90)
    np.testing.assert_array_equal(part(first).names, part(more).names[: len(first)])


def test_groups_without_a_label_do_not_make_enough_to_choose_by() -> None:
    groups = name_groups(60)
    labelled = np.arange(len(groups)) < 2 * 39
    assert set(part_eval(groups, labelled=labelled).names) == {"cross-fitted"}
    labelled = np.arange(len(groups)) < 2 * 40 - 1
    assert set(part_eval(groups, labelled=labelled).names) == {"choose", "calibrate"}
