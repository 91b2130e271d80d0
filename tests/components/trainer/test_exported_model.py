"""An exported model opened for explanations: its first network, and the inputs that the export would make."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.trainer.exported_model import open_exported
from components.trainer.serving import export
from medimg.tasks.classification.model import build_model
from tests.components.examples import MODEL, make_case, serialize
from tests.components.trainer.stand_ins import make_serving, read_model

EXAMPLES = [serialize(make_case(number)) for number in (0, 1, 5, 7)]


@pytest.mark.parametrize(
    ("clinical", "sizes"),
    [(["age_years", "source"], {"clinical_age_years": 2, "clinical_source": 3}), ([], {})],
)
def test_the_first_network_is_opened_with_the_inputs_that_the_export_makes(
    tmp_path: Path, clinical: list[str], sizes: dict[str, int]
) -> None:
    serving = make_serving(clinical_inputs=clinical)
    export(serving, str(tmp_path))
    settings = read_model(clinical_inputs=clinical)
    networks = {}
    for seed, name in enumerate(("model.keras", "model1.keras")):
        keras.utils.set_random_seed(seed)
        networks[name] = build_model(settings, clinical_width=sum(sizes.values()))
        networks[name].save(tmp_path / name)
    (tmp_path / "medimg.json").write_text(json.dumps({"networks": list(networks), "clinical_sizes": sizes}))
    config = {"task": "classification", "model": {**MODEL, "clinical_inputs": clinical}}
    exported = open_exported(tmp_path, config=config)
    assert (exported.task.name, exported.settings) == ("classification", settings)
    assert exported.clinical_sizes == sizes
    found, expected = exported.read(tf.constant(EXAMPLES)), serving.serve(tf.constant(EXAMPLES))
    assert set(found) == set(expected) == {"images", "view_present", *(["clinical"] if clinical else [])}
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    answers = [network(found, training=False) for network in (exported.network, networks["model.keras"])]
    np.testing.assert_allclose(*(answer["malignancy"] for answer in answers), atol=1e-6)
