"""The stored pixel values of DICOM files in any standard transfer syntax.

Whatever is wrong with a file ends in UnreadableFile. Colours leave here as RGB, grey values as stored (before
modality and VOI LUT).
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames, get_frame
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.uid import UID

from medimg.dicom.codecs import CODECS
from medimg.dicom.lookup_tables import check_palette
from medimg.dicom.native import Layout, native_frame, stored_integers
from medimg.dicom.parse import (
    EXPLICIT_BIG,
    NATIVE,
    UNDEFINED_LENGTH,
    DicomFile,
    Source,
    check_fragments,
    open_dicom,
    survey_stream,
)
from medimg.dicom.pixel_format import PixelFormat, check_size, read_pixel_format
from medimg.dicom.safety import LIMITS, Limits, allow_pixels
from medimg.dicom.tags import read_value
from medimg.errors import BadImage


def read_frame(source: Source, *, frame: int = 0, limits: Limits = LIMITS) -> np.ndarray:
    """Reads the stored values of one frame.

    Args:
        source: a file, or a data set that holds its pixel data.
        frame: 0-based.

    Returns:
        HW, or RGB as HWC; the smallest integer type for Bits Stored; high bits masked, signed values
        sign-extended; not to be written to.

    Raises:
        UnreadableFile: as for `read_tags`, or the pixel data are missing, cut short, of another length,
            damaged, or in a transfer syntax without a decoder.
    """
    with open_dicom(source, limits=limits) as file:
        return frame_of(file, frame=frame, limits=limits)


def iterate_frames(source: Source, *, limits: Limits = LIMITS) -> Iterator[np.ndarray]:
    """Yields all frames one at a time, as `read_frame` returns them; never more than one in memory."""
    with open_dicom(source, limits=limits) as file:
        yield from frames_of(file, limits=limits)


def frame_of(file: DicomFile, *, frame: int, limits: Limits = LIMITS) -> np.ndarray:
    """One frame of an open file; see `read_frame`."""
    pixel_format = _checked_format(file, limits=limits)
    if not 0 <= frame < pixel_format.frames:
        raise BadImage(f"frame {frame} asked for, expected 0 to {pixel_format.frames - 1}")
    if file.transfer_syntax in NATIVE:
        return _finish(_native_frame(file, pixel_format, frame), pixel_format, file)
    file.stream.seek(file.pixels_at)
    encoded = get_frame(
        file.stream,
        frame,
        number_of_frames=pixel_format.frames,
        extended_offsets=_extended_offsets(file.dataset),
    )
    return _decode(encoded, pixel_format, file)


def frames_of(
    file: DicomFile, *, limits: Limits = LIMITS, among: Collection[int] | None = None
) -> Iterator[np.ndarray]:
    """All frames of an open file, or those with the numbers `among`, one at a time.

    The others are counted and not decoded.
    """
    pixel_format = _checked_format(file, limits=limits)
    wanted = range(pixel_format.frames) if among is None else among
    if file.transfer_syntax in NATIVE:
        for frame in sorted(wanted):
            yield _finish(_native_frame(file, pixel_format, frame), pixel_format, file)
        return
    file.stream.seek(file.pixels_at)
    found = 0
    for encoded in generate_frames(
        file.stream, number_of_frames=pixel_format.frames, extended_offsets=_extended_offsets(file.dataset)
    ):
        found += 1
        if found <= pixel_format.frames and found - 1 in wanted:
            yield _decode(encoded, pixel_format, file)
    if found != pixel_format.frames:
        raise BadImage(f"has {found} encoded frame(s), expected {pixel_format.frames} as NumberOfFrames says")


def _checked_format(file: DicomFile, *, limits: Limits) -> PixelFormat:
    if file.pixels_at < 0:
        damage, last = survey_stream(file.stream, file.transfer_syntax)
        kind = UID(str(read_value(file.dataset, "SOPClassUID") or ""))
        name = (kind.name if kind.name != str(kind) else "a private one") if kind else "not stated"
        found = f"expected an image; its SOP class is {name}, and it ends behind {last}"
        absent = "it is cut short, or its pixels were taken out"
        raise BadImage(damage or f"has no pixel data (7FE0,0010), {found}: {absent}")
    if file.transfer_syntax not in NATIVE and file.transfer_syntax not in CODECS:
        raise BadImage(
            f"transfer syntax {UID(file.transfer_syntax).name} ({file.transfer_syntax}) has no "
            "decoder here; convert the file first"
        )
    pixel_format = read_pixel_format(file.dataset)
    check_size(pixel_format, limits=limits)
    if file.transfer_syntax in NATIVE:
        _check_native_length(file, pixel_format)
    elif file.pixels_length != UNDEFINED_LENGTH:
        raise BadImage(
            f"pixel data have the defined length {file.pixels_length}, expected encapsulated frames "
            "as the transfer syntax says"
        )
    elif pixel_format.bits_allocated == 1:
        raise BadImage("BitsAllocated is 1 in a compressed transfer syntax, expected 8, 16 or 32")
    else:
        check_fragments(file)
    return pixel_format


def _check_native_length(file: DicomFile, pixel_format: PixelFormat) -> None:
    expected = (pixel_format.frame_bits * pixel_format.frames + 7) // 8
    if file.pixels_length == UNDEFINED_LENGTH:
        raise BadImage(
            "pixel data have an undefined length, expected a length as the transfer syntax is uncompressed"
        )
    available = file.stream.seek(0, os.SEEK_END) - file.pixels_at
    if min(available, file.pixels_length) < expected:
        found = "the file is cut short" if available < file.pixels_length else "the header contradicts them"
        raise BadImage(
            f"pixel data (7FE0,0010) have {min(available, file.pixels_length)} bytes, expected "
            f"{expected}; {found}"
        )
    excess = file.pixels_length - expected
    # One byte makes the length even; some writers pad with zeros to a block. Anything else may be pixels that
    # the header hides.
    if excess > 1:
        file.stream.seek(file.pixels_at + expected)
        if excess * 8 >= pixel_format.frame_bits or any(file.stream.read(excess)):
            raise BadImage(
                f"pixel data (7FE0,0010) have {file.pixels_length} bytes, expected {expected} from "
                "rows, columns, frames and bits"
            )


def _native_frame(file: DicomFile, pixel_format: PixelFormat, frame: int) -> np.ndarray:
    layout: Layout = "little"
    if file.transfer_syntax == EXPLICIT_BIG:
        layout = "big words" if file.pixels_representation == "OW" else "big"
    return native_frame(file.stream, at=file.pixels_at, frame=frame, pixel_format=pixel_format, layout=layout)


def _extended_offsets(dataset: Dataset) -> tuple[bytes, bytes] | None:
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        return dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths
    return None


def _decode(encoded: bytes, pixel_format: PixelFormat, file: DicomFile) -> np.ndarray:
    codec = CODECS[file.transfer_syntax]
    allow_pixels(math.prod(pixel_format.shape))
    try:
        values = codec.decode(encoded, pixel_format)
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # pylibjpeg-rle is Rust: its panics are no Exception.
        raise BadImage(
            f"{codec.name} frame of {len(encoded)} bytes cannot be decoded: {_explain(error)}"
        ) from error
    if values.shape != pixel_format.shape:
        raise BadImage(f"{codec.name} frame decodes to shape {values.shape}, expected {pixel_format.shape}")
    return _finish(values, pixel_format, file, colours_done=codec.colours_done)


def _explain(error: BaseException) -> str:
    """What a decoder says of a frame; what Python says of it is no help to a user."""
    text = " ".join(str(error).split())[:200]
    spoken = isinstance(error, BadImage) or type(error).__module__.startswith("imagecodecs")
    return text if spoken and text.isprintable() else "it is damaged"


def _finish(
    values: np.ndarray, pixel_format: PixelFormat, file: DicomFile, *, colours_done: bool = False
) -> np.ndarray:
    """Stored bits to integers, palette and YBR to RGB."""
    values = stored_integers(values, pixel_format, aligned=file.transfer_syntax not in NATIVE)
    if pixel_format.photometric == "PALETTE COLOR":
        check_palette(file.dataset)
        return apply_color_lut(values, file.dataset)
    if pixel_format.photometric in ("YBR_FULL", "YBR_FULL_422") and not colours_done:
        if pixel_format.bits_stored != 8:
            raise BadImage(
                f"{pixel_format.photometric} with {pixel_format.bits_stored} bits stored, expected 8"
            )
        return convert_color_space(values, "YBR_FULL", "RGB")
    return values
