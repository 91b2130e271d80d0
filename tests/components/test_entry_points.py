"""What TFX calls by a dotted name: the two functions of the user's module, and our artifact types."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

import components
from components.entry_points import preprocessing_fn, run_fn
from medimg.errors import UsageError
from tests.components.examples import MODEL

CONFIG: dict[str, Any] = {"task": "classification", "model": {**MODEL, "clinical_inputs": []}}
LABELS = {
    f"label_{name}": tf.constant([[value], [""]])
    for name, value in (("malignancy", "Malignant"), ("abnormality", "both"))
}


def test_transform_gets_the_features_that_the_configs_task_makes_with_its_settings() -> None:
    found = {name: values.numpy().tolist() for name, values in preprocessing_fn(LABELS, CONFIG).items()}
    assert found == {"label_malignancy": [[1], [-1]], "label_abnormality": [[2], [-1]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "classificaton"}, "did you mean 'classification'"),
        ({"model": {**CONFIG["model"], "dropout": "much"}}, "config key model.dropout"),
        ({"model": {**CONFIG["model"], "roles": ["CC", "CC"]}}, "'CC' is named 2 times"),
    ],
)
def test_transform_is_refused_settings_that_contradict_themselves(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        preprocessing_fn(LABELS, {**CONFIG, **change})


def test_trainer_trains_as_its_arguments_say(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[object] = []
    monkeypatch.setattr("components.trainer.run.run", trained.append)
    arguments = SimpleNamespace(custom_config=CONFIG)
    run_fn(arguments)
    assert trained == [arguments]


@pytest.mark.parametrize("name", ["Catalogue", "GateReport", "Rejects", "Report"])
def test_an_artifact_type_is_found_by_the_name_that_kubeflow_hands_over(name: str) -> None:
    found = getattr(components, name)
    assert f"components.{name}" == found.TYPE_NAME


def test_a_name_that_is_no_artifact_type_is_no_attribute() -> None:
    assert not hasattr(components, "Artifact")
