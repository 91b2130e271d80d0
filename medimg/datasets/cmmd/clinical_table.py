"""CMMD's clinical table: one row per labelled breast, keyed by patient and side.

Nothing is guessed: a breast with an unknown value, an age outside 0 to 120 years or contradictory rows keeps
no labels and a problem that names its rows. Missing subtypes are no problem: only part of D2 has one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medimg.datasets.cells import parse_number
from medimg.datasets.identifiers import Forms, read_forms
from medimg.datasets.tables import Row, describe_missing, find_table, list_unread_copies, read_table

TABLE_NAMES = ("CMMD_clinicaldata_revision.xlsx", "CMMD_clinicaldata_revision.csv")
CLINICAL_COLUMNS = ("ID1", "LeftRight", "Age", "abnormality", "classification", "subtype")
HEADS: Mapping[str, tuple[str, ...]] = {
    "malignancy": ("Benign", "Malignant"),
    "abnormality": ("calcification", "mass", "both"),
    "subtype": ("Luminal A", "Luminal B", "HER2-enriched", "triple negative"),
}
COLUMN_OF_HEAD = {"malignancy": "classification", "abnormality": "abnormality", "subtype": "subtype"}
SIDES = {"l": "L", "left": "L", "r": "R", "right": "R"}
OLDEST_YEARS = 120

Breast = tuple[str, str]
"""Patient, in the form that stands for it, and side, "L" or "R"."""


@dataclass(frozen=True)
class BreastRow:
    """What the table says of one breast; `problem` is why it cannot be used, naming the row, or empty."""

    rows: tuple[int, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    age_years: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class ClinicalTable:
    """The table by breast.

    `problems` holds, by patient, a row whose side cannot be read: any breast without a row of its own may be
    meant.
    """

    name: str
    breasts: Mapping[Breast, BreastRow]
    problems: Mapping[str, str]
    anomalies: Sequence[str]
    patients: Forms


def read_clinical_table(root: Path, *, in_files: Mapping[str, str] | None = None) -> ClinicalTable:
    """The table in the data folder, by breast. Rows that repeat each other count once.

    Args:
        in_files: patients as files call them, each with the path of one: they may be written otherwise there.

    Raises:
        UsageError: no table, an unreadable one, or one without the columns.
    """
    path = find_table(root, TABLE_NAMES)
    sheet = read_table(path, required=CLINICAL_COLUMNS)
    rows: dict[Breast, list[BreastRow]] = defaultdict(list)
    problems: dict[str, str] = {}
    anomalies = [*sheet.notes, *list_unread_copies(root, TABLE_NAMES, read=path)]
    for column in COLUMN_OF_HEAD.values():
        anomalies += describe_missing(sheet, column)
    patients = read_forms(
        ((row.number, row.values["ID1"]) for row in sheet.rows), what=f"{sheet.name} column ID1"
    )
    for patient, image in (in_files or {}).items():
        patients.add(patient, place=image)
    anomalies += patients.describe(f"{sheet.name} column ID1")
    for row in sheet.rows:
        patient, side = patients.choose(row.values["ID1"]), SIDES.get(row.values["LeftRight"].lower(), "")
        parsed = read_row(row, table=sheet.name)
        anomalies += [parsed.problem] if parsed.problem else []
        if patient and side:
            rows[patient, side].append(parsed)
        elif patient:
            problems.setdefault(patient, parsed.problem)
    breasts = {breast: merge_rows(breast, found, table=sheet.name) for breast, found in rows.items()}
    anomalies += describe_repeats(breasts, rows, table=sheet.name)
    return ClinicalTable(sheet.name, breasts, problems, anomalies, patients)


def read_row(row: Row, *, table: str) -> BreastRow:
    """One row's labels and age, or its problem."""
    where = f"{table} row {row.number}"
    problem = find_row_problem(row)
    if problem:
        return BreastRow((row.number,), problem=f"{where}: {problem}")
    labels = {
        head: label
        for head, column in COLUMN_OF_HEAD.items()
        if (label := match_class(row.values[column], head=head))
    }
    age = row.values["Age"]
    return BreastRow((row.number,), labels, parse_number(age))


def find_row_problem(row: Row) -> str:
    """What is wrong with a row, with the value found and those expected; empty if nothing is."""
    if not row.values["ID1"]:
        return "no patient in column ID1"
    if row.values["LeftRight"].lower() not in SIDES:
        return f"LeftRight {row.values['LeftRight']!r} of {row.values['ID1']}, expected L or R"
    for head, column in COLUMN_OF_HEAD.items():
        value = row.values[column]
        if match_class(value, head=head) is None and not (head == "subtype" and not value):
            return f"{column} {value!r}, expected {', '.join(HEADS[head])}"
    age = row.values["Age"]
    if age and not is_age(age):
        return f"Age {age!r}, expected 0 to {OLDEST_YEARS} years"
    return ""


def match_class(value: str, *, head: str) -> str | None:
    """The head's class of that name, whatever its case; None for any other."""
    return next((name for name in HEADS[head] if name.lower() == " ".join(value.lower().split())), None)


def is_age(text: str) -> bool:
    """Whether a text is a number of years that a person can have."""
    age_years = parse_number(text)
    return age_years is not None and 0 <= age_years <= OLDEST_YEARS


def merge_rows(breast: Breast, found: Sequence[BreastRow], *, table: str) -> BreastRow:
    """The one thing that all rows of a breast say, or a problem that names the rows."""
    numbers = tuple(number for row in found for number in row.rows)
    problem = next((row.problem for row in found if row.problem), "")
    if not problem and any(
        (row.labels, row.age_years) != (found[0].labels, found[0].age_years) for row in found
    ):
        problem = (
            f"{table} rows {' and '.join(map(str, numbers))}: contradict each other about {' '.join(breast)}"
        )
    if problem:
        return BreastRow(numbers, problem=problem)
    return BreastRow(numbers, found[0].labels, found[0].age_years)


def describe_repeats(
    breasts: Mapping[Breast, BreastRow], rows: Mapping[Breast, Sequence[BreastRow]], *, table: str
) -> list[str]:
    """One line for each breast with more than one row."""
    lines = []
    for breast, found in rows.items():
        if len(found) == 1:
            continue
        merged = breasts[breast]
        repeated = (
            f"{table} rows {' and '.join(map(str, merged.rows))}: repeat each other about "
            f"{' '.join(breast)}, counted once"
        )
        own = {row.problem for row in found}
        lines += [merged.problem or repeated] if merged.problem not in own - {""} else []
    return lines
