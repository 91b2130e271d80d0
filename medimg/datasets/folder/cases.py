"""Any folder of DICOM files and pictures with a table of labels: one image, one label, one case.

On disk:  <root>/labels.csv    or labels.xlsx; columns label and what a row is about: file (relative to the
                               folder) and patient_id, or sop_instance_uid, or patient_id and study_uid (all
                               images of the study); split (train, eval or val, test) is kept; any
                               further column is metadata
          <root>/**            the images, at any depth

A case's id is its file's relative path, with characters other than letters, digits and `_.-~/`
percent-encoded: pictures have no UID, and copies of a DICOM file share theirs. Of a multi-frame DICOM
file frame 0 is used. An empty label is an unlabelled case, and so is a word for a missing value ("NA",
"none") unless the setting `labels.keep` makes it a class. A metadata column becomes numbers where each of its
values is one, text otherwise; laterality and view are metadata like any other. Ids and labels in several
forms (0012 and 12, 1 and 1.0) are one, and the summary says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

from medimg.cases import Case, DataSet, Header, ImageRef, LabelSettings, Listing, Reject
from medimg.console.plurals import count
from medimg.datasets.cells import parse_number
from medimg.datasets.folder.label_table import (
    AS_WRITTEN,
    HEAD,
    TABLE_NAMES,
    FileRow,
    Kind,
    LabelTable,
    key_in_header,
    key_of_patient,
    match_rows,
    read_labels,
)
from medimg.datasets.folder.phantom import write_phantom
from medimg.datasets.folder.template import write_template
from medimg.datasets.tables import find_table, shown
from medimg.errors import UsageError


def list_tables(root: Path) -> Sequence[Path]:
    """The table of labels; UsageError where there is none."""
    return (find_table(root, TABLE_NAMES),)


def list_classes(root: Path, *, labels: LabelSettings = AS_WRITTEN) -> Mapping[str, tuple[str, ...]]:
    """The labels in the table, sorted (as numbers where all are): the last one is the positive class.

    Raises:
        UsageError: no table, an unreadable one, or fewer than two classes.
    """
    return {HEAD: find_classes(read_labels(root, labels=labels))}


def find_classes(table: LabelTable) -> tuple[str, ...]:
    """The classes of a table; UsageError where there are fewer than two."""
    classes = {row.label for row in table.rows.values() if row.label and not row.problem}
    if len(classes) < 2:
        missing = "".join(f"; {line}" for line in table.notes if "taken as missing" in line)
        raise UsageError(
            f"{table.name}: column label has {len(classes)} classes ({shown(sorted(classes))}), expected "
            f"at least 2{missing}"
        )
    if all(parse_number(name) is not None for name in classes):
        return tuple(sorted(classes, key=lambda name: (parse_number(name), name)))
    return tuple(sorted(classes))


def list_columns(root: Path) -> Mapping[str, Kind]:
    """The metadata columns of the table and what they hold."""
    return read_labels(root).kinds


def list_cases(root: Path, headers: Sequence[Header], *, labels: LabelSettings = AS_WRITTEN) -> Listing:
    """One case per image file that has a row, or at least a DICOM PatientID; reads the table, never a pixel.

    Raises:
        UsageError: no table, an unreadable one, one that names a file outside the folder or none of the
            images, or fewer than two classes.
    """
    table = read_labels(root, labels=labels)
    find_classes(table)
    ordered = sorted(headers, key=lambda header: header.path)
    rows, unmatched = match_rows(table, ordered)
    known = {header.path for header in headers}
    if headers and not rows:
        raise UsageError(explain_stranger(table, path=min(known)))
    cases: list[Case] = []
    rejects: list[Reject] = []
    by_key = table.patient_by_key
    for header in ordered:
        row = rows.get(header.path)
        tagged = key_in_header(header)
        patient = (row.patient if row else "") or by_key.get(tagged, tagged)
        placed = place_file(header, row=row, patient=table.patients.choose(patient), table=table.name)
        if isinstance(placed, Case):
            cases.append(placed)
        else:
            rejects.append(placed)
    if table.by_file:
        paths = {row.rows: path for (path,), row in table.rows.items()}
        cases += [describe_unread(paths[row.rows], row, table=table.name) for row in unmatched]
    anomalies = [
        *table.notes,
        *table.patients.describe(f"{table.name} column patient_id"),
        *(row.problem for row in table.rows.values() if row.problem),
        *describe_repeats(table),
        *describe_other_paths(table, rows),
        *describe_absent_files(root, unmatched, table=table),
        *describe_headers(ordered, rows, table=table),
    ]
    return Listing(cases, rejects, anomalies)


def explain_stranger(table: LabelTable, *, path: str) -> str:
    """What to say of a table that is about none of the images."""
    key, row = min(table.rows.items(), key=lambda item: item[1].rows)
    if table.by_file:
        return (
            f"{table.name}: no row names an image of the folder; row {row.rows[0]} says {key[0]!r}, "
            f"the folder has {path!r}"
        )
    return f"{table.name}: no row has the {' and '.join(table.columns)} of an image of the folder"


def place_file(header: Header, *, row: FileRow | None, patient: str, table: str) -> Case | Reject:
    """Returns the file's case, or why it has none: without a patient it could get into two splits."""
    if row is not None and row.problem:
        return Reject(header.path, "excluded", row.problem)
    if not patient:
        where = f"{table} row {row.rows[0]}: no patient_id" if row else f"no row in {table}"
        return Reject(header.path, "excluded", f"{where} and no patient in the file")
    case_id = quote(header.path, safe="/~", errors="surrogateescape")
    label = row.label if row else ""
    no_label = f"{table} row {row.rows[0]}: no label" if row else f"no row in {table}"
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
        official_split=row.split if row else None,
        status="used" if label else "unlabelled",
        reason="" if label else no_label,
    )


def describe_unread(path: str, row: FileRow, *, table: str) -> Case:
    """Returns the case of a row whose file is none of the images; a label that is lost counts as such."""
    case_id = quote(path, safe="/~", errors="surrogateescape")
    return Case(
        case_id=case_id,
        group_id=row.patient or case_id,
        images=(),
        levels={"image": case_id, "patient": row.patient or case_id},
        labels={HEAD: row.label} if row.label else {},
        clinical=row.clinical,
        official_split=row.split,
        status="quarantined" if row.label else "excluded",
        reason=row.problem or f"{table} names it and it is not in the folder",
        unread=(path,),
    )


def describe_repeats(table: LabelTable) -> list[str]:
    """One line for each file whose rows say the same."""
    lines = []
    for key, row in table.rows.items():
        if len(row.rows) > 1 and not row.problem:
            what = key[0] if table.by_file else "one key"
            numbers = " and ".join(map(str, row.rows))
            lines.append(f"{table.name} rows {numbers}: repeat each other about {what}, counted once")
    return lines


def describe_other_paths(table: LabelTable, rows: Mapping[str, FileRow]) -> list[str]:
    """One line if rows name files in another form than they are called."""
    if not table.by_file:
        return []
    other = [(row.rows[0], path) for path, row in rows.items() if (path,) not in table.rows]
    if not other:
        return []
    number, path = min(other)
    return [
        f"{table.name}: {len(other)} rows name files in other letters than they are called (first: row "
        f"{number}, {path}), and count for these"
    ]


def describe_absent_files(root: Path, rows: Sequence[FileRow], *, table: LabelTable) -> list[str]:
    """One line for each row whose file is not there; the catalogue says why one that is there is not used."""
    lines = []
    keys = {row.rows: key for key, row in table.rows.items()}
    for row in rows:
        where = f"{table.name} row {row.rows[0]}"
        if not table.by_file:
            lines.append(f"{where}: no image of this {' and '.join(table.columns)} in the folder")
            continue
        [path] = keys[row.rows]
        if not (root / path).exists():
            lines.append(f"{where}: {path} is not in the folder")
    return lines


def describe_headers(
    headers: Iterable[Header], rows: Mapping[str, FileRow], *, table: LabelTable
) -> list[str]:
    """One line for the DICOM files of another patient than their row's, one for those of several frames.

    Not whose: the id of a file may be a hospital's own, which the table has replaced.
    """
    others, several = [], []
    for header in headers:
        row, tagged = rows.get(header.path), key_in_header(header)
        if row is not None and tagged and row.patient and tagged != key_of_patient(row.patient):
            others.append(f"{header.path}, row {row.rows[0]}")
        frames = header.tags.get("NumberOfFrames")
        if frames and str(frames) != "1":
            several.append(f"{header.path}, {frames} frames")
    lines = []
    if others:
        lines.append(
            f"(0010,0020) PatientID is another than patient_id in {table.name} in "
            f"{count(len(others), 'file')} (first: {others[0]}); the rows count"
        )
    if several:
        lines.append(
            f"(0028,0008) NumberOfFrames is above 1 in {count(len(several), 'file')} (first: {several[0]}); "
            "frame 0 of each is used"
        )
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
    write_template=write_template,
    with_labels=bind_labels,
)
