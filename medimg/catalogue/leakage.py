"""What lies on both sides of a split: pairs of cases, by what they have in common."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from medimg.cases import Case
from medimg.catalogue.duplicates.exact import ACTIVE, ExactDuplicates
from medimg.catalogue.duplicates.near import NearDuplicates
from medimg.catalogue.split import SPLITS, Assignment

SIDES = tuple(itertools.combinations(SPLITS, 2))


def count_crossings(pairs: Iterable[tuple[str, str]], *, splits: Mapping[str, str]) -> dict[str, int]:
    """Pairs whose two members lie in different splits, by "train-eval", "train-test" and "eval-test".

    A member without a split is in none.
    """
    counts = Counter(
        frozenset((splits[one], splits[other])) for one, other in pairs if one in splits and other in splits
    )
    return {"-".join(sides): counts[frozenset(sides)] for sides in SIDES}


def count_parted(groups: Mapping[str, str], *, splits: Mapping[str, str]) -> dict[str, int]:
    """Pairs of cases of one group that lie in different splits, counted without listing them.

    Arguments are by case.
    """
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for case_id, split in splits.items():
        sizes[groups[case_id]][split] += 1
    counts = {}
    for one, other in SIDES:
        counts[f"{one}-{other}"] = sum(size[one] * size[other] for size in sizes.values())
    return counts


def tabulate_leakage(
    cases: Sequence[Case],
    *,
    duplicates: Iterable[ExactDuplicates],
    near: NearDuplicates,
    assignments: Mapping[str, Assignment],
) -> list[dict[str, object]]:
    """Counts, for each thing that two cases can have in common, the pairs that have it across splits.

    Only used and unlabelled cases count.

    Returns:
        rows of `common` and `pairs`, a mapping as of `count_crossings`; None where nobody searched.
    """
    splits = {case.case_id: assignments[case.case_id].split for case in cases if case.status in ACTIVE}
    groups = {case.case_id: case.group_id for case in cases}
    identical = [pair.cases for pair in duplicates]
    hashes = [pair.cases for pair in near.pairs if pair.hash_distance is not None]
    keypoints = [pair.cases for pair in near.pairs if pair.keypoints is not None]
    return [
        {"common": "the same group", "pairs": count_parted(groups, splits=splits)},
        {"common": "identical pixels", "pairs": count_crossings(identical, splits=splits)},
        {
            "common": "nearly the same image, by perceptual hash",
            "pairs": None if near.search == "off" else count_crossings(hashes, splits=splits),
        },
        {
            "common": "the same spot, by keypoints",
            "pairs": count_crossings(keypoints, splits=splits) if near.search == "keypoints" else None,
        },
    ]


def describe_crossings(near: NearDuplicates, *, assignments: Mapping[str, Assignment], by: str) -> list[str]:
    """Describes near duplicates in different splits in one line: nothing is moved for them."""
    crossing = [
        pair.cases
        for pair in near.pairs
        if assignments[pair.cases[0]].split != assignments[pair.cases[1]].split
    ]
    if not crossing:
        return []
    first, second = crossing[0]
    why = "split.by is case" if by == "case" else "the official or an earlier split is kept"
    where = f"{first} in {assignments[first].split}, {second} in {assignments[second].split}"
    return [
        f"leak: {len(crossing)} of {len(near.pairs)} pairs of near duplicates lie in different splits "
        f"(first: {where}), as {why}; figures are too good"
    ]
