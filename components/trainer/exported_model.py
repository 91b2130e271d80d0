"""Loads the Keras network of an exported model, for explanations and embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import pydantic
import tensorflow as tf

from components.trainer.serving import FACTS_FILE, decode_batch
from medimg.tasks import Task, find_task


@dataclass(frozen=True)
class Exported:
    """The network with what leads from Examples to its inputs. Of an ensemble it is the first network.

    Attributes:
        settings: of the model, as its task has them.
        network: as Keras loads it.
        saved: the SavedModel, for its signature `transform_features`.
        clinical_sizes: of its clinical inputs; empty without.
    """

    task: Task
    settings: Any
    network: keras.Model
    saved: Any
    clinical_sizes: Mapping[str, int]

    def read(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the network's inputs for these serialized Examples, as the exported signature makes them.

        Clinical inputs are included.
        """
        images = tf.io.parse_example(examples, self.task.image_spec(self.settings))
        inputs = decode_batch(images, task=self.task, settings=self.settings)
        if self.clinical_sizes:
            transformed = self.saved.signatures["transform_features"](examples=examples)
            inputs |= self.task.clinical_inputs(transformed, self.settings, self.clinical_sizes)
        return inputs


def open_exported(model: Path, *, config: Mapping[str, Any]) -> Exported:
    """Opens the folder of a SavedModel that Trainer wrote.

    Args:
        config: the RunConfig as plain values.
    """
    task = find_task(config["task"])
    facts = json.loads((model / FACTS_FILE).read_text(encoding="utf-8"))
    return Exported(
        task=task,
        settings=pydantic.TypeAdapter(task.model_settings).validate_python(config["model"]),
        network=keras.saving.load_model(model / facts["networks"][0]),
        saved=tf.saved_model.load(str(model)),
        clinical_sizes=facts["clinical_sizes"],
    )
