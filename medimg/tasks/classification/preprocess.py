"""What TensorFlow Transform computes for classification: class indices and clinical inputs.

Images never enter.

Only `preprocess` runs inside Transform; the other functions turn its output into what the network and the
losses take.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from medimg.tasks.classification.settings import ModelSettings
from medimg.tasks.shared.clinical_columns import (
    NO_LABEL,
    Feature,
    find_feature,
    to_dense,
    transform_number,
    transform_text,
)


def preprocess(inputs: Mapping[str, Feature], settings: ModelSettings) -> dict[str, tf.Tensor]:
    """Maps raw features (not images) to class indices and normalised clinical columns.

    Returns:
        `label_<head>`: int64 [batch, 1], index into the head's classes, -1 where missing.
        `clinical_<column>` for each of `settings.clinical_inputs`: a number becomes float32 [batch, 2], its
        z-score over the analysed split (0 where missing) and 1 where it is missing; a string becomes int64
        [batch, 1], its index in the analysed split's vocabulary, the vocabulary's size where it is unknown
        and -1 where it is missing.

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
        outputs[name] = (
            transform_text(feature, name) if feature.dtype == tf.string else transform_number(feature)
        )
    return outputs


def class_index(text: tf.Tensor, classes: tuple[str, ...]) -> tf.Tensor:
    """int64 [batch, 1]: where text [batch, 1] stands in `classes`, -1 if it is none of them."""
    # Comparing instead of a lookup table: a table inside the exported graph is a resource to initialise, for
    # a handful of classes.
    matches = tf.equal(text, tf.constant(classes, shape=[1, len(classes)]))
    index = tf.argmax(tf.cast(matches, tf.int32), axis=1)[:, tf.newaxis]
    return tf.where(tf.reduce_any(matches, axis=1, keepdims=True), index, tf.constant(NO_LABEL, tf.int64))


def targets(transformed: Mapping[str, tf.Tensor], settings: ModelSettings) -> dict[str, tf.Tensor]:
    """Head to class index, int64 [batch], -1 where missing."""
    return {head.name: tf.reshape(transformed[f"label_{head.name}"], [-1]) for head in settings.heads}
