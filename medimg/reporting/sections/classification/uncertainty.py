"""How sure: selective prediction, and sets of classes that hold the true one with a stated chance."""

from __future__ import annotations

import dataclasses
import re

from medimg.evaluation.classification.conformal import fit_conformal
from medimg.evaluation.protocols import find_protocols
from medimg.reporting.charts.base import Chart
from medimg.reporting.charts.classification import draw_risk_coverage, draw_set_sizes
from medimg.reporting.report_data import CALIBRATION_SPLIT, COVERAGE, ReportData, Section, make_id
from medimg.reporting.sections.classification.performance import pivot, share_notes

CALIBRATED = re.compile("(sets calibrated on [^;]*)(; )?")
"""What the note of every figure of a set begins with; told once per protocol."""


def describe_uncertainty(data: ReportData, head: str) -> Section:
    """Figures of one head by protocol, and its curves under the first protocol that is defined for it."""
    title = f"How sure: {head}"
    figures = [figure for figure in data.certainty if figure.head == head]
    if data.facts.folds:
        return Section(
            title,
            "uncertainty",
            absent="Sets are calibrated for one model; each fold's own report has those of its model.",
        )
    if not figures:
        return Section(
            title,
            "uncertainty",
            absent=f"No labelled case of the {CALIBRATION_SPLIT} split was scored, on which sets are calibrated.",
        )
    protocols = [find_protocols([name])[0] for name in dict.fromkeys(figure.protocol for figure in figures)]
    shown, notes = share_notes(
        [dataclasses.replace(figure, note=CALIBRATED.sub("", figure.note)) for figure in figures]
    )
    values = {
        "head": head,
        "protocols": [
            (protocol, next(figure for figure in figures if figure.protocol == protocol.name))
            for protocol in protocols
        ],
        "rows": pivot(shown),
        "notes": notes,
        "coverage": COVERAGE,
        "calibrated": list(
            dict.fromkeys(
                f"{figure.protocol}: {found[1]}"
                for figure in figures
                if (found := CALIBRATED.match(figure.note))
            )
        ),
    }
    return Section(title, "uncertainty", values, draw_uncertainty(data, head))


def draw_uncertainty(data: ReportData, head: str) -> dict[str, Chart]:
    """The risk-coverage curve and the sizes of the sets; none where the measured split has no unit."""
    protocol = data.protocol_of(head)
    if protocol is None:
        return {}
    labels_N, probabilities_NC = data.units(head, protocol)
    if not len(labels_N):
        return {}
    sets = fit_conformal(*data.units(head, protocol, split=CALIBRATION_SPLIT), coverage=COVERAGE)
    risk, sizes = make_id("risk", head), make_id("sets", head)
    return {
        risk: draw_risk_coverage(
            risk, labels_N, probabilities_NC, costs_CC=data.facts.cost_matrices.get(head)
        ),
        sizes: draw_set_sizes(sizes, labels_N, probabilities_NC, sets=sets),
    }
