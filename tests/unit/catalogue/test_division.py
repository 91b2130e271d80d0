"""What is dealt as a whole, by which labels it is balanced, and what the catalogue says of leaks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from medimg.cases import Case, DataSet
from medimg.catalogue.division import (
    Division,
    SplitBasis,
    divide,
    main_target,
    match_earlier,
    read_previous,
)
from medimg.catalogue.duplicates.exact import DuplicateFindings, ExactDuplicates
from medimg.catalogue.duplicates.near import NearDuplicates
from medimg.catalogue.rows import NearPair
from medimg.catalogue.split import Assignment, SplitSettings
from medimg.errors import UsageError
from tests.small_catalogue import write_small_catalogue
from tests.unit.catalogue.phantom import DATA_SET

TWO_HALVES = SplitSettings(ratios=(0.5, 0.0, 0.5))
BY_CASE = SplitSettings(ratios=(0.5, 0.0, 0.5), by="case")


def make_case(case_id: str, group: str = "", **values: object) -> Case:
    """A used, benign case of a group of its own."""
    given = {"labels": {"malignancy": "Benign"}, "clinical": {"source": "D1"}, **values}
    return Case(case_id, group or case_id, (), **given)  # type: ignore[arg-type]


def make_pair(first: Case, second: Case) -> ExactDuplicates:
    labels = (first.labels.get("malignancy"), second.labels.get("malignancy"))
    return ExactDuplicates((first.case_id, second.case_id), (first.group_id, second.group_id), labels, 1)


def split(
    cases: Sequence[Case],
    settings: SplitSettings = TWO_HALVES,
    *,
    identical: Sequence[tuple[int, int]] = (),
    near: Sequence[NearPair] = (),
    previous: dict[str, Assignment] | None = None,
    data_set: DataSet = DATA_SET,
) -> Division:
    """`identical` holds positions of cases with the same pixels."""
    duplicates = [make_pair(cases[first], cases[second]) for first, second in identical]
    return divide(
        DuplicateFindings(list(cases), duplicates, []),
        near=NearDuplicates("keypoints" if near else "off", near),
        data_set=data_set,
        basis=SplitBasis(settings, previous or {}),
        root=Path("data"),
    )


def splits_of(division: Division) -> dict[str, str]:
    return {case_id: assignment.split for case_id, assignment in division.assignments.items()}


def test_of_ids_that_differ_in_case_alone_each_keeps_its_own_split() -> None:
    earlier = {"P1": Assignment("train"), "p1": Assignment("test"), "P2": Assignment("eval")}
    assert match_earlier(earlier, ["p1", "P1", "p2", "P1 "]) == {
        "p1": Assignment("test"),
        "P1": Assignment("train"),
        "p2": Assignment("eval"),
    }


def write_earlier(to: Path, cases: Sequence[Case], division: Division, **summary: object) -> Path:
    """The catalogue of an earlier division."""
    write_small_catalogue(
        to,
        cases,
        division.assignments,
        strata=division.strata,
        summary={"data_set": "tiny", "split_settings": {"folds": 0}, **summary},
    )
    return to


GROUPS = [make_case(f"c{number:02d}-{view}", f"g{number:02d}") for number in range(12) for view in range(2)]


def test_cases_of_a_group_go_together():
    found = split(GROUPS)
    assert {case.case_id: found.assignments[case.case_id] for case in GROUPS[::2]} == {
        case.case_id: found.assignments[twin.case_id]
        for case, twin in zip(GROUPS[::2], GROUPS[1::2], strict=True)
    }
    assert (found.leaks, set(splits_of(found).values())) == ([], {"train", "test"})


def test_by_case_each_goes_for_itself_whatever_it_shares_and_the_leaks_are_counted():
    twins = [NearPair((f"c{number:02d}-0", f"c{number:02d}-1"), 0) for number in range(12)]
    division = split(GROUPS, BY_CASE, identical=[(number, number + 2) for number in range(22)], near=twins)
    found = splits_of(division)
    parted = [number for number in range(12) if found[f"c{number:02d}-0"] != found[f"c{number:02d}-1"]]
    one, other = f"c{parted[0]:02d}-0", f"c{parted[0]:02d}-1"
    assert division.leaks == [
        f"leak: {len(parted)} of 12 groups lie in more than one split: {len(parted)} in train and test "
        f"(first: g{parted[0]:02d}, in train, test), as split.by is case; figures are too good",
        f"leak: {len(parted)} of 12 pairs of near duplicates lie in different splits (first: {one} in "
        f"{found[one]}, {other} in {found[other]}), as split.by is case; figures are too good",
    ]
    assert not any("share pixels" in line for line in division.anomalies)


@pytest.mark.parametrize("near", [NearPair(("a0", "b0"), 0), NearPair(("a0", "b0"), None, 12)])
def test_near_duplicates_of_every_kind_keep_their_groups_together(near):
    cases = [make_case(f"{name}{number}") for name in "ab" for number in range(10)]
    pairs = [dataclasses.replace(near, cases=(f"a{number}", f"b{number}")) for number in range(10)]
    found = splits_of(split(cases, near=pairs))
    assert all(found[f"a{number}"] == found[f"b{number}"] for number in range(10))
    assert set(found.values()) == {"train", "test"}


def test_groups_that_share_pixels_stay_together_though_the_twin_is_excluded():
    cases = [make_case(f"{name}{number}") for name in "ab" for number in range(10)]
    twins = [
        make_case(f"{name}{number}-twin", f"{name}{number}", status="excluded")
        for name in "ab"
        for number in range(10)
    ]
    found = splits_of(split([*cases, *twins], identical=[(20 + number, 30 + number) for number in range(10)]))
    assert all(found[f"a{number}"] == found[f"b{number}"] for number in range(10))
    assert all(found[case.case_id] == found[case.group_id] for case in twins)


def test_a_group_without_any_case_in_use_has_no_split_and_the_unlabelled_have_one():
    cases = [make_case(f"c{number}") for number in range(6)]
    cases += [make_case("out", status="excluded"), make_case("bare", status="unlabelled", labels={})]
    division = split(cases)
    assert division.assignments.keys() == {*(f"c{number}" for number in range(6)), "bare"}
    assert division.strata == {
        **{f"c{number}": "Benign, D1" for number in range(6)},
        "bare": "unlabelled, D1",
    }


def test_what_the_publisher_left_open_follows_the_part_of_its_group_that_is_placed():
    """A lesion of the challenge's test that has images beyond the challenge must not be trained on."""
    official = [make_case(f"z{number}-test", f"g{number}", official_split="test") for number in range(10)]
    beyond = [make_case(f"a{number}", f"g{number}") for number in range(10)]
    others = [make_case(f"b{number}") for number in range(10)]
    found = split([*official, *beyond, *others])
    assert {splits_of(found)[case.case_id] for case in (*official, *beyond)} == {"test"}
    assert "train" in splits_of(found).values()
    assert found.leaks == []


def test_a_group_that_the_publisher_parts_is_a_leak_and_named_first_of_all_by_name():
    parted = [
        make_case(f"{case}-{place}", group, official_split=place)
        for case, group in (("a", "g2"), ("b", "g1"))
        for place in ("test", "train")
    ]
    division = split([*parted, make_case("g3", official_split="train"), make_case("g0")])
    assert {case.case_id: case.official_split for case in parted}.items() <= splits_of(division).items()
    assert division.leaks == [
        "leak: 2 of 4 groups lie in more than one split: 2 in train and test (first: g1, in train, test), as "
        "the official split is kept; figures are too good"
    ]


def test_groups_of_one_look_that_were_parted_before_are_named_once_and_stay():
    cases = [make_case(name) for name in ("a", "b", "c", "d")] + [make_case("a2", "a"), make_case("b2", "b")]
    previous = {
        "a": Assignment("test"),
        "b": Assignment("train"),
        "c": Assignment("train"),
        "d": Assignment("train"),
    }
    division = split(cases, identical=[(0, 1), (4, 5), (2, 3), (0, 4)], previous=previous)
    assert splits_of(division) == {
        "a": "test",
        "a2": "test",
        "b": "train",
        "b2": "train",
        "c": "train",
        "d": "train",
    }
    told = [line for line in division.anomalies if "share pixels" in line]
    assert told == ["groups a and b share pixels but were in test and train before; neither is moved"]


def test_two_parts_of_one_group_that_share_pixels_are_a_leak_not_two_groups():
    cases = [make_case(f"g-{place}", "g", official_split=place) for place in ("test", "train")]
    division = split([*cases, make_case("other")], identical=[(0, 1)])
    assert not any("share pixels" in line for line in division.anomalies)
    assert len(division.leaks) == 1


def test_near_duplicates_that_only_folds_part_are_no_leak():
    cases = [make_case(name) for name in "abcdef"]
    previous = {"a": Assignment("train", 0), "b": Assignment("train", 1)}
    settings = SplitSettings(folds=2)
    division = split(cases, settings, near=[NearPair(("a", "b"), 0)], previous=previous)
    assert division.assignments["a"] == Assignment("train", 0)
    assert division.assignments["b"] == Assignment("train", 1)
    assert division.leaks == []


@pytest.mark.parametrize("folds", [3, 0])
def test_an_official_split_is_reported_where_a_cross_validation_does_not_keep_it(folds):
    cases = [make_case(f"c{number}-{view}", f"c{number}") for number in range(8) for view in range(2)]
    cases += [
        make_case(f"o{number}-{view}", f"o{number}", official_split="test")
        for number in range(3)
        for view in range(2)
    ]
    settings = SplitSettings(folds=folds, test_fold=0 if folds else None)
    told = [line for line in split(cases, settings).anomalies if "official" in line]
    expected = ["3 groups have an official split, which a cross-validation does not keep"]
    assert told == (expected if folds else [])


@pytest.mark.parametrize("lacking", ["train", "eval", "test"])
def test_a_class_that_any_one_split_lacks_is_named(lacking):
    cases, previous = [], {}
    for place in ("train", "eval", "test"):
        for label in ("Benign", "Malignant"):
            status = "excluded" if (place, label) == (lacking, "Malignant") else "used"
            cases.append(make_case(f"{place}-{label}", place, labels={"malignancy": label}, status=status))
        previous[place] = Assignment(place)
    division = split(cases, SplitSettings(), previous=previous)
    assert division.anomalies == [f"split {lacking}: no used case with malignancy Malignant"]


def test_an_empty_split_lacks_every_class_of_those_that_only_the_data_tell():
    open_classes = dataclasses.replace(
        DATA_SET,
        targets={"malignancy": (), "subtype": ("a",)},
        list_classes=lambda root: {"malignancy": ("Benign", f"as in {root}"), "subtype": ("b",)},
    )
    division = split([make_case("a"), make_case("b")], data_set=open_classes)
    assert division.anomalies == [
        "split train: no used case with malignancy as in data",
        "split eval: no used case with malignancy Benign",
        "split eval: no used case with malignancy as in data",
        "split test: no used case with malignancy as in data",
    ]
    nothing_known = dataclasses.replace(open_classes, list_classes=None)
    assert split([make_case("a"), make_case("b")], data_set=nothing_known).anomalies == []


def test_a_stratum_is_the_labels_of_the_group_and_the_columns_of_its_labelled_cases():
    cases = [
        make_case("a-left", "a", labels={"malignancy": "Malignant"}),
        make_case("a-right", "a", clinical={"source": "D2"}),
        make_case("a-bare", "a", labels={"subtype": "x"}, clinical={"source": "D9"}, status="unlabelled"),
        make_case("b", labels={}, clinical={"source": "D3"}, status="unlabelled"),
        make_case("c", clinical={}),
        make_case("d", labels={"subtype": "x"}),
    ]
    assert split(cases).strata == {
        **dict.fromkeys(("a-left", "a-right", "a-bare"), "Benign+Malignant, D1+D2"),
        "b": "unlabelled, D3",
        "c": "Benign, None",
        "d": "unlabelled, D1",
    }
    assert (
        split(cases, data_set=dataclasses.replace(DATA_SET, stratify_by=())).strata["a-left"]
        == "Benign+Malignant"
    )


def test_the_first_target_is_the_one_that_is_balanced():
    assert (
        main_target(dataclasses.replace(DATA_SET, targets={"second": ("a", "b"), "first": ("c", "d")}))
        == "second"
    )


def test_groups_in_which_every_case_is_excluded_are_refused_with_an_example_or_without_any():
    with pytest.raises(UsageError, match=r"^data: none of 1 cases can be used, e\.g\. a: erratum 7$"):
        split([make_case("a", status="excluded", reason="erratum 7")])
    with pytest.raises(UsageError, match=r"^data: none of 0 cases can be used$"):
        split([])


@pytest.mark.parametrize("by", ["group", "case"])
def test_what_an_earlier_catalogue_dealt_is_read_back_by_what_was_dealt(tmp_path, by):
    settings = SplitSettings(ratios=(0.5, 0.0, 0.5), folds=3, by=by)
    cases = [*GROUPS, make_case("out", status="excluded")]
    cases += [make_case(f"o-{place}", "o", official_split=place) for place in ("train", "test")]
    earlier = split(cases, settings)
    to = write_earlier(tmp_path, cases, earlier, split_settings={"folds": 3, "by": by})
    previous = read_previous(to, data_set=DATA_SET, settings=settings)
    if by == "case":
        assert previous == earlier.assignments
    else:
        assert previous.keys() == {*(case.group_id for case in GROUPS), "train/o", "test/o"}
        assert all(previous[case.group_id] == earlier.assignments[case.case_id] for case in GROUPS)
    again = split(cases, dataclasses.replace(settings, seed=5), previous=previous)
    assert again.assignments == earlier.assignments


@pytest.mark.parametrize(("folds", "kept"), [(3, True), (4, False), (0, False)])
def test_earlier_folds_are_kept_only_if_there_are_as_many_now(tmp_path, folds, kept):
    settings = SplitSettings(folds=3)
    earlier = split(GROUPS, settings)
    to = write_earlier(tmp_path, GROUPS, earlier, split_settings={"folds": 3, "by": "group"})
    previous = read_previous(to, data_set=DATA_SET, settings=SplitSettings(folds=folds))
    for case in GROUPS:
        before = earlier.assignments[case.case_id]
        assert previous[case.group_id] == (before if kept else Assignment(before.split))


@pytest.mark.parametrize(
    ("before", "now"),
    [({"by": "case"}, "group"), ({"by": "group"}, "case"), ({}, "case")],
    ids=["case to group", "group to case", "older to case"],
)
def test_a_catalogue_that_dealt_something_else_is_refused(tmp_path, before, now):
    division = split(GROUPS, BY_CASE)
    to = write_earlier(tmp_path, GROUPS, division, split_settings={"folds": 0, **before})
    message = (
        f"a catalogue that is split by {before.get('by', 'group')}, expected one that is split by {now}$"
    )
    with pytest.raises(UsageError, match=message):
        read_previous(to, data_set=DATA_SET, settings=SplitSettings(by=now))


def test_a_catalogue_from_before_cases_could_be_dealt_is_one_of_groups(tmp_path):
    division = split(GROUPS)
    to = write_earlier(tmp_path, GROUPS, division)
    previous = read_previous(to, data_set=DATA_SET, settings=SplitSettings())
    assert previous == {case.group_id: division.assignments[case.case_id] for case in GROUPS}


def test_a_catalogue_of_another_data_set_is_refused(tmp_path):
    to = write_earlier(tmp_path, GROUPS, split(GROUPS), data_set="cmmd")
    with pytest.raises(UsageError, match="a catalogue of cmmd, expected an earlier one of tiny"):
        read_previous(to, data_set=DATA_SET, settings=SplitSettings())
