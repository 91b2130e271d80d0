"""The way of the data from the input to the measured split, with a reason for all that was left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medimg.catalogue.leakage import SIDES
from medimg.catalogue.provenance import name_provenance
from medimg.catalogue.split import SPLITS
from medimg.catalogue.summary import describe_others_and_flags, describe_search
from medimg.reporting.metric_names import describe_split
from medimg.reporting.report_data import ReportData, Section

STATUSES = ("used", "unlabelled", "excluded", "quarantined")


@dataclass(frozen=True)
class LeftOut:
    """Cases and files that were left out for one reason.

    Attributes:
        status: excluded or quarantined.
        reason: in words.
        cases, files: how many.
        names: of some of the cases and files.
    """

    status: str
    reason: str
    cases: int
    files: int
    names: Sequence[str]


@dataclass(frozen=True)
class DataFlow:
    """Counts from the input to the splits.

    Attributes:
        inputs: cases and images, each with the number of the input and the counts by status.
        classes: those that occur in a split.
        dealing: sentences on what the splits were drawn by.
        splits: name, number of groups and cases by class.
        reasons: for what was left out.
        near_duplicates: how these were searched; empty if not at all.
        leakage: of the catalogue's summary, each what pairs of cases have in common and the pairs by side.
        sides: pairs of splits, such as `train-test`.
        remarks: files that are no images, by kind, and counts of the images that are flagged.
        anomalies: what tables and headers contradict.
        provenance: where the files come from.
    """

    inputs: Sequence[tuple[str, int, Mapping[str, int]]]
    classes: Sequence[str]
    dealing: Sequence[str]
    splits: Sequence[tuple[str, int | str, Mapping[str, int]]]
    reasons: Sequence[LeftOut]
    near_duplicates: str
    leakage: Sequence[Mapping[str, Any]]
    sides: Sequence[str]
    remarks: Sequence[str]
    anomalies: Sequence[str]
    provenance: Sequence[str]


def describe_data(data: ReportData) -> Section:
    """Counts, splits, exclusions and anomalies of the catalogue's summary."""
    title = f"Data, from the catalogue to the {describe_split(data.facts.split)}"
    summary = data.facts.summary
    if not summary.get("input"):
        return Section(title, "data", absent="No catalogue summary was given.")
    flow = describe_flow(summary)
    return Section(title, "data", {"flow": flow, "statuses": STATUSES}, tables=tabulate_flow(flow))


def tabulate_flow(flow: DataFlow) -> dict[str, pd.DataFrame]:
    """The tables of the section, by file name."""
    counts = []
    for what, total, by_status in flow.inputs:
        counts.append({"what": what, "input": total, **{status: by_status[status] for status in STATUSES}})
    splits = [{"split": name, "groups": groups, **by_class} for name, groups, by_class in flow.splits]
    exclusions = [(row.status, row.reason, row.cases, row.files) for row in flow.reasons]
    leakage = [{"common": row["common"], **(row["pairs"] or {})} for row in flow.leakage]
    return {
        "data_flow": pd.DataFrame(counts),
        "splits": pd.DataFrame(splits),
        "exclusions": pd.DataFrame(exclusions, columns=["status", "reason", "cases", "files"]),
        "leakage": pd.DataFrame(leakage, columns=["common", *flow.sides]),
    }


def describe_flow(summary: Mapping[str, Any]) -> DataFlow:
    """Counts from the input to the splits, as the catalogue's summary.json has them.

    Empty parts where it has none.
    """
    splits, groups = count_splits(summary), summary.get("groups", {})
    put_in = summary.get("input", {})
    inputs = [(what, put_in[what], summary[what]) for what in ("cases", "images") if what in put_in]
    classes = dict.fromkeys(name for counts in splits.values() for name in sorted(counts))
    searched = summary.get("near_duplicates")
    return DataFlow(
        inputs,
        classes=list(classes),
        dealing=describe_dealing(summary),
        splits=[(name, groups.get(name, ""), counts) for name, counts in splits.items()],
        reasons=list(list_reasons(summary)),
        near_duplicates="" if searched is None else describe_search(searched),
        leakage=summary.get("leakage", ()),
        sides=list(map("-".join, SIDES)),
        remarks=describe_others_and_flags(summary),
        anomalies=summary.get("anomalies", ()),
        provenance=list(map(name_provenance, summary.get("provenance", ()))),
    )


def list_reasons(summary: Mapping[str, Any]) -> Iterator[LeftOut]:
    """What was excluded, then what was quarantined, by reason."""
    for status in ("excluded", "quarantined"):
        for row in summary.get(status, {}).get("reasons", ()):
            cases, files = row["cases"], row["files"]
            names = [*cases["names"], *files["names"]]
            yield LeftOut(status, row["reason"], cases["total"], files["total"], names)


def describe_dealing(summary: Mapping[str, Any]) -> list[str]:
    """By what the splits were drawn, and what is in two of them.

    Empty where the catalogue's summary says nothing of it.
    """
    if "split_settings" not in summary:
        return []
    noun = summary.get("group_noun", "group")
    drawn = f"Drawn by {noun if summary['split_settings']['by'] == 'group' else 'case'}"
    return [f"{drawn}. {line[:1].upper()}{line[1:]}." for line in summary["leaks"]] or [
        f"{drawn}: no {noun} is in two splits."
    ]


def count_splits(summary: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Cases by split, then by class, or by status where a case has none; in the order of the data's way."""
    splits: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in summary.get("splits", ()):
        splits[row["split"]][row["class"] or row["status"]] += row["cases"]
    order = {name: index for index, name in enumerate(SPLITS)}
    return {
        name: dict(splits[name])
        for name in sorted(splits, key=lambda name: (order.get(name, len(SPLITS)), name))
    }
