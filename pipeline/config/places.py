"""Where a run reads and writes: the only thing that differs between a laptop and a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field


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
    beam_args: tuple[str, ...] = ()
    pipeline: str = ""
    metadata_password: str = field(default="", repr=False)
