"""HAM10000, seven diagnoses: ham10000_small_cnn with the focal loss (Lin et al. 2017).

It is used beside class weights, which is its alpha-balanced form.

The focal loss alone makes hard cases count, rare or not. Not yet run on the whole collection, so neither time
nor score is stated.
"""

import dataclasses

from pipeline.config.run_config import RunConfig
from pipeline.configs import ham10000_small_cnn


def get_config() -> RunConfig:
    """Gamma as in the paper."""
    config = ham10000_small_cnn.get_config()
    return dataclasses.replace(
        config, name="ham10000-focal", training=dataclasses.replace(config.training, focal_gamma=2.0)
    )
