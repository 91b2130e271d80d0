"""Record -> Example -> Record, blocks of a study, and the pure-TensorFlow decoders."""

from __future__ import annotations

import weakref

import cv2
import numpy as np
import pytest

from medimg.cases import Annotation, Case, Record, Stack
from medimg.errors import MedimgError
from medimg.examples.decoding import (
    decode_crop,
    decode_image,
    decode_slices,
    image_feature_spec,
    study_feature_spec,
)
from medimg.examples.encoding import examples_to_record, record_to_examples
from medimg.images.encoding import encode_png

tf = pytest.importorskip("tensorflow")

AFFINE = np.array([[0, 0, 0.5, -120.25], [0, 0.5, 0, -60.5], [2.5, 0, 0, 33.0], [0, 0, 0, 1]])


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def make_case(**changes: object) -> Case:
    values: dict = {
        "case_id": "D1-0001-L",
        "group_id": "D1-0001",
        "images": (),
        "levels": {"breast": "D1-0001-L", "patient": "D1-0001"},
        "labels": {"malignancy": "Malignant"},
        "clinical": {"age_years": 44, "source": "D1", "density": None},
    }
    return Case(**(values | changes))


def one(image: np.ndarray) -> Stack:
    return Stack((image,), 1)


def study(count: int = 7, **changes: object) -> Record:
    images = {}
    for seed, role in ((0, "Flair"), (10, "T1c")):
        slices = [noise(20, 24, dtype=np.uint16, seed=seed + z) for z in range(count)]
        images[role] = Stack(slices, count, AFFINE, 1.0, -1024.0)
    masks = {"tumour": Stack([np.full((20, 24), z % 4, np.uint8) for z in range(count)], count, AFFINE)}
    return Record(make_case(**changes), images, masks)


def assert_same_stack(found: Stack, expected: Stack) -> None:
    assert found.count == expected.count
    assert (found.slope, found.intercept) == (expected.slope, expected.intercept)
    np.testing.assert_array_equal(found.affine, expected.affine)
    for _ in range(2):  # A stack can be read again.
        slices = list(zip(found.slices, expected.slices, strict=True))
        for one_HW, other_HW in slices:
            assert one_HW.dtype == other_HW.dtype
            np.testing.assert_array_equal(one_HW, other_HW)


@pytest.mark.parametrize(
    "image",
    [noise(9, 7), noise(9, 7, dtype=np.uint16), noise(9, 7, 3), noise(9, 7, 3, dtype=np.uint16)],
    ids=str,
)
def test_pixels_survive_in_every_depth_and_colours_keep_their_order(image):
    [example] = record_to_examples(Record(make_case(), {"CC": one(image)}))
    [found] = examples_to_record([example]).images["CC"].slices
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, image)


def test_a_red_image_is_red_in_tensorflow():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    [example] = record_to_examples(Record(make_case(), {"image": one(red)}))
    parsed = tf.io.parse_single_example(example, image_feature_spec(["image"]))
    assert decode_image(parsed["image_image"], size=(4, 4), channels=3).numpy()[0, 0].tolist() == [200, 0, 0]


def test_metadata_survive_and_what_is_unknown_is_absent():
    [example] = record_to_examples(Record(make_case(), {"CC": one(noise(4, 4))}))
    names = set(tf.train.Example.FromString(example).features.feature)
    assert names == {
        *("case_id", "group_id", "level_breast", "level_patient", "label_malignancy"),
        *("clinical_age_years", "clinical_source", "image_CC"),
    }
    case = examples_to_record([example]).case
    assert case == make_case(clinical={"age_years": 44.0, "source": "D1"})


def test_what_shortcuts_say_of_a_case_comes_back_as_a_float_of_its_own():
    [example] = record_to_examples(
        Record(make_case(shortcuts={"malignancy": 0.25}), {"CC": one(noise(4, 4))})
    )
    assert tf.train.Example.FromString(example).features.feature["shortcut_malignancy"].float_list.value == [
        0.25
    ]
    assert examples_to_record([example]).case.shortcuts == {"malignancy": 0.25}


def test_boxes_and_polygons_come_back_on_their_image():
    annotations = (
        Annotation("CC", "mass", "box", ((1.5, 2.0), (10.25, 12.0))),
        Annotation("CC", "calcification", "box", ((0.0, 0.0), (3.0, 3.0))),
        Annotation("CC", "mass", "polygon", ((1.0, 1.0), (1.0, 5.0), (6.5, 3.0))),
        Annotation("CC", "mass", "polygon", ((2.0, 2.0), (2.0, 3.0), (3.0, 3.0), (3.0, 2.0))),
        Annotation("MLO", "mass", "box", ((4.0, 4.0), (5.0, 6.0))),
    )
    record = Record(make_case(annotations=annotations), {"CC": one(noise(16, 16)), "MLO": one(noise(16, 16))})
    [example] = record_to_examples(record)
    found = examples_to_record([example]).case.annotations
    assert sorted(found, key=repr) == sorted(annotations, key=repr)
    feature = tf.train.Example.FromString(example).features.feature
    assert list(feature["box_CC"].float_list.value) == [1.5, 2.0, 10.25, 12.0, 0.0, 0.0, 3.0, 3.0]
    assert list(feature["polygon_CC_length"].int64_list.value) == [3, 4]


def test_the_same_record_gives_the_same_bytes_whatever_the_order_of_its_names():
    case = make_case()
    reordered = make_case(
        levels=dict(reversed(case.levels.items())), clinical=dict(reversed(case.clinical.items()))
    )
    images = {"CC": one(noise(8, 8)), "MLO": one(noise(8, 8, seed=1))}
    first = list(record_to_examples(Record(case, images)))
    assert first == list(record_to_examples(Record(reordered, dict(reversed(images.items())))))


def test_a_study_is_cut_into_blocks_below_the_limit_and_joined_again():
    record = study()
    blocks = list(record_to_examples(record, largest_bytes=6000))
    assert len(blocks) > 2
    assert max(map(len, blocks)) <= 6000
    joined = examples_to_record(reversed(blocks))
    for role, stack in record.images.items():
        assert_same_stack(joined.images[role], stack)
    assert_same_stack(joined.masks["tumour"], record.masks["tumour"])
    assert {
        tf.train.Example.FromString(block).features.feature["case_id"].bytes_list.value[0] for block in blocks
    } == {b"D1-0001-L"}


def test_a_block_says_where_it_lies_in_the_study():
    blocks = [tf.io.parse_single_example(block, study_feature_spec(["T1c"]))["block"].numpy().tolist()
              for block in record_to_examples(study(5), largest_bytes=6000)]  # fmt: skip
    assert blocks == [[0, 0, 2, 5, 0], [1, 2, 2, 5, 0], [2, 4, 1, 5, 1]]


def test_sequences_of_different_length_keep_their_length():
    images = {
        "short": Stack([noise(8, 8, seed=z) for z in range(3)], 3),
        "long": Stack([noise(8, 8, seed=z) for z in range(6)], 6),
    }
    joined = examples_to_record(record_to_examples(Record(make_case(), images), largest_bytes=700))
    assert_same_stack(joined.images["short"], images["short"])
    assert_same_stack(joined.images["long"], images["long"])


@pytest.mark.parametrize("lost", [0, 1, -1])
def test_a_lost_block_is_noticed(lost):
    blocks = list(record_to_examples(study(), largest_bytes=6000))
    del blocks[lost]
    with pytest.raises(MedimgError, match=r"D1-0001-L: .*block"):
        examples_to_record(blocks)


def test_blocks_of_two_cases_are_not_joined():
    blocks = [*record_to_examples(study()), *record_to_examples(study(case_id="other"))]
    with pytest.raises(MedimgError, match="D1-0001-L, other"):
        examples_to_record(blocks)


def test_a_slice_beyond_the_limit_names_the_case():
    with pytest.raises(MedimgError, match=r"case D1-0001-L: slice 0 takes \d+ bytes, expected at most 2000"):
        list(record_to_examples(study(), largest_bytes=2000))


@pytest.mark.parametrize(
    ("count", "words"), [(2, "has more than 2 slices, expected 2"), (4, "ends after 3 slices, expected 4")]
)
def test_a_stack_that_miscounts_its_slices_is_refused(count, words):
    images = {"T1c": Stack([noise(8, 8)] * 3, count)}
    with pytest.raises(MedimgError, match=f"case D1-0001-L: image_T1c {words}"):
        list(record_to_examples(Record(make_case(), images)))


def test_a_role_that_looks_like_another_roles_feature_is_refused():
    with pytest.raises(MedimgError, match="CC_label"):
        list(record_to_examples(Record(make_case(), {"CC_label": one(noise(4, 4))})))


class CountedSlices:
    """Slices made on demand; notes how many arrays of all its siblings are alive at once."""

    def __init__(self, count: int, alive: weakref.WeakSet, peak: list[int]) -> None:
        self.count, self.alive, self.peak = count, alive, peak

    def __iter__(self):
        return map(self.make, range(self.count))

    def make(self, number: int) -> np.ndarray:
        image = noise(16, 16, seed=number).view(Tracked)
        self.alive.add(image)
        self.peak[0] = max(self.peak[0], len(self.alive))
        return image


class Tracked(np.ndarray):
    """A weak set can hold it, and compares it by identity."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


@pytest.mark.parametrize("count", [4, 60])
def test_no_more_than_one_slice_is_alive_however_long_the_study(count):
    alive: weakref.WeakSet = weakref.WeakSet()
    peak = [0]
    stack = {role: Stack(CountedSlices(count, alive, peak), count) for role in ("Flair", "T1c", "T2")}
    blocks = record_to_examples(Record(make_case(), stack), largest_bytes=4000)
    assert sum(1 for _ in blocks) > 1
    assert peak[0] == 1


def test_blocks_are_written_before_the_study_is_read_to_its_end():
    read = []
    stack = Stack((read.append(z) or noise(16, 16, seed=z) for z in range(50)), 50)
    next(record_to_examples(Record(make_case(), {"T1c": stack}), largest_bytes=2000))
    assert len(read) < 10


def test_a_joined_stack_decodes_one_slice_at_a_time():
    joined = examples_to_record(record_to_examples(study(7)))
    slices = iter(joined.images["T1c"].slices)
    first = weakref.ref(next(slices))
    next(slices)
    assert first() is None


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


def test_an_image_of_another_size_is_averaged():
    image = noise(12, 8)
    expected = cv2.resize(image.astype(np.float32), (4, 6), interpolation=cv2.INTER_AREA)
    found = decode(encode_png(image), size=(6, 4), channels=1)
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
def test_a_crop_is_the_window_and_black_beyond_the_image(corner):
    image = noise(10, 9)
    framed = np.zeros((110, 109), np.uint8)
    framed[50:60, 50:59] = image
    expected = framed[50 + corner[0] : 55 + corner[0], 50 + corner[1] : 54 + corner[1]]
    cut = tf.function(lambda png, at: decode_crop(png, corner=at, size=(5, 4), channels=1))
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


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_real_brain_volume_survives_in_blocks(shared_data, kind):
    pytest.importorskip("nibabel")
    from medimg.images.nifti import read_nifti

    folder = shared_data / "brain" / "brats_2013_pat0004_1"
    flair = read_nifti(folder / "Flair_subtrMeanDivStd.nii.gz", kind="image")
    tumour = read_nifti(folder / "OTMultiClass.nii.gz", kind="mask")
    blocks = list(
        record_to_examples(Record(make_case(), {"Flair": flair}, {"tumour": tumour}), largest_bytes=2**20)
    )
    assert len(blocks) > 1
    joined = examples_to_record(blocks)
    if kind == "image":
        assert_same_stack(joined.images["Flair"], flair)
    else:
        assert_same_stack(joined.masks["tumour"], tumour)
