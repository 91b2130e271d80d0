"""Every numeric type of the settings takes its ends and nothing beyond them."""

import math

import pytest
from pydantic import TypeAdapter, ValidationError

from medimg.numeric_types import (
    Bytes,
    Count,
    Degrees,
    Finite,
    Fraction,
    FractionBelowOne,
    MessageBytes,
    NonNegative,
    Pixels,
    PositiveCount,
    PositiveFinite,
    Seed,
)

ABOVE_A_MILLION = math.nextafter(1e6, math.inf)
BELOW_ZERO = -5e-324
RANGES = {
    "Finite": (Finite, [-1e6, 0.0, 1e6], [-ABOVE_A_MILLION, ABOVE_A_MILLION]),
    "NonNegative": (NonNegative, [0.0, 1e6], [BELOW_ZERO, ABOVE_A_MILLION]),
    "PositiveFinite": (PositiveFinite, [5e-324, 1e6], [0.0, ABOVE_A_MILLION]),
    "Fraction": (Fraction, [0.0, 1.0], [BELOW_ZERO, math.nextafter(1, 2)]),
    "FractionBelowOne": (FractionBelowOne, [0.0, math.nextafter(1, 0)], [BELOW_ZERO, 1.0]),
    "Degrees": (Degrees, [0.0, 180.0], [BELOW_ZERO, math.nextafter(180, 181)]),
    "Count": (Count, [0, 10_000_000], [-1, 10_000_001]),
    "PositiveCount": (PositiveCount, [1, 10_000_000], [0, 10_000_001]),
    "Pixels": (Pixels, [1, 16_384], [0, 16_385]),
    "Bytes": (Bytes, [0, 10**15], [-1, 10**15 + 1]),
    "MessageBytes": (MessageBytes, [1, 2**31 - 1], [0, 2**31]),
    "Seed": (Seed, [0, 2_000_000_000], [-1, 2_000_000_001]),
}


@pytest.mark.parametrize("name", RANGES)
def test_the_ends_of_a_range_are_in_it_and_the_next_numbers_are_not(name):
    kind, accepted, refused = RANGES[name]
    adapter = TypeAdapter(kind)
    assert [adapter.validate_python(value) for value in accepted] == accepted
    for value in [*refused, math.nan, math.inf, -math.inf]:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)


@pytest.mark.parametrize("name", ["Count", "PositiveCount", "Pixels", "Bytes", "MessageBytes", "Seed"])
def test_a_number_of_things_is_whole(name):
    with pytest.raises(ValidationError):
        TypeAdapter(RANGES[name][0]).validate_python(1.5)
