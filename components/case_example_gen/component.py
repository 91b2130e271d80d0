"""CaseExampleGen: a Catalogue in, sharded TFRecords of tf.train.Example out, one folder per split."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Catalogue, Rejects
from components.case_example_gen.executor import Executor


class CaseExampleGenSpec(ComponentSpec):
    """`ingest`, `examples_settings`, `columns` and `shortcuts` are JSON."""

    PARAMETERS = {
        "data_root": ExecutionParameter(type=str),
        "ingest": ExecutionParameter(type=str),
        "examples_settings": ExecutionParameter(type=str),
        "columns": ExecutionParameter(type=str),
        "shortcuts": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS = {"catalogue": ChannelParameter(type=Catalogue)}
    OUTPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "rejects": ChannelParameter(type=Rejects),
    }


@dataclass(frozen=True, kw_only=True)
class ExampleContent:
    """What goes into the Examples.

    Attributes:
        ingest, settings: Ingest and ExampleSettings as JSON.
        columns: the clinical columns to write.
        shortcuts: what `shortcut_<head>` is fitted on, see medimg.evaluation.classification.shortcuts;
            without any it is not written.
        heads: head to classes, the positive one last, that it is fitted for.
    """

    ingest: str
    settings: str
    columns: Sequence[str]
    shortcuts: Sequence[str]
    heads: Mapping[str, Sequence[str]]


class CaseExampleGen(BaseBeamComponent):
    """Decodes the cases of a catalogue into Examples.

    Args:
        catalogue: channel of the Catalogue.
        data_root: folder that the catalogue's paths are relative to; every Beam worker must reach it.
        content: what goes into the Examples.
        code: fingerprint of the code that decodes.
    """

    SPEC_CLASS = CaseExampleGenSpec
    EXECUTOR_SPEC = BeamExecutorSpec(Executor)

    def __init__(self, catalogue: BaseChannel, *, data_root: str, content: ExampleContent, code: str) -> None:
        # Without shortcuts the heads have no part in the Examples: they must not be in the cache key either.
        heads = dict(content.heads) if content.shortcuts else {}
        super().__init__(
            CaseExampleGenSpec(
                catalogue=catalogue,
                data_root=data_root,
                ingest=content.ingest,
                examples_settings=content.settings,
                columns=json.dumps(list(content.columns)),
                shortcuts=json.dumps({"names": list(content.shortcuts), "heads": heads}),
                code=code,
                examples=Channel(type=standard_artifacts.Examples),
                rejects=Channel(type=Rejects),
            )
        )
