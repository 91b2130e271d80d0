"""Maps of a batch against its outlined lesions and over its images, by a network of known numbers."""

import math

import cv2
import numpy as np
import pytest
import tensorflow as tf

from medimg.cases import Annotation, Case, Record, Stack
from medimg.explain.batch import Batch, check_batch, draw_batch, list_outlined_views, name_file
from medimg.explain.methods import METHODS
from medimg.explain.network import Network
from medimg.explain.overlay import draw_outlines, lay_over, to_rgb
from medimg.explain.reference_masks import draw_mask
from medimg.explain.saliency_checks import (
    chance,
    energy_inside,
    points_at,
    rank_correlation,
    structural_similarity,
)

ROLES = ("CC", "MLO")
SIDE = 32


def make_network(*, bright, cell=8):
    """A network that finds class 1 where the image is bright, or dark, in cells of so many pixels."""

    def to_maps(images):
        mean = tf.nn.avg_pool2d(images, cell, cell, "VALID") / 255
        return tf.concat([mean, 1 - mean], axis=-1)

    def to_logits(maps, inputs):
        found = tf.reduce_sum(maps * inputs["view_present"][:, :, None, None, None], axis=(1, 2, 3))
        return tf.stack([found[:, 1], found[:, 0]] if bright else [found[:, 0], found[:, 1]], axis=1)

    return Network(to_maps, to_logits)


def make_image(generator, *, spot):
    """A wide image with a bright spot, as stored: three times as high and four times as wide as the input."""
    image = generator.integers(20, 60, (3 * SIDE, 4 * SIDE)).astype(np.uint8)
    image[spot[0] : spot[0] + 24, spot[1] : spot[1] + 32] = 220
    return image


def make_record(number, images, annotations=()):
    case = Case(f"case {number}", f"group {number % 2}", (), annotations=tuple(annotations))
    return Record(case, {role: Stack([image], 1) for role, image in images.items()})


@pytest.fixture(scope="module")
def batch():
    """Three cases: outlined on both views, on a view that is not there, and not at all."""
    generator = np.random.default_rng(0)
    spots = ({"CC": (12, 64), "MLO": (48, 8)}, {"MLO": (24, 32)}, {"CC": (0, 0), "MLO": (60, 90)})
    images = [{role: make_image(generator, spot=spot) for role, spot in of_case.items()} for of_case in spots]
    boxes = [
        [
            Annotation("CC", "mass", "box", ((12, 64), (35, 95))),
            Annotation("MLO", "mass", "box", ((48, 8), (71, 39))),
            Annotation("MLO", "mass", "box", ((0, 100), (8, 110))),
        ],
        [Annotation("CC", "mass", "box", ((1, 1), (5, 5)))],
        [],
    ]
    records = [
        make_record(number, *of_case) for number, of_case in enumerate(zip(images, boxes, strict=True))
    ]
    inputs = np.zeros((3, 2, SIDE, SIDE, 1), np.uint8)
    present = np.zeros((3, 2), np.float32)
    for number, of_case in enumerate(images):
        for place, role in enumerate(ROLES):
            if role in of_case:
                inputs[number, place, ..., 0] = cv2.resize(of_case[role], (SIDE, SIDE))
                present[number, place] = 1
    return Batch(records, {"images": inputs, "view_present": present}, ROLES)


def test_only_views_that_are_there_and_outlined_are_checked_each_with_all_its_lesions(batch):
    views = list(list_outlined_views(batch))
    assert [(view.record.case.case_id, view.role, view.number, view.place) for view in views] == [
        ("case 0", "CC", 0, 0),
        ("case 0", "MLO", 0, 1),
    ]
    assert views[0].mask_HW.shape == views[0].image_HW.shape == (96, 128)
    assert [view.mask_HW.sum() for view in views] == [24 * 32, 24 * 32 + 9 * 11]


def test_every_outlined_view_has_chance_and_each_method_on_the_trained_and_each_randomised_network(batch):
    networks = {
        "trained": make_network(bright=True),
        "randomised-0": make_network(bright=False),
        "randomised-1": make_network(bright=True, cell=4),
    }
    rows = list(check_batch(batch, networks=networks, class_index=1))
    keys = [(row["role"], row["method"], row["subject"]) for row in rows]
    assert keys == [
        ("CC", "", "chance"),
        ("MLO", "", "chance"),
        *((role, method, name) for method in METHODS for role in ROLES for name in networks),
    ]
    assert {(row["case_id"], row["group_id"]) for row in rows} == {("case 0", "group 0")}
    maps = {
        (method, name): explain(network, batch.inputs, class_index=1)[0]
        for method, explain in METHODS.items()
        for name, network in networks.items()
    }
    for row in rows:
        place = ROLES.index(row["role"])
        record = batch.records[0]
        (image,) = record.images[row["role"]].slices
        mask = draw_mask(
            [one for one in record.case.annotations if one.role == row["role"]], shape=image.shape
        )
        if row["subject"] == "chance":
            assert (row["pointing"], row["energy"]) == chance(mask, image_HW=image)
            continue
        map_HW = maps[row["method"], row["subject"]][place]
        stretched = cv2.resize(map_HW, (128, 96), interpolation=cv2.INTER_LINEAR)
        assert row["pointing"] == points_at(stretched, mask)
        assert row["energy"] == pytest.approx(energy_inside(stretched, mask))
        if row["subject"] == "trained":
            assert math.isnan(row["rank_correlation"])
            assert math.isnan(row["ssim"])
        else:
            trained = maps[row["method"], "trained"][place]
            assert row["rank_correlation"] == pytest.approx(rank_correlation(trained, map_HW), nan_ok=True)
            assert row["ssim"] == pytest.approx(structural_similarity(trained, map_HW), nan_ok=True)
    energy = {row["subject"]: row["energy"] for row in rows if row["method"] == "grad_cam"}
    assert energy["trained"] > energy["randomised-0"]
    assert not any(math.isnan(row["ssim"]) for row in rows if row["subject"] == "randomised-1")


def read(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_each_view_that_is_there_is_drawn_plain_and_under_its_maps_on_the_scale_of_its_case(batch, tmp_path):
    network = make_network(bright=True)
    rows = list(draw_batch(batch, network=network, class_index=1, folder=tmp_path, methods=["grad_cam"]))
    views = [("case 0", "CC"), ("case 0", "MLO"), ("case 1", "MLO"), ("case 2", "CC"), ("case 2", "MLO")]
    assert [(row["case_id"], row["role"], row["method"]) for row in rows] == [
        (*view, method) for view in views for method in ("original", "grad_cam")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(row["file"] for row in rows)
    maps = METHODS["grad_cam"](network, batch.inputs, class_index=1)
    for row in rows:
        number, place = int(row["case_id"][-1]), ROLES.index(row["role"])
        (image,) = batch.records[number].images[row["role"]].slices
        expected = to_rgb(image)
        if row["method"] == "grad_cam":
            outlines = [one for one in batch.records[number].case.annotations if one.role == row["role"]]
            highest = float(maps[number].max())
            expected = draw_outlines(lay_over(expected, maps[number, place], highest=highest), outlines)
        np.testing.assert_array_equal(read(tmp_path / row["file"]), expected)


def test_all_methods_are_drawn_unless_some_are_named(batch, tmp_path):
    rows = list(draw_batch(batch, network=make_network(bright=True), class_index=1, folder=tmp_path))
    assert {row["method"] for row in rows} == {"original", *METHODS}


@pytest.mark.parametrize(
    ("shape", "drawn"), [((384, 200), (384, 200)), ((768, 400), (384, 200)), ((300, 768), (150, 384))]
)
def test_a_drawn_image_has_at_most_384_pixels_a_side_and_is_16_bit_no_more(tmp_path, shape, drawn):
    image = np.full(shape, 60 * 257, np.uint16)
    record = make_record(0, {"CC": image})
    inputs = {
        "images": np.zeros((1, 1, SIDE, SIDE, 1), np.uint8),
        "view_present": np.ones((1, 1), np.float32),
    }
    batch = Batch([record], inputs, ["CC"])
    (row,) = draw_batch(batch, network=make_network(bright=True), class_index=1, folder=tmp_path, methods=[])
    picture = read(tmp_path / row["file"])
    assert picture.shape == (*drawn, 3)
    assert (picture == 60).all()


def test_a_file_is_named_so_that_any_file_system_takes_it_and_no_two_ids_share_a_name():
    assert name_file("D1-0001_L.a") == "D1-0001_L.a"
    assert name_file("a/b c~é²") == "a~2fb~20c~7e~e9~b2"
