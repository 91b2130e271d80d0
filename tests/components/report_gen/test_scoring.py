"""What an Example says of its case: features of one value, and no picture or what is drawn on it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


def make_example(**values: object) -> bytes:
    import tensorflow as tf

    features = {}
    for name, value in values.items():
        several = value if isinstance(value, list) else [value]
        if several and isinstance(several[0], bytes):
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=several))
        elif several and isinstance(several[0], float):
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=several))
        else:
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=several))
        features[name] = feature
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def draw(grey: int) -> bytes:
    return cv2.imencode(".png", np.full((4, 4), grey, np.uint8))[1].tobytes()


def test_a_row_has_the_features_of_one_value_and_nothing_of_the_images() -> None:
    from components.report_gen.scoring import read_row

    row = read_row(
        make_example(
            case_id=b"a",
            label_kind=b"x",
            clinical_age_years=40.0,
            clinical_count=3,
            clinical_none=[],
            clinical_two=[b"x", b"y"],
            image_CC=draw(5),
            mask_CC=b"png",
            box_CC=1.0,
            box_CC_label=b"mass",
            polygon_CC=2.0,
        )
    )
    assert row == {"case_id": "a", "label_kind": "x", "clinical_age_years": 40.0, "clinical_count": 3}


@pytest.mark.parametrize(("wanted", "found"), [(set(), []), ({"b"}, ["b"]), ({"a", "c", "z"}, ["a", "c"])])
def test_images_are_read_of_the_named_cases_by_role(
    tmp_path: Path, wanted: set[str], found: list[str]
) -> None:
    import tensorflow as tf

    from components.report_gen.scoring import read_images

    with tf.io.TFRecordWriter(str(tmp_path / "records")) as writer:
        for number, name in enumerate("abc"):
            writer.write(
                make_example(case_id=name.encode(), image_MLO=draw(number), image_CC=draw(9), image_LM=[])
            )
    images = read_images([str(tmp_path / "records")], wanted)
    assert sorted(images) == found
    for name in found:
        assert images[name] == {"CC": draw(9), "MLO": draw("abc".index(name))}


def test_records_of_a_split_are_its_own_and_sorted(tmp_path: Path) -> None:
    from components.report_gen.scoring import list_records

    for name in ("Split-test/b", "Split-test/a", "Split-train/c", "Split-unlabelled_test/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_records(str(tmp_path), "test") == [str(tmp_path / "Split-test" / name) for name in "ab"]
    assert list_records(str(tmp_path), "eval") == []


def test_the_images_of_a_case_are_by_role_in_the_order_of_their_names() -> None:
    import tensorflow as tf

    from components.report_gen.scoring import list_images

    roles = ("t", "e", "s", "i", "m", "a")
    example = tf.train.Example.FromString(
        make_example(
            case_id=b"a", image_none=[], mask_a=b"png", **{f"image_{role}": draw(9) for role in roles}
        )
    )
    assert list(list_images(example.features.feature)) == sorted(roles)
