"""Record -> Example -> Record, and the blocks of a study."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.cases import Annotation, Case, Record, Stack
from medimg.errors import MedimgError
from medimg.examples.decoding import study_feature_spec
from medimg.examples.encoding import examples_to_record, record_to_examples

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
    names = ("f", "e", "d", "c", "b", "a")
    blocks = [block for name in names for block in record_to_examples(study(1, case_id=name))]
    with pytest.raises(MedimgError, match="Examples of cases a, b, c, d, e, f, expected blocks of one case"):
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


@pytest.mark.parametrize("order", [("T1c", "Flair"), ("Flair", "T1c")])
def test_roles_are_taken_in_the_order_of_their_names(order):
    whole = {role: Stack([noise(8, 8)] * 3, 3) for role in ("Flair", "T1c")}
    sorted_alike = list(record_to_examples(Record(make_case(), whole)))
    assert (
        list(record_to_examples(Record(make_case(), {role: whole[role] for role in order}))) == sorted_alike
    )
    short = {role: Stack([noise(8, 8)] * 3, 4) for role in order}
    with pytest.raises(MedimgError, match="image_Flair ends after 3 slices"):
        list(record_to_examples(Record(make_case(), short)))


@pytest.mark.parametrize("role", [*("CC_affine", "CC_rescale", "CC_label", "CC_length"), "label", "length"])
@pytest.mark.parametrize("where", ["images", "masks", "annotations"])
def test_a_role_that_looks_like_another_roles_feature_is_refused(where, role):
    outline = Annotation(role, "mass", "box", ((1.0, 2.0), (3.0, 4.0)))
    case = make_case(annotations=(outline,) * (where == "annotations"))
    stacks = {"images": {"CC": one(noise(4, 4))}, "masks": {}, "annotations": {}}
    stacks[where][role] = one(noise(4, 4))
    record = Record(case, stacks["images"], stacks["masks"])
    with pytest.raises(
        MedimgError, match=f"case D1-0001-L: role '{role}', expected a name that does not end with"
    ):
        list(record_to_examples(record))


def test_limits_are_kept_to_the_byte_for_what_has_no_slice_and_for_one_slice():
    def complaint(record: Record, limit: int) -> str:
        with pytest.raises(MedimgError, match="expected at most") as refused:
            list(record_to_examples(record, largest_bytes=limit))
        return str(refused.value)

    bare = Record(make_case(), {})
    least = int(complaint(bare, 1).split()[2])
    assert complaint(bare, least - 1) == (
        f"case D1-0001-L: {least} bytes without any slice, expected at most {least - 1} per Example"
    )
    assert len(list(record_to_examples(bare, largest_bytes=least))) == 1
    single = Record(make_case(), {"CC": one(noise(9, 7))})
    needed = int(complaint(single, least + 60).split()[5])
    assert complaint(single, needed - 1).startswith(f"case D1-0001-L: slice 0 takes {needed} bytes")
    assert len(list(record_to_examples(single, largest_bytes=needed))) == 1
    assert len(next(iter(record_to_examples(single, largest_bytes=needed)))) <= needed


@pytest.mark.parametrize("count", [1, 9])
def test_no_example_is_larger_than_the_limit_however_many_roles_share_it(count):
    stacks = {f"a{number}": Stack([noise(1, 1, seed=z) for z in range(count)], count) for number in range(40)}
    record = Record(make_case(), stacks)
    with pytest.raises(MedimgError, match="slice 0 takes") as refused:
        list(record_to_examples(record, largest_bytes=2000))
    least = int(str(refused.value).split()[5])
    for limit in (least, least + 1, 2 * least, 5 * least):
        assert max(map(len, record_to_examples(record, largest_bytes=limit))) <= limit


def test_a_study_that_fits_is_one_block_and_says_so_and_a_picture_is_none():
    [block] = record_to_examples(study(3))
    assert tf.io.parse_single_example(block, study_feature_spec(["T1c"]))["block"].numpy().tolist() == [
        0,
        0,
        3,
        3,
        1,
    ]
    [picture] = record_to_examples(Record(make_case(), {"CC": one(noise(4, 4))}))
    assert "block" not in tf.train.Example.FromString(picture).features.feature
    parsed = tf.io.parse_single_example(picture, study_feature_spec(["CC"], masks=["CC"]))
    assert parsed["block"].numpy().tolist() == [0, 0, 1, 1, 1]
    assert parsed["mask_CC"].shape[0] == 0


def test_masks_are_parsed_slice_by_slice_as_images_are():
    [block] = record_to_examples(study(3))
    parsed = tf.io.parse_single_example(block, study_feature_spec(["T1c"], masks=["tumour"]))
    assert set(parsed) == {"image_T1c", "mask_tumour", "block"}
    found = [tf.io.decode_png(png).numpy()[0, 0, 0] for png in parsed["mask_tumour"]]
    assert found == [0, 1, 2]


def numbered(blocks: list[bytes], **changes: dict[int, int]) -> list[bytes]:
    """The blocks with other numbers in their `block`: position of the Example to index and value."""
    changed = []
    for number, block in enumerate(blocks):
        example = tf.train.Example.FromString(block)
        for index, value in changes.get(f"block{number}", {}).items():
            example.features.feature["block"].int64_list.value[index] = value
        changed.append(example.SerializeToString(deterministic=True))
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block1": {0: 2}}, "block 2 starts at slice 2, expected block 1 from slice 2"),
        ({"block1": {1: 3}}, "block 1 starts at slice 3, expected block 1 from slice 2"),
        ({"block2": {4: 0}}, "the blocks end at slice 5, expected 5 slices"),
        ({"block2": {3: 6}}, "the blocks end at slice 5, expected 6 slices"),
    ],
)
def test_blocks_that_contradict_each_other_are_refused_with_what_was_found(changes, message):
    blocks = list(record_to_examples(study(5), largest_bytes=6000))
    assert len(blocks) == 3
    with pytest.raises(MedimgError, match=f"^case D1-0001-L: {message}$"):
        examples_to_record(numbered(blocks, **changes))


def test_one_example_of_several_is_not_the_study_and_a_picture_is_no_block_of_it():
    blocks = list(record_to_examples(study(5), largest_bytes=6000))
    with pytest.raises(MedimgError, match="the blocks end at slice 2, expected 5 slices"):
        examples_to_record(blocks[:1])
    picture = list(record_to_examples(Record(make_case(), {"CC": one(noise(4, 4))})))
    with pytest.raises(MedimgError, match="2 Examples, not all of them blocks"):
        examples_to_record([*blocks[:1], *picture])
    with pytest.raises(MedimgError, match="2 Examples, not all of them blocks"):
        examples_to_record([*picture, *picture])
    with pytest.raises(MedimgError, match="no Example, expected at least one"):
        examples_to_record([])


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
