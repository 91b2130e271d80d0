"""The first screen: how good, on what, compared with what, how sure, which slices are weak."""

from __future__ import annotations

from typing import Any

from medimg.evaluation.evidence import Evidence, Section
from medimg.evaluation.figures import Figure, format_figure
from medimg.evaluation.sections.literature import list_comparable
from medimg.evaluation.sections.slices import judge_slices
from medimg.evaluation.words import describe_units, name_metric

CERTAINTY = ("ece", "brier")
"""What says, beside the interval, how far a single probability can be trusted."""


def describe_headline(evidence: Evidence) -> Section:
    """Values of the first screen."""
    return Section(
        "In short",
        "headline",
        {
            "facts": evidence.facts,
            "figure": evidence.headline,
            "others": other_protocols(evidence),
            "comparisons": compare_headline(evidence),
            "certainty": [figure for name in CERTAINTY if (figure := find_certainty(evidence, name))],
            "slices": judge_slices(evidence),
        },
    )


def other_protocols(evidence: Evidence) -> list[Figure]:
    """The headline's metric under the run's other protocols; each names its own."""
    headline = evidence.headline
    if headline is None:
        return []
    return [one for one in evidence.overall(headline.head) if one.name == headline.name and one.protocol != headline.protocol and one.n]


def find_certainty(evidence: Evidence, name: str) -> Figure | None:
    """Another metric of the headline's units."""
    return evidence.find(evidence.headline, name=name) if evidence.headline else None


def compare_headline(evidence: Evidence) -> list[dict[str, Any]]:
    """What the headline stands against, best first: published figures of an equal protocol."""
    headline = evidence.headline
    if headline is None:
        return []
    rows = [row for row in list_comparable(evidence) if (row.head, row.metric, row.protocol) == (headline.head, headline.name, headline.protocol)]
    return [{"what": f"{row.what} ({row.source})", "value": f"{row.value:.3f}"} for row in sorted(rows, key=lambda row: -row.value)]


def summarise(evidence: Evidence) -> str:
    """The first screen in one sentence, for the papers."""
    headline = evidence.headline
    if headline is None:
        return "Nothing was measured."
    return f"{name_metric(headline.name)} {format_figure(headline)}, protocol {headline.protocol}: {describe_units(headline)}, {headline.split} split"
