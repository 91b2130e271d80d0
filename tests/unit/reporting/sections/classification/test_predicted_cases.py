"""Which cases are looked at: confused pairs, right, wrong and uncertain answers, and their images."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medimg.reporting.sections.classification.predicted_cases import (
    choose_examples,
    embed_images,
    list_confusions,
    make_data_uri,
    tabulate_predicted_cases,
)

CLASSES = ("nv", "mel", "bcc")


def make_predictions(*rows):
    """Rows of (case, split, label, probabilities of nv, mel and bcc)."""
    table = pd.DataFrame([row[:3] for row in rows], columns=["case_id", "split", "label_kind"])
    for index, name in enumerate(CLASSES):
        table[f"p_kind_{name}"] = [row[3][index] for row in rows]
    return table


@pytest.fixture
def predictions():
    return make_predictions(
        ("d", "test", "nv", (0.9, 0.06, 0.04)),
        ("a", "test", "nv", (0.9, 0.04, 0.06)),
        ("b", "test", "nv", (0.2, 0.7, 0.1)),
        ("c", "test", "mel", (0.8, 0.1, 0.1)),
        ("e", "test", "mel", (0.3, 0.36, 0.34)),
        ("f", "test", "bcc", (0.1, 0.5, 0.4)),
        ("g", "test", None, (1.0, 0.0, 0.0)),
        ("h", "eval", "mel", (0.99, 0.01, 0.0)),
        ("i", "test", "nv", (0.3, 0.6, 0.1)),
        ("j", "test", "bcc", (0.1, 0.6, 0.3)),
    )


def tabulate(predictions, **options):
    return tabulate_predicted_cases(predictions, head="kind", classes=CLASSES, split="test", **options)


def test_labelled_cases_of_the_split_stand_by_confidence_and_then_by_id(predictions):
    table = tabulate(predictions)
    assert list(table.case_id) == ["a", "d", "c", "b", "i", "j", "f", "e"]
    assert list(table.predicted) == ["nv", "nv", "nv", "mel", "mel", "mel", "mel", "mel"]
    assert table.probability.tolist() == [0.9, 0.9, 0.8, 0.7, 0.6, 0.6, 0.5, 0.36]
    assert set(table["head"]) == {"kind"}


def test_costs_decide_what_is_predicted_and_its_probability_is_that_of_the_answer(predictions):
    costs = np.array([[0, 1, 1], [1, 0, 1], [9, 9, 0]], dtype=float)  # A missed bcc is dear.
    table = tabulate(predictions, costs_CC=costs).set_index("case_id")
    assert table.predicted["f"] == table.predicted["j"] == table.predicted["e"] == "bcc"
    assert table.probability["j"] == 0.3
    assert table.predicted["a"] == "nv"


def test_confused_pairs_stand_by_their_errors_and_then_by_their_classes(predictions):
    pairs = list_confusions(tabulate(predictions), shown=1)
    assert [(one.label, one.predicted, one.count, one.cases, one.errors) for one in pairs] == [
        ("bcc", "mel", 2, 2, 5),
        ("nv", "mel", 2, 4, 5),
        ("mel", "nv", 1, 2, 5),
    ]
    assert [[case.case_id for case in one.examples] for one in pairs] == [["j"], ["b"], ["c"]]
    assert [len(one.examples) for one in list_confusions(tabulate(predictions))] == [2, 2, 1]
    (example,) = pairs[0].examples
    assert (example.head, example.label, example.predicted, example.probability) == (
        "kind",
        "bcc",
        "mel",
        0.6,
    )


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        (0, []),
        (1, ["wrong c", "right a", "uncertain e"]),
        (2, ["wrong c", "wrong b", "right a", "right d", "uncertain e", "uncertain f"]),
    ],
)
def test_examples_are_the_surest_wrong_and_right_ones_and_the_least_sure_of_the_rest(
    predictions, count, chosen
):
    examples = choose_examples(tabulate(predictions), count=count)
    assert [f"{kind} {case.case_id}" for kind, case in examples] == chosen


def open_uri(uri):
    kind, data = uri.removeprefix("data:image/").split(";base64,")
    return kind, Image.open(io.BytesIO(base64.b64decode(data)))


def write(image):
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("image", "kind", "mode"),
    [
        (Image.new("L", (400, 200), 77), "png", "L"),
        (Image.fromarray(np.full((200, 400), 77 * 257, np.uint16)), "png", "L"),
        (Image.new("RGB", (400, 200), (77, 77, 77)), "jpeg", "RGB"),
        (Image.new("RGBA", (400, 200), (77, 77, 77, 255)), "jpeg", "RGB"),
    ],
    ids=["grey", "16 bit", "colour", "with alpha"],
)
def test_an_image_is_embedded_small_in_8_bit_and_grey_ones_without_loss(image, kind, mode):
    found, picture = open_uri(make_data_uri(write(image)))
    assert (found, picture.mode, picture.size) == (kind, mode, (320, 160))
    assert np.abs(np.asarray(picture).astype(int) - 77).max() <= 1


def test_images_are_embedded_by_role_at_the_size_asked_for_and_small_ones_stay():
    images = embed_images(
        {"CC": write(Image.new("L", (300, 500))), "MLO": write(Image.new("L", (40, 30)))}, side=100
    )
    assert [(role, open_uri(uri)[1].size) for role, uri in images] == [("CC", (60, 100)), ("MLO", (40, 30))]
