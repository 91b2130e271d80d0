"""The Image Pixel module (DICOM PS3.3 C.7.6.3): how pixels are stored, checked before decoding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from medimg.dicom.safety import Limits
from medimg.dicom.tags import read_value
from medimg.errors import BadImage, quote_code

SAMPLES = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_RCT": 3,
    "YBR_ICT": 3,
}
"""Photometric interpretations that are read, with their samples per pixel."""


@dataclass(frozen=True)
class PixelFormat:
    """The checked Image Pixel attributes; all counts are positive.

    Attributes:
        high_bit: bit position of the most significant stored bit; larger than bits_stored - 1 in some retired
            files.
        planar: samples lie plane by plane (RRR GGG BBB), in native pixel data.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: bool
    photometric: str

    @property
    def shape(self) -> tuple[int, ...]:
        """HW, or HWC for colour, as stored (a palette has one sample)."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def frame_bits(self) -> int:
        """Length of one native frame."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def container(self) -> np.dtype:
        """The smallest integer type that holds the stored values, whatever the transfer syntax."""
        size = 1 if self.bits_stored <= 8 else 2 if self.bits_stored <= 16 else 4
        return np.dtype(f"{'i' if self.signed else 'u'}{size}")


def read_pixel_format(dataset: Dataset) -> PixelFormat:
    """Checks the Image Pixel module.

    Raises:
        ValueError: an attribute is missing, contradicts another or is not supported; names it, what was found
            and what was expected.
    """
    photometric = str(read_value(dataset, "PhotometricInterpretation") or "")
    if photometric not in SAMPLES:
        raise BadImage(
            f"PhotometricInterpretation (0028,0004) is {quote_code(photometric)}, expected one of "
            f"{', '.join(SAMPLES)}"
        )
    bits_allocated = _integer(dataset, "BitsAllocated", allowed=(1, 8, 16, 32))
    bits_stored = _integer(dataset, "BitsStored", allowed=range(1, bits_allocated + 1))
    return PixelFormat(
        rows=_integer(dataset, "Rows", allowed=range(1, 65536)),
        columns=_integer(dataset, "Columns", allowed=range(1, 65536)),
        frames=_integer(dataset, "NumberOfFrames", allowed=range(1, 2**31), default=1),
        samples=_integer(
            dataset, "SamplesPerPixel", allowed=(SAMPLES[photometric],), default=SAMPLES[photometric]
        ),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=_integer(
            dataset, "HighBit", allowed=range(bits_stored - 1, bits_allocated), default=bits_stored - 1
        ),
        signed=_integer(dataset, "PixelRepresentation", allowed=(0, 1), default=0) == 1,
        planar=_integer(dataset, "PlanarConfiguration", allowed=(0, 1), default=0) == 1,
        photometric=photometric,
    )


def check_size(pixel_format: PixelFormat, *, limits: Limits) -> None:
    """Raises ValueError if what the header declares would decode to more than the limits allow."""
    frame_bytes = (
        pixel_format.rows
        * pixel_format.columns
        * max(pixel_format.samples, 1)
        * max(pixel_format.bits_allocated // 8, 1)
    )
    if pixel_format.photometric == "PALETTE COLOR":
        frame_bytes *= 3
    declared = (
        f"declares {pixel_format.frames} frame(s) of {pixel_format.rows} x {pixel_format.columns} pixels"
    )
    if frame_bytes > limits.frame_bytes:
        raise BadImage(f"{declared}, {frame_bytes} bytes each, expected at most {limits.frame_bytes}")
    if frame_bytes * pixel_format.frames > limits.decoded_bytes:
        raise BadImage(
            f"{declared}, {frame_bytes * pixel_format.frames} bytes, expected at most {limits.decoded_bytes}"
        )


def _integer(
    dataset: Dataset, keyword: str, *, allowed: range | tuple[int, ...], default: int | None = None
) -> int:
    found = read_value(dataset, keyword)
    if found in (None, "") and default is not None:
        return default
    value = int(found) if isinstance(found, (int, float)) else -1
    if value not in allowed:
        expected = (
            f"{allowed.start} to {allowed.stop - 1}"
            if isinstance(allowed, range)
            else " or ".join(map(str, allowed))
        )
        shown = (
            "missing" if found is None else value if isinstance(found, (int, float)) else "no single number"
        )
        raise BadImage(f"{keyword} is {shown}, expected {expected}")
    return value
