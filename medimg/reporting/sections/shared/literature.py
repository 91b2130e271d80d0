"""Compared with what is published: beside the run under an equal protocol, else apart and with the reason."""

from __future__ import annotations

import dataclasses

import pandas as pd

from medimg.evaluation.figures import Figure
from medimg.reporting.charts.base import Chart, draw_intervals
from medimg.reporting.metric_names import name_metric
from medimg.reporting.published_results import Published, find_obstacle
from medimg.reporting.report_data import ReportData, Section, make_id

TITLE = "Compared with what is published"


def describe_literature(data: ReportData) -> Section:
    """Published figures of the run's data set."""
    rows = data.facts.literature.figures
    if not rows:
        return Section(
            TITLE,
            "literature",
            absent=f"No published figure of {data.facts.data_set} is known to this program.",
        )
    judged = [(row, obstacle_of(row, data)) for row in rows]
    pairs = pair_rows(data, [row for row, obstacle in judged if not obstacle])
    apart = [(row, obstacle) for row, obstacle in judged if obstacle]
    table = pd.DataFrame(
        [
            {**dataclasses.asdict(row), "reason": obstacle, "compares": not obstacle}
            for row, obstacle in judged
        ]
    )
    return Section(
        TITLE, "literature", {"pairs": pairs, "apart": apart}, draw_pairs(pairs), {"state_of_the_art": table}
    )


def obstacle_of(row: Published, data: ReportData) -> str:
    """Why a published figure does not stand beside the run's; drawn images compare with nobody's."""
    measured = {
        (figure.head, figure.name, figure.protocol, figure.level)
        for head in data.facts.heads
        for figure in data.overall(head)
        if figure.n
    }
    return find_obstacle(row, measured) or ("this run's images are drawn" if data.facts.synthetic else "")


def list_comparable(data: ReportData) -> list[Published]:
    """The published figures that stand beside the run's."""
    return [row for row in data.facts.literature.figures if not obstacle_of(row, data)]


def pair_rows(data: ReportData, rows: list[Published]) -> list[tuple[Figure, list[Published]]]:
    """Each figure of the run with the published ones of its head, metric and protocol."""
    pairs: dict[tuple[str, str, str], tuple[Figure, list[Published]]] = {}
    for head in data.facts.heads:
        for figure in data.overall(head):
            mine = [
                row
                for row in rows
                if (row.head, row.metric, row.protocol, row.level)
                == (figure.head, figure.name, figure.protocol, figure.level)
            ]
            if mine:
                pairs[figure.head, figure.name, figure.protocol] = (figure, mine)
    return list(pairs.values())


def name_pair(figure: Figure) -> str:
    """The chart's name."""
    return make_id("published", figure.head, figure.name, figure.protocol)


def draw_pairs(pairs: list[tuple[Figure, list[Published]]]) -> dict[str, Chart]:
    """One chart per figure of the run: itself first."""
    drawn = {}
    for figure, rows in pairs:
        bars = [(f"this run (n={figure.n})", figure.value, figure.low, figure.high)]
        bars += [
            (f"{row.what}{f' (n={row.n})' if row.n else ''}", row.value, row.low, row.high) for row in rows
        ]
        title = f"{name_metric(figure.name)}, protocol {figure.protocol}, this run and published figures"
        drawn[name_pair(figure)] = draw_intervals(
            name_pair(figure),
            bars,
            title=title,
            unit=f"{name_metric(figure.name)}, protocol {figure.protocol}",
        )
    return drawn
