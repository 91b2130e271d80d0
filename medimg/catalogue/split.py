"""Deals groups (patients, lesions, donors) to train, eval and test and to folds.

Stratified, seeded and stable; the order of files does not matter.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.cluster.hierarchy import DisjointSet

from medimg.errors import UsageError
from medimg.numeric_types import Count, Fraction, Seed

SPLITS = TRAIN, EVAL, TEST = "train", "eval", "test"

Search = Literal["off", "hash", "keypoints"]
"""For near duplicates: none; for images that were recompressed, resized, flipped or turned by 90 degrees.

Also for any angle, crops and zooms.
"""


@dataclass(frozen=True)
class SplitSettings:
    """How groups are dealt.

    Attributes:
        ratios: shares of train, eval and test, each 0 to 1; they sum to 1.
        folds: number of cross-validation folds, 2 to 10 million; 0 for none.
        seed: another seed deals otherwise; 0 to 2 billion.
        test_fold: the fold, 0 to `folds` - 1, that is the test split of one step of a cross-validation; the
            next one is eval, the others train, and `ratios` and official splits have no part in it. None
            deals the splits by `ratios`.
        near_duplicates: how cases with nearly the same image are searched (medimg.catalogue.duplicates.near);
            those that are found join their groups, so that they share a split as far as `by` and official
            splits let them. "off" opens no image for it.
        by: "group" keeps what belongs together in one split. "case" deals each case for itself, to show what
            that leak is worth: never a result.
    """

    ratios: tuple[Fraction, Fraction, Fraction] = (0.7, 0.15, 0.15)
    folds: Count = 0
    seed: Seed = 0
    test_fold: Count | None = None
    by: Literal["group", "case"] = "group"
    near_duplicates: Search = "off"


@dataclass(frozen=True)
class Assignment:
    """Where a group went; `fold` is None where no folds were asked for."""

    split: str
    fold: int | None = None


def assign_splits(
    groups: Mapping[str, str],
    *,
    settings: SplitSettings,
    previous: Mapping[str, Assignment] | None = None,
    official: Mapping[str, str] | None = None,
    links: Iterable[tuple[str, str]] = (),
) -> dict[str, Assignment]:
    """Deals every group to a split and, if asked for, a fold.

    Each stratum, and the whole, ends within one group of its ratio, as far as `previous`, `official` and
    `links` leave a choice.

    Args:
        groups: group to its stratum.
        previous: assignments of an earlier catalogue; these groups never move (folds of None are dealt).
            With a `test_fold` it is their fold that stays.
        official: the publisher's split by group; kept where `previous` says nothing. Where it knows no eval,
            eval is dealt from its train.
        links: pairs of groups that must stay together, because their images are the same or nearly so. A
            newcomer follows the group that is already placed.

    Raises:
        UsageError: ratios or folds make no sense, an official split is not train, eval or test, or there are
            fewer groups than splits or folds.
    """
    check_settings(settings)
    check_group_count(len(groups), settings=settings)
    previous, official = previous or {}, official or {}
    for group, split in sorted(official.items()):
        if split not in SPLITS:
            raise UsageError(f"group {group}: official split {split!r}, expected one of {', '.join(SPLITS)}")
    clusters = gather_clusters(groups, links=links)
    shares = dict(zip(SPLITS, settings.ratios, strict=True))
    before = {group: assignment.split for group, assignment in previous.items()}
    placed_splits = {**official, **before}
    if "eval" not in official.values():
        train = {
            group: stratum
            for group, stratum in groups.items()
            if official.get(group) == "train" and before.get(group) != "test"
        }
        placed_splits |= deal_eval(
            train, clusters=clusters, shares=shares, placed=before, seed=f"split/{settings.seed}"
        )
    splits = deal(
        groups, clusters=clusters, shares=shares, placed=placed_splits, seed=f"split/{settings.seed}"
    )
    folds: dict[str, str] = {}
    if settings.folds:
        names = [str(fold) for fold in range(settings.folds)]
        placed_folds = {
            group: str(assignment.fold)
            for group, assignment in previous.items()
            if str(assignment.fold) in names
        }
        equal = dict.fromkeys(names, 1 / settings.folds)
        folds = deal(
            groups, clusters=clusters, shares=equal, placed=placed_folds, seed=f"fold/{settings.seed}"
        )
    if settings.test_fold is not None:
        splits = {
            group: name_split(int(fold), test_fold=settings.test_fold, folds=settings.folds)
            for group, fold in folds.items()
        }
    return {
        group: Assignment(splits[group], int(folds[group]) if folds else None) for group in sorted(groups)
    }


def name_split(fold: int, *, test_fold: int, folds: int) -> str:
    """Returns the split of a fold's groups in the cross-validation step that tests `test_fold`.

    The next fold is eval, in a ring.
    """
    return {test_fold: "test", (test_fold + 1) % folds: "eval"}.get(fold, "train")


def check_settings(settings: SplitSettings) -> None:
    """Raises UsageError for shares or folds that nothing can be dealt to."""
    ratios = settings.ratios
    if len(ratios) != len(SPLITS) or min(ratios) < 0 or not abs(sum(ratios) - 1) <= 1e-6:  # NaN too.
        raise UsageError(
            f"split ratios {tuple(ratios)}: expected {len(SPLITS)} shares from 0 to 1 that sum to 1"
        )
    if settings.folds < 0 or settings.folds == 1:
        raise UsageError(f"{settings.folds} folds: expected 0 for none, or 2 and more")
    if settings.test_fold is not None and not (
        settings.folds >= len(SPLITS) and 0 <= settings.test_fold < settings.folds
    ):
        raise UsageError(
            f"test fold {settings.test_fold} of {settings.folds}: expected {len(SPLITS)} folds or more, "
            "one to test, one for eval, the rest to train"
        )


def check_group_count(groups: int, *, settings: SplitSettings) -> None:
    """Raises UsageError for fewer groups than splits or folds."""
    wanted = sum(ratio > 0 for ratio in settings.ratios)
    if groups < wanted:
        raise UsageError(f"{groups} groups cannot be dealt to {wanted} splits: at least {wanted} are needed")
    if groups < settings.folds:
        raise UsageError(f"{groups} groups cannot be dealt to {settings.folds} folds")


def gather_clusters(groups: Mapping[str, str], *, links: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Groups that must stay together, as sorted tuples in a fixed order; most hold one group."""
    sets = DisjointSet(sorted(groups))
    for first, second in sorted(links):
        if first in groups and second in groups:
            sets.merge(first, second)
    return sorted(tuple(sorted(subset)) for subset in sets.subsets())


def deal(
    groups: Mapping[str, str],
    *,
    clusters: Sequence[tuple[str, ...]],
    shares: Mapping[str, float],
    placed: Mapping[str, str],
    seed: str,
) -> dict[str, str]:
    """Deals clusters of groups to named parts.

    By stratum, in the order of a seeded hash, always to the part that lacks most.

    The last of a stratum, where each part lacks less than one group, go to the part that lacks most over all
    strata dealt so far: so the roundings of many small strata do not add up.
    """
    dealt = {group: placed[group] for group in groups if placed.get(group) in shares}
    queues: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(shares, 0))
    for cluster in clusters:
        stratum = groups[cluster[0]]
        sizes[stratum] += len(cluster)
        home = next((dealt[group] for group in cluster if group in dealt), None)
        if home is None:
            queues[stratum].append(cluster)
            continue
        for group in cluster:
            counts[stratum][dealt.setdefault(group, home)] += 1
    lacking_overall = dict.fromkeys(shares, 0.0)
    for stratum in sorted(sizes):
        lacking = {part: share * sizes[stratum] - counts[stratum][part] for part, share in shares.items()}
        for part in shares:
            lacking_overall[part] += lacking[part]
        for cluster in sorted(queues[stratum], key=lambda cluster: hash_text(f"{seed}/{cluster[0]}")):
            part = choose_part(lacking, lacking_overall)
            lacking[part] -= len(cluster)
            lacking_overall[part] -= len(cluster)
            dealt.update(dict.fromkeys(cluster, part))
    return dealt


def deal_eval(
    train: Mapping[str, str],
    *,
    clusters: Iterable[tuple[str, ...]],
    shares: Mapping[str, float],
    placed: Mapping[str, str],
    seed: str,
) -> dict[str, str]:
    """Deals the groups of an official train, which are all that `train` holds, to train and eval.

    In the ratio that the two have in `shares`.
    """
    total = shares["train"] + shares["eval"]
    if not train or not total:
        return {}
    parts = {name: shares[name] / total for name in ("train", "eval")}
    mine = []
    for cluster in clusters:
        if left := tuple(group for group in cluster if group in train):
            mine.append(left)
    return deal(
        train,
        clusters=mine,
        shares=parts,
        placed={group: split for group, split in placed.items() if group in train},
        seed=seed,
    )


def choose_part(lacking: Mapping[str, float], lacking_overall: Mapping[str, float]) -> str:
    """The part that lacks a whole group in the stratum, most first.

    Else, of those that lack some of one, that which lacks most overall.
    """
    # Rounded, so that 0.15 * 20 counts as 3 on every machine.
    most = max(lacking, key=lambda part: round(lacking[part], 6))
    if round(lacking[most], 6) >= 1:
        return most
    some = [part for part in lacking if round(lacking[part], 6) > 0] or list(lacking)
    return max(some, key=lambda part: (round(lacking_overall[part], 6), round(lacking[part], 6)))


def hash_text(text: str) -> str:
    """A hash that is the same in every process, unlike `hash`."""
    return hashlib.sha256(text.encode()).hexdigest()
