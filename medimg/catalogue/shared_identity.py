"""Patients and studies that the headers see in more than one group: the split may part one person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medimg.cases import Case, Header
from medimg.catalogue.duplicates.exact import ACTIVE
from medimg.catalogue.leakage import count_parted
from medimg.catalogue.split import Assignment

IDENTITIES = {
    "PatientID": "PatientID (0010,0020)",
    "StudyInstanceUID": "StudyInstanceUID (0020,000D)",
}
"""Attributes of which one value belongs to one patient, with their names for people."""


@dataclass(frozen=True)
class SharedIdentity:
    """One attribute whose values occur in more than one group.

    Attributes:
        name: for people.
        groups: by value, the groups that have it, sorted; only values of two groups or more.
        pairs: pairs of cases with one value in different splits, as of `count_crossings`.
    """

    name: str
    groups: Mapping[str, tuple[str, ...]]
    pairs: Mapping[str, int]

    def tabulate(self) -> dict[str, object]:
        """Returns a row of the leakage table."""
        return {"common": f"the same {self.name}, in several groups", "pairs": dict(self.pairs)}

    def describe(self) -> list[str]:
        """Returns one line, without the value, where there is something to say."""
        if not self.groups:
            return []
        first = min(self.groups.values())
        crossing = sum(self.pairs.values())
        return [
            f"leak: {len(self.groups)} values of {self.name} occur in more than one group (first: {first[0]} "
            f"and {first[1]}); pairs of such cases in different splits: {crossing}. Group by patient"
        ]


def find_shared_identities(
    cases: Sequence[Case], *, headers: Mapping[str, Header], assignments: Mapping[str, Assignment]
) -> list[SharedIdentity]:
    """Finds the patients and studies of the headers that lie in several groups.

    Only used and unlabelled cases count; attributes that no header has are left out.

    Args:
        headers: by path.
        assignments: by case.
    """
    found = []
    for keyword, name in IDENTITIES.items():
        value_of: dict[str, str] = {}
        groups: dict[str, set[str]] = defaultdict(set)
        for case in cases:
            values = [headers[image.path].tags.get(keyword) for image in case.images if image.path in headers]
            value = next((str(value) for value in values if value), "")
            if value and case.status in ACTIVE:
                value_of[case.case_id] = value
                groups[value].add(case.group_id)
        shared = {value: tuple(sorted(names)) for value, names in groups.items() if len(names) > 1}
        splits = {}
        for case_id, value in value_of.items():
            if value in shared and case_id in assignments:
                splits[case_id] = assignments[case_id].split
        if groups:
            found.append(SharedIdentity(name, shared, count_parted(value_of, splits=splits)))
    return found
