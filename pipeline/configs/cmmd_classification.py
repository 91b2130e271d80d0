"""CMMD, benign against malignant per breast, from scratch on two views.

Takes the whole collection (5,202 images). On 2 CPU cores: see benchmarks/. The gates ask for more than chance
on the whole test split and on D1, where the source does not give the label away, and there for more than age
and number of images reach: an AUC of 0.737 on all of D1.
"""

from medimg.evaluation.gates import Gate
from medimg.images.prepare import Ingest
from medimg.tasks.classification.settings import Head, ModelSettings, TrainingSettings
from pipeline.config.run_config import EvaluationSettings, ExampleSettings, RunConfig

MALIGNANCY = Head("malignancy", ("Benign", "Malignant"))
ABNORMALITY = Head("abnormality", ("calcification", "mass", "both"), weight=0.3)
SUBTYPE = Head("subtype", ("Luminal A", "Luminal B", "HER2-enriched", "triple negative"), weight=0.1)


def get_config() -> RunConfig:
    """The flagship."""
    return RunConfig(
        name="cmmd-classification",
        data_set="cmmd",
        ingest=Ingest(image_size=(512, 416), bits=8, orientation="mammogram", crop="breast"),
        model=ModelSettings(
            heads=(MALIGNANCY, ABNORMALITY, SUBTYPE), roles=("CC", "MLO"), image_size=(256, 208), width=8
        ),
        # The unlabelled opposite breasts are P3's negatives; nothing is learned from them.
        examples=ExampleSettings(unlabelled=True),
        training=TrainingSettings(epochs=24, batch_size=16),
        evaluation=EvaluationSettings(
            slices=("source", "laterality", "age_band", "abnormality"),
            gates=(
                Gate(metric="auc", head="malignancy", lower_bound=0.70),
                Gate(metric="auc", head="malignancy", lower_bound=0.60, slice="source=D1"),
                Gate(metric="auc_above_shortcut", head="malignancy", lower_bound=0.0, slice="source=D1"),
            ),
            protocols=("P1", "P2", "P3", "P4", "image"),
            shortcuts=("source", "age_years", "group_image_count"),
        ),
    )
