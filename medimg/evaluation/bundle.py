"""A report's folder: everything that report.html is made of, so that it can be rendered again without model or images.

report.html  metrics.json  predictions.parquet  shortcuts.parquet  facts.json  gallery.json  gallery/*.png
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from medimg.errors import UsageError
from medimg.evaluation.figures import Figure, read_metrics, write_metrics
from medimg.evaluation.report import RunFacts, write_report

METRICS_FILE = "metrics.json"
PREDICTIONS_FILE = "predictions.parquet"
FACTS_FILE = "facts.json"
GALLERY_FILE = "gallery.json"
SHORTCUTS_FILE = "shortcuts.parquet"
REPORT_FILE = "report.html"


def write_bundle(
    to: Path, *, figures: Sequence[Figure], predictions: pd.DataFrame, facts: RunFacts, gallery: Mapping[str, Mapping[str, bytes]]
) -> None:
    """Writes the parts and renders the page from them.

    Args:
        gallery: PNGs by role of the cases that `mistakes_of` names, by case_id.
    """
    (to / "gallery").mkdir(parents=True, exist_ok=True)
    write_metrics(to / METRICS_FILE, figures)
    predictions.to_parquet(to / PREDICTIONS_FILE, index=False)
    (to / FACTS_FILE).write_text(json.dumps(dataclasses.asdict(facts), indent=1), encoding="utf-8")
    names: dict[str, dict[str, str]] = {}
    for number, (case_id, images) in enumerate(sorted(gallery.items())):
        names[case_id] = {role: f"gallery/{number}-{role}.png" for role in images}
        for role, image in images.items():
            (to / names[case_id][role]).write_bytes(image)
    (to / GALLERY_FILE).write_text(json.dumps(names, indent=1), encoding="utf-8")
    render_bundle(to)


def render_bundle(folder: Path) -> Path:
    """Writes report.html anew from the folder's parts.

    Raises:
        UsageError: a part is missing or cannot be read.
    """
    facts = read_facts(folder)
    try:
        predictions = pd.read_parquet(folder / PREDICTIONS_FILE)
        names = json.loads((folder / GALLERY_FILE).read_text(encoding="utf-8"))
        gallery = {case_id: {role: (folder / name).read_bytes() for role, name in roles.items()} for case_id, roles in names.items()}
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: {error}, expected the parts of a report") from None
    return write_report(folder / REPORT_FILE, figures=read_metrics(folder / METRICS_FILE), predictions=predictions, facts=facts, gallery=gallery)


def read_facts(folder: Path) -> RunFacts:
    """The run's facts; UsageError where there are none."""
    try:
        values = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        values["gates"] = [(text, bool(passed)) for text, passed in values["gates"]]
        return RunFacts(**values)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{folder}: {error}, expected the report of a finished run") from None
