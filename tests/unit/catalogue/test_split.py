"""Splits: whole groups, balanced strata, stable."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg.catalogue.split import SPLITS, Assignment, SplitSettings, assign_splits, choose_part
from medimg.errors import UsageError

# 0.7 + 0.2 + 0.1 is not quite 1, and 0.57 * 100 not quite 57, in the numbers of a computer.
RATIOS = (
    (0.7, 0.15, 0.15),
    (0.6, 0.2, 0.2),
    (0.8, 0.1, 0.1),
    (0.5, 0.0, 0.5),
    (0.7, 0.2, 0.1),
    (0.57, 0.29, 0.14),
)


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


@pytest.mark.parametrize("name", ["validation", "val", "Train"])
def test_an_unknown_official_split_is_refused_by_name(name):
    with pytest.raises(UsageError, match=f"official split '{name}', expected one of train, eval, test"):
        assign_splits(dict.fromkeys("abc", "s"), settings=SplitSettings(), official={"a": name})


def test_an_official_split_that_has_all_three_is_kept_whole_whatever_the_ratios():
    groups = make_groups(40)
    official = dict(zip(groups, ["train"] * 20 + ["eval"] * 4 + ["test"] * 6, strict=False))
    assignments = assign_splits(groups, settings=SplitSettings(ratios=(0.4, 0.3, 0.3)), official=official)
    assert {group: assignments[group].split for group in official} == official


def test_an_earlier_split_is_kept_where_the_publisher_says_otherwise():
    groups = make_groups(40)
    official = dict(zip(groups, ["train"] * 20 + ["test"] * 10, strict=False))
    previous = dict.fromkeys(list(groups)[0:12:4], Assignment("test"))
    previous |= dict.fromkeys(list(groups)[20:26:2], Assignment("train"))
    assignments = assign_splits(groups, settings=SplitSettings(), previous=previous, official=official)
    assert {group: assignments[group] for group in previous} == previous


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


def test_a_newcomer_follows_the_old_group_though_its_own_name_sorts_first():
    groups = {f"{name}{number}": "s" for number in range(20) for name in ("a-new", "b-old")}
    previous = {f"b-old{number}": Assignment("test" if number % 2 else "eval", 1) for number in range(20)}
    links = [(f"b-old{number}", f"a-new{number}") for number in range(20)]
    assignments = assign_splits(groups, settings=SplitSettings(folds=3), previous=previous, links=links)
    for old, new in links:
        assert assignments[old] == assignments[new] == previous[old]


def test_linked_old_groups_in_two_splits_both_stay_and_each_counts_where_it_is():
    groups = {f"{name}{number}": "s" for name in "abcde" for number in range(4)}
    links = [(f"a{number}", f"b{number}") for number in range(4)]
    previous = {one: Assignment("train") for one, _ in links} | {
        other: Assignment("test") for _, other in links
    }
    assignments = assign_splits(
        groups, settings=SplitSettings(ratios=(0.5, 0, 0.5)), previous=previous, links=links
    )
    assert {group: assignments[group] for group in previous} == previous
    assert Counter(assignment.split for assignment in assignments.values()) == {"train": 10, "test": 10}


@pytest.mark.parametrize("link", [("gone", "a"), ("a", "gone")])
def test_a_link_to_a_group_that_is_not_dealt_does_no_harm(link):
    assignments = assign_splits(dict.fromkeys("abc", "s"), settings=SplitSettings(), links=[link])
    assert set(assignments) == {"a", "b", "c"}


@pytest.mark.parametrize("folds", [3, 5])
def test_every_group_is_in_one_of_k_folds_of_equal_size(folds):
    assignments = assign_splits(make_groups(100), settings=SplitSettings(folds=folds))
    counts = Counter(assignment.fold for assignment in assignments.values())
    assert set(counts) == set(range(folds))
    assert max(counts.values()) - min(counts.values()) <= 2


def test_folds_follow_the_seed_and_are_not_the_splits_again():
    groups, thirds = make_groups(60), (1 / 3, 1 / 3, 1 / 3)
    first, second = (
        assign_splits(groups, settings=SplitSettings(ratios=thirds, folds=3, seed=seed)) for seed in (0, 1)
    )
    assert {group: first[group].fold for group in groups} != {group: second[group].fold for group in groups}
    assert len({(assignment.split, assignment.fold) for assignment in first.values()}) > 3


def test_as_few_groups_as_splits_with_a_share_and_as_folds_are_enough():
    two = assign_splits({"a": "s", "b": "s"}, settings=SplitSettings(ratios=(0.5, 0, 0.5)))
    assert sorted(assignment.split for assignment in two.values()) == ["test", "train"]
    three = assign_splits(dict.fromkeys("abc", "s"), settings=SplitSettings(folds=3))
    assert sorted(assignment.fold for assignment in three.values()) == [0, 1, 2]


@pytest.mark.parametrize(("test_fold", "eval_fold"), [(0, 1), (2, 3), (3, 0)])
def test_the_fold_after_the_tested_one_is_eval_whatever_ratios_and_publisher_say(test_fold, eval_fold):
    groups = make_groups(60)
    official = dict(zip(groups, ["test"] * 9 + ["train"] * 20, strict=False))
    settings = SplitSettings(ratios=(0.2, 0.4, 0.4), folds=4, test_fold=test_fold)
    assignments = assign_splits(groups, settings=settings, official=official)
    names = {test_fold: "test", eval_fold: "eval"}
    assert {assignment.fold for assignment in assignments.values()} == {0, 1, 2, 3}
    for assignment in assignments.values():
        assert assignment.split == names.get(assignment.fold, "train")


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
        ({"ratios": (0.5, 0.5)}, "expected 3 shares"),
        ({"ratios": (0.7, 0.15, 0.149)}, "expected 3 shares"),
        ({"ratios": (0.7, 0.15, 0.151)}, "expected 3 shares"),
        ({"folds": 1}, "1 folds: expected 0 for none, or 2 and more"),
        ({"folds": -1}, "-1 folds: expected 0 for none, or 2 and more"),
        ({"folds": 2, "test_fold": 0}, "test fold 0 of 2: expected 3 folds or more"),
        ({"test_fold": 0}, "test fold 0 of 0: expected 3 folds or more"),
        ({"folds": 3, "test_fold": 3}, "test fold 3 of 3"),
        ({"folds": 3, "test_fold": -1}, "test fold -1 of 3"),
        ({"folds": 3}, r"2 groups cannot be dealt to 3 splits"),
        ({"folds": 3, "ratios": (0.5, 0.0, 0.5)}, r"2 groups cannot be dealt to 3 folds"),
    ],
)
def test_settings_that_cannot_be_met_are_refused_in_one_line(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        assign_splits({"a": "s", "b": "s"}, settings=SplitSettings(**options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lacking", "lacking_overall", "part"),
    [
        ((1.0, 0.9, 0.0), (1, 9, 9), "train"),
        ((0.9999999, 0.9, 0.0), (1, 9, 9), "train"),
        ((3.0, 1.0, 2.0), (0, 9, 9), "train"),
        ((0.9, 0.2, 0.0), (1, 9, 10), "eval"),
        ((0.9, 0.2, 0.0000001), (1, 9, 10), "eval"),
        ((0.4, 0.6, 0.2), (2, 2, 2), "eval"),
        ((0.0, 0.0, 0.0), (1, 3, 2), "eval"),
    ],
)
def test_who_lacks_a_whole_group_gets_the_next_and_else_who_lacks_most_overall(
    lacking, lacking_overall, part
):
    by_part = (dict(zip(SPLITS, values, strict=True)) for values in (lacking, lacking_overall))
    assert choose_part(*by_part) == part


def test_eval_is_dealt_from_an_official_train_where_the_publisher_has_none():
    groups = make_groups(40)
    official = {group: "test" if index < 10 else "train" for index, group in enumerate(groups)}
    assignments = assign_splits(groups, settings=SplitSettings(ratios=(0.6, 0.2, 0.2)), official=official)
    assert {group for group, assignment in assignments.items() if assignment.split == "test"} == {
        group for group in groups if official[group] == "test"
    }
    assert abs(sum(assignment.split == "eval" for assignment in assignments.values()) - 30 / 4) <= 1


def test_eval_of_an_official_train_follows_the_seed():
    groups = make_groups(40)
    official = {group: "test" if index < 10 else "train" for index, group in enumerate(groups)}
    dealt = [assign_splits(groups, settings=SplitSettings(seed=seed), official=official) for seed in (0, 1)]
    assert dealt[0] != dealt[1]


def test_no_old_group_of_an_official_train_moves_to_eval_when_newcomers_arrive():
    groups = make_groups(80)
    official = {group: "train" if index % 4 else "test" for index, group in enumerate(groups)}
    old = dict(list(groups.items())[:20])
    ratios = SplitSettings(ratios=(0.6, 0.2, 0.2))
    before = assign_splits(old, settings=ratios, official={group: official[group] for group in old})
    after = assign_splits(groups, settings=ratios, previous=before, official=official)
    assert {group: after[group] for group in old} == before
    assert abs(sum(assignment.split == "eval" for assignment in after.values()) - 60 / 4) <= 1
    assert {group for group in groups if after[group].split == "test"} == {
        group for group in groups if official[group] == "test"
    }


def test_eval_is_dealt_from_an_official_train_though_its_groups_are_linked_to_test():
    train, test = ([f"{name}{number}" for number in range(20)] for name in ("p", "o"))
    official = dict.fromkeys(train, "train") | dict.fromkeys(test, "test")
    assignments = assign_splits(
        dict.fromkeys(official, "s"),
        settings=SplitSettings(ratios=(0.6, 0.2, 0.2)),
        official=official,
        links=[*zip(train, test, strict=True), *zip(train[::2], train[1::2], strict=True)],
    )
    assert {assignments[group].split for group in test} == {"test"}
    assert sum(assignments[group].split == "eval" for group in train) in range(4, 7)
    assert all(
        assignments[one] == assignments[other] for one, other in zip(train[::2], train[1::2], strict=True)
    )
