"""HAM10000, seven diagnoses: ham10000_small_cnn with logit adjustment (Menon et al. 2021).

It is trained on the cases as frequent as they are, and adjusted then, as the answers of its siblings are: the
exported model takes the class frequencies of train out of its calibrated probabilities. `--set
training.logit_adjustment=loss` puts them into the loss instead and leaves them in the answers, `none` shows
what is left when nothing is done. Not yet run on the whole collection, so neither time nor score is stated.
"""

import dataclasses

from pipeline.config.run_config import RunConfig
from pipeline.configs import ham10000_small_cnn


def get_config() -> RunConfig:
    """Only what is done about imbalance differs."""
    config = ham10000_small_cnn.get_config()
    training = dataclasses.replace(config.training, class_weights=False)
    return dataclasses.replace(config, name="ham10000-adjusted", training=training)
