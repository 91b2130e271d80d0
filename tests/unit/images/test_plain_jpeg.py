"""Which JPEG files go into Examples as they are: those that hold pixels and nothing else."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from medimg.errors import UnreadableFile
from medimg.images.prepare import Ingest, keep_image
from medimg.images.raster import read_plain_jpeg

COLOUR = np.random.default_rng(2).integers(0, 256, size=(20, 30, 3), dtype=np.uint8)


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    target = io.BytesIO()
    Image.fromarray(COLOUR).convert(mode).save(target, format="JPEG", **options)
    return target.getvalue()


def with_segment(marker: int, payload: bytes) -> bytes:
    """A JPEG with one more segment behind its start."""
    plain = jpeg()
    return plain[:2] + bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload + plain[2:]


def with_size(rows: int, columns: int) -> bytes:
    """A JPEG whose frame header declares this size."""
    plain = jpeg()
    at = plain.index(b"\xff\xc0") + 5
    return plain[:at] + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + plain[at + 4 :]


def with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe"
    return jpeg(exif=exif)


@pytest.mark.parametrize(
    ("content", "channels", "size"),
    [
        (jpeg(), 3, None),
        (jpeg(), 3, (20, 30)),
        (jpeg("L"), 1, (20, 30)),
        (jpeg(progressive=True), 3, None),
        (jpeg(icc_profile=b"profile"), 3, None),
        (with_segment(0xEE, b"Adobe\x00\x64\x00\x00\x00\x00\x01"), 3, None),
        (with_segment(0xE0, b"JFXX\x00\x10"), 3, None),
    ],
)
def test_a_jpeg_of_pixels_alone_is_kept_byte_for_byte(tmp_path, content, channels, size):
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_plain_jpeg(tmp_path / "a.jpg", channels=channels, size=size) == content


@pytest.mark.parametrize(
    ("content", "channels", "size"),
    [
        (jpeg(), 1, None),
        (jpeg("L"), 3, None),
        (jpeg("CMYK"), 3, None),
        (jpeg(), 3, (30, 20)),
        (jpeg(), 3, (20, 31)),
        (jpeg(), 3, (21, 30)),
        (with_exif(), 3, None),
        (jpeg(comment="Jane Doe"), 3, None),
        (with_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00<x>Jane Doe</x>"), 3, None),
        (with_segment(0xE1, b"Jane Doe"), 3, None),
        (with_segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00\x00\x00"), 3, None),
        (with_segment(0xED, b"Jane Doe"), 3, None),
        *[(with_segment(marker, b"Jane Doe"), 3, None) for marker in (0xE3, 0xE5, 0xEB, 0xEF)],
        (with_size(65_000, 2_565), 3, None),  # 500,175,000 bytes decoded.
        (jpeg()[:100], 3, None),
        (b"\xff\xd8\xff", 3, None),
        (b"\x89PNG\r\n\x1a\n", 3, None),
        (b"", 3, None),
    ],
)
def test_any_other_file_is_not_kept(tmp_path, content, channels, size):
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_plain_jpeg(tmp_path / "a.jpg", channels=channels, size=size) is None


def test_a_jpeg_may_decode_to_500_mb_and_no_file_may_be_larger(tmp_path):
    (tmp_path / "a.jpg").write_bytes(with_size(65_000, 2_564))
    assert read_plain_jpeg(tmp_path / "a.jpg", channels=3) is not None
    os.truncate(tmp_path / "a.jpg", 500_000_001)  # A hole takes no space on the disk.
    assert read_plain_jpeg(tmp_path / "a.jpg", channels=3) is None


def test_an_image_in_another_format_is_not_kept(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", format="PNG")
    assert read_plain_jpeg(tmp_path / "a.jpg", channels=3) is None


@pytest.mark.parametrize(
    ("ingest", "is_kept"),
    [
        (Ingest(None, channels=3), True),
        (Ingest((20, 30), channels=3), True),
        (Ingest((30, 20), channels=3), False),
        (Ingest((20, 30)), False),
        (Ingest(None, channels=3, bits=16), False),
        (Ingest(None, channels=3, orientation="mammogram"), False),
        (Ingest(None, channels=3, crop="breast"), False),
        (Ingest((20, 30), channels=3, fit="stretch"), True),
    ],
)
def test_a_jpeg_is_kept_where_nothing_is_to_be_done_to_it(tmp_path, ingest, is_kept):
    content = jpeg()
    (tmp_path / "a.jpg").write_bytes(content)
    assert keep_image(tmp_path / "a.jpg", ingest=ingest) == (content if is_kept else None)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda path: keep_image(path, ingest=Ingest(None)), r"^absent\.jpg: No such file"),
        (lambda path: keep_image(path, ingest=Ingest(None), name="b/c.jpg"), r"^b/c\.jpg: No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, keep: Callable, message):
    with pytest.raises(UnreadableFile, match=message):
        keep(tmp_path / "absent.jpg")
