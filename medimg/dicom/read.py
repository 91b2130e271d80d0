"""DICOM files in any standard transfer syntax: their tags and their stored pixel values.

Whatever is wrong with a file ends in UnreadableFile. Colours leave here as RGB, grey values as stored (before modality and VOI LUT).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames, get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.tag import BaseTag
from pydicom.uid import UID

from medimg.dicom.codecs import CODECS
from medimg.dicom.native import Layout, native_frame, stored_integers
from medimg.dicom.pixel_format import PixelFormat, check_size, read_pixel_format
from medimg.dicom.safety import LIMITS, Limits, describe, inflate
from medimg.dicom.tags import collect_tags
from medimg.errors import UnreadableFile

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
NATIVE = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED_LITTLE, EXPLICIT_BIG)
"""Transfer syntaxes with uncompressed pixels, read by numpy.frombuffer."""

UNDEFINED_LENGTH = 0xFFFFFFFF
PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009

Source = str | os.PathLike[str] | Dataset


@dataclass(frozen=True)
class DicomFile:
    """An open data set, read up to its pixel data.

    Attributes:
        name: for errors.
        dataset: all elements before (7FE0,0010).
        transfer_syntax: its UID; deduced for a bare data set.
        stream: seekable; pixel data lie in it.
        pixels_at: offset of the pixel data's value in `stream`, -1 without pixel data.
        pixels_length: of the value in bytes, or UNDEFINED_LENGTH where it is encapsulated.
        pixels_representation: "OB" or "OW", "" in implicit VR.
    """

    name: str
    dataset: Dataset
    transfer_syntax: str
    stream: BinaryIO
    pixels_at: int = -1
    pixels_length: int = 0
    pixels_representation: str = ""


def read_tags(path: str | os.PathLike[str], *, name: str = "", limits: Limits = LIMITS) -> dict[str, Any]:
    """Reads the wanted header attributes, JSON-able, by keyword (see medimg.dicom.tags); never a pixel.

    Raises:
        UnreadableFile: no DICOM, damaged, or larger than the limits.
    """
    with open_dicom(path, name=name, limits=limits) as file:
        return tags_of(file)


def read_frame(source: Source, *, frame: int = 0, limits: Limits = LIMITS) -> np.ndarray:
    """Reads the stored values of one frame.

    Args:
        source: a file, or a data set that holds its pixel data.
        frame: 0-based.

    Returns:
        HW, or RGB as HWC; the smallest integer type for Bits Stored; high bits masked, signed values sign-extended; not to be written to.

    Raises:
        UnreadableFile: as for `read_tags`, or the pixel data are missing, cut short, of another length, damaged, or in a transfer
            syntax without a decoder.
    """
    with open_dicom(source, limits=limits) as file:
        return frame_of(file, frame=frame, limits=limits)


def iterate_frames(source: Source, *, limits: Limits = LIMITS) -> Iterator[np.ndarray]:
    """Yields all frames one at a time, as `read_frame` returns them; never more than one in memory."""
    with open_dicom(source, limits=limits) as file:
        yield from frames_of(file, limits=limits)


@contextmanager
def open_dicom(source: Source, *, name: str = "", limits: Limits = LIMITS) -> Iterator[DicomFile]:
    """Opens a file or a data set for the `*_of` functions; whatever goes wrong within the block becomes UnreadableFile."""
    name = name or (Path(source).name if not isinstance(source, Dataset) else str(source.get("SOPInstanceUID", "data set")))
    with refusing(name):
        if isinstance(source, Dataset):
            yield _wrap_dataset(source, name=name)
            return
        with Path(source).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > limits.file_bytes:
                raise ValueError(f"has {size} bytes, expected at most {limits.file_bytes}")
            yield _parse(stream, name=name, limits=limits)


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turns every failure within the block into UnreadableFile with the file's name in front."""
    try:
        yield
    except UnreadableFile:
        raise
    except OSError as error:
        raise UnreadableFile(f"{name}: {error.strerror or describe(error)}, expected a readable file") from error
    except RecursionError as error:
        raise UnreadableFile(f"{name}: sequences are nested too deeply, expected fewer than {_NESTING} levels") from error
    except MemoryError as error:
        raise UnreadableFile(f"{name}: needs more memory than there is, expected a smaller image") from error
    except ValueError as error:
        raise UnreadableFile(f"{name}: {' '.join(str(error).split())[:300]}") from error
    except Exception as error:
        raise UnreadableFile(f"{name}: {describe(error)}, expected a readable image file") from error


_NESTING = 200
"""About the depth of sequences at which Python's recursion limit of 1000 ends the parser."""


def tags_of(file: DicomFile) -> dict[str, Any]:
    """The wanted header attributes of an open file."""
    return collect_tags(file.dataset, transfer_syntax=file.transfer_syntax)


def frame_of(file: DicomFile, *, frame: int, limits: Limits = LIMITS) -> np.ndarray:
    """One frame of an open file; see `read_frame`."""
    pixel_format = _checked_format(file, limits=limits)
    if not 0 <= frame < pixel_format.frames:
        raise ValueError(f"frame {frame} asked for, expected 0 to {pixel_format.frames - 1}")
    if file.transfer_syntax in NATIVE:
        return _finish(_native_frame(file, pixel_format, frame), pixel_format, file)
    file.stream.seek(file.pixels_at)
    encoded = get_frame(file.stream, frame, number_of_frames=pixel_format.frames, extended_offsets=_extended_offsets(file.dataset))
    return _decode(encoded, pixel_format, file)


def frames_of(file: DicomFile, *, limits: Limits = LIMITS) -> Iterator[np.ndarray]:
    """All frames of an open file, one at a time."""
    pixel_format = _checked_format(file, limits=limits)
    if file.transfer_syntax in NATIVE:
        for frame in range(pixel_format.frames):
            yield _finish(_native_frame(file, pixel_format, frame), pixel_format, file)
        return
    file.stream.seek(file.pixels_at)
    found = 0
    for encoded in generate_frames(file.stream, number_of_frames=pixel_format.frames, extended_offsets=_extended_offsets(file.dataset)):
        found += 1
        if found <= pixel_format.frames:
            yield _decode(encoded, pixel_format, file)
    if found != pixel_format.frames:
        raise ValueError(f"has {found} encoded frame(s), expected {pixel_format.frames} as NumberOfFrames says")


def _parse(stream: BinaryIO, *, name: str, limits: Limits) -> DicomFile:
    head = stream.read(132)
    if not looks_like_dicom(head):
        raise ValueError("is not a DICOM file (no 'DICM' at byte 128 and no data set at byte 0)")
    stream.seek(132 if head[128:132] == b"DICM" else 0)
    meta = FileMetaDataset(read_dataset(stream, False, True, stop_when=lambda tag, *_: BaseTag(tag).group != 2))
    syntax = str(meta.get("TransferSyntaxUID") or _deduce_syntax(stream))
    if syntax not in NATIVE and not UID(syntax).is_transfer_syntax:
        raise ValueError(f"TransferSyntaxUID (0002,0010) is {syntax!r}, expected a transfer syntax of the DICOM standard")
    if syntax == DEFLATED_LITTLE:
        stream = inflate(stream, limit_bytes=limits.inflated_bytes)
    little = syntax != EXPLICIT_BIG
    dataset = read_dataset(
        stream, syntax == IMPLICIT_LITTLE, little, stop_when=lambda tag, *_: tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA)
    )
    if not len(dataset):
        raise ValueError("holds no data element, expected a DICOM data set")
    dataset.file_meta = meta
    at, length, representation = _pixel_element(stream, order="<" if little else ">")
    return DicomFile(name, dataset, syntax, stream, at, length, representation)


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file with these first 132 bytes has a DICOM preamble, or is a bare data set.

    A bare data set starts with a small element of group 0002 or 0008, in either byte order.
    """
    if head[128:132] == b"DICM":
        return True
    if len(head) < 8 or struct.unpack("<H", head[:2])[0] not in (2, 8, 0x0800):
        return False
    return _names_representation(head) or struct.unpack("<L", head[4:8])[0] < 1 << 16


def _names_representation(head: bytes) -> bool:
    """An explicit VR such as "UL" follows the first tag."""
    return head[4:6].isalpha() and head[4:6].isupper()


def _deduce_syntax(stream: BinaryIO) -> str:
    """Of a data set without file meta information, from its first element."""
    head = stream.read(6)
    stream.seek(-len(head), os.SEEK_CUR)
    if not _names_representation(head):
        return IMPLICIT_LITTLE
    return EXPLICIT_BIG if head[:2] == b"\x00\x08" else EXPLICIT_LITTLE


def _pixel_element(stream: BinaryIO, *, order: str) -> tuple[int, int, str]:
    """(offset, length, VR) of the pixel data's value; offset -1 where there are none."""
    head = stream.read(12)
    if len(head) < 8:
        return -1, 0, ""
    group, element = struct.unpack(f"{order}HH", head[:4])
    if (group << 16) + element != PIXEL_DATA:
        raise ValueError("holds floating-point pixel data (7FE0,0008/0009), expected integers (7FE0,0010)")
    if head[4:6] in (b"OB", b"OW", b"UN") and len(head) == 12:
        return stream.tell(), struct.unpack(f"{order}L", head[8:12])[0], head[4:6].decode()
    return stream.tell() - len(head) + 8, struct.unpack(f"{order}L", head[4:8])[0], ""


def _wrap_dataset(dataset: Dataset, *, name: str) -> DicomFile:
    meta = getattr(dataset, "file_meta", None)
    syntax = str(meta.get("TransferSyntaxUID", "") if meta else "") or EXPLICIT_LITTLE
    if "PixelData" not in dataset:
        return DicomFile(name, dataset, syntax, BytesIO())
    value = cast(bytes, dataset.PixelData)
    length = len(value) if syntax in NATIVE else UNDEFINED_LENGTH
    return DicomFile(name, dataset, syntax, BytesIO(value), 0, length, str(dataset["PixelData"].VR))


def _checked_format(file: DicomFile, *, limits: Limits) -> PixelFormat:
    if file.pixels_at < 0:
        kind = UID(str(file.dataset.get("SOPClassUID") or "")).name or "not stated"
        raise ValueError(f"has no pixel data (7FE0,0010), expected an image; its SOP class is {kind}")
    if file.transfer_syntax not in NATIVE and file.transfer_syntax not in CODECS:
        raise ValueError(f"transfer syntax {UID(file.transfer_syntax).name} ({file.transfer_syntax}) has no decoder here; convert the file first")
    pixel_format = read_pixel_format(file.dataset)
    check_size(pixel_format, limits=limits)
    if file.transfer_syntax in NATIVE:
        _check_native_length(file, pixel_format)
    elif file.pixels_length != UNDEFINED_LENGTH:
        raise ValueError(f"pixel data have the defined length {file.pixels_length}, expected encapsulated frames as the transfer syntax says")
    elif pixel_format.bits_allocated == 1:
        raise ValueError("BitsAllocated is 1 in a compressed transfer syntax, expected 8, 16 or 32")
    else:
        _check_fragments(file)
    return pixel_format


def _check_native_length(file: DicomFile, pixel_format: PixelFormat) -> None:
    expected = (pixel_format.frame_bits * pixel_format.frames + 7) // 8
    if file.pixels_length == UNDEFINED_LENGTH:
        raise ValueError("pixel data have an undefined length, expected a length as the transfer syntax is uncompressed")
    available = file.stream.seek(0, os.SEEK_END) - file.pixels_at
    if min(available, file.pixels_length) < expected:
        found = "the file is cut short" if available < file.pixels_length else "the header contradicts them"
        raise ValueError(f"pixel data (7FE0,0010) have {min(available, file.pixels_length)} bytes, expected {expected}; {found}")
    excess = file.pixels_length - expected
    if excess > 1:  # One byte makes the length even; some writers pad with zeros to a block. Anything else may be pixels that the header hides.
        file.stream.seek(file.pixels_at + expected)
        if excess * 8 >= pixel_format.frame_bits or any(file.stream.read(excess)):
            raise ValueError(f"pixel data (7FE0,0010) have {file.pixels_length} bytes, expected {expected} from rows, columns, frames and bits")


def _check_fragments(file: DicomFile) -> None:
    """Walks over the fragments' lengths (DICOM PS3.5 A.4); pydicom takes what is left of one that is cut short."""
    position, end = file.pixels_at, file.stream.seek(0, os.SEEK_END)
    while position < end:
        file.stream.seek(position)
        item = file.stream.read(8)
        if item[:4] == b"\xfe\xff\xdd\xe0":  # Sequence delimiter.
            return
        if len(item) < 8 or item[:4] != b"\xfe\xff\x00\xe0":
            raise ValueError(f"has bytes {item[:4].hex()} at offset {position} of the pixel data, expected an item or the sequence's end")
        position += 8 + struct.unpack("<L", item[4:])[0]
    if position > end:
        raise ValueError(f"ends {position - end} bytes before its last fragment does; the file is cut short")


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
    try:
        values = codec.decode(encoded, pixel_format)
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # pylibjpeg-rle is Rust: its panics are no Exception.
        raise ValueError(f"{codec.name} frame of {len(encoded)} bytes cannot be decoded: {' '.join(str(error).split())[:200]}") from error
    if values.shape != pixel_format.shape:
        raise ValueError(f"{codec.name} frame decodes to shape {values.shape}, expected {pixel_format.shape}")
    return _finish(values, pixel_format, file, colours_done=codec.colours_done)


def _finish(values: np.ndarray, pixel_format: PixelFormat, file: DicomFile, *, colours_done: bool = False) -> np.ndarray:
    """Stored bits to integers, palette and YBR to RGB."""
    values = stored_integers(values, pixel_format, aligned=file.transfer_syntax not in NATIVE)
    if pixel_format.photometric == "PALETTE COLOR":
        return apply_color_lut(values, file.dataset)
    if pixel_format.photometric in ("YBR_FULL", "YBR_FULL_422") and not colours_done:
        if pixel_format.bits_stored != 8:
            raise ValueError(f"{pixel_format.photometric} with {pixel_format.bits_stored} bits stored, expected 8")
        return convert_color_space(values, "YBR_FULL", "RGB")
    return values
