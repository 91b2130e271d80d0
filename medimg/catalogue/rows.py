"""Cases, images and pairs as the rows of the catalogue's tables: deterministic and typed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import SupportsFloat, SupportsInt

import pandas as pd
import pyarrow as pa

from medimg.cases import Case, Header, ImageRef, Reject
from medimg.catalogue.split import Assignment

WHOLE = (
    "fold",
    "image_count",
    "frame",
    "rows",
    "columns",
    "bits_stored",
    "size",
    "hash_distance",
    "keypoints",
)
FRONT = ("case_id", "group_id", "status", "reason", "split", "fold", "stratum", "official_split")
IMAGE_COLUMNS = (
    *("path", "case_id", "role", "frame", "is_mask", "kind", "status", "reason", "flags"),
    *("sop_instance_uid", "series_instance_uid", "study_instance_uid"),
    *("rows", "columns", "bits_stored", "photometric", "transfer_syntax", "size", "sha256", "pixel_hash"),
)
PAIR_COLUMNS = ("case_id", "other_case_id", "hash_distance", "keypoints")
TAG_COLUMNS = {
    "series_instance_uid": "SeriesInstanceUID",
    "study_instance_uid": "StudyInstanceUID",
    "rows": "Rows",
    "columns": "Columns",
    "bits_stored": "BitsStored",
    "photometric": "PhotometricInterpretation",
    "transfer_syntax": "TransferSyntaxUID",
}

Row = dict[str, object]
"""Values by column; absent ones may be left out."""


@dataclass(frozen=True)
class NearPair:
    """Two cases with a near-duplicate image.

    Attributes:
        cases: in the order of case ids.
        hash_distance: bits of their hashes that differ; None where those are too far apart.
        keypoints: number of those that agree; None where too few do, or where they were not looked for.
    """

    cases: tuple[str, str]
    hash_distance: int | None = None
    keypoints: int | None = None


def make_cases_table(
    cases: Sequence[Case], *, assignments: Mapping[str, Assignment], strata: Mapping[str, str]
) -> pa.Table:
    """One row per case, sorted by case id.

    Args:
        assignments, strata: by case; one in neither (all cases of its group are excluded) has no split.
    """
    ordered = sorted(cases, key=lambda case: case.case_id)
    rows = [
        _case_to_row(case, assignments.get(case.case_id), stratum=strata.get(case.case_id))
        for case in ordered
    ]
    middle: list[str] = []
    for what, names in list_open_columns(ordered).items():
        middle += [f"{what}_{name}" for name in names]
    return make_table(rows, columns=[*FRONT, *middle, "annotations", "image_count"])


def _case_to_row(case: Case, assignment: Assignment | None, *, stratum: str | None) -> Row:
    row: Row = {
        "case_id": case.case_id,
        "group_id": case.group_id,
        "status": case.status,
        "reason": case.reason,
        "split": assignment.split if assignment else None,
        "fold": assignment.fold if assignment else None,
        "stratum": stratum,
        "official_split": case.official_split,
        "annotations": json.dumps([asdict(annotation) for annotation in case.annotations]),
        "image_count": len(case.images),
    }
    for prefix, values in (("level", case.levels), ("label", case.labels), ("clinical", case.clinical)):
        row.update({f"{prefix}_{name}": value for name, value in values.items()})
    return row


def list_open_columns(cases: Iterable[Case]) -> dict[str, list[str]]:
    """Names of levels, labels and clinical columns that any case has.

    Levels in their order, the others sorted.
    """
    levels: dict[str, None] = {}
    labels: set[str] = set()
    clinical: set[str] = set()
    for case in cases:
        levels.update(dict.fromkeys(case.levels))
        labels.update(case.labels)
        clinical.update(case.clinical)
    return {"level": list(levels), "label": sorted(labels), "clinical": sorted(clinical)}


def make_images_table(
    cases: Sequence[Case],
    *,
    rejects: Sequence[Reject],
    headers: Mapping[str, Header],
    flags: Mapping[str, Sequence[str]],
) -> pa.Table:
    """One row per image or mask of a case, sorted by case id, then one per rejected file, sorted by path."""
    rows: list[Row] = []
    for case in sorted(cases, key=lambda case: case.case_id):
        rows += [_image_to_row(image, case, is_mask=False) for image in case.images]
        rows += [_image_to_row(image, case, is_mask=True) for image in case.masks]
    rows += map(_reject_to_row, sorted(rejects, key=lambda reject: reject.path))
    for row in rows:
        path = str(row["path"])
        row["flags"] = json.dumps(list(flags.get(path, ())))
        if header := headers.get(path):
            _add_header(row, header)
    return make_table(rows, columns=IMAGE_COLUMNS)


def _image_to_row(image: ImageRef, case: Case, *, is_mask: bool) -> Row:
    return {
        "path": image.path,
        "case_id": case.case_id,
        "role": image.role,
        "frame": image.frame,
        "is_mask": is_mask,
        "status": case.status,
        "reason": case.reason,
        "sop_instance_uid": image.sop_instance_uid or None,
    }


def _reject_to_row(reject: Reject) -> Row:
    """Makes a row; size and sha256 are known of files that could not be read."""
    return {
        "path": reject.path,
        "is_mask": False,
        "status": reject.status,
        "reason": reject.reason,
        "size": getattr(reject, "size", None),
        "sha256": getattr(reject, "sha256", None),
    }


def _add_header(row: Row, header: Header) -> None:
    row.update(
        {"kind": header.kind, "size": header.size, "sha256": header.sha256, "pixel_hash": header.pixel_hash}
    )
    row.update({column: header.tags.get(tag) for column, tag in TAG_COLUMNS.items()})
    row["sop_instance_uid"] = row.get("sop_instance_uid") or header.tags.get("SOPInstanceUID")


def make_pairs_table(pairs: Iterable[NearPair]) -> pa.Table:
    """One row per pair of near duplicates."""
    rows: list[Row] = [
        dict(zip(PAIR_COLUMNS, (*pair.cases, pair.hash_distance, pair.keypoints), strict=True))
        for pair in pairs
    ]
    return make_table(rows, columns=PAIR_COLUMNS)


def make_table(rows: Sequence[Row], *, columns: Sequence[str]) -> pa.Table:
    """Makes an Arrow table; column types follow from their names, of clinical columns from the values."""
    arrays = []
    for name in columns:
        values = [row.get(name) for row in rows]
        kind = choose_type(name, values)
        arrays.append(pa.array([convert(value, kind) for value in values], type=kind))
    return pa.table(arrays, names=list(columns))


def choose_type(name: str, values: Iterable[object]) -> pa.DataType:
    """Chooses whole numbers, numbers or text; a column that mixes text and numbers is text."""
    if name == "is_mask":
        return pa.bool_()
    if name in WHOLE:
        return pa.int64()
    if name.startswith("clinical_"):
        kinds = {type(value) for value in values if value is not None}
        if kinds and kinds <= {int, bool}:
            return pa.int64()
        if kinds and kinds <= {int, bool, float}:
            return pa.float64()
    return pa.string()


def convert(value: object, kind: pa.DataType) -> object:
    """Returns the value as the column's type holds it; NaN and other absent values are null."""
    if is_absent(value):
        return None
    if kind == pa.string():
        return str(value)
    if kind == pa.float64() and isinstance(value, (SupportsFloat, str)):
        return float(value)
    if kind == pa.int64() and isinstance(value, (SupportsInt, str)):
        return int(value)
    return value


def is_absent(value: object) -> bool:
    """Returns True for None, NaN and pandas' NA."""
    return value is None or value is pd.NA or bool(value != value)
