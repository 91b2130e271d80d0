"""Where a run reads and writes: the only thing that differs between a laptop and a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes; the only thing that differs between a laptop and a cluster.

    Attributes:
        data_root: images and clinical tables, read only.
        pipeline_root: artifacts, by component and execution.
        metadata: the ML Metadata store: the path of a SQLite file, or the URI of a database without the
            password (pipeline.metadata.store).
        serving: pushed models, one numbered folder each.
        checkpoints: training in progress, kept over restarts.
        index: Parquet file of what was already read of the data root.
        schema: the curated schema, under a name that holds its hash; on a cluster the schema itself, as a
            `data:` URI.
        previous: an earlier catalogue whose groups keep their split, or empty.
        split_file: a table of groups or cases and their split, or empty.
        catalogue: one that is used as it is, or empty to have it built.
        beam_args: passed to Beam as they are.
        pipeline: its name in a store that other runs share; empty where the config's name will do.
        metadata_password: of the database, if the store is one.
    """

    data_root: str
    pipeline_root: str
    metadata: str
    serving: str
    checkpoints: str
    index: str
    schema: str
    previous: str = ""
    split_file: str = ""
    catalogue: str = ""
    beam_args: tuple[str, ...] = ()
    pipeline: str = ""
    metadata_password: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a run on this machine is asked for, beside its config.

    Attributes:
        data_root: images and clinical tables, read only.
        to: the run's directory; the same one continues or repeats the run.
        previous: an earlier catalogue whose groups keep their split.
        split_file: a table of groups or cases and their split, which is kept.
        catalogue: one of these data and settings, which is used as it is.
        beam_args: flags for Beam; none for the local runner.
        metadata: the URI of a store that runs share (pipeline.metadata.store); without it a run has its own,
            or keeps the one that it was started with.
        parent: the directory of the cross-validation that the run is a fold of: it has the index of the data,
            and the store without `metadata`.
    """

    data_root: Path
    to: Path
    previous: Path | None = None
    split_file: Path | None = None
    catalogue: Path | None = None
    beam_args: tuple[str, ...] = ()
    metadata: str | None = None
    parent: Path | None = None
