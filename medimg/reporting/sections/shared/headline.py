"""The first screen: how good, on what, compared with what, how sure, which slices are weak."""

from __future__ import annotations

import math

from medimg.evaluation.figures import Figure, format_figure
from medimg.evaluation.gates import ABOVE_SHORTCUT
from medimg.reporting.metric_names import describe_tuning
from medimg.reporting.report_data import ReportData, Section
from medimg.reporting.sections.shared.literature import list_comparable
from medimg.reporting.sections.shared.slices import judge_slices

CERTAINTY = ("ece", "brier")
"""What says, beside the interval, how far a single probability can be trusted."""


def describe_headline(data: ReportData) -> Section:
    """Values of the first screen."""
    return Section(
        "In short",
        "headline",
        {
            "facts": data.facts,
            "figure": data.headline,
            "others": other_protocols(data),
            "comparisons": compare_headline(data),
            "above": find_beside(data, ABOVE_SHORTCUT),
            "certainty": [figure for name in CERTAINTY if (figure := find_beside(data, name))],
            "slices": judge_slices(data),
            "tuning": describe_tuning(data.facts.config),
        },
    )


def other_protocols(data: ReportData) -> list[Figure]:
    """The headline's metric under the run's other protocols; each names its own."""
    headline = data.headline
    if headline is None:
        return []
    return [
        one
        for one in data.overall(headline.head)
        if one.name == headline.name and one.protocol != headline.protocol and one.n
    ]


def find_beside(data: ReportData, name: str) -> Figure | None:
    """Another metric of the headline's units."""
    return data.find(data.headline, name=name) if data.headline else None


def compare_headline(data: ReportData) -> list[dict[str, str]]:
    """What the headline stands against under its own protocol, best first.

    Shortcuts on the same cases, and published figures.
    """
    headline = data.headline
    if headline is None:
        return []
    baselines = [
        one for one in data.baselines if one.figure.key == headline.key and not math.isnan(one.figure.value)
    ]
    published = [
        row
        for row in list_comparable(data)
        if (row.head, row.metric, row.protocol) == (headline.head, headline.name, headline.protocol)
    ]
    rows = [
        (
            one.figure.value,
            format_figure(one.figure),
            f"shortcut: {one.baseline}",
            "fitted on train, same cases",
        )
        for one in baselines
    ]
    rows += [(row.value, f"{row.value:.3f}", row.what, row.source) for row in published]
    return [
        {"value": text, "what": what, "source": source}
        for _, text, what, source in sorted(rows, key=lambda row: -row[0])
    ]
