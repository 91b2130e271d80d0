"""The schema of a run: the curated contract of its data set, and the columns that only its own data have.

It is written under a name that holds its hash, so that a changed line is a changed path and with it a changed
cache key.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from medimg.datasets import find_data_set
from pipeline.config.run_config import RunConfig
from pipeline.config.schema import CLINICAL, read_schema


def write_schema(config: RunConfig, *, data_root: Path, to: Path) -> Path:
    """Writes the run's schema as `<to>/<data set>-<hash>/schema.pbtxt` and returns its path.

    Raises what `make_schema` raises.
    """
    text = make_schema(config, data_root=data_root)
    path = to / f"{config.data_set}-{hashlib.sha256(text.encode()).hexdigest()[:16]}" / "schema.pbtxt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def make_schema(config: RunConfig, *, data_root: Path | None) -> str:
    """Returns the run's schema as text.

    Args:
        config: as `resolve_config` returns it, so that the data set has every column that it names.
        data_root: of the data, where only they know a column.

    Raises:
        UsageError: the schema file is missing or does not parse.
    """
    curated = read_schema(config.data_set)
    schema = schema_pb2.Schema()
    schema.CopyFrom(curated.message)
    declared = {feature.name for feature in schema.feature}
    # The contract lists the images too, but what reads this file reads every feature that it names, in any
    # stage.
    kept = [feature for feature in schema.feature if feature.lifecycle_stage != schema_pb2.DISABLED]
    del schema.feature[:]
    schema.feature.extend(kept)
    list_columns = find_data_set(config.data_set).list_columns
    kinds = list_columns(data_root) if list_columns and data_root else {}
    for column in config.columns:
        if f"{CLINICAL}{column}" not in declared:
            add_column(schema, column, kind=kinds[column])
    source = f"# {curated.path.name}: sha256 {hashlib.sha256(curated.text.encode()).hexdigest()}\n"
    return text_format.MessageToString(schema) + source


def add_column(schema: schema_pb2.Schema, column: str, *, kind: str) -> None:
    """Declares an optional scalar clinical feature, for a column ("number" or "text") that only data have."""
    feature = schema.feature.add(
        name=f"{CLINICAL}{column}", type=schema_pb2.FLOAT if kind == "number" else schema_pb2.BYTES
    )
    feature.value_count.min, feature.value_count.max = 0, 1
