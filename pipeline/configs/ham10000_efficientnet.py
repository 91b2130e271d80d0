"""HAM10000, seven diagnoses, EfficientNet-B0 pretrained on ImageNet.

All else is as in ham10000_mobilenet, the weights too. Meant for a GPU; not yet run on the whole collection,
so neither time nor score is stated.
"""

import dataclasses

from pipeline.config.run_config import RunConfig
from pipeline.configs import ham10000_mobilenet


def get_config() -> RunConfig:
    """Everything but the backbone is the same, so that the runs compare."""
    config = ham10000_mobilenet.get_config()
    return dataclasses.replace(
        config,
        name="ham10000-efficientnet",
        model=dataclasses.replace(config.model, backbone="EfficientNetB0"),
    )
