"""Where the network looked, and whether that can be believed."""

from __future__ import annotations

import re
from typing import Any

from medimg.reporting.charts.base import Chart, draw_intervals
from medimg.reporting.report_data import ReportData, Section
from medimg.reporting.sections.classification.predicted_cases import MISTAKE, make_data_uri

TITLE = "Explanations"
MEASURES = {"pointing": "pointing game", "energy": "energy in lesions"}
CHART = "explanations"


def describe_explanations(data: ReportData) -> Section:
    """Explained cases as a gallery, and the checks of the maps."""
    if not data.explanations and not data.checks:
        return Section(
            TITLE, "explanations", absent="No case was explained, or the folder was shared without images."
        )
    values = {
        "cases": list_cases(data),
        "legend": make_data_uri(data.legend.read_bytes()) if data.legend else "",
        "checks": tabulate_checks(data),
        "likeness": [
            figure for figure in data.checks if figure.name.startswith(("rank_correlation_", "ssim_"))
        ],
        "whole": next(iter(data.checks), None),
    }
    return Section(TITLE, "explanations", values, draw_checks(data))


def list_cases(data: ReportData) -> list[dict[str, Any]]:
    """Each case that was chosen for this section once, with its images by role, then by method."""
    cases: dict[str, dict[str, Any]] = {}
    for row in data.explanations:
        if row["kind"] == MISTAKE:
            continue
        case = cases.setdefault(row["case_id"], {**row, "views": {}})
        case["views"].setdefault(row["role"], []).append(
            (name_method(row["method"]), make_data_uri(row["file"].read_bytes()))
        )
    return list(cases.values())


def name_method(method: str) -> str:
    """`grad_cam` for people."""
    return method.replace("_", " ")


def tabulate_checks(data: ReportData) -> list[dict[str, Any]]:
    """For each measure and method the figures of the trained network, of randomised ones, and the paired differences."""
    figures = {figure.name: figure for figure in data.checks}
    found = [re.fullmatch(rf"({'|'.join(MEASURES)})_(.+)_minus_randomised", name) for name in figures]
    return [
        {
            "measure": MEASURES[measure],
            "method": name_method(method),
            "trained": figures[f"{measure}_{method}"],
            "randomised": figures[f"{measure}_{method}_randomised"],
            "chance": figures[f"{measure}_chance"],
            "above_randomised": figures[f"{measure}_{method}_minus_randomised"],
            "above_chance": figures[f"{measure}_{method}_minus_chance"],
        }
        for measure, method in (match.groups() for match in found if match)
    ]


def draw_checks(data: ReportData) -> dict[str, Chart]:
    """The pointing game of every method, trained and randomised, and of chance."""
    rows = [row for row in tabulate_checks(data) if row["measure"] == MEASURES["pointing"]]
    if not rows:
        return {}
    bars = [(f"{row['method']}, {kind}", row[kind]) for row in rows for kind in ("trained", "randomised")] + [
        ("chance", rows[0]["chance"])
    ]
    shown = [(label, figure.value, figure.low, figure.high) for label, figure in bars]
    return {CHART: draw_intervals(CHART, shown, title="Pointing game", unit="pointing game: share of images")}
