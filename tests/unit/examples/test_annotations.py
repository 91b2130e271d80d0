"""Boxes and polygons follow the pixels through flips, crops and resizing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg.cases import Annotation, Case, ImageRef
from medimg.examples.record import move_annotation, read_record
from medimg.images.breast_orientation import Flips
from medimg.images.prepare import Ingest
from tests.unit.dicom.written import write_dicom

SHAPE = (200, 160)
TOP, LEFT, BOTTOM, RIGHT = 60, 20, 90, 32
"""Of a bright patch in a breast at the left edge: first and last row and column."""
ORIENTATIONS = {
    (False, False): ["A", "F"],
    (True, False): ["P", "F"],
    (False, True): ["A", "H"],
    (True, True): ["P", "H"],
}
"""Patient Orientation of an image that is mirrored left-right and up-down."""


def write_breast(path, *, flips: Flips):
    """A grey breast with a bright patch, stored mirrored as `flips` says; returns the patch's corners."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    breast_HW = np.where(((y - 100) / 80) ** 2 + (x / 90) ** 2 < 1, 60, 0).astype(np.uint8)
    breast_HW[TOP : BOTTOM + 1, LEFT : RIGHT + 1] = 255
    orientation = ORIENTATIONS[flips.left_right, flips.up_down]
    write_dicom(path, flips.apply(breast_HW).copy(), PatientOrientation=orientation)
    corners = np.array([[TOP, LEFT, 1], [BOTTOM, RIGHT, 1]]) @ flips.matrix(SHAPE).T
    return tuple(map(float, corners.min(axis=0)[:2])), tuple(map(float, corners.max(axis=0)[:2]))


@pytest.mark.parametrize("size", [None, (100, 60), (50, 50)])
@pytest.mark.parametrize("flips", [Flips(*found) for found in ORIENTATIONS], ids=str)
def test_a_box_encloses_the_same_finding_smallest_corner_first_on_each_view(tmp_path, flips, size):
    first, second = write_breast(tmp_path / "a.dcm", flips=flips)
    write_breast(tmp_path / "b.dcm", flips=Flips())
    outline = (first, (first[0], second[1]), second)
    upright = ((float(TOP), float(LEFT)), (float(BOTTOM), float(RIGHT)))
    case = Case(
        "c",
        "g",
        (ImageRef("a.dcm", "MLO"), ImageRef("b.dcm", "CC")),
        annotations=(
            Annotation("MLO", "mass", "box", (first, second)),
            Annotation("MLO", "mass", "polygon", outline),
            Annotation("CC", "mass", "box", upright),
        ),
    )
    ingest = Ingest(size, orientation="mammogram", crop="breast")
    record, unreadable = read_record(case, data_root=tmp_path, ingest=ingest)
    assert unreadable == []
    box, polygon, other = record.case.annotations
    for moved in (box, other):
        (pixels_HW,) = record.images[moved.role].slices
        y, x = np.nonzero(pixels_HW > 150)
        assert moved.points[0] < moved.points[1]
        np.testing.assert_allclose(moved.points, [(y.min(), x.min()), (y.max(), x.max())], atol=0.8)
    np.testing.assert_allclose(box.points, other.points, atol=1e-6)
    upright_outline = np.array([(*point, 1) for point in outline]) @ flips.matrix(SHAPE).T
    scale = (box.points[1][1] - box.points[0][1]) / (RIGHT - LEFT)
    for (one, two), (one_there, two_there) in zip(
        pairwise(upright_outline[:, :2]), pairwise(np.array(polygon.points)), strict=True
    ):
        np.testing.assert_allclose((two - one) * scale, two_there - one_there, rtol=0.1, atol=1e-6)


coordinates = st.floats(0, 500, width=32)
scales = st.floats(0.1, 4)
offsets = st.floats(-100, 100)


@st.composite
def preparations(draw: st.DrawFn) -> np.ndarray:
    """A map from stored to prepared pixels, as flips, a crop and resizing make it."""
    flips = Flips(draw(st.booleans()), draw(st.booleans()))
    placed = np.diag([draw(scales), draw(scales), 1.0])
    placed[:2, 2] = draw(offsets), draw(offsets)
    return placed @ flips.matrix((300, 200))


@settings(max_examples=100)
@given(
    kind=st.sampled_from(["box", "polygon"]),
    points=st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=6),
    to=preparations(),
)
def test_the_inverse_of_a_preparation_brings_an_outline_back(kind, points, to):
    if kind == "box":
        found = np.array(points)
        points = [tuple(found.min(axis=0).tolist()), tuple(found.max(axis=0).tolist())]
    stored = Annotation("CC", "mass", kind, tuple(points))
    moved = move_annotation(stored, {"MLO": np.zeros((3, 3)), "CC": to})
    assert (moved.role, moved.label, moved.kind) == (stored.role, stored.label, stored.kind)
    back = move_annotation(moved, {"CC": np.linalg.inv(to)})
    np.testing.assert_allclose(back.points, stored.points, atol=1e-6 * 500)
    corners = np.array(moved.points)
    size = np.abs(np.diag(to)[:2]) * np.ptp(np.array(points), axis=0)
    np.testing.assert_allclose(np.ptp(corners, axis=0), size, atol=1e-6 * 500)


@given(box=st.tuples(coordinates, coordinates, coordinates, coordinates), to=preparations())
def test_a_moved_box_always_begins_with_its_smallest_corner(box, to):
    corners = np.reshape(box, (2, 2))
    stored = Annotation("CC", "mass", "box", (tuple(corners.min(axis=0)), tuple(corners.max(axis=0))))
    (top, left), (bottom, right) = move_annotation(stored, {"CC": to}).points
    assert top <= bottom
    assert left <= right
