"""What an Example says of its case: features of one value, and no picture or what is drawn on it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from medimg.images.colour import measure_colour


def make_example(**values: object) -> bytes:
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
    from components.report_gen.scoring import list_images

    roles = ("t", "e", "s", "i", "m", "a")
    example = tf.train.Example.FromString(
        make_example(
            case_id=b"a", image_none=[], mask_a=b"png", **{f"image_{role}": draw(9) for role in roles}
        )
    )
    assert list(list_images(example.features.feature)) == sorted(roles)


class Written(tf.Module):
    """A model whose answers are written in its Examples; what is behind them is their complement."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        positive = tf.io.parse_example(examples, {"score": tf.io.FixedLenFeature([1], tf.float32)})["score"]
        return {"malignancy": tf.concat([1 - positive, positive], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def details(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        whole = self.serve(examples)["malignancy"]
        return {"malignancy": whole, "v/malignancy": tf.stack([whole, whole[:, ::-1]], axis=1)}


@pytest.mark.parametrize("has_details", [True, False])
def test_each_case_has_its_own_answer_and_all_that_is_behind_it_in_the_order_of_the_names(
    tmp_path: Path, has_details: bool
) -> None:
    from components.report_gen.scoring import score_examples

    numbers = [*range(40, 0, -1), *range(41, 71)]
    for name, part in (("first", numbers[:50]), ("second", numbers[50:])):
        with tf.io.TFRecordWriter(str(tmp_path / name)) as writer:
            for number in part:
                writer.write(make_example(case_id=f"c{number:02d}".encode(), score=number / 128))
    model = Written()
    signatures = {"serving_default": model.serve} | ({"details": model.details} if has_details else {})
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=signatures)
    (tmp_path / "model" / "medimg.json").write_text('{"roles": ["CC", "MLO"]}')
    files = [str(tmp_path / name) for name in ("first", "second")]
    table = score_examples(tmp_path / "model", files, heads={"malignancy": ("Benign", "Malignant")})
    assert table["case_id"].tolist() == [f"c{number:02d}" for number in range(1, 71)]
    assert table.index.tolist() == list(range(70))
    expected = np.arange(1, 71) / 128
    np.testing.assert_array_equal(table["p_malignancy_Malignant"], expected)
    np.testing.assert_array_equal(table["p_malignancy_Benign"], 1 - expected)
    views = [column for column in table if column.startswith("v_")]
    assert len(views) == (4 if has_details else 0)
    if has_details:
        np.testing.assert_array_equal(table["v_malignancy_Malignant_MLO"], 1 - expected)


def test_a_coloured_image_has_its_mean_colour_in_the_row() -> None:
    from components.report_gen.scoring import read_row

    red = cv2.imencode(".png", np.full((16, 16, 3), (0, 0, 200), np.uint8))[1].tobytes()
    row = read_row(make_example(case_id=b"a", image_CC=red))
    assert row == {"case_id": "a", **measure_colour([red])}
    assert len(row) == 4
