"""The table to fill in for a folder of images, and settings to start from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from medimg.cases import Header
from medimg.console.plurals import count
from medimg.datasets.folder.label_table import BY_FILE, TABLE_NAMES, read_tag
from medimg.errors import UsageError

SETTINGS_FILE = "settings.json"
FORMULA_STARTS = ("=", "+", "-", "@", "\t")
"""A spreadsheet takes a cell that begins so for a formula."""


def write_template(root: Path, headers: Sequence[Header]) -> list[str]:
    """Writes labels.csv, with a row per image and nothing under label, and settings.json.

    A DICOM file's patient is filled in.

    Returns:
        one line each on what was written and what is left to do.

    Raises:
        UsageError: there is such a table or file already, which is never overwritten; no image.
    """
    if not headers:
        raise UsageError(f"{root}: no readable image, expected DICOM, PNG or JPEG")
    there = {path.name.casefold(): path for path in root.iterdir()}
    for name in (*TABLE_NAMES, SETTINGS_FILE):
        if name in there:
            raise UsageError(f"{there[name]}: there already, and not overwritten; move it away first")
    ordered = sorted(headers, key=lambda header: header.path)
    patients = {header.path: read_patient(header) for header in ordered}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(BY_FILE)
    writer.writerows((shield_path(path), patient, "") for path, patient in patients.items())
    table, settings = root / TABLE_NAMES[0], root / SETTINGS_FILE
    # With a byte order mark, by which spreadsheets know UTF-8.
    table.write_text(text.getvalue(), encoding="utf-8-sig", newline="")
    settings.write_text(json.dumps(suggest_settings(ordered), indent=1) + "\n")
    missing = sum(not patient for patient in patients.values())
    fill_in = f"label, and patient_id of {count(missing, 'image')}" if missing else "label"
    return [
        f"{table}: {count(len(ordered), 'image')}; fill in {fill_in}",
        f"{settings}: settings to start from, for --set @{settings}",
    ]


def read_patient(header: Header) -> str:
    """The patient of a DICOM file; empty where a spreadsheet would take the id for a formula."""
    patient = read_tag(header, "PatientID")
    return "" if patient.startswith(FORMULA_STARTS) else patient


def shield_path(path: str) -> str:
    """The path, so written that a spreadsheet does not take it for a formula."""
    return f"./{path}" if path.startswith(FORMULA_STARTS) else path


def suggest_settings(headers: Sequence[Header]) -> dict[str, object]:
    """Settings that people change first, by dotted key; colour if most images have it."""
    colour = sum(int(header.tags.get("SamplesPerPixel") or 1) > 1 for header in headers)
    channels = 3 if colour * 2 > len(headers) else 1
    return {
        "ingest.channels": channels,
        "model.channels": channels,
        "model.image_size": [128, 128],
        "model.clinical_inputs": [],
        "evaluation.slices": [],
        "labels.keep": [],
        "split.ratios": [0.6, 0.2, 0.2],
        "training.epochs": 30,
    }
