"""BaselineModel: the last pushed model, for the Evaluator to compare with.

Open-source Kubeflow refuses TFX's Resolver.
"""

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.baseline_model.executor import Executor


class BaselineModelSpec(ComponentSpec):
    """Parameters and output of BaselineModel.

    `baseline` is a hash of the last pushed model's content, so that a new push changes the cache key.
    """

    PARAMETERS = {
        "serving": ExecutionParameter(type=str),
        "baseline": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {"model": ChannelParameter(type=standard_artifacts.Model)}


class BaselineModel(BaseComponent):
    """Fetches the newest model under `serving`; with nothing pushed yet its output is empty."""

    SPEC_CLASS = BaselineModelSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(self, *, serving: str, baseline: str, code: str) -> None:
        super().__init__(
            BaselineModelSpec(
                serving=serving, baseline=baseline, code=code, model=Channel(type=standard_artifacts.Model)
            )
        )
