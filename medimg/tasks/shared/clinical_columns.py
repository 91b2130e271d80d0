"""Clinical columns as inputs of a network: numbers scaled, text by vocabulary, what is missing marked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import tensorflow as tf

from medimg.errors import UsageError


class ClinicalSettings(Protocol):
    """Settings of any task with this field."""

    @property
    def clinical_inputs(self) -> tuple[str, ...]: ...


Feature: TypeAlias = tf.Tensor | tf.SparseTensor


NO_LABEL = -1
"""The class index of a case that has no label for a head; losses and metrics leave it out."""


def find_feature(inputs: Mapping[str, Feature], name: str) -> Feature:
    """The feature called `name`; a UsageError lists its kind where it is absent."""
    if name in inputs:
        return inputs[name]
    kind = name.split("_", 1)[0] + "_"
    found = ", ".join(sorted(key for key in inputs if key.startswith(kind)))
    raise UsageError(f"feature {name} is not in the schema; found {found or 'none'}")


def transform_number(feature: Feature) -> tf.Tensor:
    """Returns float32 [batch, 2].

    They are the z-score of the present values (0 where missing) and a 0/1 indicator of the missing ones.
    """
    import tensorflow_transform as tft

    present = (
        tf.sparse.map_values(lambda values: tf.ones_like(values, tf.float32), feature)
        if is_sparse(feature)
        else None
    )
    feature = (
        tf.sparse.map_values(lambda values: tf.cast(values, tf.float32), feature)
        if is_sparse(feature)
        else tf.cast(feature, tf.float32)
    )
    score = to_dense(tft.scale_to_z_score(feature), default=0.0)
    missing = 1.0 - to_dense(present, default=0.0) if present is not None else tf.zeros_like(score)
    return tf.concat([score, missing], axis=1)


def transform_text(feature: Feature, name: str) -> tf.Tensor:
    """Returns int64 [batch, 1]: index in the vocabulary called `name`.

    It is the vocabulary's size for unknown values, -1 for missing ones.
    """
    import tensorflow_transform as tft

    return to_dense(
        tft.compute_and_apply_vocabulary(feature, num_oov_buckets=1, vocab_filename=name), default=NO_LABEL
    )


def is_sparse(feature: Feature) -> bool:
    """Whether the schema lets the feature be absent."""
    return isinstance(feature, tf.SparseTensor)


def to_dense(feature: Feature, *, default: float | str) -> tf.Tensor:
    """[batch, 1], with `default` where a sparse feature has no value."""
    if not is_sparse(feature):
        return tf.reshape(feature, [-1, 1])
    one_column = tf.SparseTensor(feature.indices, feature.values, [feature.dense_shape[0], 1])
    return tf.ensure_shape(
        tf.sparse.to_dense(one_column, default_value=tf.constant(default, feature.dtype)), [None, 1]
    )


def clinical_sizes(transform_output: Any, settings: ClinicalSettings) -> dict[str, int]:
    """Returns how many values each clinical column gives the network.

    2 for a number, vocabulary size + 1 for a string.
    """
    spec = transform_output.transformed_feature_spec()
    names = [f"clinical_{column}" for column in settings.clinical_inputs]
    return {
        name: 2 if spec[name].dtype == tf.float32 else transform_output.vocabulary_size_by_name(name) + 1
        for name in names
    }


def clinical_inputs(
    transformed: Mapping[str, tf.Tensor], settings: ClinicalSettings, sizes: Mapping[str, int]
) -> dict[str, tf.Tensor]:
    """{"clinical": float32 [batch, sum of sizes]}, strings one-hot with one place for unknown and missing.

    {} where there are no inputs.
    """
    if not settings.clinical_inputs:
        return {}
    columns = []
    for name, size in sizes.items():
        values = transformed[name]
        if values.dtype == tf.int64:
            index = tf.reshape(values, [-1])
            values = tf.one_hot(
                tf.where(index < 0, tf.constant(size - 1, tf.int64), tf.minimum(index, size - 1)), size
            )
        columns.append(tf.ensure_shape(tf.cast(values, tf.float32), [None, size]))
    return {"clinical": tf.concat(columns, axis=1)}
