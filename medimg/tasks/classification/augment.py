"""Random changes of training images, in tf.data, drawn per view and reproducible from a seed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import tensorflow as tf

from medimg.tasks.classification.settings import Augmentation


def augment(inputs: Mapping[str, tf.Tensor], settings: Augmentation, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Flips, moves and changes the contrast of `images`; other inputs pass.

    Args:
        inputs: `images` uint8 [batch, V, H, W, C].
        seed: int64 [2]; the same seed changes the same images alike.
    """
    images = inputs["images"]
    shape = tf.shape(images)
    images_NHWC = tf.cast(tf.reshape(images, tf.concat([[-1], shape[2:]], axis=0)), tf.float32)
    count = shape[0] * shape[1]
    seeds = tf.unstack(tf.random.split(seed, num=2), num=2)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images_NHWC,
        transforms=draw_transforms(settings, seeds[0], count=count, size=tf.cast(shape[2:4], tf.float32)),
        output_shape=shape[2:4],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    contrast = draw(seeds[1], count, settings.contrast_fraction)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    changed = tf.clip_by_value(moved * (1.0 + contrast), 0.0, 255.0)
    return {
        **inputs,
        "images": tf.ensure_shape(tf.reshape(tf.cast(tf.round(changed), tf.uint8), shape), images.shape),
    }


def draw(seed: tf.Tensor, count: tf.Tensor, largest: float) -> tf.Tensor:
    """float32 [count], uniform in [-largest, largest]."""
    return tf.random.stateless_uniform([count], seed, -largest, largest) if largest else tf.zeros([count])


def draw_transforms(
    settings: Augmentation, seed: tf.Tensor, *, count: tf.Tensor, size: tf.Tensor
) -> tf.Tensor:
    """Returns float32 [count, 8] for ImageProjectiveTransformV3: output (x, y) to input (x, y).

    They are about the centre of an image of `size` (height, width).
    """
    seeds = tf.unstack(tf.random.split(seed, num=6), num=6)
    angle = draw(seeds[0], count, math.radians(settings.rotate_degrees))
    scale = 1.0 + draw(seeds[1], count, settings.zoom_fraction)
    flip_y = draw_sign(seeds[2], count, on=settings.flip_vertical)
    flip_x = draw_sign(seeds[3], count, on=settings.flip_horizontal)
    shift_y = draw(seeds[4], count, settings.shift_fraction) * size[0]
    shift_x = draw(seeds[5], count, settings.shift_fraction) * size[1]
    centre_y, centre_x = (size[0] - 1.0) / 2.0, (size[1] - 1.0) / 2.0
    xx, xy = scale * tf.cos(angle) * flip_x, -scale * tf.sin(angle) * flip_y
    yx, yy = scale * tf.sin(angle) * flip_x, scale * tf.cos(angle) * flip_y
    x0 = centre_x + shift_x - xx * centre_x - xy * centre_y
    y0 = centre_y + shift_y - yx * centre_x - yy * centre_y
    return tf.stack([xx, xy, x0, yx, yy, y0, tf.zeros_like(x0), tf.zeros_like(x0)], axis=1)


def draw_sign(seed: tf.Tensor, count: tf.Tensor, *, on: bool) -> tf.Tensor:
    """float32 [count]: 1 or -1 with equal chance, all 1 if not `on`."""
    return tf.where(tf.random.stateless_uniform([count], seed) < 0.5, -1.0, 1.0) if on else tf.ones([count])
