"""ReportGen: scores the splits once through the exported signature.

It writes predictions, figures with intervals, and the report.
"""

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Catalogue, GateReport, Rejects, Report
from components.report_gen.executor import Executor


class ReportGenSpec(ComponentSpec):
    """`config` is the RunConfig as JSON, `facts` the fingerprints as JSON."""

    PARAMETERS = {
        "config": ExecutionParameter(type=str),
        "facts": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "catalogue": ChannelParameter(type=Catalogue),
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing, optional=True),
        "gate": ChannelParameter(type=GateReport),
        "rejects": ChannelParameter(type=Rejects),
    }
    OUTPUTS = {"report": ChannelParameter(type=Report)}


class ReportGen(BaseComponent):
    """Writes what a reader needs, and the figures into ML Metadata, which has no metric values by itself."""

    SPEC_CLASS = ReportGenSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(self, *, config: str, facts: str, code: str, **channels: BaseChannel) -> None:
        super().__init__(
            ReportGenSpec(config=config, facts=facts, code=code, **channels, report=Channel(type=Report))
        )
