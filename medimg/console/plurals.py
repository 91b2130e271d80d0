"""Forms plurals of nouns that the program does not know beforehand: groups and levels of a data set."""

from __future__ import annotations

IRREGULAR = {
    "axis": "axes",
    "child": "children",
    "diagnosis": "diagnoses",
    "index": "indices",
    "man": "men",
    "metastasis": "metastases",
    "mouse": "mice",
    "nucleus": "nuclei",
    "person": "people",
    "series": "series",
    "tooth": "teeth",
    "vertebra": "vertebrae",
    "woman": "women",
}
VOWELS = "aeiou"
SIBILANTS = ("s", "x", "z", "ch", "sh")
"""Endings that take -es."""


def make_plural(noun: str) -> str:
    """Returns the plural of an English noun: `studies` of `study`; of several words that of the last one."""
    *before, last = noun.rpartition(" ")
    lower = last.lower()
    if lower in IRREGULAR:
        plural = IRREGULAR[lower]
    elif lower.endswith("y") and lower[-2:-1] not in VOWELS:
        plural = f"{last[:-1]}ies"
    elif lower.endswith(SIBILANTS):
        plural = f"{last}es"
    else:
        plural = f"{last}s"
    return "".join(before) + plural


def count(number: int, noun: str) -> str:
    """Returns `1 breast`, `25 breasts`."""
    return f"{number} {noun if number == 1 else make_plural(noun)}"
