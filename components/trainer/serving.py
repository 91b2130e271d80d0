"""The exported model: a tf.Module with its signatures.

TensorFlow Serving, TFMA and our own prediction call them.

`details` stands beside `serving_default` because TFMA takes a model of one output by no name: further outputs
would take that away.

Not `model.save` and not `ExportArchive`: both fail with the layer that TensorFlow Transform makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from medimg.tasks import Task

if TYPE_CHECKING:
    import tensorflow_transform as tft

FACTS_FILE = "medimg.json"
"""Beside the SavedModel: what its outputs mean."""
FeatureSpec = dict[str, tf.io.FixedLenFeature | tf.io.VarLenFeature | tf.io.RaggedFeature]
EXAMPLES = tf.TensorSpec([None], tf.string, name="examples")


def raw_spec(transform_output: tft.TFTransformOutput) -> FeatureSpec:
    """Returns the parsing specification of the raw features that Transform knows, but for images and masks.

    Those are parsed by the task.
    """
    return {
        name: spec
        for name, spec in transform_output.raw_feature_spec().items()
        if not name.startswith(("image_", "mask_"))
    }


class Serving(tf.Module):
    """Serialized raw Examples in, probabilities or transformed features out.

    `predictor` is what the task's `make_predictor` returns.
    """

    def __init__(
        self, predictor: Any, *, task: Task, settings: Any, transform_output: tft.TFTransformOutput
    ) -> None:
        super().__init__()
        self.predictor = predictor
        self.transform_layer = transform_output.transform_features_layer()
        self._task, self._settings = task, settings
        self._raw_spec = raw_spec(transform_output)
        self._sizes = task.clinical_sizes(transform_output, settings)

    @tf.function(input_signature=[EXAMPLES])
    def serve(self, examples: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Head to probabilities, float32 [batch, classes].

        Labels need not be there, nor images (an absent view is masked).
        """
        outputs: Mapping[str, tf.Tensor] = self.predictor.predict(self._read(examples))
        return outputs

    @tf.function(input_signature=[EXAMPLES])
    def details(self, examples: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """What `serve` returns, and what is behind it as the task says."""
        outputs: Mapping[str, tf.Tensor] = self.predictor.details(self._read(examples))
        return outputs

    @tf.function(input_signature=[EXAMPLES])
    def transform(self, examples: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Returns the transformed features.

        They are `label_<head>`, int64 [batch, 1], -1 where missing, and the clinical inputs.
        """
        return dict(self.transform_layer(tf.io.parse_example(examples, self._raw_spec)))

    def _read(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """The network's inputs."""
        images = tf.io.parse_example(examples, self._task.image_spec(self._settings))
        inputs = decode_batch(images, task=self._task, settings=self._settings)
        clinical = {name: self._raw_spec[name] for name in self._sizes}
        if clinical:
            transformed = self.transform_layer(tf.io.parse_example(examples, clinical))
            inputs |= self._task.clinical_inputs(transformed, self._settings, self._sizes)
        return inputs


def decode_batch(images: Mapping[str, tf.Tensor], *, task: Task, settings: Any) -> dict[str, tf.Tensor]:
    """`task.decode_case` over a batch of parsed image features."""

    def decode(case: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return task.decode_case(case, settings)

    one_case = {name: tf.TensorSpec(tensor.shape[1:], tensor.dtype) for name, tensor in images.items()}
    decoded = tf.function(decode).get_concrete_function(one_case).structured_outputs
    specs = {name: tf.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in decoded.items()}
    return dict(tf.map_fn(decode, dict(images), fn_output_signature=specs))


def export(serving: Serving, folder: str) -> None:
    """Writes the SavedModel to `folder`.

    Its signatures are `serving_default`, `transform_features` and, where the predictor has them, `details`.
    """
    signatures = {"serving_default": serving.serve, "transform_features": serving.transform}
    if serving.predictor.has_details:
        signatures["details"] = serving.details
    tf.saved_model.save(serving, folder, signatures=signatures)
