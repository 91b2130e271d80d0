"""Any record comes back from its Examples, however small the blocks are that it is cut into."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medimg.cases import Annotation, Case, Record, Stack
from medimg.errors import MedimgError
from medimg.examples.encoding import examples_to_record, record_to_examples

tf = pytest.importorskip("tensorflow")

names = st.sampled_from(["a", "b_c", "T1c", "labels", "tumour_core"])
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
floats = st.floats(-1000, 1000, width=32)
points = st.tuples(floats, floats)


@st.composite
def stacks(draw: st.DrawFn) -> Stack:
    count = draw(st.integers(1, 5))
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    noise = np.random.default_rng(draw(st.integers(0, 9)))
    slices = [
        noise.integers(0, np.iinfo(dtype).max, (4, 3), dtype=dtype, endpoint=True) for _ in range(count)
    ]
    affine = np.array(draw(st.lists(floats, min_size=16, max_size=16))).reshape(4, 4)
    geometry = affine if draw(st.booleans()) else None
    slope, intercept = draw(st.sampled_from([(1.0, 0.0), (2.0, 0.0), (1.0, -1024.0), (0.5, 3.0)]))
    return Stack(slices, count, geometry, slope, intercept)


@st.composite
def records(draw: st.DrawFn) -> Record:
    outlines = st.builds(Annotation, names, texts, st.just("box"), st.tuples(points, points)) | st.builds(
        Annotation, names, texts, st.just("polygon"), st.lists(points, min_size=3, max_size=5).map(tuple)
    )
    case = Case(
        case_id=draw(texts),
        group_id=draw(texts),
        images=(),
        levels=draw(st.dictionaries(names, texts, max_size=2)),
        labels=draw(st.dictionaries(names, texts, max_size=2)),
        clinical=draw(st.dictionaries(names, texts | floats | st.integers(0, 99) | st.none(), max_size=3)),
        shortcuts=draw(st.dictionaries(names, st.floats(0, 1, width=32), max_size=2)),
        annotations=tuple(draw(st.lists(outlines, max_size=4))),
    )
    images = draw(st.dictionaries(names, stacks(), min_size=1, max_size=3))
    return Record(case, images, draw(st.dictionaries(names, stacks(), max_size=2)))


def sort_annotations(annotations: tuple[Annotation, ...]) -> list[Annotation]:
    """Boxes before polygons, by role, each role's in the order that they were in."""
    return sorted(annotations, key=lambda one: (one.kind, one.role))


@settings(max_examples=25)
@given(record=records(), largest=st.integers(800, 3000), seed=st.integers(0, 9))
def test_a_record_comes_back_whatever_the_limit_and_the_order_of_its_blocks(record, largest, seed):
    assume(fits(record, largest))
    (whole,) = record_to_examples(record)
    blocks = list(record_to_examples(record, largest_bytes=largest))
    assert max(map(len, blocks)) <= largest
    assert blocks == list(record_to_examples(record, largest_bytes=largest))
    for examples in ([whole], random.Random(seed).sample(blocks, len(blocks))):
        found = examples_to_record(examples)
        clinical = {
            name: value if isinstance(value, str) else float(value)
            for name, value in record.case.clinical.items()
            if value is not None
        }
        expected = dataclasses.replace(
            record.case, clinical=clinical, annotations=tuple(sort_annotations(record.case.annotations))
        )
        assert found.case == expected
        assert found.images.keys() == record.images.keys()
        assert found.masks.keys() == record.masks.keys()
        for stacks, others in ((found.images, record.images), (found.masks, record.masks)):
            for role, stack in others.items():
                assert_same(stacks[role], stack)


def fits(record: Record, size: int) -> bool:
    try:
        list(record_to_examples(record, largest_bytes=size))
    except MedimgError:
        return False
    return True


def assert_same(found: Stack, expected: Stack) -> None:
    assert (found.count, found.slope, found.intercept) == (expected.count, expected.slope, expected.intercept)
    np.testing.assert_array_equal(found.affine, expected.affine)
    for one, other in zip(found.slices, expected.slices, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
