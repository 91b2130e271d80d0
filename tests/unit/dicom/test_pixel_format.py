"""What the header says of its pixels: each attribute's range, and how much may be decoded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medimg.dicom.pixel_format import SAMPLES, check_size, read_pixel_format
from medimg.dicom.read import iterate_frames, read_frame
from medimg.dicom.safety import Limits
from medimg.errors import UnreadableFile
from tests.unit.dicom.written import make_dataset, write_dicom

GREY = np.zeros((7, 9), np.uint16)
GREY_FORMAT = read_pixel_format(make_dataset([GREY]))


@pytest.mark.parametrize(
    ("attribute", "refused", "accepted", "expected"),
    [
        ("Rows", [0], [1, 65535], "1 to 65535"),
        ("Columns", [0], [1, 65535], "1 to 65535"),
        ("BitsAllocated", [0, 4, 12, 24, 64], [16, 32], "1 or 8 or 16 or 32"),
        ("BitsStored", [0, 17], [1, 16], "1 to 16"),
        ("HighBit", [14, 16], [15], "15 to 15"),
        ("PixelRepresentation", [2], [0, 1], "0 or 1"),
        ("PlanarConfiguration", [2], [0, 1], "0 or 1"),
        ("NumberOfFrames", [0, -1, 2**31], [1, 2**31 - 1], f"1 to {2**31 - 1}"),
        ("SamplesPerPixel", [0, 2, 3], [1], "1"),
    ],
)
def test_each_attribute_has_its_range(attribute, refused, accepted, expected):
    dataset = make_dataset([GREY])
    if attribute == "BitsStored":
        del dataset.HighBit
    for value in accepted:
        setattr(dataset, attribute, value)
        assert read_pixel_format(dataset)
    for value in refused:
        setattr(dataset, attribute, value)
        with pytest.raises(ValueError, match=f"^{attribute} is '?{value}'?, expected {expected}$"):
            read_pixel_format(dataset)


@pytest.mark.parametrize("attribute", ["Rows", "Columns", "BitsAllocated", "BitsStored"])
def test_what_no_image_can_do_without_is_missed_by_name(attribute):
    dataset = make_dataset([GREY], **{attribute: None})
    with pytest.raises(ValueError, match=f"^{attribute} is missing, expected "):
        read_pixel_format(dataset)


@pytest.mark.parametrize("is_empty", [False, True])
def test_what_is_not_stated_has_the_usual_value(is_empty):
    dataset = make_dataset([np.zeros((7, 9, 3), np.uint16)], BitsStored=12)
    absent = (
        "NumberOfFrames",
        "SamplesPerPixel",
        "HighBit",
        "PixelRepresentation",
        "PlanarConfiguration",
    )
    for keyword in absent:
        dataset.pop(keyword, None)
        if is_empty:
            setattr(dataset, keyword, "" if keyword == "NumberOfFrames" else None)
    found = read_pixel_format(dataset)
    assert (found.frames, found.samples, found.high_bit) == (1, 3, 11)
    assert not found.signed
    assert not found.planar


@pytest.mark.parametrize(
    ("photometric", "samples"),
    [
        ("MONOCHROME1", 1),
        ("MONOCHROME2", 1),
        ("PALETTE COLOR", 1),
        ("RGB", 3),
        ("YBR_FULL", 3),
        ("YBR_FULL_422", 3),
        ("YBR_RCT", 3),
        ("YBR_ICT", 3),
    ],
)
def test_every_photometric_interpretation_has_its_samples(photometric, samples):
    dataset = make_dataset([GREY], PhotometricInterpretation=photometric, SamplesPerPixel=samples)
    assert read_pixel_format(dataset).shape == ((7, 9) if samples == 1 else (7, 9, 3))
    dataset.SamplesPerPixel = 4 - samples
    with pytest.raises(ValueError, match=f"SamplesPerPixel is {4 - samples}, expected {samples}"):
        read_pixel_format(dataset)


def test_every_photometric_interpretation_that_is_read_stands_in_the_refusal_of_others():
    assert len(SAMPLES) == 8
    with pytest.raises(ValueError, match=f"is 'ARGB', expected one of {', '.join(SAMPLES)}"):
        read_pixel_format(make_dataset([GREY], PhotometricInterpretation="ARGB"))


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(
    ("allocated", "stored", "size"),
    [(8, 8, 1), (16, 8, 1), (16, 9, 2), (32, 16, 2), (32, 17, 4), (32, 32, 4)],
)
def test_values_take_the_smallest_type_for_the_bits_stored(allocated, stored, size, signed):
    values = np.array([[0, 1], [2, 3]], f"{'i' if signed else 'u'}{allocated // 8}")
    read = read_frame(make_dataset([values], BitsStored=stored, HighBit=stored - 1))
    assert read.dtype == np.dtype(f"{'i' if signed else 'u'}{size}")
    assert read.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("changes", "frame_bytes"),
    [
        ({}, 7 * 9 * 2),
        ({"bits_allocated": 8}, 7 * 9),
        ({"bits_allocated": 32}, 7 * 9 * 4),
        ({"bits_allocated": 1}, 7 * 9),  # Single bits are unpacked to bytes.
        ({"samples": 3, "photometric": "RGB"}, 7 * 9 * 2 * 3),
        ({"photometric": "PALETTE COLOR"}, 7 * 9 * 2 * 3),
    ],
)
def test_a_frame_and_all_frames_may_take_as_much_as_the_limits_say_and_no_more(changes, frame_bytes):
    one, five = replace(GREY_FORMAT, **changes), replace(GREY_FORMAT, **changes, frames=5)
    check_size(one, limits=Limits(frame_bytes=frame_bytes, decoded_bytes=frame_bytes))
    check_size(five, limits=Limits(frame_bytes=frame_bytes, decoded_bytes=5 * frame_bytes))
    with pytest.raises(ValueError, match=f"{frame_bytes} bytes each, expected at most {frame_bytes - 1}$"):
        check_size(one, limits=Limits(frame_bytes=frame_bytes - 1))
    message = f"declares 5 frame.s. of 7 x 9 pixels, {5 * frame_bytes} bytes, expected at most "
    with pytest.raises(ValueError, match=f"{message}{5 * frame_bytes - 1}$"):
        check_size(five, limits=Limits(frame_bytes=frame_bytes, decoded_bytes=5 * frame_bytes - 1))


@pytest.mark.parametrize(
    ("frames", "columns", "message"),
    [
        (1, 25_000, "have 64 bytes, expected 500000000"),
        (1, 25_001, "500020000 bytes each, expected at most 500000000"),
        (32, 25_000, "have 64 bytes, expected 16000000000"),
        (33, 25_000, "16500000000 bytes, expected at most 16000000000"),
    ],
)
def test_by_default_a_frame_is_at_most_500_mb_and_all_frames_16_gb(tmp_path, frames, columns, message):
    path = write_dicom(
        tmp_path / "a.dcm",
        np.zeros((8, 8), np.uint8),
        Rows=20_000,
        Columns=columns,
        NumberOfFrames=frames,
    )
    with pytest.raises(UnreadableFile, match=message):
        read_frame(path)


READERS = [read_frame, lambda source, *, limits: next(iterate_frames(source, limits=limits))]


@pytest.mark.parametrize("read", READERS, ids=["one", "all"])
def test_the_callers_limits_hold_where_frames_are_read(tmp_path, read):
    path = write_dicom(tmp_path / "a.dcm", GREY)
    size = path.stat().st_size
    assert read(path, limits=Limits(file_bytes=size, frame_bytes=126, decoded_bytes=126)).shape == (7, 9)
    for limits, message in (
        (Limits(frame_bytes=125), "126 bytes each, expected at most 125"),
        (Limits(decoded_bytes=125), "126 bytes, expected at most 125"),
        (Limits(file_bytes=size - 1), f"has {size} bytes, expected at most {size - 1}"),
    ):
        with pytest.raises(UnreadableFile, match=message):
            read(path, limits=limits)
