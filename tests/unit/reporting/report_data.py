"""Drawn data for the report's tests: predictions, their figures and the facts of a run that never was."""

import functools

import pandas as pd

from medimg.evaluation.figures import measure
from medimg.reporting.page import list_sections, render_page
from medimg.reporting.report_data import ReportData
from medimg.reporting.run_facts import RunFacts
from tests.unit.evaluation.predictions import HEADS, draw_predictions

SUMMARY = {
    "input": {"images": 640, "cases": 320},
    "images": {"used": 600, "unlabelled": 20, "excluded": 12, "quarantined": 8},
    "cases": {"used": 300, "unlabelled": 10, "excluded": 6, "quarantined": 4},
    "groups": {"train": 100},
    "group_noun": "patient",
    "split_settings": {"by": "group"},
    "leaks": [],
    "splits": [
        {"split": "train", "stratum": "", "class": "Benign", "status": "used", "cases": 137, "groups": 100}
    ],
    "excluded": {
        "total": 1,
        "reasons": [
            {
                "reason": "same pixels as D1-1292-L",
                "cases": {"total": 1, "names": ["D1-0808-L"]},
                "files": {"total": 0, "names": []},
            }
        ],
    },
    "quarantined": {"total": 0, "reasons": []},
    "anomalies": ["D1-0033: PatientAge 045Y, the table says 54"],
    "duplicates": [],
}


def make_facts(**changes):
    known = {
        "title": "CMMD",
        "config_name": "cmmd-demo",
        "data_set": "cmmd",
        "heads": HEADS,
        "summary": SUMMARY,
        "protocols": ["P1", "P4"],
        "slices": ["source"],
        "resamples": 50,
    }
    return RunFacts(**{**known, **changes})


def measure_with(facts, predictions):
    return measure(predictions, facts.measurement_settings)


@functools.cache
def drawn_predictions():
    return draw_predictions()


@functools.cache
def drawn_figures(protocols=("P1", "P4"), slices=("source",)):
    """Figures of the drawn predictions, measured once for all tests."""
    return measure_with(make_facts(protocols=protocols, slices=slices), drawn_predictions())


def make_report_data(*, predictions=None, gallery=None, **changes):
    """The report data of the drawn predictions, or of others."""
    facts = make_facts(**changes)
    if predictions is None:
        return ReportData(
            facts,
            drawn_predictions(),
            drawn_figures(tuple(facts.protocols), tuple(facts.slices)),
            gallery=gallery or {},
        )
    return ReportData(facts, predictions, measure_with(facts, predictions), gallery=gallery or {})


def render(**changes):
    data = make_report_data(**changes)
    return render_page(data, list_sections(data))


@functools.cache
def plain_page():
    """The page of the drawn predictions as they are."""
    return render()


def add_eval_cases(predictions):
    """The same table with another draw as the eval split, on which sets of classes are calibrated."""
    other = draw_predictions(seed=9)
    names = {
        column: "eval-" + other[column] for column in ("case_id", "group_id", "level_breast", "level_patient")
    }
    return pd.concat([predictions, other.assign(split="eval", **names)], ignore_index=True)


def tabulate_drawn(predictions):
    """A table of shortcuts: the cases and as many others to fit on."""
    columns = [
        "case_id",
        "group_id",
        "level_patient",
        "level_breast",
        "clinical_source",
        "clinical_age_band",
        "split",
    ]
    columns += [f"label_{head}" for head in HEADS]
    cases = predictions.loc[predictions["split"] == "test", columns]
    others = cases.assign(
        case_id="train-" + cases["case_id"], group_id="train-" + cases["group_id"], split="train"
    )
    return pd.concat([cases, others], ignore_index=True).assign(status="used", reason="")
