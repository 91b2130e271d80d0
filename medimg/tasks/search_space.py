"""What a search may choose a setting from: some values, or a range.

A task has its own in `search_space.py`, a config in `get_search_space`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Choice:
    """One of these values, two or more, in an order that means something where they have one: 8, 16, 32."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both included; a whole one where both are.

    With "log" each factor is as likely as any other.
    """

    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"


Space = Mapping[str, Choice | Range]
"""Dotted key of a setting to what it is chosen from."""
