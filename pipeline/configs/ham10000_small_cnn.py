"""HAM10000, seven diagnoses, a small CNN from scratch: what needs no download.

Takes the whole collection (10,015 images). Not yet run on it, so neither time nor score is stated here.
`dx_type` is a slice and no input: follow-up exists for nevi alone. The gates ask for more than chance (a
balanced accuracy of one in seven) and look at melanoma apart, whose sensitivity at a specificity of 95 % is 5
% by chance. Rare classes are made to count by class weights, and the answers are as if all were equally
frequent; ham10000_focal, ham10000_balanced and ham10000_adjusted are this with other means, and `medimg
compare` draws the table of them.
"""

from medimg.catalogue.split import SplitSettings
from medimg.evaluation.gates import Gate
from medimg.images.prepare import Ingest
from medimg.tasks.classification import search_space as space
from medimg.tasks.classification.settings import Augmentation, Head, ModelSettings, TrainingSettings
from medimg.tasks.search_space import Choice, Space
from pipeline.config.run_config import EvaluationSettings, RunConfig

DIAGNOSIS = Head("diagnosis", ("nv", "bkl", "bcc", "akiec", "vasc", "df", "mel"))


def get_config() -> RunConfig:
    """One image per case, scored per image and per lesion.

    The challenge's own test images, where they are there, apart.
    """
    return RunConfig(
        name="ham10000-small-cnn",
        data_set="ham10000",
        # Some lesions stand there under two ids. By hash alone: what rulers and hairs do to keypoints has not
        # been measured on the whole collection.
        split=SplitSettings(near_duplicates="hash"),
        # Images keep their 450 x 600 pixels; the network's size has the same aspect ratio.
        ingest=Ingest(image_size=None, channels=3),
        model=ModelSettings(
            heads=(DIAGNOSIS,), roles=("image",), image_size=(144, 192), channels=3, width=24
        ),
        training=TrainingSettings(
            epochs=40,
            batch_size=32,
            # The challenge counts each diagnosis alike.
            logit_adjustment="post_hoc",
            # A dermatoscope has no up and no left.
            augmentation=Augmentation(flip_vertical=True, flip_horizontal=True, rotate_degrees=90.0),
        ),
        evaluation=EvaluationSettings(
            slices=("dx_type", "collection", "dataset", "age_band", "sex", "localization"),
            gates=(
                Gate(metric="balanced_accuracy", head="diagnosis", lower_bound=0.3),
                Gate(metric="auc_mel", head="diagnosis", lower_bound=0.6),
                Gate(metric="sensitivity_mel_at_specificity_95", head="diagnosis", lower_bound=0.1),
            ),
            protocols=("cases", "lesion", "isic2018"),
            embedded_cases=12_000,
        ),
    )


def get_search_space() -> Space:
    """The task's, and how much the loss looks at hard cases: the rare classes are among them."""
    return {**space.get_search_space(get_config().model), "training.focal_gamma": Choice((0.0, 1.0, 2.0))}
