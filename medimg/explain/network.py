"""A network as explanations see it: image to feature map, feature map to logits.

A task cuts its network so; the methods know no task.

Axes: B cases, V views, H and W of the image, h and w of the feature map, D channels of the map, C of the
image or classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

Inputs = Mapping[str, np.ndarray]
"""A batch of cases as the network takes it.

It has images uint8 [B, V, H, W, C], view_present float32 [B, V], and what else its task has.
"""
OtherInputs = Mapping[str, tf.Tensor]
"""The inputs beside the images, by name."""


@dataclass(frozen=True)
class Network:
    """Two halves that together are the network at inference, for one head.

    Attributes:
        to_maps: images as float32 of 0 to 255, [N, H, W, C], to the feature map [N, h, w, D].
        to_logits: (maps [B, V, h, w, D], inputs) to the head's values before softmax, [B, classes].
    """

    to_maps: Callable[[tf.Tensor], tf.Tensor]
    to_logits: Callable[[tf.Tensor, OtherInputs], tf.Tensor]

    def read_maps(self, images_BVHWC: tf.Tensor) -> tf.Tensor:
        """The feature maps of all views, [B, V, h, w, D]."""
        views, *shape = images_BVHWC.shape[1:]
        maps = self.to_maps(tf.reshape(images_BVHWC, (-1, *shape)))
        return tf.cast(tf.reshape(maps, (-1, views, *maps.shape[1:])), tf.float32)

    def score(self, maps: tf.Tensor, inputs: OtherInputs, *, class_index: int) -> tf.Tensor:
        """Returns the log-odds of the class against the others, [B].

        Softmax would leave no gradient where the network is sure.
        """
        logits_BC = tf.cast(self.to_logits(maps, inputs), tf.float32)
        others_BC = tf.concat([logits_BC[:, :class_index], logits_BC[:, class_index + 1 :]], axis=1)
        return logits_BC[:, class_index] - tf.reduce_logsumexp(others_BC, axis=1)

    @tf.function(reduce_retracing=True)
    def map_gradient(self, maps: tf.Tensor, inputs: OtherInputs, class_index: int) -> tf.Tensor:
        """Gradient of the score in the feature maps, of their shape."""
        with tf.GradientTape() as tape:
            tape.watch(maps)
            score_B = self.score(maps, inputs, class_index=class_index)
        return tape.gradient(score_B, maps)

    @tf.function(reduce_retracing=True)
    def image_gradient(self, images: tf.Tensor, inputs: OtherInputs, class_index: int) -> tf.Tensor:
        """Gradient of the score in the pixels, of their shape."""
        with tf.GradientTape() as tape:
            tape.watch(images)
            score_B = self.score(self.read_maps(images), inputs, class_index=class_index)
        return tape.gradient(score_B, images)


def randomise(model: keras.Model, *, seed: int) -> keras.Model:
    """Returns a copy in which every weight has changed places with others of its array.

    Nothing learned is left, but each layer's scale is: the model parameter randomisation test of Adebayo et
    al. 2018 (arXiv 1810.03292, section 3) on all layers at once. Permuting instead of initialising again
    keeps values in the range that the next layer expects.
    """
    generator = np.random.default_rng(seed)
    copy = keras.models.clone_model(model)
    copy.set_weights(
        [generator.permutation(weights.ravel()).reshape(weights.shape) for weights in model.get_weights()]
    )
    return copy
