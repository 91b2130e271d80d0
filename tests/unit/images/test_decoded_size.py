"""What an image may take is limited by us alone, and one that takes too much costs its neighbours nothing."""

from __future__ import annotations

import struct
import weakref
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from medimg.dicom.parse import refusing
from medimg.dicom.safety import LIMITS, guarded_map
from medimg.errors import OutOfMeans, UnreadableFile
from medimg.images.raster import read_raster, read_raster_tags

HELD: list[weakref.ref] = []


class Room:
    """Stands for an image that takes much memory."""


def write_png_of(path: Path, rows: int, columns: int) -> Path:
    """The begin of a grey PNG of this size, up to its first pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)))
    return path


@pytest.mark.parametrize("size", [9500, 14000])
def test_pillow_refuses_no_picture_for_its_size(tmp_path, size):
    """It warns above 89 million pixels and refuses above 179; ours are 500 million bytes."""
    Image.new("1", (size, size)).save(tmp_path / "a.tif", compression="group4")
    tags = read_raster_tags(tmp_path / "a.tif")
    assert (tags["Rows"], tags["Columns"]) == (size, size)


def test_a_picture_above_our_limit_is_refused_with_it(tmp_path):
    path = write_png_of(tmp_path / "a.png", 22400, 22400)
    line = rf"a\.png: declares 22400 x 22400 pixels, expected at most {LIMITS.frame_bytes} bytes decoded"
    with pytest.raises(UnreadableFile, match=line):
        read_raster_tags(path)


def test_pillow_refuses_no_picture_for_its_texts_or_its_colour_profile(tmp_path):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "x" * 3_000_000, zip=True)
    image_HW = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for name, more in (("text.png", {"pnginfo": texts}), ("profile.png", {"icc_profile": bytes(3_000_000)})):
        Image.fromarray(image_HW).save(tmp_path / name, **more)
        assert np.array_equal(read_raster(tmp_path / name), image_HW), name


def take_much(item: int) -> bool:
    """Fails for want of memory if the item is odd, else says whether what failed before still takes room."""
    room = Room()
    if item % 2:
        HELD.append(weakref.ref(room))
        with refusing(str(item)):
            raise MemoryError
    return any(one() is not None for one in HELD)


def test_a_picture_that_needs_too_much_memory_is_no_verdict_and_leaves_room_for_its_neighbours():
    found = dict(guarded_map(take_much, range(12), workers=1))
    assert [found[item] for item in range(0, 12, 2)] == [False] * 6
    assert all(isinstance(found[item], OutOfMeans) for item in range(1, 12, 2))
