"""CaseExampleGen: a Catalogue in, sharded TFRecords of tf.train.Example out, one folder per split."""

import json
from collections.abc import Mapping, Sequence

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


class CaseExampleGen(BaseBeamComponent):
    """Decodes the cases of a catalogue into Examples.

    Args:
        catalogue: channel of the Catalogue.
        data_root: folder that the catalogue's paths are relative to; every Beam worker must reach it.
        ingest, examples_settings: Ingest and ExampleSettings as JSON.
        columns: the clinical columns to write.
        shortcuts: what `shortcut_<head>` is fitted on, see medimg.evaluation.classification.shortcuts;
            without any it is not written.
        heads: head to classes, the positive one last, that it is fitted for.
        code: fingerprint of the code that decodes.
    """

    SPEC_CLASS = CaseExampleGenSpec
    EXECUTOR_SPEC = BeamExecutorSpec(Executor)

    def __init__(
        self,
        catalogue: BaseChannel,
        *,
        data_root: str,
        ingest: str,
        examples_settings: str,
        columns: Sequence[str],
        shortcuts: Sequence[str],
        heads: Mapping[str, Sequence[str]],
        code: str,
    ) -> None:
        examples = Channel(type=standard_artifacts.Examples)
        super().__init__(
            CaseExampleGenSpec(
                catalogue=catalogue,
                data_root=data_root,
                ingest=ingest,
                examples_settings=examples_settings,
                columns=json.dumps(list(columns)),
                # Without shortcuts the heads have no part in the Examples, so they must not be in the cache
                # key either.
                shortcuts=json.dumps({"names": list(shortcuts), "heads": dict(heads) if shortcuts else {}}),
                code=code,
                examples=examples,
                rejects=Channel(type=Rejects),
            )
        )
