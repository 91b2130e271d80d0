"""How sure: selective prediction, and sets of classes that hold the true one with a stated chance."""

from __future__ import annotations

import dataclasses
import re

from medimg.evaluation.classification.conformal import fit_conformal
from medimg.reporting.charts.base import Chart
from medimg.reporting.charts.classification import draw_risk_coverage, draw_set_sizes
from medimg.reporting.report_data import CALIBRATION_SPLIT, COVERAGE, ReportData, Section, make_id
from medimg.reporting.sections.classification.performance import pair_protocols, pivot, share_notes

CALIBRATED = re.compile("(sets calibrated on [^;]*)(; )?")
"""What the note of every figure of a set begins with; said once per protocol."""


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
            absent=f"No labelled case of the {CALIBRATION_SPLIT} split was scored, "
            "on which sets are calibrated.",
        )
    shown, notes = share_notes(
        [dataclasses.replace(figure, note=CALIBRATED.sub("", figure.note)) for figure in figures]
    )
    calibrated: dict[str, None] = {}
    for figure in figures:
        if found := CALIBRATED.match(figure.note):
            calibrated[f"{figure.protocol}: {found[1]}"] = None
    values = {
        "head": head,
        "protocols": pair_protocols(figures),
        "rows": pivot(shown),
        "notes": notes,
        "coverage": COVERAGE,
        "calibrated": list(calibrated),
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
