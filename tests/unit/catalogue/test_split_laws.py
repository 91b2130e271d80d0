"""What holds for every split, whatever groups, links, earlier and official splits it is given."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from medimg.catalogue.split import SPLITS, Assignment, SplitSettings, assign_splits

NAMES = [f"g{number}" for number in range(24)]
FOLDS = 3
KEPT = (SplitSettings(ratios=(0.5, 0.25, 0.25), folds=FOLDS), SplitSettings(folds=FOLDS, test_fold=1))


@dataclass(frozen=True)
class Dealing:
    """What one split is made of."""

    groups: dict[str, str]
    links: list[tuple[str, str]]
    previous: dict[str, Assignment]
    official: dict[str, str]

    def assign(self, split: SplitSettings) -> dict[str, Assignment]:
        return assign_splits(
            self.groups, settings=split, previous=self.previous, official=self.official, links=self.links
        )


@st.composite
def dealings(draw: st.DrawFn) -> Dealing:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=4, max_size=24, unique=True))
    groups = {name: draw(st.sampled_from("xyz")) for name in names}
    links = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=6))
    assignments = st.builds(Assignment, st.sampled_from(SPLITS), st.integers(0, FOLDS - 1) | st.none())
    previous = draw(st.dictionaries(st.sampled_from(NAMES), assignments, max_size=8))
    official = draw(st.dictionaries(st.sampled_from(names), st.sampled_from(SPLITS), max_size=8))
    return Dealing(groups, links, previous, official)


def gather_linked(names: Iterable[str], links: Iterable[tuple[str, str]]) -> list[set[str]]:
    """The groups that links join, by growing each set until no link leads out of it."""
    clusters = [{name} for name in names]
    for one, other in links:
        joined = [cluster for cluster in clusters if one in cluster or other in cluster]
        if {one, other} <= set().union(*joined):
            clusters = [cluster for cluster in clusters if cluster not in joined] + [set().union(*joined)]
    return clusters


@settings(max_examples=150)
@given(dealing=dealings())
def test_old_groups_never_move_and_official_ones_move_from_train_to_eval_only_where_there_is_none(dealing):
    dealt = dealing.assign(KEPT[0])
    assert dealt.keys() == dealing.groups.keys()
    for group, before in dealing.previous.items():
        if group in dealt:
            assert dealt[group].split == before.split
            assert before.fold in (None, dealt[group].fold)
    may_move = {"train"} if "eval" not in dealing.official.values() else set()
    for group, split in dealing.official.items():
        if group not in dealing.previous:
            assert dealt[group].split in ({split, "eval"} if split in may_move else {split})


@settings(max_examples=150)
@given(dealing=dealings())
def test_linked_groups_are_in_one_split_and_fold_unless_they_were_parted_before(dealing):
    for split in KEPT:
        dealt = dealing.assign(split)
        for cluster in gather_linked(dealing.groups, dealing.links):
            folds = {group: dealt[group].fold for group in cluster}
            earlier = {
                before.fold
                for group, before in dealing.previous.items()
                if group in cluster and before.fold is not None
            }
            free = {
                fold
                for group, fold in folds.items()
                if group not in dealing.previous or dealing.previous[group].fold is None
            }
            assert len(free) <= 1
            assert free <= (earlier or free)
    dealt = dealing.assign(KEPT[0])
    for cluster in gather_linked(dealing.groups, dealing.links):
        placed = dealing.official | {group: before.split for group, before in dealing.previous.items()}
        homes = {placed[group] for group in cluster if group in placed}
        free = {dealt[group].split for group in cluster if group not in placed}
        assert len(free) <= 1
        assert free <= ((homes | {"eval"} if homes == {"train"} else homes) or free)


@settings(max_examples=100)
@given(dealing=dealings(), seed=st.integers(0, 99))
def test_no_order_of_groups_links_or_earlier_assignments_matters(dealing, seed):
    def shuffle(values: Iterable) -> list:
        return random.Random(seed).sample(list(values), len(list(values)))

    other = Dealing(
        dict(shuffle(dealing.groups.items())),
        [(second, first) for first, second in shuffle(dealing.links)],
        dict(shuffle(dealing.previous.items())),
        dict(shuffle(dealing.official.items())),
    )
    for split in KEPT:
        assert other.assign(split) == dealing.assign(split)


@settings(max_examples=100)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=6, max_size=40),
    strata=st.integers(1, 6),
    ratios=st.sampled_from(((0.7, 0.15, 0.15), (0.5, 0.25, 0.25), (0.5, 0.0, 0.5))),
    seed=st.integers(0, 99),
)
def test_shares_are_kept_within_one_cluster_for_each_split_that_can_get_too_many(sizes, strata, ratios, seed):
    groups, links = {}, []
    for number, size in enumerate(sizes):
        members = [f"{number}-{member}" for member in range(size)]
        groups.update(dict.fromkeys(members, f"s{number % strata}"))
        links += [(members[0], member) for member in members[1:]]
    dealt = assign_splits(groups, settings=SplitSettings(ratios=ratios, seed=seed), links=links)
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    for group, assignment in dealt.items():
        totals[groups[group]][assignment.split] += 1
    for stratum, found in totals.items():
        largest = max(size for number, size in enumerate(sizes) if f"s{number % strata}" == stratum)
        for split, ratio in zip(SPLITS, ratios, strict=True):
            assert found[split] - ratio * found.total() < largest + 1e-6


def test_the_same_groups_and_seed_are_dealt_as_they_were_by_earlier_versions():
    """A new version that deals otherwise would move patients between train and test of every study."""
    groups = {f"p{number:02d}": f"s{number * number % 7}" for number in range(48)}
    links = [(f"p{number:02d}", f"p{number + 5:02d}") for number in (1, 3, 6, 8, 11, 20, 25, 30, 31, 40)]
    dealt = assign_splits(groups, settings=SplitSettings(folds=4, seed=7), links=links)
    by_split = "".join(dealt[group].split[1] for group in sorted(groups))
    by_fold = "".join(str(dealt[group].fold) for group in sorted(groups))
    assert (by_split, by_fold) == (
        "rrrerrrverrreerrrvrvrrrvrreeerrrrrrrrrrrrrrvrrvr",
        "023231212332221021101230010000101331013223333201",
    )
