"""A store of ML Metadata in memory, as a pipeline's runs leave it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

Event, Execution, Artifact = mlmd.Event, mlmd.Execution, mlmd.Artifact


class Store:
    """A store in memory, with what TFX would write: a context for the pipeline and one for each node."""

    def __init__(self) -> None:
        self.store = MetadataStore(mlmd.ConnectionConfig(fake_database=mlmd.FakeDatabaseConfig()))
        self.kinds: dict[str, int] = {}
        self.contexts: dict[str, int] = {}

    def context(self, kind: str, name: str) -> int:
        if name not in self.contexts:
            type_id = self.store.put_context_type(mlmd.ContextType(name=kind))
            (self.contexts[name],) = self.store.put_contexts([mlmd.Context(type_id=type_id, name=name)])
        return self.contexts[name]

    def make(self, kind: str = "Model", *, state: int = Artifact.LIVE, uri: str = "", **noted: str) -> int:
        type_id = self.store.put_artifact_type(mlmd.ArtifactType(name=kind))
        artifact = Artifact(type_id=type_id, uri=uri, state=state)
        for name, value in noted.items():
            artifact.custom_properties[name].string_value = value
        (number,) = self.store.put_artifacts([artifact])
        return number

    def run(
        self,
        node: str,
        *,
        read: tuple[int, ...] = (),
        made: tuple[int, ...] = (),
        channels: Mapping[str, int] = MappingProxyType({}),
        state: int = Execution.COMPLETE,
        pipeline: str = "demo",
        declared: bool = False,
    ) -> int:
        """An execution of a node with its inputs and outputs: in the channel `made`, or in those named."""
        type_id = self.store.put_execution_type(mlmd.ExecutionType(name=node))
        (number,) = self.store.put_executions([Execution(type_id=type_id, last_known_state=state)])
        events = []
        reads, makes = Event.INPUT, Event.OUTPUT
        if declared:
            reads, makes = Event.DECLARED_INPUT, Event.DECLARED_OUTPUT
        all_made = [("made", one) for one in made] + list(channels.items())
        for kind, found in ((reads, [("read", one) for one in read]), (makes, all_made)):
            for key, artifact in found:
                event = Event(artifact_id=artifact, execution_id=number, type=kind)
                event.path.steps.add(key=key)
                event.path.steps.add(index=0)
                events.append(event)
        if events:
            self.store.put_events(events)
        whole = self.context("pipeline", pipeline)
        attributions = [mlmd.Attribution(artifact_id=one, context_id=whole) for _, one in all_made]
        contexts = (whole, self.context("node", f"{pipeline}.{node}"))
        associations = [mlmd.Association(execution_id=number, context_id=one) for one in contexts]
        self.store.put_attributions_and_associations(attributions, associations)
        return number

    @contextmanager
    def opened(self, folder: Path) -> Iterator[MetadataStore]:
        """Stands for `open_metadata` of every run's folder."""
        yield self.store
