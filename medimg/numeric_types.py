"""Numeric types of settings: finite and bounded, so that pydantic refuses what no run could work with.

A setting is checked where a config is read; a dataclass made by hand is not.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AllowInfNan

Finite = Annotated[float, Ge(-1e6), Le(1e6), AllowInfNan(False)]
"""Any number of a figure's size, -1e6 to 1e6."""
NonNegative = Annotated[float, Ge(0), Le(1e6), AllowInfNan(False)]
"""0 to 1e6."""
PositiveFinite = Annotated[float, Gt(0), Le(1e6), AllowInfNan(False)]
"""Above 0, at most 1e6."""
Fraction = Annotated[float, Ge(0), Le(1), AllowInfNan(False)]
"""0 to 1."""
FractionBelowOne = Annotated[float, Ge(0), Lt(1), AllowInfNan(False)]
"""0 to less than 1."""
Degrees = Annotated[float, Ge(0), Le(180), AllowInfNan(False)]
"""An angle from 0 to 180, either way."""

Count = Annotated[int, Ge(0), Le(10_000_000), AllowInfNan(False)]
"""A number of things, 0 to 10 million; the largest collections have a few million images."""
PositiveCount = Annotated[int, Ge(1), Le(10_000_000), AllowInfNan(False)]
"""A number of things, 1 to 10 million."""
Pixels = Annotated[int, Ge(1), Le(16_384), AllowInfNan(False)]
"""A side of an image that is held in memory whole, 1 to 16384."""
StoredValue = Annotated[int, Ge(0), Le(65_535), AllowInfNan(False)]
"""A value of a pixel of 16 bits, 0 to 65535."""
Bytes = Annotated[int, Ge(0), Le(10**15), AllowInfNan(False)]
"""A size on disk, 0 to 10^15 (a petabyte)."""
MessageBytes = Annotated[int, Ge(1), Le(2**31 - 1), AllowInfNan(False)]
"""A size of one protocol buffer, 1 to 2^31 - 1, the format's own limit."""
Seed = Annotated[int, Ge(0), Le(2_000_000_000), AllowInfNan(False)]
"""0 to 2 billion: with the number of a member added it still fits into 31 bits."""
