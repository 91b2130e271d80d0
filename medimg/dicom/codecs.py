"""One named decoder per compressed transfer syntax; nothing is chosen by what happens to be installed.

Every decoder takes one encoded frame and returns an unsigned or signed integer array, HW or HWC in the
colours of `output_photometric`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import imagecodecs
import numpy as np
from openjpeg.utils import decode as decode_openjpeg
from openjpeg.utils import get_parameters as read_openjpeg_parameters
from pydicom.pixels.processing import convert_color_space
from rle.utils import decode_pixel_data as decode_rle_bytes

from medimg.dicom.pixel_format import PixelFormat
from medimg.errors import BadImage

Decode = Callable[[bytes, PixelFormat], np.ndarray]


@dataclass(frozen=True)
class Codec:
    """A compressed transfer syntax and what decodes it.

    Attributes:
        name: of the transfer syntax, for people.
        decoder: package and function that decode it, for reports.
        decode: (encoded frame, format) to values.
        colours_done: the decoder itself turns YBR into RGB.
    """

    name: str
    decoder: str
    decode: Decode
    colours_done: bool = False


def decode_jpeg(frame: bytes, pixel_format: PixelFormat) -> np.ndarray:
    """JPEG processes 1 to 14 (baseline, extended 12 bit, progressive, lossless) by libjpeg-turbo; ITU-T T.81.

    Raises:
        ValueError: the codestream's size is not the header's.
    """
    marker, size = _jpeg_frame_header(frame)
    _check_codestream_size(size, pixel_format)
    frame = _cut_at_end(frame, data_marker=b"\xff\xda")
    if pixel_format.samples == 1:
        return imagecodecs.jpeg8_decode(frame)
    is_ybr = pixel_format.photometric.startswith("YBR")
    if marker == 0xC3:  # Lossless frames carry no colour transform of JPEG's own.
        values = imagecodecs.jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB")
        return convert_color_space(values, "YBR_FULL", "RGB") if is_ybr else values
    # JFIF knows YCbCr alone (ITU-T T.871), whatever the header says.
    is_ycbcr = is_ybr or _is_jfif(frame) or _adobe_transform(frame) == 1
    return imagecodecs.jpeg8_decode(frame, colorspace="YCBCR" if is_ycbcr else "RGB", outcolorspace="RGB")


def decode_lossless_jpeg(frame: bytes, pixel_format: PixelFormat) -> np.ndarray:
    """JPEG process 14 by libjpeg-turbo, without any colour transform."""
    marker, size = _jpeg_frame_header(frame)
    if marker != 0xC3:
        raise BadImage(
            f"the JPEG frame is of kind SOF{marker - 0xC0}, expected SOF3 (lossless) as the transfer "
            "syntax says"
        )
    _check_codestream_size(size, pixel_format)
    frame = _cut_at_end(frame, data_marker=b"\xff\xda")
    if pixel_format.samples == 1:
        return imagecodecs.jpeg8_decode(frame)
    return imagecodecs.jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB")


def decode_jpeg_ls(frame: bytes, pixel_format: PixelFormat) -> np.ndarray:
    """JPEG-LS, lossless or near-lossless, by CharLS; ITU-T T.87."""
    marker, size = _jpeg_frame_header(frame)
    if marker != 0xF7:
        raise BadImage(
            f"the codestream starts a frame with marker 0xFF{marker:02X}, expected 0xFFF7 (JPEG-LS)"
        )
    _check_codestream_size(size, pixel_format)
    frame = _cut_at_end(frame, data_marker=b"\xff\xda")
    return imagecodecs.jpegls_decode(frame)


def decode_jpeg_2000(frame: bytes, pixel_format: PixelFormat) -> np.ndarray:
    """Decodes JPEG 2000 and High-Throughput JPEG 2000 (ITU-T T.800, T.814) by OpenJPEG.

    It also undoes the RCT and ICT colour transforms.
    """
    found = read_openjpeg_parameters(frame)
    _check_codestream_size(
        (int(found["rows"]), int(found["columns"]), int(found["samples_per_pixel"])), pixel_format
    )
    _cut_at_end(frame, data_marker=b"\xff\x93")
    return decode_openjpeg(frame)


def decode_rle(frame: bytes, pixel_format: PixelFormat) -> np.ndarray:
    """RLE Lossless by pylibjpeg-rle; DICOM PS3.5 annex G."""
    expected_bytes = (
        pixel_format.rows * pixel_format.columns * pixel_format.samples * pixel_format.bits_allocated // 8
    )
    # Two bytes of a replicate run become 128 at most: what is shorter cannot hold the frame and is refused
    # before memory is taken for it.
    if len(frame) * 64 < expected_bytes:
        raise BadImage(
            f"an RLE frame of {len(frame)} bytes cannot hold the {expected_bytes} bytes that the "
            "header declares"
        )
    decoded = decode_rle_bytes(
        frame,
        version=2,
        rows=pixel_format.rows,
        columns=pixel_format.columns,
        bits_allocated=pixel_format.bits_allocated,
    )
    planes = np.frombuffer(decoded, dtype=f"<u{pixel_format.bits_allocated // 8}")
    if planes.nbytes != expected_bytes:
        raise BadImage(f"the RLE frame holds {planes.nbytes} bytes, expected {expected_bytes}")
    if pixel_format.samples == 1:
        return planes.reshape(pixel_format.shape)
    return np.ascontiguousarray(
        planes.reshape(pixel_format.samples, pixel_format.rows, pixel_format.columns).transpose(1, 2, 0)
    )


_JPEG = "imagecodecs.jpeg8_decode (libjpeg-turbo)"
_JPEG_LS = "imagecodecs.jpegls_decode (CharLS)"
_JPEG_2000 = "openjpeg.decode (pylibjpeg-openjpeg)"

CODECS: dict[str, Codec] = {
    "1.2.840.10008.1.2.5": Codec("RLE Lossless", "rle.decode_frame (pylibjpeg-rle)", decode_rle),
    "1.2.840.10008.1.2.4.50": Codec("JPEG Baseline (Process 1)", _JPEG, decode_jpeg, colours_done=True),
    "1.2.840.10008.1.2.4.51": Codec("JPEG Extended (Process 2 and 4)", _JPEG, decode_jpeg, colours_done=True),
    "1.2.840.10008.1.2.4.53": Codec(
        "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)", _JPEG, decode_jpeg, colours_done=True
    ),
    "1.2.840.10008.1.2.4.55": Codec(
        "JPEG Full Progression, Non-Hierarchical (Process 10 and 12)", _JPEG, decode_jpeg, colours_done=True
    ),
    "1.2.840.10008.1.2.4.57": Codec("JPEG Lossless (Process 14)", _JPEG, decode_lossless_jpeg),
    "1.2.840.10008.1.2.4.70": Codec(
        "JPEG Lossless (Process 14, Selection Value 1)", _JPEG, decode_lossless_jpeg
    ),
    "1.2.840.10008.1.2.4.80": Codec("JPEG-LS Lossless", _JPEG_LS, decode_jpeg_ls),
    "1.2.840.10008.1.2.4.81": Codec("JPEG-LS Near-Lossless", _JPEG_LS, decode_jpeg_ls),
    "1.2.840.10008.1.2.4.90": Codec("JPEG 2000 (Lossless Only)", _JPEG_2000, decode_jpeg_2000),
    "1.2.840.10008.1.2.4.91": Codec("JPEG 2000", _JPEG_2000, decode_jpeg_2000),
    "1.2.840.10008.1.2.4.201": Codec(
        "High-Throughput JPEG 2000 (Lossless Only)", _JPEG_2000, decode_jpeg_2000
    ),
    "1.2.840.10008.1.2.4.202": Codec(
        "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)", _JPEG_2000, decode_jpeg_2000
    ),
    "1.2.840.10008.1.2.4.203": Codec("High-Throughput JPEG 2000", _JPEG_2000, decode_jpeg_2000),
}


def _check_codestream_size(found: tuple[int, int, int], pixel_format: PixelFormat) -> None:
    expected = (pixel_format.rows, pixel_format.columns, pixel_format.samples)
    if found != expected:
        raise BadImage(
            f"the codestream has rows, columns, samples {found}, expected {expected} as the header declares"
        )


def _cut_at_end(frame: bytes, *, data_marker: bytes) -> bytes:
    """The codestream up to its end marker 0xFFD9, without the bytes that may follow.

    JPEG, JPEG-LS and JPEG 2000 stuff their data so that no end marker is in them; in a segment before them,
    a thumbnail may have one. Without an end marker libjpeg fills what is missing with grey.

    Args:
        data_marker: start of scan, 0xFFDA, or of a tile's data, 0xFF93.
    """
    end = frame.find(b"\xff\xd9", max(frame.find(data_marker), 0))
    if end < 0:
        raise BadImage("the codestream does not end with its end marker 0xFFD9; it is cut short")
    return frame[: end + 2]


def _jpeg_frame_header(frame: bytes) -> tuple[int, tuple[int, int, int]]:
    """The start-of-frame marker's second byte and (rows, columns, samples); ITU-T T.81 B.2.2."""
    for marker, segment in _jpeg_segments(frame):
        # C4, C8 and CC lie in the range but are no frames (tables, extension, arithmetic conditioning).
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            if len(segment) < 6:
                break
            _, rows, columns, samples = struct.unpack(">BHHB", segment[:6])
            return marker, (rows, columns, samples)
    raise BadImage(f"no JPEG frame header found in {len(frame)} bytes, expected a JPEG codestream")


def _is_jfif(frame: bytes) -> bool:
    return any(marker == 0xE0 and segment[:5] == b"JFIF\0" for marker, segment in _jpeg_segments(frame))


def _adobe_transform(frame: bytes) -> int | None:
    """The colour transform of the APP14 Adobe segment: 1 is YCbCr."""
    for marker, segment in _jpeg_segments(frame):
        if marker == 0xEE and segment[:5] == b"Adobe" and len(segment) >= 12:
            return segment[11]
    return None


def _jpeg_segments(frame: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker's second byte, payload) of the segments before the first scan."""
    position = 2
    while frame[:2] == b"\xff\xd8" and position + 4 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == 0xFF:  # Fill byte.
            position += 1
            continue
        if marker == 0xDA:
            return
        length = int.from_bytes(frame[position + 2 : position + 4], "big")
        yield marker, frame[position + 4 : position + 2 + length]
        position += 2 + length
