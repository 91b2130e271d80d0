"""What a DICOM file is, where its pixels lie, and how each failure is reported."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate

from medimg.dicom.parse import (
    UNDEFINED_LENGTH,
    check_whole,
    looks_like_dicom,
    open_dicom,
    read_tags,
    refusing,
)
from medimg.dicom.read import iterate_frames, read_frame
from medimg.dicom.safety import Limits
from medimg.errors import BadImage, UnreadableFile
from tests.unit.dicom.test_read import some_pixels, split_meta
from tests.unit.dicom.written import EXPLICIT, JPEG_LS, RLE, make_dataset, native_bytes, write_dicom

IMAGE = some_pixels("uint16")
DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"


# --- failures


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UnreadableFile("b.dcm: known"), "b.dcm: known"),
        (OSError(errno.EACCES, "Permission denied"), "a.dcm: Permission denied, expected a readable file"),
        (OSError("cut"), "a.dcm: cannot be read, expected a readable file"),
        (RecursionError("deep"), "a.dcm: sequences are nested too deeply, expected fewer than 200 levels"),
        (MemoryError(), "a.dcm: needs more memory than there is, expected a smaller image"),
        (BadImage("two\nlines  here"), "a.dcm: two lines here"),
        (BadImage("x" * 299), "a.dcm: " + "x" * 299),
        (BadImage("x" * 301), "a.dcm: " + "x" * 300),
        (KeyError("tag"), "a.dcm: its header or pixels are damaged, expected a readable image"),
    ],
)
def test_every_failure_becomes_one_line_with_the_files_name(error, message):
    with pytest.raises(UnreadableFile) as refused, refusing("a.dcm"):
        raise error
    assert str(refused.value) == message


def test_a_command_that_is_stopped_by_its_user_stops():
    with pytest.raises(KeyboardInterrupt), refusing("a.dcm"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("read", [read_frame, lambda path: list(iterate_frames(path)), read_tags])
def test_a_file_is_named_without_its_folder_and_a_data_set_by_its_uid(tmp_path, read):
    with pytest.raises(UnreadableFile, match=r"^absent\.dcm: No such file or directory, expected a readable"):
        read(tmp_path / "absent.dcm")
    dataset = make_dataset([IMAGE], Rows=9)
    dataset.SOPInstanceUID = "1.2.3.99"
    with pytest.raises(UnreadableFile, match=r"^1\.2\.3\.99: pixel data"):
        read_frame(dataset)
    del dataset.SOPInstanceUID
    with pytest.raises(UnreadableFile, match=r"^data set: pixel data"):
        read_frame(dataset)


def test_the_callers_name_for_a_file_stands_in_its_error(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no image")
    with pytest.raises(UnreadableFile, match=r"^series/a\.dcm: is not a DICOM file"):
        read_tags(tmp_path / "a.dcm", name="series/a.dcm")


# --- limits


def test_a_file_may_have_as_many_bytes_as_the_limit_says_and_no_more(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", IMAGE)
    size = path.stat().st_size
    assert read_tags(path, limits=Limits(file_bytes=size))["Rows"] == 7
    with pytest.raises(UnreadableFile, match=f"^a.dcm: has {size} bytes, expected at most {size - 1}$"):
        read_tags(path, limits=Limits(file_bytes=size - 1))


def test_by_default_a_file_has_at_most_4_gb(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", IMAGE)
    os.truncate(path, 4_000_000_000)  # A hole takes no space on the disk.
    assert read_tags(path)["Rows"] == 7
    os.truncate(path, 4_000_000_001)
    with pytest.raises(UnreadableFile, match="has 4000000001 bytes, expected at most 4000000000"):
        read_tags(path)


def test_a_deflated_file_may_inflate_to_the_limit_and_no_more(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((100, 100), np.uint8), syntax="1.2.840.10008.1.2.1.99")
    assert read_frame(path, limits=Limits(inflated_bytes=20_000)).shape == (100, 100)
    with pytest.raises(UnreadableFile, match="inflates to more than 10000 bytes"):
        read_frame(path, limits=Limits(inflated_bytes=10_000))


# --- what a file is


def first_bytes(group: int, length: int, *, order: str = "<", representation: bytes = b"") -> bytes:
    value = representation + struct.pack(f"{order}H", length) if representation else struct.pack("<L", length)
    return (struct.pack(f"{order}HH", group, 5) + value).ljust(132, b"\1")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0" * 128 + b"DICM", True),
        (b"\0" * 128 + b"DICN", False),
        (b"\0" * 127 + b"DICM", False),
        (first_bytes(8, 10), True),
        (first_bytes(2, 10), True),
        (first_bytes(8, 2**16 - 1), True),
        (first_bytes(8, 2**16), False),
        (first_bytes(0x10, 10), False),
        (first_bytes(8, 10, representation=b"UL"), True),
        (first_bytes(8, 10, order=">", representation=b"CS"), True),
        (first_bytes(8, 10, representation=b"cs"), False),
        (first_bytes(8, 10)[:8], True),
        (first_bytes(8, 10)[:7], False),
        (b"", False),
    ],
)
def test_a_dicom_file_is_known_by_its_preamble_or_its_first_element(head, expected):
    assert looks_like_dicom(head) == expected


def test_a_file_without_preamble_that_starts_with_its_meta_information_is_read(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", IMAGE, syntax=RLE)
    path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(read_frame(path), IMAGE)


def test_a_transfer_syntax_that_the_standard_does_not_have_is_refused_by_name(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", IMAGE)
    unknown = "1.2.840.10008.5.1.8"  # As long as Explicit VR Little Endian's.
    path.write_bytes(path.read_bytes().replace(EXPLICIT.encode(), unknown.encode()))
    with pytest.raises(
        UnreadableFile, match=rf"TransferSyntaxUID .* is '{unknown}', expected a transfer syntax"
    ):
        read_tags(path)


def test_a_data_set_without_meta_information_holds_little_endian_pixels():
    dataset = make_dataset([IMAGE])
    del dataset.file_meta
    np.testing.assert_array_equal(read_frame(dataset), IMAGE)


def test_meta_information_without_a_data_set_is_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", IMAGE)
    head, _ = split_meta(path.read_bytes())
    path.write_bytes(head)
    with pytest.raises(UnreadableFile, match=r"holds no data element behind .*, expected a DICOM data set"):
        read_tags(path)


# --- where the pixels are


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")])
def test_pixels_that_are_real_numbers_are_refused(tmp_path, keyword, kind):
    dataset = make_dataset([IMAGE])
    del dataset.PixelData
    setattr(dataset, keyword, np.zeros((7, 9), kind).tobytes())
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(UnreadableFile, match=r"holds floating-point pixel data .*, expected integers"):
        read_tags(tmp_path / "a.dcm")


@pytest.mark.parametrize("representation", ["OB", "OW", "UN"])
@pytest.mark.parametrize("syntax", [EXPLICIT, "1.2.840.10008.1.2.2"])
def test_pixels_lie_behind_a_long_header_whatever_their_representation(tmp_path, syntax, representation):
    path = write_dicom(tmp_path / "a.dcm", IMAGE, syntax=syntax)
    order = ">" if syntax == "1.2.840.10008.1.2.2" else "<"
    tag = struct.pack(f"{order}HH", 0x7FE0, 0x0010)
    path.write_bytes(path.read_bytes().replace(tag + b"OW", tag + representation.encode()))
    with open_dicom(path) as file:
        assert (file.pixels_length, file.pixels_representation) == (126, representation)
        file.stream.seek(file.pixels_at)
        assert file.stream.read(126) == native_bytes([IMAGE], syntax)


def write_compressed(path: Path, *, tail: bytes = DELIMITER) -> tuple[Path, int]:
    """Writes a frame in two fragments that `tail` ends; returns the length of the file without it."""
    dataset = make_dataset([IMAGE], syntax=RLE)
    dataset.save_as(path, enforce_file_format=True)
    data = path.read_bytes()
    assert data.endswith(DELIMITER)
    path.write_bytes(data[: -len(DELIMITER)] + tail)
    return path, len(data) - len(DELIMITER)


def test_a_compressed_file_that_ends_with_its_last_fragment_is_whole(tmp_path):
    path, _ = write_compressed(tmp_path / "a.dcm", tail=b"")
    np.testing.assert_array_equal(read_frame(path), IMAGE)
    with open_dicom(path) as file:
        check_whole(file)


def test_elements_after_compressed_pixels_are_not_looked_at(tmp_path):
    path, _ = write_compressed(tmp_path / "a.dcm", tail=DELIMITER + struct.pack("<HHL", 0xFFFC, 0xFFFC, 0))
    np.testing.assert_array_equal(read_frame(path), IMAGE)


@pytest.mark.parametrize("missing", [1, 2, 50])
def test_a_last_fragment_that_is_cut_short_is_missed_to_the_byte(tmp_path, missing):
    path, length = write_compressed(tmp_path / "a.dcm")
    os.truncate(path, length - missing)
    with pytest.raises(UnreadableFile, match=f"ends {missing} bytes before its last fragment does"):
        read_frame(path)
    with (
        pytest.raises(UnreadableFile, match=f"ends {missing} bytes before its last fragment does"),
        open_dicom(path) as file,
    ):
        check_whole(file)


@pytest.mark.parametrize(
    "tail", [b"\xfe\xff\x00\xe0", b"\xfe\xff\x00", b"\xfe\xff\x01\xe0\0\0\0\0", b"\0" * 8, b"\xff" * 16]
)
def test_anything_between_fragments_but_a_fragment_is_refused(tmp_path, tail):
    path, _ = write_compressed(tmp_path / "a.dcm", tail=tail)
    with pytest.raises(UnreadableFile, match=f"has bytes {tail[:4].hex()} at offset .*, expected an item"):
        read_frame(path)


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
def test_a_file_that_ends_with_its_pixels_is_whole_and_one_byte_less_is_not(tmp_path, syntax):
    path = write_dicom(tmp_path / "a.dcm", IMAGE, syntax=syntax)
    with open_dicom(path) as file:
        check_whole(file)
        end = path.stat().st_size - (len(DELIMITER) if file.pixels_length == UNDEFINED_LENGTH else 0)
    os.truncate(path, end - 1)
    with pytest.raises(UnreadableFile, match=r"the file is cut short$"), open_dicom(path) as file:
        check_whole(file)


def test_a_file_without_pixels_is_whole(tmp_path):
    dataset = make_dataset([IMAGE])
    del dataset.PixelData
    dataset.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    with open_dicom(tmp_path / "report.dcm") as file:
        check_whole(file)


# --- how many bytes the pixels have


def test_compressed_pixels_of_a_stated_length_are_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", IMAGE)
    path.write_bytes(path.read_bytes().replace(EXPLICIT.encode() + b"\0", RLE.encode() + b"\0"))
    with pytest.raises(UnreadableFile, match="have the defined length 126, expected encapsulated frames"):
        read_frame(path)


def test_uncompressed_pixels_without_a_length_are_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", IMAGE, syntax=RLE)
    path.write_bytes(path.read_bytes().replace(RLE.encode() + b"\0", EXPLICIT.encode() + b"\0"))
    with pytest.raises(UnreadableFile, match="have an undefined length, expected a length"):
        read_frame(path)


def test_single_bits_are_refused_in_a_compressed_transfer_syntax():
    dataset = make_dataset([some_pixels("uint8")], syntax=JPEG_LS, BitsAllocated=1, BitsStored=1, HighBit=0)
    with pytest.raises(UnreadableFile, match="BitsAllocated is 1 in a compressed transfer syntax"):
        read_frame(dataset)


def test_one_byte_more_than_the_pixels_is_padding_and_two_are_not():
    image = some_pixels("uint8", (5, 5))
    dataset = make_dataset([image])
    dataset.PixelData = image.tobytes() + b"\x20"
    np.testing.assert_array_equal(read_frame(dataset), image)
    for excess in (b"\0\x20", b"\x20\0"):
        dataset.PixelData = image.tobytes() + excess
        with pytest.raises(UnreadableFile, match="have 27 bytes, expected 25 from rows"):
            read_frame(dataset)


@pytest.mark.parametrize(
    ("rows", "cut", "reason"), [(7, 1, "the file is cut short"), (8, 0, "the header contradicts them")]
)
def test_too_few_bytes_are_the_files_fault_or_the_headers(tmp_path, rows, cut, reason):
    path = write_dicom(tmp_path / "a.dcm", IMAGE, Rows=rows)
    os.truncate(path, path.stat().st_size - cut)
    with pytest.raises(UnreadableFile, match=f"have {126 - cut} bytes, expected {rows * 18}; {reason}"):
        read_frame(path)


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
@pytest.mark.parametrize("frame", [-1, 3])
def test_a_frame_that_is_not_there_is_refused(syntax, frame):
    dataset = make_dataset([IMAGE] * 3, syntax=syntax)
    with pytest.raises(UnreadableFile, match=f"frame {frame} asked for, expected 0 to 2"):
        read_frame(dataset, frame=frame)


def test_a_frame_in_several_fragments_is_put_together():
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    dataset = make_dataset([noise], syntax=RLE)
    encoded = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([encoded], fragments_per_frame=4, has_bot=False)
    np.testing.assert_array_equal(read_frame(dataset), noise)
    np.testing.assert_array_equal(next(iterate_frames(dataset)), noise)


def test_frames_in_several_fragments_each_are_found_by_the_table_of_offsets():
    frames = [np.random.default_rng(seed).integers(0, 256, (40, 40), np.uint8) for seed in range(3)]
    dataset = make_dataset(frames, syntax=RLE)
    encoded = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=3))
    dataset.PixelData = encapsulate(encoded, fragments_per_frame=3, has_bot=True)
    np.testing.assert_array_equal(np.stack(list(iterate_frames(dataset))), frames)
    np.testing.assert_array_equal(read_frame(dataset, frame=1), frames[1])


@pytest.mark.parametrize("present", ["both", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"])
def test_frames_are_found_by_the_extended_table_of_offsets_and_without_half_of_it(present):
    frames = [np.random.default_rng(seed).integers(0, 256, (40, 40), np.uint8) for seed in range(3)]
    dataset = make_dataset(frames, syntax=RLE)
    encoded = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=3))
    dataset.PixelData, offsets, lengths = pydicom.encaps.encapsulate_extended(encoded)
    for name, table in (("ExtendedOffsetTable", offsets), ("ExtendedOffsetTableLengths", lengths)):
        if present in ("both", name):
            setattr(dataset, name, table)
    np.testing.assert_array_equal(read_frame(dataset, frame=1), frames[1])
    np.testing.assert_array_equal(np.stack(list(iterate_frames(dataset))), frames)
