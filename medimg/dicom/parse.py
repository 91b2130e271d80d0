"""DICOM files read up to their pixel data, by a parser that keeps to limits; no pixel is decoded here.

Whatever is wrong with a file ends in UnreadableFile.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from medimg.dicom.damage import survey
from medimg.dicom.safety import LIMITS, Limits, inflate
from medimg.dicom.tags import collect_tags
from medimg.errors import BadImage, OutOfMeans, UnreadableFile, quote_code

if TYPE_CHECKING:  # `medimg fetch` does without numpy, which the cases need.
    from medimg.cases import Tags

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


def read_tags(path: str | os.PathLike[str], *, name: str = "", limits: Limits = LIMITS) -> Tags:
    """Reads the wanted header attributes, JSON-able, by keyword (see medimg.dicom.tags); never a pixel.

    Raises:
        UnreadableFile: no DICOM, damaged, or larger than the limits.
    """
    with open_dicom(path, name=name, limits=limits) as file:
        return tags_of(file)


@contextmanager
def open_dicom(source: Source, *, name: str = "", limits: Limits = LIMITS) -> Iterator[DicomFile]:
    """Opens a file or a data set for the `*_of` functions.

    Whatever goes wrong within the block becomes UnreadableFile.
    """
    name = name or (
        Path(source).name
        if not isinstance(source, Dataset)
        else str(source.get("SOPInstanceUID", "data set"))
    )
    with refusing(name):
        if isinstance(source, Dataset):
            yield _wrap_dataset(source, name=name)
            return
        with Path(source).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > limits.file_bytes:
                raise BadImage(f"has {size} bytes, expected at most {limits.file_bytes}")
            yield _parse(stream, name=name, limits=limits)


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turns every failure within the block into UnreadableFile with the file's name in front.

    Only words of ours and of the operating system are kept: a parser's may quote what the file holds.
    """
    try:
        yield
    except UnreadableFile:
        raise
    except OSError as error:
        raise UnreadableFile(
            f"{name}: {error.strerror or 'cannot be read'}, expected a readable file"
        ) from error
    except RecursionError as error:
        raise UnreadableFile(
            f"{name}: sequences are nested too deeply, expected fewer than {_NESTING} levels"
        ) from error
    except MemoryError as error:
        # Perhaps for its neighbours: it is read once more alone, and the verdict is not remembered.
        raise OutOfMeans(f"{name}: needs more memory than there is, expected a smaller image") from error
    except BadImage as error:
        raise UnreadableFile(f"{name}: {' '.join(str(error).split())[:300]}") from error
    except Exception as error:
        # What Python or a library says of it is no help to a user, and may quote the file's bytes.
        raise UnreadableFile(
            f"{name}: its header or pixels are damaged, expected a readable image"
        ) from error


_NESTING = 200
"""About the depth of sequences at which Python's recursion limit of 1000 ends the parser."""


def tags_of(file: DicomFile) -> Tags:
    """The wanted header attributes of an open file."""
    return collect_tags(file.dataset, transfer_syntax=file.transfer_syntax)


def check_whole(file: DicomFile) -> None:
    """Raises ValueError where an open file ends before its pixel data do.

    Whether they can be decoded does not matter here.
    """
    if file.pixels_at < 0:
        return
    if file.pixels_length == UNDEFINED_LENGTH:
        check_fragments(file)
        return
    available = file.stream.seek(0, os.SEEK_END) - file.pixels_at
    if available < file.pixels_length:
        raise BadImage(
            f"pixel data (7FE0,0010) have {available} bytes, expected {file.pixels_length}; the file "
            "is cut short"
        )


def check_fragments(file: DicomFile) -> None:
    """Walks over the fragments' lengths (DICOM PS3.5 A.4).

    Pydicom takes what is left of one that is cut short.
    """
    position, end = file.pixels_at, file.stream.seek(0, os.SEEK_END)
    if position == end:
        raise BadImage("is cut short in pixel data (7FE0,0010): no fragment is there, expected one or more")
    while position < end:
        file.stream.seek(position)
        item = file.stream.read(8)
        if item[:4] == b"\xfe\xff\xdd\xe0":  # Sequence delimiter.
            return
        if len(item) < 8 or item[:4] != b"\xfe\xff\x00\xe0":
            raise BadImage(
                f"has bytes {item[:4].hex()} at offset {position} of the pixel data, expected an item "
                "or the sequence's end"
            )
        position += 8 + struct.unpack("<L", item[4:])[0]
    if position > end:
        raise BadImage(f"ends {position - end} bytes before its last fragment does; the file is cut short")


def _parse(stream: BinaryIO, *, name: str, limits: Limits) -> DicomFile:
    head = stream.read(132)
    if not looks_like_dicom(head):
        raise BadImage("is not a DICOM file (no 'DICM' at byte 128 and no data set at byte 0)")
    stream.seek(132 if head[128:132] == b"DICM" else 0)
    with _naming_damage(stream, EXPLICIT_LITTLE):
        meta = FileMetaDataset(
            read_dataset(stream, False, True, stop_when=lambda tag, *_: BaseTag(tag).group != 2)
        )
    syntax = str(meta.get("TransferSyntaxUID") or _deduce_syntax(stream))
    if syntax not in NATIVE and not UID(syntax).is_transfer_syntax:
        damage, _ = survey_stream(stream, EXPLICIT_LITTLE)
        expected = "expected a transfer syntax of the DICOM standard"
        raise BadImage(damage or f"TransferSyntaxUID (0002,0010) is {quote_code(syntax)}, {expected}")
    if syntax == DEFLATED_LITTLE:
        try:
            stream = inflate(stream, limit_bytes=limits.inflated_bytes)
        except ValueError as error:
            raise BadImage(str(error)) from None
    little = syntax != EXPLICIT_BIG
    with _naming_damage(stream, syntax):
        dataset = read_dataset(
            stream,
            syntax == IMPLICIT_LITTLE,
            little,
            stop_when=lambda tag, *_: tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA),
        )
    if not len(dataset):
        damage, last = survey_stream(stream, syntax)
        raise BadImage(
            damage or f"holds no data element behind {last}, expected a DICOM data set: it is cut short"
        )
    dataset.file_meta = meta
    at, length, representation = _pixel_element(stream, order="<" if little else ">")
    return DicomFile(name, dataset, syntax, stream, at, length, representation)


@contextmanager
def _naming_damage(stream: BinaryIO, syntax: str) -> Iterator[None]:
    """Turns what the parser raises into the element at which it ended."""
    try:
        yield
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        # Where a sequence ends too early the parser raises one too, which no system call has numbered.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        damage, last = survey_stream(stream, syntax)
        raise BadImage(damage or f"cannot be read behind {last}, expected a DICOM data set") from error


def survey_stream(stream: BinaryIO, syntax: str) -> tuple[str, str]:
    """What is wrong with a file's elements, or nothing, and its last whole element; see `survey`."""
    return survey(stream, implicit=syntax == IMPLICIT_LITTLE, little=syntax != EXPLICIT_BIG)


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
        raise BadImage("holds floating-point pixel data (7FE0,0008/0009), expected integers (7FE0,0010)")
    if head[4:6] in (b"OB", b"OW", b"UN"):
        if len(head) < 12:
            raise BadImage(
                f"is cut short in pixel data (7FE0,0010): {len(head)} bytes of the element's header are "
                "there, expected 12"
            )
        return stream.tell(), struct.unpack(f"{order}L", head[8:12])[0], head[4:6].decode()
    return stream.tell() - len(head) + 8, struct.unpack(f"{order}L", head[4:8])[0], ""


def _wrap_dataset(dataset: Dataset, *, name: str) -> DicomFile:
    meta = getattr(dataset, "file_meta", None)
    syntax = str(meta.get("TransferSyntaxUID", "") if meta else "") or EXPLICIT_LITTLE
    if "PixelData" not in dataset:
        return DicomFile(name, dataset, syntax, BytesIO())
    value = cast("bytes", dataset.PixelData)
    length = len(value) if syntax in NATIVE else UNDEFINED_LENGTH
    return DicomFile(name, dataset, syntax, BytesIO(value), 0, length, str(dataset["PixelData"].VR))
