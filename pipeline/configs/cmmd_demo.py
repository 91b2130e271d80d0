"""The demo: the CMMD system in small, on a phantom tree that `medimg demo` writes.

Minutes on 2 CPU cores, breast-level test AUC above 0.85.

The score says that the machinery works; the images are drawn, so it says nothing about medicine.
"""

import dataclasses

from medimg.evaluation.gates import Gate
from medimg.images.prepare import Ingest
from medimg.tasks.classification.settings import TrainingSettings
from pipeline.config.run_config import ExampleSettings, RunConfig
from pipeline.configs import cmmd_classification


def get_config() -> RunConfig:
    """Small images, few epochs, a gate on the whole and two on D1."""
    config = cmmd_classification.get_config()
    return dataclasses.replace(
        config,
        name="cmmd-demo",
        ingest=Ingest(image_size=(256, 208), bits=8, orientation="mammogram", crop="breast"),
        model=dataclasses.replace(
            config.model, heads=(cmmd_classification.MALIGNANCY,), image_size=(128, 104)
        ),
        examples=ExampleSettings(),
        training=TrainingSettings(epochs=30, batch_size=16),
        evaluation=dataclasses.replace(
            config.evaluation,
            gates=(
                Gate(metric="auc", head="malignancy", lower_bound=0.80),
                Gate(metric="auc", head="malignancy", lower_bound=0.60, slice="source=D1"),
                Gate(metric="auc_above_shortcut", head="malignancy", lower_bound=0.0, slice="source=D1"),
            ),
            protocols=("P1", "P4"),
        ),
    )
