"""HAM10000, seven diagnoses, MobileNetV2 pretrained on ImageNet.

As ham10000_small_cnn with another network: the same split, slices and protocols, so that the runs compare;
the gates ask for more. The weights are downloaded by Keras on first use; where that cannot be, `--set
model.weights=FILE` takes a no-top weights file and `model.weights=none` trains from scratch. Meant for a GPU;
not yet run on the whole collection, so neither time nor score is stated.
"""

import dataclasses

from medimg.evaluation.gates import Gate
from pipeline.config.run_config import RunConfig
from pipeline.configs import ham10000_small_cnn


def get_config() -> RunConfig:
    """All layers are trained, with a small learning rate."""
    config = ham10000_small_cnn.get_config()
    return dataclasses.replace(
        config,
        name="ham10000-mobilenet",
        model=dataclasses.replace(
            config.model, backbone="MobileNetV2", weights="imagenet", image_size=(192, 256)
        ),
        training=dataclasses.replace(config.training, epochs=20, learning_rate=1e-4),
        evaluation=dataclasses.replace(
            config.evaluation,
            gates=(
                Gate(metric="balanced_accuracy", head="diagnosis", lower_bound=0.5),
                Gate(metric="auc_mel", head="diagnosis", lower_bound=0.75),
                Gate(metric="sensitivity_mel_at_specificity_95", head="diagnosis", lower_bound=0.2),
            ),
        ),
    )
