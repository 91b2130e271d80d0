"""Bring your own data: any folder of DICOM, PNG or JPEG with a labels.csv (file, patient_id, label).

The classes are read from labels.csv. No further column reaches the model or the slices unless the run names
it: `--set model.clinical_inputs=age --set evaluation.slices=scanner`. Sixty images take minutes on 2 CPU
cores and give a wide interval.
"""

from medimg.catalogue.split import SplitSettings
from medimg.evaluation.gates import Gate
from medimg.images.prepare import Ingest
from medimg.tasks.classification.settings import Head, ModelSettings, TrainingSettings
from pipeline.config.run_config import EvaluationSettings, RunConfig


def get_config() -> RunConfig:
    """One image per case, resized with its aspect ratio kept."""
    return RunConfig(
        name="folder-classification",
        data_set="folder",
        ingest=Ingest(image_size=(256, 256)),
        # A small folder needs its test patients: with fewer than ten there is no interval at all.
        split=SplitSettings(ratios=(0.6, 0.2, 0.2)),
        model=ModelSettings(heads=(Head("label"),), roles=("image",), image_size=(128, 128)),
        training=TrainingSettings(epochs=30, batch_size=8),
        evaluation=EvaluationSettings(gates=(Gate(metric="auc", head="label", lower_bound=0.55),)),
    )
