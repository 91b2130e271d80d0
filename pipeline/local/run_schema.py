"""The schema of a run: the curated contract of its data set, plus the clinical columns that only a user's own folder has.

It is written under a name that holds its hash, so that a changed line is a changed path and with it a changed
cache key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from importlib import resources
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from medimg.datasets import find_data_set
from medimg.errors import UsageError, nearest
from medimg.evaluation.classification.shortcuts import COUNTS
from pipeline.config.run_config import RunConfig

# In a checkout a link to schema/, in an installed wheel the files themselves (docs/decisions/0015).
SCHEMAS = Path(str(resources.files("pipeline"))) / "schemas"


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
    """The run's schema as text. Without a data root only what the curated file declares can be named.

    Raises:
        UsageError: the schema file is missing or does not parse, or the config names a clinical column that
            the data set does not have.
    """
    source = SCHEMAS / f"{config.data_set}.pbtxt"
    try:
        text = source.read_text()
        schema = text_format.Parse(text, schema_pb2.Schema())
    except (OSError, text_format.ParseError) as error:
        raise UsageError(f"schema/{source.name}: {error}") from None
    declared = {feature.name for feature in schema.feature}
    # The contract lists the images too, but whoever reads this file reads every feature that it names,
    # whatever its stage.
    kept = [feature for feature in schema.feature if feature.lifecycle_stage != schema_pb2.DISABLED]
    del schema.feature[:]
    schema.feature.extend(kept)
    add_columns(
        schema,
        [column for column in config.columns if f"clinical_{column}" not in declared],
        config=config,
        data_root=data_root,
    )
    return f"{text_format.MessageToString(schema)}# {source.name}: sha256 {hashlib.sha256(text.encode()).hexdigest()}\n"


def add_columns(
    schema: schema_pb2.Schema, columns: Sequence[str], *, config: RunConfig, data_root: Path | None
) -> None:
    """Declares optional scalar clinical features for columns that only the data know, and checks that the shortcuts are among all of them."""
    data_set = find_data_set(config.data_set)
    known = data_set.list_columns(data_root) if data_set.list_columns and data_root else {}
    check_shortcuts(
        config.evaluation.shortcuts,
        columns=[
            *known,
            *(
                feature.name.removeprefix("clinical_")
                for feature in schema.feature
                if feature.name.startswith("clinical_")
            ),
        ],
        findings=data_set.targets,
    )
    for column in columns:
        if column not in known:
            declared = [
                feature.name.removeprefix("clinical_")
                for feature in schema.feature
                if feature.name.startswith("clinical_")
            ]
            raise UsageError(
                f"config names column {column!r}, which {config.data_set} does not have; {nearest(column, [*declared, *known])}"
            )
        feature = schema.feature.add(
            name=f"clinical_{column}",
            type=schema_pb2.FLOAT if known[column] == "number" else schema_pb2.BYTES,
        )
        feature.value_count.min, feature.value_count.max = 0, 1


def check_shortcuts(shortcuts: Sequence[str], *, columns: Sequence[str], findings: Collection[str]) -> None:
    """Fails early on a shortcut that no catalogue of the data set could have.

    `shortcut_<head>` itself is not declared: what reads by the schema, the statistics, Transform and so every
    model, then never sees it.

    Raises:
        UsageError: an unknown name, or a finding, which is no shortcut but what the images are read for.
    """
    for shortcut in shortcuts:
        if shortcut in findings:
            raise UsageError(
                f"evaluation.shortcuts: {shortcut!r} is read off the images, expected what is known without them"
            )
        if shortcut not in COUNTS and shortcut not in columns:
            raise UsageError(
                f"evaluation.shortcuts: no clinical column {shortcut!r}; {nearest(shortcut, [*columns, *COUNTS])}"
            )
