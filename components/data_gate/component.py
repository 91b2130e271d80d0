"""DataGate: stops a run whose data break the contract, in plain words.

ExampleValidator only writes anomalies down.
"""

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Catalogue, GateReport, Rejects
from components.data_gate.executor import Executor


class DataGateSpec(ComponentSpec):
    """`settings` is DataGateSettings as JSON, `head` the main label."""

    PARAMETERS = {
        "settings": ExecutionParameter(type=str),
        "head": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS = {
        "catalogue": ChannelParameter(type=Catalogue),
        "rejects": ChannelParameter(type=Rejects),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS = {"report": ChannelParameter(type=GateReport)}


class DataGate(BaseComponent):
    """Checks the data against the contract.

    Fails on schema anomalies, a group in two splits, a class missing from a split, and too many quarantined
    images; warns of drift.

    Args:
        settings: DataGateSettings as JSON.
        head: the main label.
        code: fingerprint of the code that checks.
        channels: one for each input of DataGateSpec.
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(self, *, settings: str, head: str, code: str, **channels: BaseChannel) -> None:
        super().__init__(
            DataGateSpec(settings=settings, head=head, code=code, **channels, report=Channel(type=GateReport))
        )
