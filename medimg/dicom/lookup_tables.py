"""Lookup tables of a header, checked before they are applied: the descriptor and as much data as it says."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset

from medimg.dicom.damage import name_element
from medimg.errors import BadImage

DESCRIPTOR, DATA = 0x00283002, 0x00283006
PALETTES = ((0x00281101, 0x00281201), (0x00281102, 0x00281202), (0x00281103, 0x00281203))
SEGMENTED = 0x20
"""A segmented palette (0028,122x) stands for the plain one (0028,120x); it has no fixed length."""


def check_table(dataset: Dataset, sequence: str) -> None:
    """Raises BadImage unless the first item of a LUT sequence has a descriptor and as many values.

    See DICOM PS3.3 C.11.1.1 and C.11.2.1.1.
    """
    item = dataset[sequence].value[0]
    _check(item, DESCRIPTOR, DATA, where=f"{name_element(dataset[sequence].tag)}: ")


def check_palette(dataset: Dataset) -> None:
    """Raises BadImage unless the three palettes of PALETTE COLOR are whole, DICOM PS3.3 C.7.9."""
    for descriptor, data in PALETTES:
        if data + SEGMENTED not in dataset:
            _check(dataset, descriptor, data)


def _check(holder: Dataset, descriptor: int, data: int, *, where: str = "") -> None:
    numbers: Any = holder[descriptor].value if descriptor in holder else None
    if not hasattr(numbers, "__len__") or len(numbers) != 3:
        raise BadImage(f"{where}{name_element(descriptor)} is missing or incomplete, expected three numbers")
    entries = int(numbers[0]) or 1 << 16
    value: Any = holder[data].value if data in holder else None
    if value is None or not hasattr(value, "__len__") or not len(value):
        missing = "missing" if data not in holder else "empty"
        raise BadImage(f"{where}{name_element(data)} is {missing}, expected {entries} values")
    # Bytes are words of 16 bits, or values of 8 bits (a retired habit).
    width = 2 if isinstance(value, bytes) and int(numbers[2]) > 8 else 1
    if len(value) // width < entries:
        raise BadImage(f"{where}{name_element(data)} has {len(value) // width} values, expected {entries}")
