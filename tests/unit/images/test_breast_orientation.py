"""Mammograms end up with the chest wall to the left, and points follow."""

import numpy as np
import pytest

from medimg.dicom.read import read_frame
from medimg.images.breast_orientation import Flips, mammogram_flips
from medimg.images.prepare import Ingest, prepare_image

CC = {"ViewCodeSequence": [{"CodeValue": "399162004"}]}
DARK = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"PatientOrientation": ["A", "R"], "ImageLaterality": "L", **CC}, Flips()),  # CMMD, left CC
        (
            {"PatientOrientation": ["P", "L"], "ImageLaterality": "R", **CC},
            Flips(left_right=True),
        ),  # CMMD, right CC
        ({"PatientOrientation": ["A", "FR"], "ImageLaterality": "L"}, Flips()),  # CMMD, left MLO
        (
            {"PatientOrientation": ["P", "FL"], "ImageLaterality": "R"},
            Flips(left_right=True),
        ),  # CMMD, right MLO
        ({"PatientOrientation": ["P", "HL"], "ImageLaterality": "R"}, Flips(left_right=True, up_down=True)),
        (
            {"PatientOrientation": ["A", "L"], "ImageLaterality": "L", **CC},
            Flips(up_down=True),
        ),  # Outer side at the bottom.
        (
            {"PatientOrientation": ["A", "R"], "ImageLaterality": "R", "ViewPosition": "CC"},
            Flips(up_down=True),
        ),
        ({"PatientOrientation": ["A", "L"], **CC}, Flips()),  # Side unknown: left alone.
        ({"PatientOrientation": ["A", "L"], "ImageLaterality": "L"}, Flips()),  # View unknown: left alone.
    ],
)
def test_patient_orientation_decides(tags, expected):
    assert mammogram_flips(tags, preview_HW=DARK) == expected


@pytest.mark.parametrize(
    "tags",
    [{}, {"PatientOrientation": None}, {"PatientOrientation": ["", ""]}, {"PatientOrientation": ["F", "A"]}],
)
def test_the_brighter_half_is_the_chest_wall_where_the_header_is_silent(tags):
    right = DARK.copy()
    right[:, 5:] = 200
    assert mammogram_flips(tags, preview_HW=right) == Flips(left_right=True)
    assert mammogram_flips(tags, preview_HW=right[:, ::-1]) == Flips()
    assert mammogram_flips(tags, preview_HW=DARK) == Flips()


@pytest.mark.parametrize(
    "flips", [Flips(), Flips(left_right=True), Flips(up_down=True), Flips(left_right=True, up_down=True)]
)
def test_points_follow_the_flips(flips):
    image = np.arange(20).reshape(4, 5)
    y, x, _ = flips.matrix(image.shape) @ (1, 3, 1)
    assert flips.apply(image)[int(y), int(x)] == image[1, 3]


def test_a_real_right_breast_comes_out_like_a_left_one(shared_data):
    path = shared_data / "mammograms" / "GH133.dcm"
    stored = read_frame(path)
    assert stored[:, :500].sum() < stored[:, -500:].sum()
    pixels = prepare_image(
        path, ingest=Ingest((128, 128), orientation="mammogram", fit="stretch")
    ).pixels.astype(int)
    assert pixels[:, :30].sum() > 2 * pixels[:, -30:].sum()
