"""Which slices are weak, and how far chance alone would go in so many of them."""

from __future__ import annotations

import math

from medimg.evaluation.figures import Figure, describe_multiplicity
from medimg.evaluation.gates import LOWER_IS_BETTER, OVERALL
from medimg.reporting.charts.base import draw_forest
from medimg.reporting.report_data import ReportData, Section, make_id


def describe_slices(data: ReportData, head: str) -> Section:
    """The first metric per slice and protocol, and all metrics of each slice folded away."""
    mine = [figure for figure in data.figures if figure.head == head and figure.n]
    sliced = [figure for figure in mine if figure.slice != OVERALL]
    if not sliced:
        return Section(
            f"Slices: {head}",
            "slices",
            absent="No slice: the config names no column to slice by, or the split has no value in it.",
        )
    metric = mine[0].name
    forests, protocols, charts = [], {}, {}
    for name in dict.fromkeys(one.protocol for one in sliced):
        figures = [one for one in mine if (one.name, one.protocol) == (metric, name)]
        chart = make_id("forest", head, name)
        forests.append((figures[0], chart))
        charts[chart] = draw_forest(chart, figures)
        protocols[name] = [one for one in sliced if one.protocol == name]
    values = {
        "metric": metric,
        "forests": forests,
        "protocols": protocols,
        "multiplicity": describe_multiplicity([one for one in sliced if one.name == metric]),
    }
    return Section(f"Slices: {head}", "slices", values, charts)


def judge_slices(data: ReportData) -> dict[str, list[Figure]]:
    """The headline's slices: `weak`, the whole interval is worse than the overall value.

    `lower`, worse without that proof; `unknown`.
    """
    headline = data.headline
    judged: dict[str, list[Figure]] = {"weak": [], "lower": [], "unknown": []}
    if headline is None:
        return judged
    sign = -1 if headline.name in LOWER_IS_BETTER else 1
    for figure in data.figures:
        if (figure.head, figure.name, figure.protocol) != (
            headline.head,
            headline.name,
            headline.protocol,
        ) or figure.slice == OVERALL:
            continue
        if math.isnan(figure.value) or math.isnan(figure.low):
            judged["unknown"].append(figure)
        elif max(sign * figure.low, sign * figure.high) < sign * headline.value:
            judged["weak"].append(figure)
        elif sign * figure.value < sign * headline.value:
            judged["lower"].append(figure)
    for name in ("weak", "lower"):
        judged[name].sort(key=lambda figure: sign * figure.value)
    return judged
