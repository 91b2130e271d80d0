"""Reading DICOM files: every transfer syntax gives the same values, and a fault is reported in one line."""

import contextlib
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames

from medimg.dicom.parse import NATIVE, read_tags
from medimg.dicom.read import iterate_frames, read_frame
from medimg.dicom.safety import Limits
from medimg.errors import UnreadableFile
from tests.unit.dicom.written import (
    EXPLICIT,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    make_dataset,
    write_dicom,
)

LOSSLESS = [*NATIVE, RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000]
LARGEST_ERRORS = {".50.dcm": 65, ".51.dcm": 36, ".53.dcm": 36, ".55.dcm": 36, ".81.dcm": 1, ".91.dcm": 5}
"""Of the lossy copies of one CT, in its modality's units, as measured with other decoders (DCMTK, GDCM)."""


def some_pixels(dtype: str, shape: tuple[int, ...] = (7, 9), *, bits: int = 0, seed: int = 1) -> np.ndarray:
    limits = np.iinfo(dtype)
    low, high = (
        (limits.min, limits.max)
        if not bits
        else (0 if limits.min == 0 else -(1 << bits - 1), (1 << bits - (limits.min < 0)) - 1)
    )
    return np.random.default_rng(seed).integers(low, high, size=shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("uint8", (35, 33)), ("uint16", (35, 33)), ("int16", (35, 33)), ("uint8", (35, 33, 3))],
)
def test_lossless_transfer_syntaxes_return_the_values_that_were_written(tmp_path, syntax, dtype, shape):
    frames = [some_pixels(dtype, shape, seed=seed) for seed in (1, 2, 3)]
    photometric = (
        "YBR_RCT" if syntax == JPEG_2000 and len(shape) == 3 else "RGB" if len(shape) == 3 else "MONOCHROME2"
    )
    path = write_dicom(tmp_path / "a.dcm", *frames, syntax=syntax, PhotometricInterpretation=photometric)
    found = list(iterate_frames(path))
    assert len(found) == 3
    for written, read in zip(frames, found, strict=True):
        assert read.dtype == written.dtype
        np.testing.assert_array_equal(read, written)
    np.testing.assert_array_equal(read_frame(path, frame=2), frames[2])
    np.testing.assert_array_equal(read_frame(pydicom.dcmread(path), frame=1), frames[1])


def test_the_copies_of_one_ct_agree_in_every_transfer_syntax(shared_data):
    folder = shared_data / "transfer_syntaxes"
    expected = hounsfield(folder / "CTImage.dcm")
    copies = sorted(folder.glob("CTImage.dcm_*"))
    assert len(copies) == 15
    for copy in copies:
        error = np.abs(hounsfield(copy) - expected).max()
        assert error <= LARGEST_ERRORS.get(copy.name[-7:], 0), f"{copy.name}: {error}"


def hounsfield(path: Path) -> np.ndarray:
    tags = read_tags(path)
    return read_frame(path) * tags["RescaleSlope"] + tags["RescaleIntercept"]


def test_real_colour_images_agree_with_each_other(shared_data):
    folder = shared_data / "transfer_syntaxes"
    expected = read_frame(folder / "TestPattern_RGB.dcm").astype(int)
    bounds = {
        "TestPattern_JPEG-LS-Lossless": 0,
        "TestPattern_JPEG-Lossless_RGB": 0,
        "TestPattern_JPEG-LS-NearLossless": 3,
    }
    for name, bound in bounds.items():
        assert np.abs(read_frame(folder / f"{name}.dcm") - expected).max() <= bound, name
    for name in (
        "TestPattern_JPEG-Baseline_YBRFull",
        "TestPattern_JPEG-Baseline_YBR422",
        "TestPattern_Palette",
    ):
        assert np.abs(read_frame(folder / f"{name}.dcm") - expected).mean() < 12, name
    assert read_frame(folder / "TestPattern_Palette_16.dcm").dtype == np.uint16


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
def test_bits_that_are_not_stored_are_masked(tmp_path, syntax):
    clean = some_pixels("uint16", bits=12)
    path = write_dicom(
        tmp_path / "a.dcm", clean | np.uint16(0xF000), syntax=syntax, BitsStored=12, HighBit=11
    )
    np.testing.assert_array_equal(read_frame(path), clean)


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
def test_signed_12_bit_values_are_sign_extended(tmp_path, syntax):
    clean = some_pixels("int16", bits=12)
    path = write_dicom(tmp_path / "a.dcm", clean & np.int16(0x0FFF), syntax=syntax, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_frame(path), clean)


def test_a_high_bit_above_the_stored_bits_shifts_them_down(tmp_path):
    clean = some_pixels("uint16", bits=12)
    path = write_dicom(tmp_path / "a.dcm", clean << np.uint16(4), BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(read_frame(path), clean)


def test_single_bit_frames_are_packed_without_gaps():
    bits_NHW = np.random.default_rng(3).integers(0, 2, size=(3, 3, 5), dtype=np.uint8)
    dataset = make_dataset(list(bits_NHW), BitsAllocated=1, BitsStored=1, HighBit=0)
    dataset.PixelData = np.packbits(bits_NHW.ravel(), bitorder="little").tobytes()
    np.testing.assert_array_equal(np.stack(list(iterate_frames(dataset))), bits_NHW)
    np.testing.assert_array_equal(read_frame(dataset, frame=2), bits_NHW[2])


def test_big_endian_bytes_written_as_words_are_swapped_back(tmp_path):
    frames = [some_pixels("uint8", (3, 5), seed=seed) for seed in (1, 2)]
    dataset = make_dataset(frames, syntax="1.2.840.10008.1.2.2")
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    for frame in (0, 1):
        np.testing.assert_array_equal(read_frame(tmp_path / "a.dcm", frame=frame), frames[frame])


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.2"])
def test_a_bare_data_set_without_preamble_is_read(tmp_path, syntax):
    image = some_pixels("uint16")
    dataset = make_dataset([image], syntax=syntax)
    implicit, little = syntax == "1.2.840.10008.1.2", syntax != "1.2.840.10008.1.2.2"
    del dataset.file_meta
    dataset.save_as(tmp_path / "a.dcm", implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    assert (tmp_path / "a.dcm").read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read_frame(tmp_path / "a.dcm"), image)
    assert read_tags(tmp_path / "a.dcm")["TransferSyntaxUID"] == syntax


def test_a_frame_is_read_without_the_others(tmp_path):
    frames = [some_pixels("uint16", (64, 64), seed=seed) for seed in range(5)]
    path = write_dicom(tmp_path / "a.dcm", *frames)
    np.testing.assert_array_equal(read_frame(path, frame=4), frames[4])
    with pytest.raises(UnreadableFile, match=r"frame 5 asked for, expected 0 to 4"):
        read_frame(path, frame=5)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"Rows": 8}, "pixel data .* have 64 bytes, expected 72"),
        ({"Columns": None}, "Columns is missing, expected 1 to 65535"),
        ({"Rows": 0}, "Rows is 0"),
        ({"BitsStored": 9}, "BitsStored is 9, expected 1 to 8"),
        ({"PhotometricInterpretation": "CMYK"}, "PhotometricInterpretation .* is 'CMYK', expected one of"),
        ({"SamplesPerPixel": 3}, "SamplesPerPixel is 3, expected 1"),
        ({"NumberOfFrames": 2}, "have 64 bytes, expected 126"),
        ({"Rows": 65535, "Columns": 65535}, "declares 1 frame.s. of 65535 x 65535 pixels"),
    ],
)
def test_a_header_that_contradicts_the_pixels_is_refused_in_one_line(tmp_path, attributes, message):
    path = write_dicom(tmp_path / "odd.dcm", some_pixels("uint8"), **attributes)
    with pytest.raises(UnreadableFile, match=f"^odd.dcm: .*{message}") as refused:
        read_frame(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("syntax", "reason"),
    [
        (RLE, "cannot hold the 400000000 bytes"),
        (JPEG_LOSSLESS, r"expected \(20000, 20000, 1\)"),
        (JPEG_LS, r"expected \(20000, 20000, 1\)"),
        (JPEG_2000, r"expected \(20000, 20000, 1\)"),
    ],
)
def test_a_small_compressed_file_that_declares_a_huge_image_takes_no_memory(tmp_path, syntax, reason):
    path = write_dicom(
        tmp_path / "huge.dcm", some_pixels("uint8", (35, 33)), syntax=syntax, Rows=20000, Columns=20000
    )
    with pytest.raises(UnreadableFile, match=reason):
        read_frame(path)


@pytest.mark.parametrize(
    "syntax", [EXPLICIT, "1.2.840.10008.1.2.1.99", RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000]
)
def test_a_file_that_is_cut_short_is_refused(tmp_path, syntax):
    path = write_dicom(tmp_path / "cut.dcm", some_pixels("uint16", (64, 64)), syntax=syntax)
    whole = path.read_bytes()
    for share in (0.9, 0.5):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UnreadableFile, match=r"^cut.dcm: "):
            read_frame(path)


def test_damaged_bytes_never_end_in_another_error(tmp_path):
    generator = np.random.default_rng(5)
    for syntax in (EXPLICIT, RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000):
        path = write_dicom(tmp_path / "noise.dcm", some_pixels("uint16", (35, 33)), syntax=syntax)
        whole = bytearray(path.read_bytes())
        for _ in range(20):
            damaged = bytearray(whole)
            for position in generator.integers(132, len(whole), size=10):
                damaged[position] = generator.integers(0, 256)
            path.write_bytes(damaged)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with contextlib.suppress(UnreadableFile):
                    read_tags(path)
                    read_frame(path)


def test_missing_frames_are_noticed(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm",
        *[some_pixels("uint8", seed=seed) for seed in range(3)],
        syntax=RLE,
        NumberOfFrames=5,
    )
    with pytest.raises(UnreadableFile, match=r"3 encoded frame.s., expected 5"):
        list(iterate_frames(path))
    path = write_dicom(
        tmp_path / "a.dcm",
        *[some_pixels("uint8", seed=seed) for seed in range(3)],
        syntax=RLE,
        NumberOfFrames=2,
    )
    with pytest.raises(UnreadableFile, match=r"3 encoded frame.s., expected 2"):
        list(iterate_frames(path))


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
def test_a_whole_frame_of_a_file_that_is_cut_short_is_refused_too(tmp_path, syntax):
    path = write_dicom(
        tmp_path / "cut.dcm", *[some_pixels("uint8", (35, 33), seed=seed) for seed in range(3)], syntax=syntax
    )
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UnreadableFile, match=r"^cut.dcm: .*the file is cut short"):
        read_frame(path, frame=0)


def test_zeros_after_the_last_frame_are_padding_and_anything_else_is_not():
    image = some_pixels("uint8", (16, 16))
    dataset = make_dataset([image])
    dataset.PixelData = image.tobytes() + bytes(128)
    np.testing.assert_array_equal(read_frame(dataset), image)
    for excess in (bytes(127) + b"\x01", bytes(256)):
        dataset.PixelData = image.tobytes() + excess
        with pytest.raises(UnreadableFile, match="expected 256 from rows, columns, frames and bits"):
            read_frame(dataset)


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000])
def test_a_codestream_without_its_end_is_not_filled_with_grey(syntax):
    dataset = make_dataset([some_pixels("uint8", (64, 64))], syntax=syntax)
    encoded = next(generate_frames(dataset.PixelData, number_of_frames=1)).rstrip(b"\0")
    dataset.PixelData = encapsulate([encoded + b"\xff"])
    assert read_frame(dataset).shape == (64, 64)
    dataset.PixelData = encapsulate([encoded[:-200]])
    with pytest.raises(UnreadableFile, match="does not end with its end marker"):
        read_frame(dataset)


def test_pydicom_and_we_read_the_same_values_from_its_own_test_files():
    compared = 0
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(path)
                theirs = dataset.pixel_array
            except Exception:  # Not readable to pydicom: nothing to compare with.
                continue
            if dataset.PhotometricInterpretation == "PALETTE COLOR":
                continue
            ours = np.stack(list(iterate_frames(path)))
        assert ours.reshape(theirs.shape).tolist() == theirs.tolist(), path.name
        compared += 1
    assert compared > 40


def test_an_unknown_and_an_undecodable_transfer_syntax_are_named(tmp_path):
    dataset = make_dataset([some_pixels("uint8")], syntax=RLE)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.840.10008.1.2.4.100")
    dataset.save_as(tmp_path / "video.dcm", enforce_file_format=True)
    with pytest.raises(UnreadableFile, match=r"MPEG2 .*no decoder"):
        read_frame(tmp_path / "video.dcm")


def test_a_deflate_bomb_is_refused_by_its_inflated_size(tmp_path):
    path = write_dicom(tmp_path / "bomb.dcm", some_pixels("uint8"), syntax="1.2.840.10008.1.2.1.99")
    head, plain = split_meta(path.read_bytes())
    plain = (
        zlib.decompress(plain, -zlib.MAX_WBITS)
        + struct.pack("<HH2sHL", 0x7FE1, 0x1000, b"OB", 0, 50_000_000)
        + bytes(50_000_000)
    )
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(head + squeeze.compress(plain) + squeeze.flush())
    assert path.stat().st_size < 100_000
    with pytest.raises(UnreadableFile, match=r"inflates to more than 1000000 bytes"):
        read_tags(path, limits=Limits(inflated_bytes=1_000_000))


def split_meta(data: bytes) -> tuple[bytes, bytes]:
    length = struct.unpack("<L", data[140:144])[0]
    return data[: 144 + length], data[144 + length :]


def test_sequences_nested_100000_deep_are_refused(tmp_path):
    path = write_dicom(tmp_path / "deep.dcm", some_pixels("uint8"))
    head, rest = split_meta(path.read_bytes())
    level = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    path.write_bytes(head + level * 100_000 + rest)
    with pytest.raises(UnreadableFile, match=r"nested too deeply"):
        read_tags(path)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 500, b"hello, world", b"<html>" * 100, b"\0" * 128 + b"DICM"]
)
def test_what_is_no_dicom_is_refused(tmp_path, content):
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"^a.dcm: "):
        read_tags(tmp_path / "a.dcm")


def test_a_data_set_without_pixels_has_tags_but_no_frame(tmp_path):
    path = tmp_path / "report.dcm"
    dataset = make_dataset([some_pixels("uint8")])
    del dataset.PixelData
    dataset.save_as(path, enforce_file_format=True)
    assert read_tags(path)["Rows"] == 7
    with pytest.raises(UnreadableFile, match=r"no pixel data .* Secondary Capture"):
        read_frame(path)
