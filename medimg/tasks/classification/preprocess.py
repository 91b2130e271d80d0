"""What TensorFlow Transform computes for classification: class indices and clinical inputs. Images never enter.

Only `preprocess` runs inside Transform; the other functions turn its output into what the network and the losses take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import tensorflow as tf

from medimg.errors import UsageError
from medimg.tasks.classification.settings import ModelSettings

Feature: TypeAlias = tf.Tensor | tf.SparseTensor

NO_LABEL = -1
"""The class index of a case that has no label for a head; losses and metrics leave it out."""


def preprocess(inputs: Mapping[str, Feature], settings: ModelSettings) -> dict[str, tf.Tensor]:
    """Maps raw features (not images) to class indices and normalised clinical columns.

    Returns:
        `label_<head>`: int64 [batch, 1], index into the head's classes, -1 where missing.
        `clinical_<column>` for each of `settings.clinical_inputs`: a number becomes float32 [batch, 2], its z-score over the analysed split
        (0 where missing) and 1 where it is missing; a string becomes int64 [batch, 1], its index in the analysed split's vocabulary, the
        vocabulary's size where it is unknown and -1 where it is missing.

    Raises:
        UsageError: a head or clinical column is not among the features.
    """
    outputs = {}
    for head in settings.heads:
        text = to_dense(find_feature(inputs, f"label_{head.name}"), default="")
        outputs[f"label_{head.name}"] = class_index(text, head.classes)
    for column in settings.clinical_inputs:
        name = f"clinical_{column}"
        feature = find_feature(inputs, name)
        outputs[name] = transform_text(feature, name) if feature.dtype == tf.string else transform_number(feature)
    return outputs


def find_feature(inputs: Mapping[str, Feature], name: str) -> Feature:
    """The feature called `name`; a UsageError lists its kind where it is absent."""
    if name in inputs:
        return inputs[name]
    kind = name.split("_", 1)[0] + "_"
    raise UsageError(f"feature {name} is not in the schema; found {', '.join(sorted(key for key in inputs if key.startswith(kind))) or 'none'}")


def class_index(text: tf.Tensor, classes: tuple[str, ...]) -> tf.Tensor:
    """int64 [batch, 1]: where text [batch, 1] stands in `classes`, -1 if it is none of them."""
    # Comparing instead of a lookup table: a table inside the exported graph is a resource to initialise, for a handful of classes.
    matches = tf.equal(text, tf.constant(classes, shape=[1, len(classes)]))
    index = tf.argmax(tf.cast(matches, tf.int32), axis=1)[:, tf.newaxis]
    return tf.where(tf.reduce_any(matches, axis=1, keepdims=True), index, tf.constant(NO_LABEL, tf.int64))


def transform_number(feature: Feature) -> tf.Tensor:
    """float32 [batch, 2]: z-score of the present values (0 where missing) and a 0/1 indicator of the missing ones."""
    import tensorflow_transform as tft

    present = tf.sparse.map_values(lambda values: tf.ones_like(values, tf.float32), feature) if is_sparse(feature) else None
    feature = tf.sparse.map_values(lambda values: tf.cast(values, tf.float32), feature) if is_sparse(feature) else tf.cast(feature, tf.float32)
    score = to_dense(tft.scale_to_z_score(feature), default=0.0)
    missing = 1.0 - to_dense(present, default=0.0) if present is not None else tf.zeros_like(score)
    return tf.concat([score, missing], axis=1)


def transform_text(feature: Feature, name: str) -> tf.Tensor:
    """int64 [batch, 1]: index in the vocabulary called `name`, its size for unknown values, -1 for missing ones."""
    import tensorflow_transform as tft

    return to_dense(tft.compute_and_apply_vocabulary(feature, num_oov_buckets=1, vocab_filename=name), default=NO_LABEL)


def is_sparse(feature: Feature) -> bool:
    """Whether the schema lets the feature be absent."""
    return isinstance(feature, tf.SparseTensor)


def to_dense(feature: Feature, *, default: Any) -> tf.Tensor:
    """[batch, 1], with `default` where a sparse feature has no value."""
    if not is_sparse(feature):
        return tf.reshape(feature, [-1, 1])
    one_column = tf.SparseTensor(feature.indices, feature.values, [feature.dense_shape[0], 1])
    return tf.ensure_shape(tf.sparse.to_dense(one_column, default_value=tf.constant(default, feature.dtype)), [None, 1])


def clinical_sizes(transform_output: Any, settings: ModelSettings) -> dict[str, int]:
    """How many values each clinical column gives the network: 2 for a number, vocabulary size + 1 for a string."""
    spec = transform_output.transformed_feature_spec()
    names = [f"clinical_{column}" for column in settings.clinical_inputs]
    return {name: 2 if spec[name].dtype == tf.float32 else transform_output.vocabulary_size_by_name(name) + 1 for name in names}


def clinical_inputs(transformed: Mapping[str, tf.Tensor], settings: ModelSettings, sizes: Mapping[str, int]) -> dict[str, tf.Tensor]:
    """{"clinical": float32 [batch, sum of sizes]}, strings one-hot with one place for unknown and missing; {} where there are no inputs."""
    if not settings.clinical_inputs:
        return {}
    columns = []
    for name, size in sizes.items():
        values = transformed[name]
        if values.dtype == tf.int64:
            index = tf.reshape(values, [-1])
            values = tf.one_hot(tf.where(index < 0, tf.constant(size - 1, tf.int64), tf.minimum(index, size - 1)), size)
        columns.append(tf.ensure_shape(tf.cast(values, tf.float32), [None, size]))
    return {"clinical": tf.concat(columns, axis=1)}


def targets(transformed: Mapping[str, tf.Tensor], settings: ModelSettings) -> dict[str, tf.Tensor]:
    """Head to class index, int64 [batch], -1 where missing."""
    return {head.name: tf.reshape(transformed[f"label_{head.name}"], [-1]) for head in settings.heads}
