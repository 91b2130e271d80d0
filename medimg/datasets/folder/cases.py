"""Any folder of DICOM, PNG or JPEG images with a labels.csv: one image, one label, one case.

On disk:  <root>/labels.csv    columns file (relative to the folder), patient_id, label; any further column is
                               metadata
          <root>/**            the images, at any depth

A case's id is its file's relative path, with characters other than letters, digits and `_.-~/`
percent-encoded: that is what labels.csv names, PNG and JPEG have no UID, and copies of a DICOM file share
theirs. Of a multi-frame DICOM file frame 0 is used. An empty label is an unlabelled case, and so is a word
for a missing value ("NA", "none") unless the setting `labels.keep` makes it a class. A metadata column
becomes numbers where each of its values is one, text otherwise; laterality and view are metadata like any
other.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal
from urllib.parse import quote

from medimg.cases import Case, DataSet, Header, ImageRef, LabelSettings, Listing, Reject, Value
from medimg.datasets.folder.phantom import write_phantom
from medimg.datasets.tables import Row, Table, describe_missing, find_table, read_table, shown
from medimg.errors import UsageError

TABLE = "labels.csv"
LABEL_COLUMNS = ("file", "patient_id", "label")
HEAD = "label"
AS_WRITTEN = LabelSettings()


@dataclass(frozen=True)
class FileRow:
    """What labels.csv says of one file; `problem` is why it cannot be used, naming the rows, or empty."""

    rows: tuple[int, ...]
    patient: str
    label: str
    clinical: Mapping[str, Value]
    problem: str = ""


def list_tables(root: Path) -> Sequence[Path]:
    """labels.csv; UsageError where there is none."""
    return (find_table(root, (TABLE,)),)


def list_classes(root: Path, *, labels: LabelSettings = AS_WRITTEN) -> Mapping[str, tuple[str, ...]]:
    """The labels in labels.csv, sorted (as numbers where all are): the last one is the positive class.

    Raises:
        UsageError: no labels.csv, an unreadable one, or fewer than two classes.
    """
    table = read_labels(root, labels=labels)
    rows = read_rows(table)
    classes = {row.label for row in rows.values() if row.label and not row.problem}
    if len(classes) < 2:
        missing = "".join(f"; {line}" for line in describe_missing_labels(table))
        raise UsageError(
            f"{TABLE}: column label has {len(classes)} classes ({shown(sorted(classes))}), expected "
            f"at least 2{missing}"
        )
    if all(parse_number(name) is not None for name in classes):
        return {HEAD: tuple(sorted(classes, key=lambda name: (float(name), name)))}
    return {HEAD: tuple(sorted(classes))}


def list_columns(root: Path) -> Mapping[str, Literal["number", "text"]]:
    """The metadata columns of labels.csv and whether they hold numbers or text."""
    table = read_labels(root)
    numbers = find_number_columns(table)
    return {name: "number" if numbers[column] else "text" for column, name in name_metadata(table).items()}


def list_cases(root: Path, headers: Sequence[Header], *, labels: LabelSettings = AS_WRITTEN) -> Listing:
    """One case per image file that has a row, or at least a DICOM PatientID; reads labels.csv, never a pixel.

    Raises:
        UsageError: no labels.csv, an unreadable one, one that names a file outside the folder or none of the
            images, or fewer than two classes.
    """
    classes = list_classes(root, labels=labels)[HEAD]
    table = read_labels(root, labels=labels)
    rows = read_rows(table)
    known = {header.path for header in headers}
    if headers and not known & set(rows):
        first, path = min(rows.items(), key=lambda item: item[1].rows), min(known)
        raise UsageError(
            f"{TABLE}: no row names an image of the folder; row {first[1].rows[0]} says {first[0]!r}, "
            f"the folder has {path!r}"
        )
    cases: list[Case] = []
    rejects: list[Reject] = []
    for header in sorted(headers, key=lambda header: header.path):
        placed = place_file(header, row=rows.get(header.path))
        if isinstance(placed, Case):
            cases.append(placed)
        else:
            rejects.append(placed)
    anomalies = [
        *describe_missing_labels(table),
        *(row.problem for row in rows.values() if row.problem),
        *describe_repeats(rows),
        *describe_absent_files(root, rows, known=known),
        *describe_classes(classes),
        *describe_headers(headers, rows),
    ]
    return Listing(cases, rejects, anomalies)


def place_file(header: Header, *, row: FileRow | None) -> Case | Reject:
    """Returns the file's case, or why it has none: without a patient it could get into two splits."""
    tagged = read_patient(header)
    if row is None and not tagged:
        return Reject(header.path, "excluded", f"no row in {TABLE} and no patient in the file")
    if row is not None and row.problem:
        return Reject(header.path, "excluded", row.problem)
    case_id = quote(header.path, safe="/~", errors="surrogateescape")
    patient = row.patient if row else tagged
    label = row.label if row else ""
    return Case(
        case_id=case_id,
        group_id=patient,
        images=(
            ImageRef(
                header.path,
                "image",
                sop_instance_uid=str(header.tags.get("SOPInstanceUID", "")),
                sha256=header.sha256,
            ),
        ),
        levels={"image": case_id, "patient": patient},
        labels={HEAD: label} if label else {},
        clinical=row.clinical if row else {},
        status="used" if label else "unlabelled",
        reason="" if label else f"{TABLE} row {row.rows[0]}: no label" if row else f"no row in {TABLE}",
    )


def read_patient(header: Header) -> str:
    """(0010,0020), stripped; empty for PNG and JPEG."""
    return str(header.tags.get("PatientID") or "").strip()


def read_labels(root: Path, *, labels: LabelSettings = AS_WRITTEN) -> Table:
    """labels.csv as a table."""
    return read_table(find_table(root, (TABLE,)), required=LABEL_COLUMNS, keep={HEAD: labels.keep})


def describe_missing_labels(table: Table) -> list[str]:
    """One line if labels were taken as missing for the word that they hold: it may well be a class."""
    words = ",".join(sorted({word.lower() for word in table.missing.get(HEAD, ())}))
    made = "makes it a class" if "," not in words else "makes them classes"
    return [f"{line}; --set labels.keep={words} {made}" for line in describe_missing(table, HEAD)]


def read_rows(table: Table) -> dict[str, FileRow]:
    """Rows by relative POSIX path.

    Rows that repeat count once; a file whose rows contradict each other gets a problem.
    """
    numbers = find_number_columns(table)
    rows: dict[str, list[FileRow]] = defaultdict(list)
    for row in table.rows:
        rows[normalise_path(row)].append(read_row(row, numbers=numbers, columns=name_metadata(table)))
    return {path: merge_rows(found, path=path) for path, found in rows.items()}


def read_row(row: Row, *, numbers: Mapping[str, bool], columns: Mapping[str, str]) -> FileRow:
    """One row, with its metadata as numbers or text."""
    clinical: dict[str, Value] = {}
    for column, name in columns.items():
        value = row.values[column]
        clinical[name] = (parse_number(value) if numbers[column] else value) if value else None
    problem = "" if row.values["patient_id"] else f"{TABLE} row {row.number}: no patient_id"
    return FileRow((row.number,), row.values["patient_id"], row.values["label"], clinical, problem)


def normalise_path(row: Row) -> str:
    """The row's file as a relative POSIX path; refuses none at all and one that leads out of the folder."""
    written = row.values["file"]
    path = posixpath.normpath(written.replace("\\", "/")) if written else ""
    if not path or path == ".":
        raise UsageError(f"{TABLE} row {row.number}: no file, expected a path relative to the folder")
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or path.split("/")[0] == "..":
        raise UsageError(
            f"{TABLE} row {row.number}: file {written!r} is outside the folder, expected a path "
            "relative to it"
        )
    return path


def name_metadata(table: Table) -> dict[str, str]:
    """Maps further columns to the names of features: letters, digits and underscores."""
    names = {
        column: re.sub(r"\W+", "_", column).strip("_")
        for column in table.columns
        if column not in LABEL_COLUMNS
    }
    doubled = [column for column, name in names.items() if not name or list(names.values()).count(name) > 1]
    if doubled:
        raise UsageError(
            f"{TABLE}: columns {shown(doubled)} cannot be told apart by letters and digits, expected "
            "different names"
        )
    return names


def find_number_columns(table: Table) -> dict[str, bool]:
    """Finds out for each column whether it holds numbers only (and at least one)."""
    numeric = {}
    for column in table.columns:
        values = [row.values[column] for row in table.rows if row.values[column]]
        numeric[column] = bool(values) and None not in map(parse_number, values)
    return numeric


def parse_number(text: str) -> float | None:
    """A finite decimal number, or None. Python's own underscores ("1_000") are text."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def merge_rows(found: Sequence[FileRow], *, path: str) -> FileRow:
    """The one thing that all rows of a file say, or a problem that names the rows."""
    numbers = tuple(number for row in found for number in row.rows)
    first = found[0]
    problem = next((row.problem for row in found if row.problem), "")
    if not problem and any(
        (row.patient, row.label, row.clinical) != (first.patient, first.label, first.clinical)
        for row in found
    ):
        problem = f"{TABLE} rows {' and '.join(map(str, numbers))}: contradict each other about {path}"
    return FileRow(numbers, first.patient, first.label, first.clinical, problem)


def describe_repeats(rows: Mapping[str, FileRow]) -> list[str]:
    """One line for each file whose rows say the same."""
    repeated = {path: row for path, row in rows.items() if len(row.rows) > 1 and not row.problem}
    return [
        f"{TABLE} rows {' and '.join(map(str, row.rows))}: repeat each other about {path}, counted once"
        for path, row in repeated.items()
    ]


def describe_absent_files(root: Path, rows: Mapping[str, FileRow], *, known: set[str]) -> list[str]:
    """One line for each row whose file is not there, or is there and no image that could be read."""
    lines = []
    for path, row in rows.items():
        if path not in known:
            why = "could not be read as an image" if (root / path).exists() else "is not in the folder"
            lines.append(f"{TABLE} row {row.rows[0]}: {path} {why}")
    return lines


def describe_classes(classes: Sequence[str]) -> list[str]:
    """One line for each two classes that differ in case only."""
    return [
        f"{TABLE}: classes {first!r} and {second!r} differ in case only and count as two"
        for index, first in enumerate(classes)
        for second in classes[index + 1 :]
        if first.lower() == second.lower()
    ]


def describe_headers(headers: Iterable[Header], rows: Mapping[str, FileRow]) -> list[str]:
    """One line for each DICOM file of another patient than its row's, and for each of several frames."""
    lines = []
    for header in sorted(headers, key=lambda header: header.path):
        row, tagged = rows.get(header.path), read_patient(header)
        if row is not None and tagged and row.patient and tagged != row.patient:
            lines.append(
                f"{header.path}: patient {tagged} in (0010,0020) PatientID, {TABLE} row {row.rows[0]} "
                f"says {row.patient}; the row counts"
            )
        frames = header.tags.get("NumberOfFrames")
        if frames and str(frames) != "1":
            lines.append(f"{header.path}: {frames} frames in (0028,0008) NumberOfFrames, frame 0 is used")
    return lines


def bind_labels(labels: LabelSettings) -> DataSet:
    """The data set that reads labels as the settings say."""
    return replace(
        DATA_SET,
        list_cases=partial(list_cases, labels=labels),
        list_classes=partial(list_classes, labels=labels),
    )


DATA_SET = DataSet(
    name="folder",
    title="A folder of images with labels.csv",
    task="classification",
    licence="",
    doi="",
    levels=("image", "patient"),
    roles=("image",),
    targets={HEAD: ()},
    list_cases=list_cases,
    list_tables=list_tables,
    write_phantom=write_phantom,
    list_classes=list_classes,
    list_columns=list_columns,
    with_labels=bind_labels,
)
