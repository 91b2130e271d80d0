"""The index of the Imaging Data Commons: all series of all its collections. No network.

One table of 77 MB that comes with the extra `idc`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg.errors import UsageError


@dataclass(frozen=True)
class Terms:
    """What the index says of a collection's original images, not of segmentations added later.

    Attributes:
        name: as The Cancer Imaging Archive writes it: "CBIS-DDSM".
    """

    name: str
    title: str
    licence: str
    licence_url: str
    doi: str


def is_installed() -> bool:
    """Whether the extra `idc` is there."""
    return importlib.util.find_spec("idc_index_data") is not None


def list_collections() -> list[str]:
    """All collection ids, in alphabetical order. Raises UsageError without the extra."""
    sql = "SELECT DISTINCT collection_id FROM read_parquet($file) ORDER BY collection_id"
    return [row["collection_id"] for row in _read(sql, file=_collections_file())]


def read_terms(collection_id: str) -> Terms:
    """The terms of a collection that `list_collections` names. Raises UsageError without the extra."""
    sql = """
        SELECT collection_name AS name, source.source_title AS title, source.source_doi AS doi,
               source.license.license_short_name AS licence, source.license.license_url AS licence_url
        FROM (
            SELECT collection_name, unnest(sources) AS source FROM read_parquet($file)
            WHERE collection_id = $id
        )
        ORDER BY source.source_type <> 'original_data', source.source_id
        LIMIT 1
    """
    [row] = _read(sql, file=_collections_file(), id=collection_id)
    return Terms(**{name: value or "" for name, value in row.items()})


def read_rows(collection_id: str) -> Iterator[dict[str, Any]]:
    """Yields all series of a collection, by patient: each a dictionary by the names of `source.Series`.

    Raises UsageError without the extra.
    """
    sql = """
        SELECT SeriesInstanceUID AS uid, PatientID AS patient_id, StudyInstanceUID AS study_uid,
               crdc_series_uuid AS key, aws_bucket AS bucket, instanceCount AS instances,
               CAST(round(series_size_MB * 1e6) AS BIGINT) AS bytes, coalesce(Modality, '') AS modality,
               coalesce(license_short_name, '') AS licence, coalesce(source_DOI, '') AS doi
        FROM read_parquet($file)
        WHERE collection_id = $id
        ORDER BY PatientID, SeriesInstanceUID
    """
    version = read_version()
    for row in _read(sql, file=_series_file(), id=collection_id):
        yield {**row, "version": version}


def read_version() -> str:
    """The IDC release that the installed index describes: "IDC v25"."""
    return f"IDC v{_import_index().__version__.partition('.')[0]}"


def _import_index() -> Any:
    try:
        return importlib.import_module("idc_index_data")
    except ImportError:
        raise UsageError(
            "the index of the Imaging Data Commons is not installed; "
            "the extra `idc` has it (pip install 'medimg-tfx[idc]', in a checkout setup/install.sh core idc)"
        ) from None


def _series_file() -> Path:
    return Path(_import_index().IDC_INDEX_PARQUET_FILEPATH)


def _collections_file() -> Path:
    return _series_file().with_name("collections_index.parquet")


def _read(sql: str, *, file: Path, **values: str) -> Iterator[dict[str, Any]]:
    import duckdb  # A tenth of a second, which collections with a bundled list need not spend.

    with duckdb.connect(":memory:") as connection:
        cursor = connection.execute(sql, {"file": str(file), **values})
        names = [column[0] for column in cursor.description or ()]
        while rows := cursor.fetchmany(10_000):
            yield from (dict(zip(names, row, strict=True)) for row in rows)
