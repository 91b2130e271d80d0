"""The table of a user's own folder, labels.csv or labels.xlsx: what it says of which file."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from medimg.cases import Header, LabelSettings, Value
from medimg.datasets.cells import is_number_like, parse_number
from medimg.datasets.identifiers import Forms, fold_id, name_patient, read_forms
from medimg.datasets.split_names import expect_split
from medimg.datasets.tables import (
    Row,
    Table,
    describe_missing,
    find_table,
    list_unread_copies,
    read_table,
    shown,
)
from medimg.errors import UsageError
from medimg.hashing import name_uid

TABLE_NAMES = ("labels.csv", "labels.xlsx")
HEAD = "label"
PATIENT = "patient_id"
KEYS = (("file",), ("sop_instance_uid",), (PATIENT, "study_uid"), (PATIENT, "study_instance_uid"))
"""Columns that say which images a row is about; the first of them that a table has."""
BY_FILE = ("file", PATIENT, HEAD)
BY_UID = tuple((*key, HEAD) for key in KEYS[1:])
SPLIT = "split"
OTHER_THAN_METADATA = frozenset((HEAD, PATIENT, SPLIT, *(column for key in KEYS for column in key)))
AS_WRITTEN = LabelSettings()

Kind = Literal["number", "text", "id"]
Key = tuple[str, ...]


@dataclass(frozen=True)
class FileRow:
    """What the table says of one key; `problem` is why it cannot be used, naming the rows, or empty.

    `patient` is empty where only the file knows.
    """

    rows: tuple[int, ...]
    patient: str
    label: str
    clinical: Mapping[str, Value]
    split: str | None = None
    problem: str = ""


@dataclass(frozen=True)
class LabelTable:
    """The table, read.

    Attributes:
        name: its file name.
        columns: those of the key.
        rows: by key; rows that repeat count once, one that contradicts another has a problem.
        patients: the forms of patients' ids.
        kinds: of the metadata, by their names as features; "id" is text of which each patient has another.
        notes: one line each on how it was read.
    """

    name: str
    columns: tuple[str, ...]
    rows: Mapping[Key, FileRow]
    patients: Forms
    kinds: Mapping[str, Kind]
    notes: tuple[str, ...]

    @property
    def patient_by_key(self) -> dict[str, str]:
        """The table's patients by what files' are compared by."""
        named = [row.patient for row in self.rows.values() if row.patient]
        return {key_of_patient(patient): patient for patient in named}

    @property
    def by_file(self) -> bool:
        """Whether rows name files, not UIDs."""
        return self.columns == ("file",)


def read_labels(root: Path, *, labels: LabelSettings = AS_WRITTEN) -> LabelTable:
    """The folder's table.

    Raises:
        UsageError: no table, an unreadable one, one without the columns, an id in scientific notation, or a
            row without a key.
    """
    path = find_table(root, TABLE_NAMES)
    table = read_table(
        path, required=BY_FILE, alternatives=BY_UID, optional=(SPLIT,), keep={HEAD: labels.keep}
    )
    known = set(table.columns)
    key = next(
        key for key, columns in zip(KEYS, (BY_FILE, *BY_UID), strict=True) if known.issuperset(columns)
    )
    patients = read_forms(list_cells(table, PATIENT), what=f"{table.name} column {PATIENT}")
    classes = Forms()
    for number, label in list_cells(table, HEAD):
        classes.add(label, place=f"row {number}")
    names = name_metadata(table)
    kinds = {name: find_kind(table, column) for column, name in names.items()}
    rows: dict[Key, list[FileRow]] = defaultdict(list)
    for row in table.rows:
        made = read_row(row, table=table, key=key, names=names, kinds=kinds)
        made = replace(made, patient=patients.choose(made.patient), label=classes.choose(made.label))
        rows[read_key(row, key=key, root=root, table=table.name)].append(made)
    notes = (
        *table.notes,
        *list_unread_copies(root, TABLE_NAMES, read=path),
        *describe_missing_labels(table),
        *describe_class_forms(classes, table=table.name),
        *describe_odd_numbers(table, names),
    )
    merged = {}
    for value, found in rows.items():
        what = value[0] if key == ("file",) else "one image" if len(key) == 1 else "one study"
        merged[value] = merge_rows(found, what=what, table=table.name)
    return LabelTable(table.name, key, merged, patients, kinds, notes)


def list_cells(table: Table, column: str) -> list[tuple[int, str]]:
    """A column's cells with their row numbers; none where there is no such column."""
    return [(row.number, row.values[column]) for row in table.rows if column in row.values]


def read_row(
    row: Row, *, table: Table, key: Sequence[str], names: Mapping[str, str], kinds: Mapping[str, Kind]
) -> FileRow:
    """One row, with its metadata as numbers or text."""
    clinical: dict[str, Value] = {}
    for column, name in names.items():
        value = row.values[column]
        clinical[name] = (parse_number(value) if kinds[name] == "number" else value) if value else None
    patient = row.values.get(PATIENT, "")
    needed = key != ("sop_instance_uid",)  # Of a DICOM file its header knows.
    problem = f"{table.name} row {row.number}: no {PATIENT}" if needed and not patient else ""
    split = row.values.get(SPLIT, "")
    named = expect_split(split, where=f"{table.name} row {row.number}") if split else None
    return FileRow((row.number,), patient, row.values[HEAD], clinical, named, problem)


def read_key(row: Row, *, key: Sequence[str], root: Path, table: str) -> Key:
    """What a row is about; UsageError where a part of it is missing."""
    if key == ("file",):
        return (normalise_path(row, root=root, table=table),)
    values = []
    for column in key:
        value = row.values[column]
        if not value and column != PATIENT:  # A row without a patient has a problem of its own.
            raise UsageError(f"{table} row {row.number}: no {column}, expected one")
        values.append(key_of_patient(value) if column == PATIENT else name_uid(value))
    return tuple(values)


def normalise_path(row: Row, *, root: Path, table: str) -> str:
    """The row's file as a relative POSIX path; refuses none at all and one that leads out of the folder."""
    written, where = row.values["file"], f"{table} row {row.number}"
    path = posixpath.normpath(written.replace("\\", "/")) if written else ""
    if not path or path == ".":
        raise UsageError(f"{where}: no file, expected a path relative to the folder")
    for top in (root.absolute(), root.resolve()):
        if PurePosixPath(path).is_relative_to(top):
            relative = PurePosixPath(path).relative_to(top).as_posix()
            raise UsageError(
                f"{where}: file is an absolute path inside the folder, expected a path relative to it: "
                f"{relative!r}"
            )
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or path.split("/")[0] == "..":
        raise UsageError(f"{where}: file {written!r} is outside the folder, expected a path relative to it")
    return path


def match_rows(table: LabelTable, headers: Iterable[Header]) -> tuple[dict[str, FileRow], list[FileRow]]:
    """The row of each file that has one, by path, and the rows of no file.

    A row names a file as it is called, or else in another form of the same letters, if that is one file's
    only.
    """
    found: dict[str, FileRow] = {}
    used: set[Key] = set()
    left: dict[str, list[str]] = defaultdict(list)
    for header in headers:
        key = key_of(header, table.columns)
        if key in table.rows:
            found[header.path] = table.rows[key]
            used.add(key)
        elif table.by_file:
            left[fold_id(header.path)].append(header.path)
    for key, row in table.rows.items():
        if table.by_file and key not in used and len(left.get(fold_id(key[0]), ())) == 1:
            [path] = left.pop(fold_id(key[0]))
            found[path] = row
            used.add(key)
    return found, [row for key, row in table.rows.items() if key not in used]


def key_of(header: Header, columns: Sequence[str]) -> Key:
    """What a row about this file has in the key's columns."""
    if columns == ("file",):
        return (header.path,)
    if columns == ("sop_instance_uid",):
        return (read_tag(header, "SOPInstanceUID"),)
    return key_in_header(header), read_tag(header, "StudyInstanceUID")


def key_of_patient(patient: str) -> str:
    """What an id of the table is compared by with a file's."""
    return name_patient(patient)


def key_in_header(header: Header) -> str:
    """What the patient of a DICOM file is compared by with an id of the table; empty for PNG and JPEG.

    The catalogue hands PatientID over as `name_patient` writes it.
    """
    return read_tag(header, "PatientID")


def read_tag(header: Header, keyword: str) -> str:
    """A header's text, stripped; empty for PNG and JPEG."""
    return str(header.tags.get(keyword) or "").strip()


def name_metadata(table: Table) -> dict[str, str]:
    """Maps further columns to the names of features: letters, digits and underscores."""
    names = {
        column: re.sub(r"\W+", "_", column).strip("_")
        for column in table.columns
        if column not in OTHER_THAN_METADATA
    }
    doubled = [column for column, name in names.items() if not name or list(names.values()).count(name) > 1]
    if doubled:
        raise UsageError(
            f"{table.name}: columns {shown(doubled)} cannot be told apart by letters and digits, expected "
            "different names"
        )
    return names


def find_kind(table: Table, column: str) -> Kind:
    """What a column holds: numbers only (and at least one), ids, or other text.

    Text with as many values as patients, or as rows that have one, is an id: nothing can be learnt from it.
    """
    values = [row.values[column] for row in table.rows if row.values[column]]
    if values and None not in map(parse_number, values):
        return "number"
    patients = {fold_id(text) for _, text in list_cells(table, PATIENT) if text}
    distinct = len(set(values))
    return "id" if distinct > 2 and distinct >= min(len(patients) or len(values), len(values)) else "text"


def describe_odd_numbers(table: Table, names: Iterable[str]) -> list[str]:
    """One line for each column that is nearly all numbers: it is text for the cells that are none."""
    lines = []
    for column in names:
        cells = [(number, text) for number, text in list_cells(table, column) if text]
        odd = [(number, text) for number, text in cells if parse_number(text) is None]
        like = sum(is_number_like(text) for _, text in cells)
        if odd and like * 2 > len(cells):
            number, text = odd[0]
            says = f"says {text!r}" if is_number_like(text) else "is none"
            lines.append(
                f"{table.name} column {column}: text, for {len(odd)} of {len(cells)} cells are no numbers "
                f"(first: row {number} {says})"
            )
    return lines


def describe_missing_labels(table: Table) -> list[str]:
    """One line if labels were taken as missing for the word that they hold: it may well be a class."""
    words = ",".join(sorted({word.lower() for word in table.missing.get(HEAD, ())}))
    made = "makes it a class" if "," not in words else "makes them classes"
    return [f"{line}; --set labels.keep={words} {made}" for line in describe_missing(table, HEAD)]


def describe_class_forms(classes: Forms, *, table: str) -> list[str]:
    """One line for each class that is written in several forms."""
    lines = []
    for forms in classes.list_merged():
        written = " and ".join(map(repr, forms))
        lines.append(
            f"{table} column {HEAD}: {written} are one class written in {len(forms)} forms, taken as "
            f"{classes.choose(next(iter(forms)))!r}"
        )
    return lines


def merge_rows(found: Sequence[FileRow], *, what: str, table: str) -> FileRow:
    """The one thing that all rows of a key say, or a problem that names the rows."""
    numbers = tuple(number for row in found for number in row.rows)
    first = found[0]
    problem = next((row.problem for row in found if row.problem), "")
    if not problem and any(replace(row, rows=first.rows) != first for row in found):
        problem = f"{table} rows {' and '.join(map(str, numbers))}: contradict each other about {what}"
    return replace(first, rows=numbers, problem=problem)
