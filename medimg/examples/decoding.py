"""Example features to tensors, in TensorFlow's graph: shared by training and the exported signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf
from medimg.examples.encoding import BLOCK_LENGTH


def image_feature_spec(roles: Sequence[str]) -> dict[str, Any]:
    """For tf.io.parse_example: one 2-D image per role; an absent one parses as the empty string."""
    import tensorflow as tf

    return {f"image_{role}": tf.io.FixedLenFeature([], tf.string, default_value="") for role in roles}


def study_feature_spec(roles: Sequence[str], *, masks: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the tf.io.parse_example spec: the slices of each role as a ragged row of PNGs, and `block`.

    Roles are those of images and masks; `block` is int64 [5].
    """
    import tensorflow as tf

    names = [f"image_{role}" for role in roles]
    names += [f"mask_{role}" for role in masks]
    spec: dict[str, Any] = {name: tf.io.RaggedFeature(tf.string) for name in names}
    spec["block"] = tf.io.FixedLenFeature([BLOCK_LENGTH], tf.int64, default_value=[0, 0, 1, 1, 1])
    return spec


def decode_image(png: tf.Tensor, *, size: tuple[int, int], channels: int, dtype: Any = None) -> tf.Tensor:
    """Decodes one PNG (or JPEG) in pure TensorFlow, the same in tf.data and in a signature.

    Args:
        png: scalar string; empty for a missing image. TensorFlow's decode_png takes JPEG too, in 8 bits.
        size: (H, W); an image stored in this size is untouched, another is resized by area averaging and
            rounded.
        channels: 1 or 3.
        dtype: tf.uint8 (default; of a 16-bit PNG the high byte) or tf.uint16 (an 8-bit PNG is spread over the
            range, 255 becomes 65535).

    Returns:
        [H, W, C]; zeros where png is empty.
    """
    import tensorflow as tf

    dtype = dtype or tf.uint8

    def decode() -> tf.Tensor:
        return _resize(tf.io.decode_png(png, channels=channels, dtype=dtype), size)

    image_HWC = tf.cond(tf.strings.length(png) > 0, decode, lambda: tf.zeros([*size, channels], dtype))
    return tf.ensure_shape(image_HWC, [*size, channels])


def decode_crop(
    png: tf.Tensor, *, corner: tf.Tensor, size: tuple[int, int], channels: int, dtype: Any = None
) -> tf.Tensor:
    """Decodes a window of a PNG in pure TensorFlow.

    Args:
        png: scalar string; empty for a missing image.
        corner: int32 [2], (y, x) of the window's first pixel; the window may reach over any edge, where it is
            filled with zeros.
        size: (H, W) of the window, in stored pixels; nothing is resized.
        channels, dtype: as for `decode_image`.

    Returns:
        [H, W, C].
    """
    import tensorflow as tf

    dtype = dtype or tf.uint8
    empty = tf.zeros([0, 0, channels], dtype)
    image_HWC = tf.cond(
        tf.strings.length(png) > 0,
        lambda: tf.io.decode_png(png, channels=channels, dtype=dtype),
        lambda: empty,
    )
    stored = tf.shape(image_HWC)[:2]
    corner = tf.cast(corner, tf.int32)
    start, stop = (
        tf.clip_by_value(corner, 0, stored),
        tf.clip_by_value(corner + tf.constant(size, tf.int32), 0, stored),
    )
    window_HWC = image_HWC[start[0] : stop[0], start[1] : stop[1]]
    before = tf.clip_by_value(start - corner, 0, tf.constant(size, tf.int32))
    after = tf.constant(size, tf.int32) - before - (stop - start)
    padded = tf.pad(window_HWC, [[before[0], after[0]], [before[1], after[1]], [0, 0]])
    return tf.ensure_shape(padded, [*size, channels])


def decode_slices(
    pngs: tf.Tensor, *, first: tf.Tensor, count: int, size: tuple[int, int], dtype: Any = None
) -> tf.Tensor:
    """Decodes a range of grey slices in pure TensorFlow; only these are decoded.

    Args:
        pngs: string [D], the slices of one role.
        first: scalar integer, index of the first slice wanted; indices below 0 or beyond the last slice give
            zeros.
        count, size: D, and (H, W) as for `decode_image`. Do not let it resize label maps: areas would mix
            labels.
        dtype: as for `decode_image`.

    Returns:
        [count, H, W, 1].
    """
    import tensorflow as tf

    dtype = dtype or tf.uint8
    wanted = tf.cast(first, tf.int32) + tf.range(count)
    stored = tf.shape(pngs)[0]
    padded = tf.concat([pngs, [""]], axis=0)
    chosen = tf.gather(padded, tf.where((wanted >= 0) & (wanted < stored), wanted, stored))
    signature = tf.TensorSpec([*size, 1], dtype)
    return tf.map_fn(
        lambda png: decode_image(png, size=size, channels=1, dtype=dtype),
        chosen,
        fn_output_signature=signature,
    )


def _resize(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    import tensorflow as tf

    def by_area() -> tf.Tensor:
        return tf.cast(tf.round(tf.image.resize(image, size, method="area")), image.dtype)

    return tf.cond(tf.reduce_all(tf.shape(image)[:2] == tf.constant(size)), lambda: image, by_area)
