"""HAM10000, seven diagnoses: ham10000_small_cnn with balanced sampling in place of class weights.

Each epoch is as long as before and shows each class equally often: of the whole collection a nevus in every
fifth epoch or so, a dermatofibroma a dozen times in each. Not yet run on the whole collection, so neither
time nor score is stated.
"""

import dataclasses

from pipeline.config.run_config import RunConfig
from pipeline.configs import ham10000_small_cnn


def get_config() -> RunConfig:
    """Only the sampling differs."""
    config = ham10000_small_cnn.get_config()
    training = dataclasses.replace(config.training, sampling="balanced")
    return dataclasses.replace(config, name="ham10000-balanced", training=training)
