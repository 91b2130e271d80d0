"""Questions to the ML Metadata store: what made this model, and which models saw this patient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from medimg.catalogue.provenance import PROVENANCE
from medimg.errors import one_line
from pipeline.metadata.store import open_store as open_store

DONE = (mlmd.Execution.COMPLETE, mlmd.Execution.CACHED)
OUTPUT_EVENTS = (mlmd.Event.OUTPUT, mlmd.Event.DECLARED_OUTPUT)
INPUT_EVENTS = (mlmd.Event.INPUT, mlmd.Event.DECLARED_INPUT)
Property = str | int | float


@dataclass(frozen=True)
class Node:
    """The latest successful execution of a component and its outputs by channel name."""

    name: str
    state: str
    outputs: dict[str, list[mlmd.Artifact]]


def latest_nodes(store: MetadataStore, pipeline: str) -> dict[str, Node]:
    """Latest successful execution of each component of a pipeline."""
    nodes = {}
    for context in store.get_contexts_by_type("node"):
        if not context.name.startswith(f"{pipeline}."):
            continue
        name = context.name.removeprefix(f"{pipeline}.")
        executions = [
            one for one in store.get_executions_by_context(context.id) if one.last_known_state in DONE
        ]
        if executions:
            latest = max(executions, key=lambda one: one.id)
            nodes[name] = Node(
                name, mlmd.Execution.State.Name(latest.last_known_state).lower(), outputs_of(store, latest.id)
            )
    return nodes


def newest_execution(store: MetadataStore, pipeline: str, component: str) -> mlmd.Execution | None:
    """The latest execution of a component of a pipeline, however it ended; None where there is none."""
    context = store.get_context_by_type_and_name("node", f"{pipeline}.{component}")
    executions = store.get_executions_by_context(context.id) if context else []
    return max(executions, key=lambda one: one.id, default=None)


def outputs_of(store: MetadataStore, execution: int) -> dict[str, list[mlmd.Artifact]]:
    """An execution's output artifacts by channel name."""
    outputs: dict[str, list[mlmd.Artifact]] = {}
    events = [
        event for event in store.get_events_by_execution_ids([execution]) if event.type in OUTPUT_EVENTS
    ]
    if not events:
        return outputs
    made = store.get_artifacts_by_id([event.artifact_id for event in events])
    artifacts = {artifact.id: artifact for artifact in made}
    for event in events:
        outputs.setdefault(event.path.steps[0].key, []).append(artifacts[event.artifact_id])
    return outputs


def locate_artifact(run: Path, artifact: mlmd.Artifact) -> Path:
    """Returns the artifact's path below the run as it is now; the store has the one it was written to."""
    return run / "artifacts" / Path(*Path(artifact.uri).parts[-3:])


def live_artifacts(store: MetadataStore, kind: str, *, pipeline: str) -> list[mlmd.Artifact]:
    """A pipeline's artifacts of a type whose execution ended well.

    One that was killed leaves others behind.
    """
    context = store.get_context_by_type_and_name("pipeline", pipeline)
    artifacts = store.get_artifacts_by_context(context.id) if context else []
    return [one for one in artifacts if one.type == kind and one.state == mlmd.Artifact.LIVE]


def walk_up(store: MetadataStore, artifact: int) -> Iterator[tuple[mlmd.Execution, list[mlmd.Artifact]]]:
    """Walks from an artifact back to the first inputs, nearest first.

    Yields each execution that made something on the way, with what it made.

    Cached executions re-emit artifacts that others made; only the maker counts.
    """
    seen: set[int] = set()
    frontier = [artifact]
    while frontier:
        makers = [
            event.execution_id
            for event in store.get_events_by_artifact_ids(frontier)
            if event.type in OUTPUT_EVENTS
        ]
        frontier = []
        for execution in store.get_executions_by_id(sorted(set(makers) - seen)) if makers else []:
            if execution.last_known_state != mlmd.Execution.COMPLETE:
                continue
            seen.add(execution.id)
            made = [item for items in outputs_of(store, execution.id).values() for item in items]
            yield execution, made
            frontier += [
                event.artifact_id
                for event in store.get_events_by_execution_ids([execution.id])
                if event.type in INPUT_EVENTS
            ]


def walk_down(store: MetadataStore, artifacts: Iterable[int]) -> set[int]:
    """Ids of all artifacts that were made from the given ones, these included."""
    reached: set[int] = set()
    frontier = list(artifacts)
    while frontier:
        reached |= set(frontier)
        users = {
            event.execution_id
            for event in store.get_events_by_artifact_ids(frontier)
            if event.type in INPUT_EVENTS
        }
        made = (
            [
                event.artifact_id
                for event in store.get_events_by_execution_ids(sorted(users))
                if event.type in OUTPUT_EVENTS
            ]
            if users
            else []
        )
        frontier = list(set(made) - reached)
    return reached


def properties_of(item: mlmd.Artifact | mlmd.Execution) -> dict[str, Property]:
    """Properties and custom properties of an artifact or execution as plain values."""
    plain: dict[str, Property] = {}
    for group in (item.properties, item.custom_properties):
        for name, value in group.items():
            kind = value.WhichOneof("value")
            if kind in ("int_value", "double_value", "string_value"):
                plain[name] = getattr(value, kind)
    return plain


def list_counts(values: Mapping[str, Property]) -> str:
    """Counts and hashes of an artifact on one line."""
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items()) if shown_property(name))


def shown_property(name: str) -> bool:
    """Counts and hashes of an artifact; not TFX's own bookkeeping, and no path of the machine."""
    return name != "pushed_destination" and name.startswith(
        (
            "images_",
            "cases_",
            "content_hash",
            "data_set",
            "blessed",
            "pushed",
            "pushed_version",
            "split_names",
            "tuning.",
        )
    )


def name_origin(values: Mapping[str, Property]) -> str:
    """Where a catalogue's data come from, as their receipts say: "collection cmmd, source idc, ...".

    Empty for other artifacts.
    """
    if "images_with_receipt" not in values:
        return ""
    return ", ".join(f"{name} {one_line(str(values[name]))}" for name in PROVENANCE if name in values)
