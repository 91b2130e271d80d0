"""What the exported model predicts: calibrated probabilities per head, and what is behind them.

Behind them are each view alone, and each member or dropout sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from medimg.evaluation.classification.recalibration import SMALLEST_PROBABILITY
from medimg.tasks.classification.model import classify, embed, make_encoder
from medimg.tasks.classification.settings import ModelSettings, TrainingSettings
from medimg.tasks.fitting import Fitted

Tensors: TypeAlias = dict[str, tf.Tensor]


class Predictor(tf.Module):
    """The members as one model.

    Inputs are those of `build_model`, head to probabilities is float32 [batch, C].
    """

    def __init__(self, fitted: Fitted, *, model: ModelSettings, training: TrainingSettings) -> None:
        super().__init__()
        self.networks = [member.network for member in fitted.members]
        self._encoders = [make_encoder(network) for network in self.networks]
        self._temperatures = {head: one.temperature for head, one in fitted.recalibrations.items()}
        self._shifts = {
            head: np.array(one.bias, np.float32) - np.array(fitted.log_priors.get(head, 0.0), np.float32)
            for head, one in fitted.recalibrations.items()
        }
        self._masks = [
            draw_masks(
                network.get_layer("embedding").output.shape[-1],
                rate=model.dropout,
                samples=training.dropout_samples,
                seed=(training.seed, index),
            )
            for index, network in enumerate(self.networks)
        ]
        self._has_views = len(model.roles) > 1
        self._has_samples = sum(len(masks) for masks in self._masks) > 1

    @property
    def has_details(self) -> bool:
        """Whether `details` has more to say than `predict`."""
        return self._has_views or self._has_samples

    def predict(self, inputs: Tensors) -> Tensors:
        """Returns head to the mean of the members' probabilities.

        It is calibrated and, where the settings ask for it, adjusted.
        """
        return self._calibrate(mean([network(inputs, training=False) for network in self.networks]))

    def details(self, inputs: Tensors) -> Tensors:
        """What `predict` says, and more.

        `v/<head>`, with two roles or more: float32 [batch, V, C], calibrated probabilities from one view
        alone, the others masked; NaN where that view is absent. `m/<head>`, with two members or dropout
        samples or more: float32 [batch, K, C], what each says before calibration and adjustment; with both, K
        is members times samples. A sample leaves out the same part of the embedding in every case: it is one
        thinned network. Dropout inside a backbone of keras.applications stays off.
        """
        members = zip(self.networks, self._encoders, self._masks, strict=True)
        whole, alone, samples = zip(*(look_behind(*member, inputs) for member in members), strict=True)
        outputs = self._calibrate(mean(whole))
        if self._has_views:
            is_present = inputs["view_present"][..., tf.newaxis] > 0
            for head, values_BVC in self._calibrate(mean(alone)).items():
                outputs[f"v/{head}"] = tf.where(is_present, values_BVC, np.nan)
        if self._has_samples:
            for head in self._temperatures:
                outputs[f"m/{head}"] = tf.concat([one[head] for one in samples], axis=1)
        return outputs

    def _calibrate(self, outputs: Mapping[str, tf.Tensor]) -> Tensors:
        """Divides the logits of each head by its temperature, adds its bias and adjusts them.

        See `medimg.evaluation.classification.recalibration.recalibrate`.
        """
        logits = {
            head: tf.math.log(tf.maximum(values, SMALLEST_PROBABILITY)) / self._temperatures[head]
            for head, values in outputs.items()
        }
        return {head: tf.nn.softmax(values + self._shifts[head]) for head, values in logits.items()}


def draw_masks(width: int, *, rate: float, samples: int, seed: tuple[int, int]) -> np.ndarray:
    """What dropout multiplies an embedding of `width` values with, float32 [samples, width].

    A single row of ones without samples.
    """
    if not samples:
        return np.ones((1, width), np.float32)
    kept_KE = np.random.default_rng(seed).random((samples, width)) >= rate
    return (kept_KE / (1 - rate)).astype(np.float32)


def mean(outputs: Sequence[Mapping[str, tf.Tensor]]) -> Tensors:
    """Returns head to the mean over members."""
    means = {}
    for head in outputs[0]:
        means[head] = tf.add_n([one[head] for one in outputs]) / len(outputs)
    return means


def look_behind(
    network: keras.Model, encoder: keras.Model, masks_KE: np.ndarray, inputs: Tensors
) -> tuple[Tensors, Tensors, Tensors]:
    """Returns head to probabilities of one member, in three kinds.

    They are those of the case [batch, C], of each view as if it were the only one [batch, V, C], and of each
    mask [batch, K, C].
    """
    vectors_BVD = encoder(inputs, training=False)
    embedding_BE = embed(network, vectors_BVD, inputs)
    views = vectors_BVD.shape[1]
    alone = {name: tf.repeat(tensor, views, axis=0) for name, tensor in inputs.items() if name == "clinical"}
    alone["view_present"] = tf.tile(tf.eye(views), [tf.shape(vectors_BVD)[0], 1])
    alone_BVE = tf.reshape(
        embed(network, tf.repeat(vectors_BVD, views, axis=0), alone), [-1, views, embedding_BE.shape[-1]]
    )
    return (
        classify(network, embedding_BE),
        classify(network, alone_BVE),
        classify(network, embedding_BE[:, tf.newaxis] * masks_KE),
    )
