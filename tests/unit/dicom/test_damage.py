"""Files that are odd decode as they are meant; damaged ones are named by tag, found and expected."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag

from medimg.dicom.read import read_frame
from medimg.errors import UnreadableFile
from medimg.images.scan import scan_file
from tests.unit.dicom.written import (
    EXPLICIT,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEG_LS,
    encode,
    make_dataset,
    write_dicom,
)

GREY = (np.add.outer(np.arange(64), np.arange(64)) * 16 % 4096).astype(np.uint16)
CT = "1.2.840.10008.5.1.4.1.1.2"
PYTHON = re.compile(r"Error\b|Exception|Traceback|b'|could not convert|unpack|NoneType|object")


def put(path: Path, keyword: str, representation: str, value: bytes, *, length: int | None = None) -> Path:
    """Puts an element into a file of explicit little endian, instead of the one that it has, as bytes."""
    whole, tag, position = path.read_bytes(), int(Tag(keyword)), 132
    while True:
        group, number = struct.unpack("<HH", whole[position : position + 4])
        if whole[position + 4 : position + 6] in (b"OB", b"OW", b"SQ", b"UN"):
            following = position + 12 + struct.unpack("<L", whole[position + 8 : position + 12])[0]
        else:
            following = position + 8 + struct.unpack("<H", whole[position + 6 : position + 8])[0]
        if (group << 16) + number >= tag:
            break
        position = following
    value += b" " * (len(value) % 2)
    element = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + representation.encode("latin-1")
    element += struct.pack("<H", len(value) if length is None else length) + value
    rest = whole[following:] if (group << 16) + number == tag else whole[position:]
    path.write_bytes(whole[:position] + element + rest)
    return path


def reason(path: Path) -> str:
    """Why a file is quarantined; no word of it may be Python's."""
    with pytest.raises(UnreadableFile) as refused:
        scan_file(path.name, root=str(path.parent))
    text = str(refused.value)
    assert PYTHON.search(text) is None
    return text


@pytest.mark.parametrize("tail", [b"\x20", b"\x14\x01", b"\0" * 7, b"garbage" * 9, b"\xff\xd9\0"])
@pytest.mark.parametrize("syntax", [JPEG_LS, JPEG_LOSSLESS, JPEG_2000])
def test_bytes_after_the_end_marker_do_no_harm(tmp_path, syntax, tail):
    dataset = make_dataset([GREY], syntax=syntax)
    dataset.PixelData = encapsulate([encode(GREY, dataset) + tail])
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_frame(tmp_path / "a.dcm"), GREY)


@pytest.mark.parametrize("syntax", [JPEG_LS, JPEG_LOSSLESS, JPEG_2000, JPEG_BASELINE])
@pytest.mark.parametrize("tail", [b"", b"\0\0\0\0", b"\x20" * 5])
def test_a_frame_without_its_end_is_still_cut_short(tmp_path, syntax, tail):
    pixels = GREY if syntax != JPEG_BASELINE else (GREY // 16).astype(np.uint8)
    dataset = make_dataset([pixels], syntax=syntax)
    whole = encode(pixels, dataset)
    dataset.PixelData = encapsulate([whole[: len(whole) * 2 // 3] + tail])
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert "end marker 0xFFD9; it is cut short" in reason(tmp_path / "a.dcm")


def test_an_end_marker_in_a_segment_before_the_scan_ends_nothing(tmp_path):
    dataset = make_dataset([GREY], syntax=JPEG_LS)
    whole = encode(GREY, dataset)
    thumbnail = b"\xff\xe1" + struct.pack(">H", 8) + b"\xff\xd8ab\xff\xd9"
    dataset.PixelData = encapsulate([whole[:2] + thumbnail + whole[2:]])
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_frame(tmp_path / "a.dcm"), GREY)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL"])
@pytest.mark.parametrize("colour", [(200, 60, 40), (10, 220, 90)])
def test_a_jfif_frame_is_ycbcr_whatever_the_tag_says(tmp_path, photometric, colour):
    rgb = np.full((64, 64, 3), colour, np.uint8)
    jfif = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    dataset = make_dataset([rgb], syntax=JPEG_BASELINE, PhotometricInterpretation=photometric)
    dataset.PixelData = encapsulate([jfif])
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.abs(read_frame(tmp_path / "a.dcm").astype(int) - rgb).max() < 6


def test_a_frame_of_rgb_without_jfif_stays_rgb(tmp_path):
    rgb = np.full((64, 64, 3), (200, 60, 40), np.uint8)
    dataset = make_dataset([rgb], syntax=JPEG_BASELINE, PhotometricInterpretation="RGB")
    options = {"colorspace": "RGB", "outcolorspace": "RGB", "subsampling": "444"}
    dataset.PixelData = encapsulate([imagecodecs.jpeg8_encode(rgb, level=95, **options)])
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.abs(read_frame(tmp_path / "a.dcm").astype(int) - rgb).max() < 6


UNKNOWN = [
    (
        "PixelSpacing",
        "DS",
        b"0.05,0.05",
        "PixelSpacing (0028,0030) is '0.05,0.05', expected a decimal number",
    ),
    ("PixelSpacing", "DS", b"0.05mm\\0.05mm", r"PixelSpacing (0028,0030) is '0.05mm\\0.05mm', expected"),
    ("SliceThickness", "DS", b"NaN", "SliceThickness (0018,0050) is 'NaN', expected a decimal number"),
    ("EchoTime", "DS", b"Doe, Jane", "EchoTime (0018,0081) is a text of 9 characters, expected a decimal"),
    ("SeriesNumber", "IS", b"1.5", "SeriesNumber (0020,0011) is '1.5', expected a whole number"),
    (
        "SliceThickness",
        "LO",
        b"Doe, Jane",
        "SliceThickness (0018,0050) is a text of 9 characters, expected a",
    ),
    (
        "ViewCodeSequence",
        "LO",
        b"Doe, Jane",
        "ViewCodeSequence (0054,0220) has the value representation LO, ex",
    ),
    ("InstanceNumber", "ZZ", b"1", "InstanceNumber (0020,0013) has the value representation ZZ, which does"),
]


@pytest.mark.parametrize(("keyword", "representation", "value", "found"), UNKNOWN)
def test_an_unreadable_tag_that_pixels_do_not_need_is_unknown_and_named(
    tmp_path, keyword, representation, value, found
):
    write_dicom(tmp_path / "a.dcm", GREY, SOPClassUID=CT)
    put(tmp_path / "a.dcm", keyword, representation, value)
    header = scan_file("a.dcm", root=str(tmp_path))
    assert header.tags[keyword] is None
    assert len(header.tags["Unreadable"]) == 1
    assert header.tags["Unreadable"][0].startswith(found)


@pytest.mark.parametrize(
    ("keyword", "representation", "value", "found"),
    [
        ("RescaleSlope", "DS", b"1,0", "RescaleSlope (0028,1053) is '1,0', expected a decimal number"),
        ("WindowCenter", "DS", b"inf", "WindowCenter (0028,1050) is 'inf', expected a decimal number"),
        (
            "NumberOfFrames",
            "IS",
            b"one",
            "NumberOfFrames (0028,0008) is a text of 3 characters, expected a w",
        ),
        (
            "Rows",
            "US",
            b"640",
            "Rows (0028,0010) has 4 bytes, expected|Rows is no single number, expected 1 to",
        ),
        ("BitsStored", "QQ", b"\x10\0", "BitsStored (0028,0101) has the value representation QQ, which does"),
        (
            "PhotometricInterpretation",
            "CS",
            b"Doe^Jane",
            "(0028,0004) is a text of 8 characters, expected one",
        ),
    ],
)
def test_an_unreadable_tag_that_pixels_need_is_named(tmp_path, keyword, representation, value, found):
    write_dicom(tmp_path / "a.dcm", GREY, SOPClassUID=CT)
    text = reason(put(tmp_path / "a.dcm", keyword, representation, value))
    assert any(part in text for part in found.split("|")), text


def test_blanks_around_a_code_string_and_a_point_in_a_whole_number_do_not_count(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", GREY, SOPClassUID=CT)
    put(path, "PhotometricInterpretation", "CS", b" MONOCHROME1 ")
    put(path, "Modality", "CS", b" MG ")
    put(path, "NumberOfFrames", "IS", b"1.0")
    put(path, "ImageLaterality", "CS", b" L\0")
    header = scan_file("a.dcm", root=str(tmp_path))
    assert header.tags["PhotometricInterpretation"] == "MONOCHROME1"
    assert (header.tags["Modality"], header.tags["NumberOfFrames"]) == ("MG", 1)
    np.testing.assert_array_equal(read_frame(path), GREY)


def test_a_file_cut_anywhere_names_the_element_at_which_it_ends(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", GREY, SOPClassUID=CT)
    whole = path.read_bytes()
    pixels_at = whole.rfind(b"\xe0\x7f\x10\x00")
    for size in (*range(160, pixels_at, 7), *range(pixels_at + 1, pixels_at + 12), pixels_at + 500):
        path.write_bytes(whole[:size])
        text = reason(path)
        assert "cut short" in text, (size, text)
        assert re.search(r"\([0-9A-F]{4},[0-9A-F]{4}\)", text), (size, text)
    path.write_bytes(whole[: pixels_at + 10])
    assert reason(path) == (
        "a.dcm: is cut short in PixelData (7FE0,0010): 10 bytes of its header are there, expected 12"
    )


ENDLESS = b"\xff\xff\xff\xff"
SEQUENCE = struct.pack("<HH2sH", 0x5400, 0x0100, b"SQ", 0) + ENDLESS  # WaveformSequence
ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
INSIDE = struct.pack("<HH2sH", 0x003A, 0x0020, b"CS", 2) + b"AB"


@pytest.mark.parametrize("left", range(8))
@pytest.mark.parametrize(
    ("begun", "of"),
    [
        (SEQUENCE, "the sequence"),
        (SEQUENCE + ITEM + struct.pack("<L", len(INSIDE)) + INSIDE, "the sequence"),
        (SEQUENCE + ITEM + ENDLESS, "an item"),
        (SEQUENCE + ITEM + ENDLESS + INSIDE, "an item"),
    ],
)
def test_a_sequence_or_item_of_unknown_length_without_its_end_is_named(tmp_path, begun, of, left):
    path = write_dicom(tmp_path / "a.dcm", GREY, SOPClassUID=CT)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rfind(b"\xe0\x7f\x10\x00")] + begun + INSIDE[:left])
    assert reason(path) == f"a.dcm: is cut short in WaveformSequence (5400,0100), before the end of {of}"


@pytest.mark.parametrize(
    ("keyword", "representation"),
    [
        ("MediaStorageSOPClassUID", b"\xff\xff"),
        ("TransferSyntaxUID", b"\0\0"),
        ("MediaStorageSOPInstanceUID", b"ui"),
    ],
)
def test_a_representation_in_group_2_that_does_not_exist_is_named_or_read(tmp_path, keyword, representation):
    path = write_dicom(tmp_path / "a.dcm", GREY, SOPClassUID=CT)
    whole, tag = path.read_bytes(), int(Tag(keyword))
    at = whole.find(struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"UI") + 4
    path.write_bytes(whole[:at] + representation + whole[at + 2 :])
    text = reason(path)
    shown = f"0x{representation.hex().upper()}"
    assert f"{keyword} (0002,{tag & 0xFFFF:04X}) has the value representation {shown}, which does not" in text


def lookup_table(descriptor: list[int] | None, data: bytes | None) -> Dataset:
    item = Dataset()
    if descriptor is not None:
        item.add_new(0x00283002, "US", descriptor)
    if data is not None:
        item.add_new(0x00283006, "OW", data)
    return item


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize(
    ("descriptor", "data", "found"),
    [
        ([4096, 0, 12], b"", "LUTData (0028,3006) is empty, expected 4096 values"),
        ([4096, 0, 12], None, "LUTData (0028,3006) is missing, expected 4096 values"),
        ([4096, 0, 12], b"\0" * 20, "LUTData (0028,3006) has 10 values, expected 4096"),
        (None, b"\0" * 20, "LUTDescriptor (0028,3002) is missing or incomplete, expected three numbers"),
    ],
)
def test_a_lookup_table_that_is_not_whole_is_named(tmp_path, sequence, descriptor, data, found):
    table = {sequence: [lookup_table(descriptor, data)]}
    write_dicom(tmp_path / "a.dcm", GREY, syntax=EXPLICIT, SOPClassUID=CT, **table)
    fault = scan_file("a.dcm", root=str(tmp_path)).tags["DisplayFault"]
    assert re.fullmatch(rf"{sequence} \(0028,30[01]0\): {re.escape(found)}", fault)


def test_a_palette_without_data_is_named(tmp_path):
    pixels = (GREY // 16).astype(np.uint8)
    names = {
        f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 16] for colour in ("Red", "Green", "Blue")
    }
    write_dicom(tmp_path / "a.dcm", pixels, PhotometricInterpretation="PALETTE COLOR", **names)
    assert "RedPaletteColorLookupTableData (0028,1201) is missing, expected 256 values" in reason(
        tmp_path / "a.dcm"
    )
