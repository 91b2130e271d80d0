"""Tissue tiles, MobileNetV2 with ImageNet weights.

All else is as in `tissue_scratch`, so that `medimg compare` shows what the weights give.

The weights are downloaded once; without a network name a file: `--set
model.weights=/path/of/the_no_top_weights.h5`.
"""

import dataclasses

from pipeline.config.run_config import RunConfig
from pipeline.configs import tissue_scratch


def get_config() -> RunConfig:
    """Smaller steps: what ImageNet taught is to be kept."""
    config = tissue_scratch.get_config()
    return dataclasses.replace(
        config,
        name="tissue-mobilenet",
        model=dataclasses.replace(config.model, backbone="MobileNetV2", weights="imagenet"),
        training=dataclasses.replace(config.training, learning_rate=1e-4),
    )
