"""The catalogue as two Parquet tables and a summary: Case -> rows -> Case, deterministic and typed.

cases.parquet   one row per case: case_id, group_id, status, reason, split, fold, stratum, official_split,
                level_<name>.., label_<head>.., clinical_<column>.., annotations (JSON), image_count
images.parquet  one row per image of a case (in the case's order), mask, and rejected file (case_id is null)
pairs.parquet   one row per two cases that are near duplicates: case_id, other_case_id, hash_distance in bits,
                agreeing keypoints
summary.json    counts, exclusions, anomalies, hashes

A missing value is null.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medimg.cases import Annotation, Case, Header, ImageRef, Reject, Value
from medimg.catalogue.split import Assignment, gather_clusters
from medimg.errors import MedimgError, UsageError
from medimg.files import hash_file, replace_file

CASES, IMAGES, PAIRS, SUMMARY = "cases.parquet", "images.parquet", "pairs.parquet", "summary.json"
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


@dataclass(frozen=True)
class Catalogue:
    """All cases, images and near duplicates of a data set.

    Columns as in the module's docstring; whole numbers are Int64, so that a missing one stays missing.
    """

    cases: pd.DataFrame
    images: pd.DataFrame
    pairs: pd.DataFrame
    summary: dict[str, Any]


def make_cases_table(
    cases: Sequence[Case], *, assignments: Mapping[str, Assignment], strata: Mapping[str, str]
) -> pa.Table:
    """One row per case, sorted by case id.

    Args:
        assignments, strata: by case; one in neither (all cases of its group are excluded) has no split.
    """
    ordered = sorted(cases, key=lambda case: case.case_id)
    rows = []
    for case in ordered:
        assignment = assignments.get(case.case_id)
        rows.append(
            {
                "case_id": case.case_id,
                "group_id": case.group_id,
                "status": case.status,
                "reason": case.reason,
                "split": assignment.split if assignment else None,
                "fold": assignment.fold if assignment else None,
                "stratum": strata.get(case.case_id),
                "official_split": case.official_split,
                **{f"level_{name}": value for name, value in case.levels.items()},
                **{f"label_{name}": value for name, value in case.labels.items()},
                **{f"clinical_{name}": value for name, value in case.clinical.items()},
                "annotations": json.dumps([asdict(annotation) for annotation in case.annotations]),
                "image_count": len(case.images),
            }
        )
    middle = [f"{what}_{name}" for what, names in list_open_columns(ordered).items() for name in names]
    return make_table(rows, columns=[*FRONT, *middle, "annotations", "image_count"])


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
    rows: list[dict[str, Any]] = []
    for case in sorted(cases, key=lambda case: case.case_id):
        for is_mask, images in ((False, case.images), (True, case.masks)):
            for image in images:
                place = {
                    "path": image.path,
                    "case_id": case.case_id,
                    "role": image.role,
                    "frame": image.frame,
                    "is_mask": is_mask,
                }
                rows.append(
                    {
                        **place,
                        "status": case.status,
                        "reason": case.reason,
                        "sop_instance_uid": image.sop_instance_uid or None,
                    }
                )
    for reject in sorted(rejects, key=lambda reject: reject.path):
        rows.append({"path": reject.path, "is_mask": False, "status": reject.status, "reason": reject.reason})
        rows[-1].update({name: getattr(reject, name, None) for name in ("size", "sha256")})
    for row in rows:
        header = headers.get(row["path"])
        row["flags"] = json.dumps(list(flags.get(row["path"], ())))
        if header:
            row.update(
                {
                    "kind": header.kind,
                    "size": header.size,
                    "sha256": header.sha256,
                    "pixel_hash": header.pixel_hash,
                }
            )
            row.update({column: header.tags.get(tag) for column, tag in TAG_COLUMNS.items()})
            row["sop_instance_uid"] = row.get("sop_instance_uid") or header.tags.get("SOPInstanceUID")
    return make_table(rows, columns=IMAGE_COLUMNS)


def make_pairs_table(pairs: Iterable[NearPair]) -> pa.Table:
    """One row per pair of near duplicates."""
    rows = [
        dict(zip(PAIR_COLUMNS, (*pair.cases, pair.hash_distance, pair.keypoints), strict=True))
        for pair in pairs
    ]
    return make_table(rows, columns=PAIR_COLUMNS)


def make_table(rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str]) -> pa.Table:
    """Makes an Arrow table; column types follow from their names, of clinical columns from the values."""
    arrays = []
    for name in columns:
        values = [row.get(name) for row in rows]
        kind = choose_type(name, values)
        arrays.append(pa.array([convert(value, kind) for value in values], type=kind))
    return pa.table(arrays, names=list(columns))


def choose_type(name: str, values: Iterable[Any]) -> pa.DataType:
    """Whole numbers, numbers or text; a column that mixes text and numbers is text."""
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


def convert(value: Any, kind: pa.DataType) -> Any:
    """The value as the column's type holds it; NaN and other absent values are null."""
    if is_absent(value):
        return None
    return (
        str(value)
        if kind == pa.string()
        else float(value)
        if kind == pa.float64()
        else int(value)
        if kind == pa.int64()
        else value
    )


def is_absent(value: Any) -> bool:
    """True for None, NaN and pandas' NA."""
    return value is None or value is pd.NA or bool(value != value)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Arrow to pandas: nullable whole numbers, so that 44 does not become 44.0."""
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return frame


def write_catalogue(
    to: Path, *, cases: pa.Table, images: pa.Table, pairs: pa.Table, summary: Mapping[str, Any]
) -> Catalogue:
    """Writes the four files, each whole or not at all, the summary last.

    The same values give the same bytes.
    """
    to.mkdir(parents=True, exist_ok=True)
    # Gone while the tables change: what has no summary is no catalogue, so no reader takes a new table with
    # an old one.
    (to / SUMMARY).unlink(missing_ok=True)
    hashes = {}
    for name, table in ((CASES, cases), (IMAGES, images), (PAIRS, pairs)):
        replace_file(to / name, write=functools.partial(pq.write_table, table, compression="zstd"))
        hashes[name] = hash_file(to / name)
    complete = {**summary, "tables": hashes}
    text = json.dumps(complete, indent=1, ensure_ascii=False, default=str) + "\n"
    replace_file(to / SUMMARY, write=lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return Catalogue(to_frame(cases), to_frame(images), to_frame(pairs), json.loads(text))


def read_catalogue(folder: Path) -> Catalogue:
    """Reads what `write_catalogue` wrote.

    Raises:
        UsageError: the folder holds no complete catalogue.
        MedimgError: a file of it is damaged.
    """
    missing = [name for name in (SUMMARY, CASES, IMAGES) if not (folder / name).is_file()]
    if missing:
        raise UsageError(
            f"{folder}: no catalogue here, {missing[0]} is missing; expected what `medimg catalogue` writes"
        )
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except ValueError as error:
        raise MedimgError(f"{folder / SUMMARY}: damaged, expected JSON ({error})") from None
    # Catalogues that were made before near duplicates were searched have no table of them.
    pairs = read_frame(folder / PAIRS) if PAIRS in summary["tables"] else to_frame(make_pairs_table(()))
    return Catalogue(read_frame(folder / CASES), read_frame(folder / IMAGES), pairs, summary)


def read_frame(path: Path) -> pd.DataFrame:
    """One Parquet file as a DataFrame. Raises MedimgError if it is damaged."""
    try:
        return to_frame(pq.read_table(path, memory_map=False))
    except (OSError, pa.ArrowException) as error:
        raise MedimgError(
            f"{path}: damaged, expected a Parquet table ({str(error).splitlines()[0]})"
        ) from None


def catalogue_cases(
    catalogue: Catalogue, *, statuses: Collection[str] = ("used",), split: str | None = None
) -> Iterator[Case]:
    """Cases of these statuses, and of one split if given, sorted by case id.

    Clinical values that are unknown are None, not absent.
    """
    chosen = catalogue.cases[catalogue.cases["status"].isin(list(statuses))]
    if split is not None:
        chosen = chosen[chosen["split"] == split]
    images = catalogue.images[catalogue.images["case_id"].isin(chosen["case_id"])]
    by_case: dict[tuple[str, bool], list[ImageRef]] = {}
    for row in images.to_dict("records"):
        uid = "" if is_absent(row["sop_instance_uid"]) else row["sop_instance_uid"]
        image = ImageRef(row["path"], row["role"], int(row["frame"]), uid, row["sha256"])
        by_case.setdefault((row["case_id"], bool(row["is_mask"])), []).append(image)
    for row in chosen.to_dict("records"):
        yield row_to_case(
            row,
            images=tuple(by_case.get((row["case_id"], False), ())),
            masks=tuple(by_case.get((row["case_id"], True), ())),
        )


def find_clusters(catalogue: Catalogue) -> dict[str, str]:
    """Maps each group to the first of its cluster: the groups that the split kept together.

    They are joined because their images are the same or nearly so.
    """
    group_by_case = dict(zip(catalogue.cases["case_id"], catalogue.cases["group_id"], strict=True))
    pairs = [
        *(pair["cases"] for pair in catalogue.summary["duplicates"]),
        *catalogue.pairs[["case_id", "other_case_id"]].to_numpy(),
    ]
    links = [(group_by_case[first], group_by_case[second]) for first, second in pairs]
    clusters = gather_clusters(dict.fromkeys(group_by_case.values(), ""), links=links)
    return {group: cluster[0] for cluster in clusters for group in cluster}


def row_to_case(row: Mapping[Any, Any], *, images: tuple[ImageRef, ...], masks: tuple[ImageRef, ...]) -> Case:
    """One row of the cases table with its images as a Case."""
    annotations = tuple(
        Annotation(
            item["role"], item["label"], item["kind"], tuple((float(y), float(x)) for y, x in item["points"])
        )
        for item in json.loads(row["annotations"])
    )
    return Case(
        case_id=row["case_id"],
        group_id=row["group_id"],
        images=images,
        levels={name: value for name, value in take_columns(row, "level_").items() if value is not None},
        labels={name: str(value) for name, value in take_columns(row, "label_").items() if value is not None},
        clinical=take_columns(row, "clinical_"),
        annotations=annotations,
        masks=masks,
        official_split=None if is_absent(row["official_split"]) else row["official_split"],
        status=row["status"],
        reason=row["reason"],
    )


def take_columns(row: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """Columns whose name starts with `prefix`, without it; absent values are None."""
    taken: dict[str, Value] = {}
    for name, value in row.items():
        if str(name).startswith(prefix):
            taken[str(name)[len(prefix) :]] = None if is_absent(value) else value
    return taken
