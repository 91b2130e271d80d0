"""The way of the data: from what was put in to the measured split, with a reason for everything that was left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pandas as pd

from medimg.catalogue.leakage import SIDES
from medimg.catalogue.provenance import name_provenance
from medimg.catalogue.split import SPLITS
from medimg.catalogue.summary import describe_search
from medimg.reporting.metric_names import describe_split
from medimg.reporting.report_data import ReportData, Section

STATUSES = ("used", "unlabelled", "excluded", "quarantined")


def describe_data(data: ReportData) -> Section:
    """Counts, splits, exclusions and anomalies of the catalogue's summary."""
    title = f"Data, from the catalogue to the {describe_split(data.facts.split)}"
    summary = data.facts.summary
    if not summary.get("input"):
        return Section(title, "data", absent="No catalogue summary was given.")
    flow = describe_flow(summary)
    tables = {
        "data_flow": pd.DataFrame(
            [
                {"what": what, "input": total, **{status: counts[status] for status in STATUSES}}
                for what, total, counts in flow["inputs"]
            ]
        ),
        "splits": pd.DataFrame(
            [{"split": name, "groups": groups, **counts} for name, groups, counts in flow["splits"]]
        ),
        "exclusions": pd.DataFrame(
            [
                {
                    "status": row["status"],
                    "reason": row["reason"],
                    "cases": row["cases"]["total"],
                    "files": row["files"]["total"],
                }
                for row in flow["reasons"]
            ],
            columns=["status", "reason", "cases", "files"],
        ),
        "leakage": pd.DataFrame(
            [{"common": row["common"], **(row["pairs"] or {})} for row in flow["leakage"]],
            columns=["common", *flow["sides"]],
        ),
    }
    return Section(title, "data", {"flow": flow, "statuses": STATUSES}, tables=tables)


def describe_flow(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Counts from the input to the splits, as the catalogue's summary.json has them.

    Empty parts where it has none.
    """
    splits = count_splits(summary)
    reasons = [
        {"status": status, **row, "names": [*row["cases"]["names"], *row["files"]["names"]]}
        for status in ("excluded", "quarantined")
        for row in summary.get(status, {}).get("reasons", ())
    ]
    return {
        "inputs": [
            (what, summary["input"][what], summary[what])
            for what in ("cases", "images")
            if what in summary.get("input", {})
        ],
        "classes": list(dict.fromkeys(name for counts in splits.values() for name in sorted(counts))),
        "dealing": describe_dealing(summary),
        "splits": [
            (name, summary.get("groups", {}).get(name, ""), counts) for name, counts in splits.items()
        ],
        "reasons": reasons,
        "near_duplicates": describe_search(summary["near_duplicates"])
        if "near_duplicates" in summary
        else "",
        "leakage": list(summary.get("leakage", ())),
        "sides": ["-".join(sides) for sides in SIDES],
        "anomalies": list(summary.get("anomalies", ())),
        "provenance": [name_provenance(row) for row in summary.get("provenance", ())],
    }


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
