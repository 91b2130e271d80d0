"""The classification task as a record; see medimg/tasks/__init__.py for what each entry means."""

from medimg.tasks import Task
from medimg.tasks.classification.explain import cut_network
from medimg.tasks.classification.fit import fit
from medimg.tasks.classification.inputs import case_bytes, decode_case, image_spec
from medimg.tasks.classification.model import make_embedder
from medimg.tasks.classification.predictor import Predictor
from medimg.tasks.classification.preprocess import preprocess, targets
from medimg.tasks.classification.settings import (
    ModelSettings,
    TrainingSettings,
    check_settings,
    check_training,
    describe,
)
from medimg.tasks.shared.clinical_columns import clinical_inputs, clinical_sizes

TASK = Task(
    name="classification",
    model_settings=ModelSettings,
    training_settings=TrainingSettings,
    check_settings=check_settings,
    check_training=check_training,
    preprocess=preprocess,
    image_spec=image_spec,
    decode_case=decode_case,
    clinical_sizes=clinical_sizes,
    clinical_inputs=clinical_inputs,
    targets=targets,
    fit=fit,
    make_predictor=Predictor,
    case_bytes=case_bytes,
    describe=describe,
    explain=cut_network,
    embed=make_embedder,
)
