"""Where the network looked, and whether that can be believed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from medimg.evaluation.figures import Figure
from medimg.reporting.charts.base import Chart, draw_intervals
from medimg.reporting.report_data import ReportData, Section
from medimg.reporting.sections.classification.predicted_cases import MISCLASSIFIED, make_data_uri

TITLE = "Explanations"
MEASURES = {"pointing": "pointing game", "energy": "energy in lesions"}
CHART = "explanations"


@dataclass(frozen=True)
class ExplainedCase:
    """A case with its maps.

    Attributes:
        case_id: of the predictions.
        kind: why it was chosen: wrong, right or uncertain.
        label, predicted: the true class and the model's.
        probability: of `predicted`.
        views: by role its images, each a method for people and a data URI.
    """

    case_id: str
    kind: str
    label: str
    predicted: str
    probability: float
    views: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckRow:
    """Figures of one measure and method: trained, randomised and by chance, and the paired differences."""

    measure: str
    method: str
    trained: Figure
    randomised: Figure
    chance: Figure
    above_randomised: Figure
    above_chance: Figure


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


def list_cases(data: ReportData) -> list[ExplainedCase]:
    """Each case that was chosen for this section once."""
    cases: dict[str, ExplainedCase] = {}
    for row in data.explanations:
        if row["kind"] == MISCLASSIFIED:
            continue
        case_id = row["case_id"]
        if case_id not in cases:
            cases[case_id] = ExplainedCase(
                case_id, row["kind"], row["label"], row["class"], row["probability"]
            )
        image = (name_method(row["method"]), make_data_uri(row["file"].read_bytes()))
        cases[case_id].views.setdefault(row["role"], []).append(image)
    return list(cases.values())


def name_method(method: str) -> str:
    """`grad_cam` for people."""
    return method.replace("_", " ")


def tabulate_checks(data: ReportData) -> list[CheckRow]:
    """A row for each measure and method."""
    figures = {figure.name: figure for figure in data.checks}
    pattern = re.compile(rf"({'|'.join(MEASURES)})_(.+)_minus_randomised")
    rows = []
    for found in filter(None, map(pattern.fullmatch, figures)):
        measure, method = found.groups()
        rows.append(
            CheckRow(
                MEASURES[measure],
                name_method(method),
                trained=figures[f"{measure}_{method}"],
                randomised=figures[f"{measure}_{method}_randomised"],
                chance=figures[f"{measure}_chance"],
                above_randomised=figures[f"{measure}_{method}_minus_randomised"],
                above_chance=figures[f"{measure}_{method}_minus_chance"],
            )
        )
    return rows


def draw_checks(data: ReportData) -> dict[str, Chart]:
    """The pointing game of every method, trained and randomised, and of chance."""
    rows = [row for row in tabulate_checks(data) if row.measure == MEASURES["pointing"]]
    if not rows:
        return {}
    bars = []
    for row in rows:
        bars += [(f"{row.method}, trained", row.trained), (f"{row.method}, randomised", row.randomised)]
    bars.append(("chance", rows[0].chance))
    shown = [(label, figure.value, figure.low, figure.high) for label, figure in bars]
    return {CHART: draw_intervals(CHART, shown, title="Pointing game", unit="pointing game: share of images")}
