"""Splits: whole groups, balanced strata, stable."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg.catalogue.split import SPLITS, Assignment, SplitSettings, assign_splits
from medimg.errors import UsageError

RATIOS = ((0.7, 0.15, 0.15), (0.6, 0.2, 0.2), (0.8, 0.1, 0.1), (0.5, 0.0, 0.5))


def make_groups(count: int, *, strata: int = 3, seed: int = 0) -> dict[str, str]:
    chosen = random.Random(seed)
    return {f"patient-{seed}-{number}": f"stratum {chosen.randrange(strata)}" for number in range(count)}


@settings(max_examples=60)
@given(
    count=st.integers(3, 200),
    strata=st.integers(1, 12),
    seed=st.integers(0, 99),
    ratios=st.sampled_from(RATIOS),
)
def test_each_stratum_and_the_whole_are_within_one_group_of_their_ratio(count, strata, seed, ratios):
    groups = make_groups(count, strata=strata, seed=seed)
    assignments = assign_splits(groups, settings=SplitSettings(ratios=ratios, seed=seed))
    totals = Counter(assignment.split for assignment in assignments.values())
    cells = Counter((groups[group], assignment.split) for group, assignment in assignments.items())
    for split, ratio in zip(SPLITS, ratios, strict=True):
        assert abs(totals[split] - ratio * count) <= 1
        for stratum, size in Counter(groups.values()).items():
            assert abs(cells[stratum, split] - ratio * size) <= 1


def test_the_order_of_groups_does_not_matter():
    groups = make_groups(100)
    shuffled = list(groups.items())
    random.Random(1).shuffle(shuffled)
    assert assign_splits(groups, settings=SplitSettings(folds=5)) == assign_splits(
        dict(shuffled), settings=SplitSettings(folds=5)
    )


def test_another_seed_deals_otherwise():
    groups = make_groups(100)
    assert assign_splits(groups, settings=SplitSettings(seed=0)) != assign_splits(
        groups, settings=SplitSettings(seed=1)
    )


def test_no_old_group_moves_when_newcomers_arrive_and_strata_stay_balanced():
    old = make_groups(200, seed=1)
    before = assign_splits(old, settings=SplitSettings(folds=4))
    everyone = {**make_groups(20, seed=2), **old}
    after = assign_splits(everyone, settings=SplitSettings(folds=4), previous=before)
    assert {group: after[group] for group in old} == before
    for stratum, size in Counter(everyone.values()).items():
        members = [after[group].split for group in everyone if everyone[group] == stratum]
        for split, ratio in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
            assert abs(members.count(split) - ratio * size) <= 1


def test_groups_that_left_since_the_previous_catalogue_do_no_harm():
    previous = {"gone": Assignment("test"), "a": Assignment("eval")}
    assignments = assign_splits(dict.fromkeys("abc", "s"), settings=SplitSettings(), previous=previous)
    assert assignments["a"].split == "eval"
    assert set(assignments) == {"a", "b", "c"}


def test_an_official_split_is_kept():
    groups = make_groups(50)
    official = dict.fromkeys(list(groups)[:20], "test")
    assignments = assign_splits(groups, settings=SplitSettings(), official=official)
    assert {assignments[group].split for group in official} == {"test"}


def test_an_unknown_official_split_is_refused_by_name():
    with pytest.raises(UsageError, match="official split 'validation', expected one of train, eval, test"):
        assign_splits(dict.fromkeys("abc", "s"), settings=SplitSettings(), official={"a": "validation"})


def test_linked_groups_stay_in_one_split_and_fold():
    groups = make_groups(60)
    names = list(groups)
    links = [(names[0], names[1]), (names[1], names[2]), (names[10], names[40])]
    assignments = assign_splits(groups, settings=SplitSettings(folds=3), links=links)
    for first, second in links:
        assert assignments[first] == assignments[second]


def test_a_newcomer_follows_the_old_group_that_it_shares_pixels_with():
    groups = make_groups(60)
    old, *_, new = groups
    assignments = assign_splits(
        groups, settings=SplitSettings(), previous={old: Assignment("test")}, links=[(new, old)]
    )
    assert assignments[new].split == "test"


def test_every_group_is_in_one_of_k_folds_of_equal_size():
    assignments = assign_splits(make_groups(100), settings=SplitSettings(folds=5))
    counts = Counter(assignment.fold for assignment in assignments.values())
    assert set(counts) == {0, 1, 2, 3, 4}
    assert max(counts.values()) - min(counts.values()) <= 2


def test_each_group_is_tested_once_and_in_that_step_never_trained_on_or_chosen_by():
    groups, links = make_groups(60), [("patient-0-0", "patient-0-1"), ("patient-0-2", "patient-0-40")]
    steps = [
        assign_splits(groups, settings=SplitSettings(folds=4, test_fold=fold), links=links)
        for fold in range(4)
    ]
    for group in groups:
        assert sorted(step[group].split for step in steps) == ["eval", "test", "train", "train"]
    for step in steps:
        assert all(step[first].split == step[second].split for first, second in links)
        assert [assignment.fold for assignment in step.values()] == [
            assignment.fold for assignment in steps[0].values()
        ]


def test_a_step_of_a_cross_validation_keeps_the_folds_of_an_earlier_catalogue_not_its_splits():
    groups = make_groups(40)
    before = assign_splits(dict(list(groups.items())[:30]), settings=SplitSettings(folds=3))
    after = assign_splits(groups, settings=SplitSettings(folds=3, test_fold=2, seed=9), previous=before)
    assert all(after[group].fold == assignment.fold for group, assignment in before.items())
    assert all((assignment.split == "test") == (assignment.fold == 2) for assignment in after.values())


def test_without_folds_there_is_no_fold():
    assert {
        assignment.fold for assignment in assign_splits(make_groups(10), settings=SplitSettings()).values()
    } == {None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratios": (0.7, 0.2, 0.2)}, r"split ratios \(0.7, 0.2, 0.2\): expected 3 shares"),
        ({"ratios": (1.2, -0.1, -0.1)}, "expected 3 shares"),
        ({"ratios": (float("nan"),) * 3}, "expected 3 shares"),
        ({"folds": 1}, "1 folds: expected 0 for none, or 2 and more"),
        ({"folds": 2, "test_fold": 0}, "test fold 0 of 2: expected 3 folds or more"),
        ({"folds": 3, "test_fold": 3}, "test fold 3 of 3"),
        ({"folds": 3}, r"2 groups cannot be dealt to 3 splits"),
    ],
)
def test_settings_that_cannot_be_met_are_refused_in_one_line(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        assign_splits({"a": "s", "b": "s"}, settings=SplitSettings(**options))
    assert "\n" not in str(caught.value)


def test_eval_is_dealt_from_an_official_train_where_the_publisher_has_none():
    groups = make_groups(40)
    official = {group: "test" if index < 10 else "train" for index, group in enumerate(groups)}
    assignments = assign_splits(groups, settings=SplitSettings(ratios=(0.6, 0.2, 0.2)), official=official)
    assert {group for group, assignment in assignments.items() if assignment.split == "test"} == {
        group for group in groups if official[group] == "test"
    }
    assert abs(sum(assignment.split == "eval" for assignment in assignments.values()) - 30 / 4) <= 1
