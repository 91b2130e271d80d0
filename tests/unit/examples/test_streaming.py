"""No more of a study is in memory than one slice of each role and a block."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from medimg.cases import Record, Stack
from medimg.examples.encoding import examples_to_record, record_to_examples
from tests.unit.examples.test_encoding import make_case, noise, study


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
