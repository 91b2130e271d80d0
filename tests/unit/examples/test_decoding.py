"""The pure-TensorFlow decoders: what a signature does with what the Examples hold."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from medimg.cases import Record
from medimg.examples.decoding import (
    decode_crop,
    decode_image,
    decode_slices,
    image_feature_spec,
    study_feature_spec,
)
from medimg.examples.encoding import record_to_examples
from medimg.images.encoding import encode_png
from tests.unit.examples.test_encoding import make_case, noise, one, study

tf = pytest.importorskip("tensorflow")


def test_a_red_image_is_red_in_tensorflow():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    [example] = record_to_examples(Record(make_case(), {"image": one(red)}))
    parsed = tf.io.parse_single_example(example, image_feature_spec(["image"]))
    assert decode_image(parsed["image_image"], size=(4, 4), channels=3).numpy()[0, 0].tolist() == [200, 0, 0]


def decode(png: bytes, **options) -> np.ndarray:
    """As a signature does: traced once, with nothing known of the stored image."""
    traced = tf.function(
        lambda value: decode_image(value, **options), input_signature=[tf.TensorSpec([], tf.string)]
    )
    eager = decode_image(tf.constant(png), **options)
    np.testing.assert_array_equal(traced(png), eager)
    return eager.numpy()


def test_an_image_of_the_right_size_is_untouched_in_the_graph():
    image = noise(12, 10)
    np.testing.assert_array_equal(decode(encode_png(image), size=(12, 10), channels=1)[..., 0], image)
    deep = noise(12, 10, dtype=np.uint16)
    np.testing.assert_array_equal(
        decode(encode_png(deep), size=(12, 10), channels=1, dtype=tf.uint16)[..., 0], deep
    )


def test_eight_bits_of_a_deep_image_are_its_high_byte():
    deep = noise(12, 10, dtype=np.uint16)
    np.testing.assert_array_equal(decode(encode_png(deep), size=(12, 10), channels=1)[..., 0], deep >> 8)


@pytest.mark.parametrize("size", [(6, 4), (12, 4), (6, 8)])
def test_an_image_of_another_size_in_one_side_or_both_is_averaged(size):
    image = noise(12, 8)
    expected = cv2.resize(image.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    found = decode(encode_png(image), size=size, channels=1)
    assert found.dtype == np.uint8
    assert np.abs(found[..., 0] - expected).max() <= 0.51


@pytest.mark.parametrize("channels", [1, 3])
def test_a_missing_image_is_black(channels):
    found = decode(b"", size=(6, 4), channels=channels)
    assert found.shape == (6, 4, channels)
    assert not found.any()


def test_a_missing_view_parses_as_empty():
    [example] = record_to_examples(Record(make_case(), {"CC": one(noise(4, 4))}))
    parsed = tf.io.parse_example([example], image_feature_spec(["CC", "MLO"]))
    assert parsed["image_MLO"].numpy().tolist() == [b""]
    assert parsed["image_CC"].numpy()[0].startswith(b"\x89PNG")


@pytest.mark.parametrize("corner", [(0, 0), (3, 2), (-3, -2), (8, 6), (-20, 3), (40, 40)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_crop_is_the_window_and_black_beyond_the_image(corner, dtype):
    image = noise(10, 9, dtype=dtype)
    framed = np.zeros((110, 109), dtype)
    framed[50:60, 50:59] = image
    expected = framed[50 + corner[0] : 55 + corner[0], 50 + corner[1] : 54 + corner[1]]
    cut = tf.function(lambda png, at: decode_crop(png, corner=at, size=(5, 4), channels=1, dtype=dtype))
    np.testing.assert_array_equal(cut(tf.constant(encode_png(image)), tf.constant(corner))[..., 0], expected)
    assert not cut(tf.constant(b""), tf.constant(corner)).numpy().any()


@pytest.mark.parametrize("first", [0, 2, -2, 6, 9])
def test_a_range_of_slices_is_black_beyond_the_study(first):
    record = study(7)
    [example] = record_to_examples(record)
    pngs = tf.io.parse_single_example(example, study_feature_spec(["T1c"]))["image_T1c"]
    cut = tf.function(
        lambda values, at: decode_slices(values, first=at, count=3, size=(20, 24), dtype=tf.uint16)
    )
    stored_DHW = np.stack(list(record.images["T1c"].slices))
    padded_DHW = np.pad(stored_DHW, ((10, 10), (0, 0), (0, 0)))
    np.testing.assert_array_equal(cut(pngs, tf.constant(first))[..., 0], padded_DHW[10 + first : 13 + first])
