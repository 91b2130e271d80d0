"""A report's folder: sources, and what is derived from them by pure functions.

Any machine can derive it again, without model or images.

Sources:  facts.json  predictions.parquet  gallery.json  gallery/*.png  and, where there are any,
          shortcuts.parquet  embeddings.parquet  explanations/
Derived:  metrics.json  tables/*.csv  figures/*.svg, *.png  report.html  model_card.md  data_sheet.md
          checklist.md
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.errors import UsageError
from medimg.evaluation.agreement import find_differences
from medimg.evaluation.classification.above_shortcut import measure_above_shortcut
from medimg.evaluation.classification.baselines import BaselineFigure, measure_baselines, measure_in_sample
from medimg.evaluation.classification.uncertainty import add_uncertainty, measure_uncertainty
from medimg.evaluation.figures import Figure, measure, write_metrics
from medimg.evaluation.intervals import Bootstrap
from medimg.evaluation.protocols import find_protocols
from medimg.evaluation.representation.figures import measure_embedded
from medimg.explain.measured_checks import measure_checks
from medimg.reporting.documents.render import DOCUMENTS
from medimg.reporting.page import list_sections, render_page
from medimg.reporting.report_data import (
    CALIBRATION_SPLIT,
    COVERAGE,
    DEVELOPMENT_SPLITS,
    ReportData,
    Section,
    find_protocol,
)
from medimg.reporting.run_facts import RunFacts, read_facts, write_facts

METRICS_FILE = "metrics.json"
PREDICTIONS_FILE = "predictions.parquet"
GALLERY_FILE = "gallery.json"
REPORT_FILE = "report.html"
SHORTCUTS_FILE, EMBEDDINGS_FILE = "shortcuts.parquet", "embeddings.parquet"
EXPLANATIONS_FILE, CHECKS_FILE, LEGEND_FILE = (
    f"explanations/{name}" for name in ("index.json", "checks.parquet", "legend.png")
)
TABLES, CHARTS = "tables", "figures"


def write_bundle(
    to: Path, *, predictions: pd.DataFrame, facts: RunFacts, gallery: Mapping[str, Mapping[str, bytes]]
) -> None:
    """Writes the sources.

    Args:
        gallery: PNGs by role of the cases that `list_misclassifications` names, by case_id.
    """
    (to / "gallery").mkdir(parents=True, exist_ok=True)
    add_uncertainty(predictions, heads=facts.heads).to_parquet(to / PREDICTIONS_FILE, index=False)
    write_facts(to, facts)
    names: dict[str, dict[str, str]] = {}
    for number, (case_id, images) in enumerate(sorted(gallery.items())):
        names[case_id] = {role: f"gallery/{number}-{role}.png" for role in images}
        for role, image in images.items():
            (to / names[case_id][role]).write_bytes(image)
    (to / GALLERY_FILE).write_text(json.dumps(names, indent=1), encoding="utf-8")


def derive(folder: Path) -> list[Figure]:
    """Writes all that is derived, from the folder's sources alone.

    The same sources give the same figures.

    Returns:
        The figures of metrics.json.

    Raises:
        UsageError: a source is missing or cannot be read.
    """
    data = read_report_data(folder)
    sections = list_sections(data)
    write_metrics(folder / METRICS_FILE, data.all_figures)
    write_drawings(folder, data, sections)
    (folder / REPORT_FILE).write_text(render_page(data, sections), encoding="utf-8")
    for name, render in DOCUMENTS.items():
        (folder / name).write_text(render(data), encoding="utf-8")
    return data.all_figures


def read_report_data(folder: Path) -> ReportData:
    """Reads the sources of a report's folder and measures them.

    Raises:
        UsageError: one is missing or cannot be read.
    """
    facts = read_facts(folder)
    try:
        predictions = pd.read_parquet(folder / PREDICTIONS_FILE)
        gallery = find_gallery(folder)
        explanations = find_explanations(folder)
        shortcuts, checks, embedded = (
            read_table(folder / name) for name in (SHORTCUTS_FILE, CHECKS_FILE, EMBEDDINGS_FILE)
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: {error}, expected the sources of a report") from None
    figures = measure_model(predictions, facts)
    differences = find_differences(figures, facts.evaluated, protocols=find_protocols(facts.protocols))
    return ReportData(
        dataclasses.replace(facts, warnings=[*facts.warnings, *differences]),
        predictions,
        figures,
        gallery=gallery,
        explanations=explanations,
        legend=find_image(folder, LEGEND_FILE),
        certainty=measure_certainty(predictions, facts),
        development_figures=measure_development_splits(predictions, facts),
        checks=[] if checks is None else measure_checks(checks, facts.bootstrap),
        embedded=embedded,
        overlap=[] if embedded is None else measure_embedded(embedded, facts.embedding_settings),
        **({} if shortcuts is None else measure_shortcuts(predictions, shortcuts, facts)),
    )


def measure_model(predictions: pd.DataFrame, facts: RunFacts) -> list[Figure]:
    """The model's figures with those of what it is above its shortcuts."""
    settings = facts.measurement_settings
    return [
        *measure(predictions, settings, costs=facts.cost_matrices),
        *measure_above_shortcut(predictions, settings),
    ]


def measure_development_splits(predictions: pd.DataFrame, facts: RunFacts) -> list[Figure]:
    """Figures of the splits that the model knows, each with a note that says so."""
    figures: list[Figure] = []
    protocols = {head: find_protocol(predictions, facts, head) for head in facts.heads}
    for split, note in DEVELOPMENT_SPLITS.items():
        for head, classes in facts.heads.items():
            if (protocol := protocols[head]) and (predictions["split"] == split).any():
                settings = dataclasses.replace(
                    facts.measurement_settings,
                    heads={head: classes},
                    protocols=[protocol],
                    slices=(),
                    split=split,
                    bootstrap=Bootstrap(resamples=0),
                )
                found = measure(predictions, settings, costs=facts.cost_matrices)
                figures += [dataclasses.replace(figure, note=note) for figure in found if figure.n]
    return figures


def measure_certainty(predictions: pd.DataFrame, facts: RunFacts) -> list[Figure]:
    """Selective prediction and conformal sets, if there are cases to calibrate the sets on."""
    labels = [f"label_{head}" for head in facts.heads]
    if predictions.loc[predictions["split"] == CALIBRATION_SPLIT, labels].isna().all(axis=None):
        return []
    return measure_uncertainty(
        predictions,
        facts.measurement_settings,
        calibration_split=CALIBRATION_SPLIT,
        coverage=COVERAGE,
        costs=facts.cost_matrices,
    )


def measure_shortcuts(
    predictions: pd.DataFrame, table: pd.DataFrame, facts: RunFacts
) -> dict[str, list[BaselineFigure]]:
    """What shortcuts reach, on the whole split alone: slices are for the model."""
    # Merged heads have no shortcuts of their own: the table is of the catalogue's labels.
    heads = {head: classes for head, classes in facts.heads.items() if f"label_{head}" in table}
    settings = dataclasses.replace(facts.measurement_settings, heads=heads, slices=())
    return {
        "baselines": measure_baselines(predictions, table, settings, shortcuts=facts.shortcuts),
        "in_sample": measure_in_sample(table, settings, shortcuts=facts.shortcuts),
    }


def read_table(path: Path) -> pd.DataFrame | None:
    """Reads a Parquet file; None if there is no such file."""
    return pd.read_parquet(path) if path.exists() else None


def find_gallery(folder: Path) -> dict[str, dict[str, Path]]:
    """The gallery's images that are in the folder, by role, by case_id."""
    path = folder / GALLERY_FILE
    names = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {case_id: find_images(folder, roles) for case_id, roles in names.items()}


def find_images(folder: Path, names: Mapping[str, str]) -> dict[str, Path]:
    """Those images of one case that are in the folder, by role."""
    found = {role: find_image(folder, name) for role, name in names.items()}
    return {role: path for role, path in found.items() if path}


def find_explanations(folder: Path) -> list[dict[str, Any]]:
    """Rows of explanations/index.json whose image is in the folder, with its path as `file`."""
    path = folder / EXPLANATIONS_FILE
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [{**row, "file": image} for row in rows if (image := find_image(folder, row["file"]))]


def find_image(folder: Path, name: str) -> Path | None:
    """An image of the folder; None if it is not there, as in a bundle that was shared without images.

    Raises:
        UsageError: the name leads out of the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{folder}: image {name!r} leads out of the folder")
    return path if path.exists() else None


def write_drawings(folder: Path, data: ReportData, sections: Sequence[Section]) -> None:
    """Every chart as SVG and PNG and every table as CSV, beside all figures in one; older ones go."""
    for name in (TABLES, CHARTS):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    tables = {"figures": pd.DataFrame([dataclasses.asdict(figure) for figure in data.all_figures])}
    for section in sections:
        tables |= section.tables
        for name, chart in section.charts.items():
            (folder / CHARTS / f"{name}.svg").write_text(chart.svg, encoding="utf-8")
            (folder / CHARTS / f"{name}.png").write_bytes(chart.make_png())
    for name, table in tables.items():
        table.to_csv(folder / TABLES / f"{name}.csv", index=False, lineterminator="\n")
