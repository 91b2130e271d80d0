"""Where a DICOM file is damaged, in words for its user: asked only of a file that could not be read.

It walks over the elements' headers (DICOM PS3.5 section 7) and quotes no value.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.valuerep import VR

UNDEFINED_LENGTH = 0xFFFFFFFF
LONG_FORM = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""Value representations whose length takes four bytes, behind two that are reserved."""
REPRESENTATIONS = frozenset(str(member) for member in VR if len(str(member)) == 2)
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
DEEPEST = 50


class _Damage(Exception):
    """Ends the walk with what is wrong."""


def name_element(tag: int) -> str:
    """`PixelSpacing (0028,0030)`, or the numbers alone where the standard has no name for them."""
    numbers = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    keyword = keyword_for_tag(tag)
    return f"{keyword} {numbers}" if keyword else numbers


def show_representation(found: bytes) -> str:
    """Two capitals as they are, any other bytes as numbers."""
    return found.decode("ascii") if found.isalpha() and found.isupper() else f"0x{found.hex().upper()}"


def survey(stream: BinaryIO, *, implicit: bool, little: bool) -> tuple[str, str]:
    """Says at which element a file, or an inflated data set, ends too early or cannot be followed.

    Args:
        stream: seekable; at its start a preamble, group 0002 or the data set.
        implicit, little: of the data set; group 0002 is explicit and little endian.

    Returns:
        what is wrong, with tag, found and expected, empty if every element is whole; and the name of the last
        element that is.
    """
    size, last = stream.seek(0, os.SEEK_END), 0
    stream.seek(128)
    position = 132 if stream.read(4) == b"DICM" else 0
    try:
        while position < size:
            stream.seek(position)
            in_meta = stream.read(2) == b"\2\0"
            walk = _Walk(stream, size, implicit=implicit and not in_meta, little=little or in_meta)
            last, position = walk.step(position, last=last)
    except _Damage as damage:
        return str(damage), name_element(last)
    return "", name_element(last)


class _Walk:
    """Steps over elements of one encoding."""

    def __init__(self, stream: BinaryIO, size: int, *, implicit: bool, little: bool) -> None:
        self.stream, self.size = stream, size
        self.implicit, self.order = implicit, "<" if little else ">"

    def step(self, position: int, *, last: int, depth: int = 0) -> tuple[int, int]:
        """The element's tag and where the next one begins; _Damage where that is nowhere."""
        if self.size - position < 8:
            raise _Damage(f"is cut short behind {name_element(last)}, in the header of the next element")
        tag, length, value_at = self._read_header(position)
        if length == UNDEFINED_LENGTH:
            return tag, self._skip_items(value_at, tag, depth)
        if value_at + length > self.size:
            raise _Damage(
                f"is cut short in {name_element(tag)}: it has {max(self.size - value_at, 0)} bytes, expected "
                f"{length}"
            )
        return tag, value_at + length

    def _read_header(self, position: int) -> tuple[int, int, int]:
        """Tag, length, and where the value begins."""
        self.stream.seek(position)
        head = self.stream.read(12)
        group, element = struct.unpack(f"{self.order}HH", head[:4])
        tag = (group << 16) + element
        if self.implicit or group == 0xFFFE:
            return tag, struct.unpack(f"{self.order}L", head[4:8])[0], position + 8
        representation = head[4:6].decode("latin-1")
        if representation not in REPRESENTATIONS:
            raise _Damage(
                f"{name_element(tag)} has the value representation {show_representation(head[4:6])}, which "
                f"does not exist; expected {_usual_representation(tag)}"
            )
        if representation not in LONG_FORM:
            return tag, struct.unpack(f"{self.order}H", head[6:8])[0], position + 8
        if len(head) < 12:
            raise _Damage(
                f"is cut short in {name_element(tag)}: {len(head)} bytes of its header are there, expected 12"
            )
        return tag, struct.unpack(f"{self.order}L", head[8:12])[0], position + 12

    def _skip_items(self, position: int, outer: int, depth: int) -> int:
        """Behind the end of a sequence, or of encapsulated pixels, of undefined length."""
        while depth < DEEPEST and self.size - position >= 8:
            tag, length, position = self._read_header(position)
            if tag == SEQUENCE_END:
                return position
            if tag != ITEM:
                raise _Damage(f"{name_element(outer)} holds {name_element(tag)}, expected an item")
            position = (
                self._skip_item(position, outer, depth) if length == UNDEFINED_LENGTH else position + length
            )
        raise _Damage(f"is cut short in {name_element(outer)}, before the end of the sequence")

    def _skip_item(self, position: int, outer: int, depth: int) -> int:
        while self.size - position >= 8:
            tag = self._read_header(position)[0]
            if tag == ITEM_END:
                return position + 8
            _, position = self.step(position, last=outer, depth=depth + 1)
        raise _Damage(f"is cut short in {name_element(outer)}, before the end of an item")


def _usual_representation(tag: int) -> str:
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return "one of DICOM PS3.5 6.2"
