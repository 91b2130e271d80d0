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
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medimg.cases import Annotation, Case, ImageRef, Value
from medimg.catalogue.rows import is_absent, make_pairs_table
from medimg.catalogue.split import gather_clusters
from medimg.errors import MedimgError, UsageError
from medimg.files import hash_file, replace_file

CASES, IMAGES, PAIRS, SUMMARY = "cases.parquet", "images.parquet", "pairs.parquet", "summary.json"


@dataclass(frozen=True)
class Catalogue:
    """All cases, images and near duplicates of a data set.

    Columns as in the module's docstring; whole numbers are Int64, so that a missing one stays missing.
    """

    cases: pd.DataFrame
    images: pd.DataFrame
    pairs: pd.DataFrame
    summary: dict[str, Any]


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
    identical = [pair["cases"] for pair in catalogue.summary["duplicates"]]
    pairs = [*identical, *catalogue.pairs[["case_id", "other_case_id"]].to_numpy()]
    links = [(group_by_case[first], group_by_case[second]) for first, second in pairs]
    clusters = gather_clusters(dict.fromkeys(group_by_case.values(), ""), links=links)
    return {group: cluster[0] for cluster in clusters for group in cluster}


def row_to_case(
    row: Mapping[Hashable, Any], *, images: tuple[ImageRef, ...], masks: tuple[ImageRef, ...]
) -> Case:
    """One row of the cases table with its images as a Case."""
    annotations = tuple(map(_parse_annotation, json.loads(row["annotations"])))
    return Case(
        case_id=row["case_id"],
        group_id=row["group_id"],
        images=images,
        levels=_take_texts(row, "level_"),
        labels=_take_texts(row, "label_"),
        clinical=take_columns(row, "clinical_"),
        annotations=annotations,
        masks=masks,
        official_split=None if is_absent(row["official_split"]) else row["official_split"],
        status=row["status"],
        reason=row["reason"],
    )


def _parse_annotation(item: Mapping[str, Any]) -> Annotation:
    points = tuple((float(y), float(x)) for y, x in item["points"])
    return Annotation(item["role"], item["label"], item["kind"], points)


def _take_texts(row: Mapping[Hashable, Any], prefix: str) -> dict[str, str]:
    return {name: str(value) for name, value in take_columns(row, prefix).items() if value is not None}


def take_columns(row: Mapping[Hashable, Any], prefix: str) -> dict[str, Value]:
    """Returns the columns whose name starts with `prefix`, without it; absent values are None."""
    taken: dict[str, Value] = {}
    for name, value in row.items():
        if str(name).startswith(prefix):
            taken[str(name)[len(prefix) :]] = None if is_absent(value) else value
    return taken
