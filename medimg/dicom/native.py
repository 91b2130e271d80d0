"""Uncompressed frames: from the file's bytes to integers (DICOM PS3.5 section 8)."""

from __future__ import annotations

from typing import BinaryIO, Literal

import numpy as np
from pydicom.pixels.utils import expand_ybr422

from medimg.dicom.pixel_format import PixelFormat

Layout = Literal["little", "big", "big words"]
"""Byte order of the samples; "big words": also 8-bit samples lie in big-endian pairs (VR OW)."""


def native_frame(
    stream: BinaryIO, *, at: int, frame: int, pixel_format: PixelFormat, layout: Layout
) -> np.ndarray:
    """Reads one frame, and no other byte, of uncompressed pixel data whose length has been checked.

    Args:
        stream: seekable.
        at: offset of the pixel data's value in bytes.
        frame: 0-based.
        pixel_format: of the pixel data.
        layout: byte order.

    Returns:
        unsigned integers as stored, HW or HWC, in the file's byte order.
    """
    if pixel_format.bits_allocated == 1:
        return _bit_frame(stream, at=at, frame=frame, pixel_format=pixel_format)
    size = pixel_format.frame_bits // 8
    if layout == "big words" and pixel_format.bits_allocated == 8:
        raw = _swapped_bytes(stream, at=at, start=frame * size, size=size)
    else:
        stream.seek(at + frame * size)
        raw = stream.read(size)
    if pixel_format.photometric == "YBR_FULL_422":
        raw = expand_ybr422(raw, pixel_format.bits_allocated)
    order = "<" if layout == "little" else ">"
    values = np.frombuffer(raw, dtype=f"{order}u{pixel_format.bits_allocated // 8}")
    if pixel_format.planar and pixel_format.samples > 1 and pixel_format.photometric != "YBR_FULL_422":
        planes_CHW = values.reshape(pixel_format.samples, pixel_format.rows, pixel_format.columns)
        return np.ascontiguousarray(planes_CHW.transpose(1, 2, 0))
    return values.reshape(pixel_format.shape)


def stored_integers(raw: np.ndarray, pixel_format: PixelFormat, *, aligned: bool) -> np.ndarray:
    """Drops the bits around the stored ones and extends the sign (DICOM PS3.5 8.1.1).

    Args:
        raw: any integer type and byte order.
        aligned: the decoder has already put the lowest stored bit at bit 0.
    """
    unsigned = raw.view(raw.dtype.str.replace("i", "u")).astype(f"=u{raw.dtype.itemsize}", copy=False)
    if not aligned and (shift := pixel_format.high_bit + 1 - pixel_format.bits_stored):
        unsigned = unsigned >> unsigned.dtype.type(shift)
    width = unsigned.dtype.itemsize * 8
    spare = max(width - pixel_format.bits_stored, 0)
    if pixel_format.signed:
        signed = (unsigned << unsigned.dtype.type(spare)).view(f"=i{unsigned.dtype.itemsize}")
        return (signed >> signed.dtype.type(spare)).astype(pixel_format.container, copy=False)
    if spare:
        unsigned = unsigned & unsigned.dtype.type((1 << pixel_format.bits_stored) - 1)
    return unsigned.astype(pixel_format.container, copy=False)


def _swapped_bytes(stream: BinaryIO, *, at: int, start: int, size: int) -> bytes:
    """8-bit samples written as big-endian words: each pair of bytes is swapped (DICOM PS3.5 8.1.1)."""
    first, last = start & ~1, (start + size + 1) & ~1
    stream.seek(at + first)
    words = np.frombuffer(stream.read(last - first), dtype=">u2").astype("<u2").tobytes()
    return words[start - first : start - first + size]


def _bit_frame(stream: BinaryIO, *, at: int, frame: int, pixel_format: PixelFormat) -> np.ndarray:
    """Reads single-bit samples, packed from the least significant bit on (DICOM PS3.5 8.1.1).

    There is no padding between frames.
    """
    start, count = frame * pixel_format.frame_bits, pixel_format.frame_bits
    stream.seek(at + start // 8)
    packed = np.frombuffer(stream.read((start % 8 + count + 7) // 8), dtype=np.uint8)
    return np.unpackbits(packed, bitorder="little")[start % 8 : start % 8 + count].reshape(pixel_format.shape)
