"""Mammograms end up with the chest wall to the left, and points follow."""

import numpy as np
import pytest

from medimg.dicom.read import read_frame
from medimg.images.breast_orientation import Flips, mammogram_flips
from medimg.images.prepare import Ingest, prepare_image

CC_CODE, MLO = {"CodeValue": "399162004"}, {"CodeValue": "399368009"}
CC = {"ViewCodeSequence": [CC_CODE]}
OLDER_CC = {"ViewCodeSequence": [{"CodeValue": "R-10242"}]}
LEFT_RIGHT = Flips(left_right=True)
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
        # The older code, and the series' laterality where the image has none of its own.
        ({"PatientOrientation": ["A", "L"], "Laterality": "L", **OLDER_CC}, Flips(up_down=True)),
        ({"PatientOrientation": ["A", "R"], "Laterality": "L", **OLDER_CC}, Flips()),
        (
            {"PatientOrientation": ["P", "R"], "ImageLaterality": "R", "Laterality": "L", **CC},
            Flips(left_right=True, up_down=True),
        ),
        ({"PatientOrientation": ["P", "R"], "ImageLaterality": "L", "Laterality": "R", **CC}, LEFT_RIGHT),
        # The first letter of a row counts, and any of a column; small letters are the same.
        ({"PatientOrientation": ["PR", "FL"], "ImageLaterality": "R"}, Flips(left_right=True)),
        ({"PatientOrientation": ["AL", "LH"], "ImageLaterality": "R"}, Flips(up_down=True)),
        ({"PatientOrientation": ["AL", "LF"], "ImageLaterality": "L", **CC}, Flips()),
        ({"PatientOrientation": ["A", "HF"]}, Flips()),  # Neither, as it says both.
        ({"PatientOrientation": ["p", "h"]}, Flips(left_right=True, up_down=True)),
        ({"PatientOrientation": ("P", "H")}, Flips(left_right=True, up_down=True)),
        (
            {"PatientOrientation": ["a", "l"], "ImageLaterality": "L", "ViewPosition": "cc"},
            Flips(up_down=True),
        ),
        # Another view, another code, a column that is not stated.
        ({"PatientOrientation": ["A", "L"], "ImageLaterality": "L", "ViewPosition": "MLO"}, Flips()),
        (
            {"PatientOrientation": ["A", "L"], "ImageLaterality": "L", "ViewCodeSequence": [MLO]},
            Flips(),
        ),
        (
            {"PatientOrientation": ["A", "L"], "ImageLaterality": "L", "ViewCodeSequence": [MLO, CC_CODE]},
            Flips(up_down=True),
        ),
        ({"PatientOrientation": ["A", ""], "ImageLaterality": "", **CC}, Flips()),
        ({"PatientOrientation": ["A", None], "ImageLaterality": "L", **CC}, Flips()),
        # Turned by a quarter: front and back lie along the columns.
        (
            {"PatientOrientation": ["R", "P"], "ImageLaterality": "L", **CC},
            Flips(left_right=True, transposed=True),
        ),
        ({"PatientOrientation": ["R", "A"], "ImageLaterality": "L", **CC}, Flips(transposed=True)),
        (
            {"PatientOrientation": ["L", "P"], "ImageLaterality": "L", **CC},
            Flips(left_right=True, up_down=True, transposed=True),
        ),
        ({"PatientOrientation": ["HL", "A"], "ImageLaterality": "R"}, Flips(up_down=True, transposed=True)),
        ({"PatientOrientation": ["A", "L"], **CC}, Flips()),  # Side unknown: left alone.
        ({"PatientOrientation": ["A", "L"], "ImageLaterality": "L"}, Flips()),  # View unknown: left alone.
    ],
)
def test_patient_orientation_decides(tags, expected):
    assert mammogram_flips(tags, preview_HW=DARK) == expected


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"PatientOrientation": None},
        {"PatientOrientation": ["", ""]},
        {"PatientOrientation": ["F", "L"]},
        {"PatientOrientation": ["P"]},
        {"PatientOrientation": ["P", "F", "L"]},
        {"PatientOrientation": "PA"},
        {"PatientOrientation": [None, "F"]},
    ],
)
def test_the_brighter_half_is_the_chest_wall_where_the_header_is_silent(tags):
    right = DARK.copy()
    right[:, 5:] = 200
    assert mammogram_flips(tags, preview_HW=right) == Flips(left_right=True)
    assert mammogram_flips(tags, preview_HW=right[:, ::-1]) == Flips()
    assert mammogram_flips(tags, preview_HW=DARK) == Flips()


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([9, 9, 0, 0, 0, 0, 5, 5, 5, 5, 0, 0], True),  # Halves of the columns, however many rows there are.
        ([0, 0, 5, 5, 5, 5, 0, 0, 0, 0, 9, 9], False),
        ([1, 1, 9, 1, 2], True),  # The column in the middle is of neither half.
        ([2, 1, 9, 1, 1], False),
        ([7], False),
    ],
)
def test_halves_are_halves_of_the_columns(columns, expected):
    preview = np.tile(np.array(columns, np.uint8), (4, 1))
    assert mammogram_flips({}, preview_HW=preview) == Flips(left_right=expected)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("up_down", [False, True])
@pytest.mark.parametrize("left_right", [False, True])
def test_points_follow_the_flips(left_right, up_down, transposed):
    flips = Flips(left_right, up_down, transposed)
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
