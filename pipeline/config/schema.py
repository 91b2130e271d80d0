"""The curated schema of a data set, `schema/<data set>.pbtxt`, and the clinical columns that it declares."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from medimg.cases import DataSet
from medimg.errors import UsageError, nearest

# In a checkout a link to schema/, in an installed wheel the files themselves (docs/decisions/0015).
SCHEMAS = Path(str(resources.files("pipeline"))) / "schemas"
CLINICAL = "clinical_"


@dataclass(frozen=True)
class CuratedSchema:
    """A data set's schema as the repository has it.

    Attributes:
        path: of the file.
        text: its content.
        message: the same, parsed.
    """

    path: Path
    text: str
    message: schema_pb2.Schema


@dataclass(frozen=True)
class Columns:
    """The clinical columns of a data set.

    Attributes:
        data_set: its name.
        values: column to the values that it may have; empty where any will do.
        complete: whether these are all; without the data, a user's own columns are not known.
        ids: those with another text for each patient.
    """

    data_set: str
    values: Mapping[str, tuple[str, ...]]
    complete: bool
    ids: frozenset[str] = frozenset()

    def expect(self, column: str, *, key: str, more: Iterable[str] = ()) -> None:
        """Raises UsageError for a column that the data set does not have.

        Args:
            key: of the config, which names the column.
            more: further names that would do.
        """
        if column in self.values:
            return
        if not self.complete:
            raise UsageError(
                f"{key}: only the data of {self.data_set} tell whether there is a column {column!r}; "
                "give --data DIR"
            )
        raise UsageError(
            f"{key}: {self.data_set} has no clinical column {column!r}; "
            f"{nearest(column, [*self.values, *more])}"
        )

    def expect_value(self, column: str, value: str, *, key: str) -> None:
        """Raises UsageError for a value that the schema does not allow in the column."""
        known = self.values.get(column, ())
        if known and value not in known:
            raise UsageError(f"{key}: {column!r} is never {value!r}; {nearest(value, known)}")


def read_schema(data_set: str) -> CuratedSchema:
    """Reads the curated schema of the data set; UsageError for a file that is missing or does not parse."""
    path = SCHEMAS / f"{data_set}.pbtxt"
    try:
        text = path.read_text()
        return CuratedSchema(path, text, parse_schema(text))
    except (OSError, text_format.ParseError) as error:
        raise UsageError(f"schema/{path.name}: {error}") from None


@functools.lru_cache(maxsize=16)
def parse_schema(text: str) -> schema_pb2.Schema:
    """Parses a schema; the same text, which takes as long as all other checks of a config, once only."""
    return text_format.Parse(text, schema_pb2.Schema())


def read_columns(data_set: DataSet, data_root: Path | None) -> Columns:
    """Lists the clinical columns of the curated schema and, below a data root, of the data's own tables."""
    values: dict[str, tuple[str, ...]] = {}
    for feature in read_schema(data_set.name).message.feature:
        if feature.name.startswith(CLINICAL):
            values[feature.name.removeprefix(CLINICAL)] = tuple(feature.string_domain.value)
    kinds = data_set.list_columns(data_root) if data_set.list_columns and data_root else {}
    values.update(dict.fromkeys(kinds, ()))
    return Columns(
        data_set.name,
        values,
        complete=bool(data_root) or not data_set.list_columns,
        ids=frozenset(name for name, kind in kinds.items() if kind == "id"),
    )
