"""From the stored views of one case to the network's inputs, in pure TensorFlow.

The same function runs in tf.data and in the exported signature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import tensorflow as tf

from medimg.examples.decoding import decode_image, image_feature_spec
from medimg.tasks.classification.settings import ModelSettings


def image_spec(settings: ModelSettings) -> dict[str, tf.io.FixedLenFeature]:
    """Returns the parsing specification of the views; an absent view parses as the empty string."""
    return dict(image_feature_spec(settings.roles))


def decode_case(features: Mapping[str, tf.Tensor], settings: ModelSettings) -> dict[str, tf.Tensor]:
    """Decodes the views of one case, in the order of `settings.roles`.

    Args:
        features: `image_<role>` scalar strings (PNG); empty where the view is missing.

    Returns:
        images: uint8 [V, H, W, C], zeros where a view is missing, the high byte of 16-bit PNGs; view_present:
            float32 [V], 0 or 1.
    """
    views = [features[f"image_{role}"] for role in settings.roles]
    images_VHWC = tf.stack(
        [decode_image(png, size=settings.image_size, channels=settings.channels) for png in views]
    )
    present_V = tf.stack([tf.cast(tf.strings.length(png) > 0, tf.float32) for png in views])
    return {
        "images": tf.ensure_shape(images_VHWC, image_shape(settings)),
        "view_present": tf.ensure_shape(present_V, [len(views)]),
    }


def image_shape(settings: ModelSettings) -> tuple[int, int, int, int]:
    """(views, height, width, channels) of a case."""
    return len(settings.roles), *settings.image_size, settings.channels


def case_bytes(settings: ModelSettings) -> int:
    """Bytes of one decoded case."""
    return math.prod(image_shape(settings))
