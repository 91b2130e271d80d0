"""Each transfer syntax with what may be odd in it: colours, markers, palettes, forms of codestreams."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from shutil import which

import imagecodecs
import numpy as np
import pytest
from openjpeg.utils import encode as encode_openjpeg
from PIL import Image

from medimg.dicom.codecs import CODECS, Codec
from medimg.dicom.parse import read_tags
from medimg.dicom.pixel_format import PixelFormat
from medimg.dicom.read import read_frame
from medimg.errors import UnreadableFile
from tests.unit.dicom.test_read import some_pixels
from tests.unit.dicom.written import (
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    make_dataset,
    pillow_jpeg,
    with_codestream,
    write_dicom,
)

JPEG = "1.2.840.10008.1.2.4"
SMOOTH = np.linspace(0, 200, 36 * 34).reshape(36, 34).astype(np.uint8)
RED = np.zeros((16, 16, 3), np.uint8)
RED[..., 0] = 200


def test_every_standard_syntax_of_still_images_has_a_decoder():
    tails = (50, 51, 53, 55, 57, 70, 80, 81, 90, 91, 201, 202, 203)
    assert set(CODECS) == {f"{JPEG}.{tail}" for tail in tails} | {RLE}
    packages = {codec.decoder.split(".")[0] for codec in CODECS.values()}
    assert packages == {"imagecodecs", "openjpeg", "rle"}


@pytest.mark.parametrize(
    ("tail", "form"),
    [
        (50, {}),
        (51, {}),
        (53, {"progressive": True}),
        (55, {"progressive": True}),
        (50, {"optimize": True}),
        (50, {"restart_marker_blocks": 1}),
    ],
)
@pytest.mark.parametrize("colour", [False, True])
def test_lossy_jpeg_is_what_pillow_makes_of_it(tail, form, colour):
    image = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH // 2], axis=2) if colour else SMOOTH
    encoded = pillow_jpeg(image, subsampling=0 if colour else -1, **form)
    photometric = "YBR_FULL" if colour else "MONOCHROME2"
    dataset = with_codestream(image, encoded, f"{JPEG}.{tail}", PhotometricInterpretation=photometric)
    expected = np.asarray(Image.open(io.BytesIO(encoded))).astype(int)
    assert np.abs(read_frame(dataset) - expected).max() <= 1


def test_12_bits_of_extended_jpeg_are_read():
    image = SMOOTH.astype(np.uint16) * 20
    encoded = imagecodecs.jpeg8_encode(image, level=98, bitspersample=12)
    dataset = with_codestream(image, encoded, f"{JPEG}.51", BitsStored=12, HighBit=11)
    found = read_frame(dataset)
    assert found.dtype == np.uint16
    assert np.abs(found.astype(int) - image).max() <= 40


@pytest.mark.parametrize(
    ("tail", "encode"),
    [
        (57, lambda image: imagecodecs.jpeg8_encode(image, lossless=True, bitspersample=16)),
        (70, lambda image: imagecodecs.jpeg8_encode(image, lossless=True, bitspersample=16)),
        (80, imagecodecs.jpegls_encode),
        (81, imagecodecs.jpegls_encode),
        (90, lambda image: encode_openjpeg(image, bits_stored=16, photometric_interpretation=2)),
        (91, lambda image: encode_openjpeg(image, bits_stored=16, photometric_interpretation=2)),
    ],
)
def test_lossless_codestreams_are_exact_under_every_syntax_that_allows_them(tail, encode):
    image = some_pixels("uint16", (35, 33))
    dataset = with_codestream(image, encode(image), f"{JPEG}.{tail}")
    np.testing.assert_array_equal(read_frame(dataset), image)


# --- odd codestreams


def test_huffman_tables_and_fill_bytes_before_the_frame_header_are_passed_over():
    encoded = pillow_jpeg(SMOOTH)
    segments, scan = split_segments(encoded)
    tables = [segment for marker, segment in segments if marker == 0xC4]
    others = [segment for marker, segment in segments if marker != 0xC4]
    assert tables
    moved = b"\xff\xd8" + b"".join(b"\xff\xff\xff" + segment[1:] for segment in (*tables, *others)) + scan
    dataset = with_codestream(SMOOTH, moved, JPEG_BASELINE)
    expected = np.asarray(Image.open(io.BytesIO(encoded))).astype(int)
    assert np.abs(read_frame(dataset) - expected).max() <= 1


def test_a_frame_header_that_is_cut_short_is_none_although_another_follows():
    encoded = pillow_jpeg(SMOOTH)
    short = encoded[:2] + b"\xff\xc0\x00\x07\x08\x00\x24\x00\x22" + encoded[2:]
    with pytest.raises(UnreadableFile, match="no JPEG frame header found"):
        read_frame(with_codestream(SMOOTH, short, JPEG_BASELINE))


def split_segments(encoded: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """(Marker, segment) before the scan, and the scan."""
    position, segments = 2, []
    while encoded[position + 1] != 0xDA:
        length = int.from_bytes(encoded[position + 2 : position + 4], "big")
        segments.append((encoded[position + 1], encoded[position : position + 2 + length]))
        position += 2 + length
    return segments, encoded[position:]


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        (f"{JPEG}.57", r"of kind SOF0, expected SOF3 \(lossless\)"),
        (JPEG_LOSSLESS, r"of kind SOF0, expected SOF3 \(lossless\)"),
        (JPEG_LS, r"marker 0xFFC0, expected 0xFFF7 \(JPEG-LS\)"),
        (f"{JPEG}.81", r"marker 0xFFC0, expected 0xFFF7 \(JPEG-LS\)"),
    ],
)
def test_a_lossy_frame_under_the_name_of_another_kind_is_refused(syntax, message):
    with pytest.raises(UnreadableFile, match=message):
        read_frame(with_codestream(SMOOTH, pillow_jpeg(SMOOTH), syntax))


@pytest.mark.parametrize(
    ("syntax", "reason"),
    [
        (JPEG_BASELINE, "cannot be decoded: no JPEG frame header found in 16 bytes"),
        (JPEG_LOSSLESS, "cannot be decoded: no JPEG frame header found in 16 bytes"),
        (JPEG_LS, "cannot be decoded: no JPEG frame header found in 16 bytes"),
        (JPEG_2000, "cannot be decoded: "),
        (RLE, "cannot be decoded: an RLE frame of 16 bytes cannot hold the 1224 bytes"),
    ],
)
@pytest.mark.parametrize(
    "encoded", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00\x03\x08\xff\xd9", b"no codestream"]
)
def test_what_is_no_codestream_is_refused_in_one_line(syntax, reason, encoded):
    with pytest.raises(UnreadableFile, match=reason) as refused:
        read_frame(with_codestream(SMOOTH, encoded.ljust(16, b"\0"), syntax))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("attribute", "change"), [("Rows", 1), ("Rows", -1), ("Columns", 1), ("Columns", -1)]
)
@pytest.mark.parametrize("syntax", [JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000])
def test_a_codestream_of_another_size_than_the_headers_is_refused(syntax, attribute, change):
    dataset = make_dataset([SMOOTH], syntax=syntax)
    setattr(dataset, attribute, getattr(dataset, attribute) + change)
    with pytest.raises(UnreadableFile, match=r"the codestream has rows, columns, samples .* as the header"):
        read_frame(dataset)


@pytest.mark.parametrize("attribute", ["Rows", "Columns"])
def test_rle_that_holds_less_than_the_header_says_is_refused(attribute):
    dataset = make_dataset([SMOOTH], syntax=RLE)
    setattr(dataset, attribute, getattr(dataset, attribute) + 1)
    with pytest.raises(UnreadableFile, match=r"RLE Lossless frame of .* cannot be decoded"):
        read_frame(dataset)


def test_a_grey_codestream_under_a_header_of_colours_is_refused():
    dataset = with_codestream(RED, pillow_jpeg(RED[..., 0]), JPEG_BASELINE)
    with pytest.raises(UnreadableFile, match=r"samples \(16, 16, 1\), expected \(16, 16, 3\)"):
        read_frame(dataset)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(512, 1024), (256, 1024, 3)])
def test_rle_frames_of_one_value_are_read_although_they_are_small(dtype, shape):
    image = np.full(shape, 77, dtype)
    np.testing.assert_array_equal(read_frame(make_dataset([image], syntax=RLE)), image)


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_rle_keeps_colours_and_bytes_in_order(dtype):
    shape = (5, 7) if dtype != "uint16" else (5, 7, 3)
    image = some_pixels(dtype, shape)
    np.testing.assert_array_equal(read_frame(make_dataset([image], syntax=RLE)), image)


@pytest.mark.parametrize("syntax", [JPEG_LS, JPEG_2000, JPEG_LOSSLESS])
def test_a_decoder_that_aligns_its_values_is_not_shifted_again(syntax):
    image = some_pixels("uint16", (35, 33), bits=12)
    encoded = {
        JPEG_LS: lambda: imagecodecs.jpegls_encode(image),
        JPEG_2000: lambda: encode_openjpeg(image, bits_stored=12, photometric_interpretation=2),
        JPEG_LOSSLESS: lambda: imagecodecs.jpeg8_encode(image, lossless=True, bitspersample=12),
    }[syntax]()
    dataset = with_codestream(image, encoded, syntax, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(read_frame(dataset), image)


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
        (SystemExit(3), SystemExit, "^3$"),
        (MemoryError(), UnreadableFile, "needs more memory than there is"),
        (
            RuntimeError("two\nlines"),
            UnreadableFile,
            "Odd frame of .* bytes cannot be decoded: it is dam",
        ),
        (BaseException("a panic"), UnreadableFile, "Odd frame of .* bytes cannot be decoded: it is dam"),
    ],
)
def test_a_decoder_that_fails_in_any_way_costs_its_file_and_a_stop_stops(
    monkeypatch, failure, error, message
):
    def fail(frame: bytes, pixel_format: PixelFormat) -> np.ndarray:
        raise failure

    monkeypatch.setitem(CODECS, RLE, Codec("Odd", "odd.decode", fail))
    with pytest.raises(error, match=message):
        read_frame(make_dataset([SMOOTH], syntax=RLE))


def test_a_decoder_that_returns_another_shape_is_refused(monkeypatch):
    monkeypatch.setitem(CODECS, RLE, Codec("Odd", "odd.decode", lambda frame, pixel_format: SMOOTH[:-1]))
    with pytest.raises(UnreadableFile, match=r"Odd frame decodes to shape \(35, 34\), expected \(36, 34\)"):
        read_frame(make_dataset([SMOOTH], syntax=RLE))


# --- against DCMTK


@pytest.mark.skipif(
    which("dcmcjpeg") is None or which("dcmdrle") is None, reason="DCMTK is not installed here"
)
@pytest.mark.parametrize(
    ("command", "tail"),
    [
        (["dcmcjpeg", "+e1"], ".70"),
        (["dcmcjpeg", "+el"], ".57"),
        (["dcmcjpls", "+el"], ".80"),
        (["dcmcrle"], ".5"),
    ],
)
@pytest.mark.parametrize(
    ("dtype", "bits", "shape"), [("uint16", 12, (35, 33)), ("uint8", 8, (35, 33, 3)), ("int16", 16, (35, 33))]
)
def test_what_dcmtk_compresses_without_loss_comes_back(tmp_path, command, tail, dtype, bits, shape):
    image = some_pixels(dtype, shape, bits=bits)
    path = write_dicom(tmp_path / "a.dcm", image, BitsStored=bits, HighBit=bits - 1, StudyInstanceUID="1.2.3")
    compressed = compress(path, command)
    assert compressed_syntax(compressed).endswith(tail)
    np.testing.assert_array_equal(read_frame(compressed), image)


def compress(path: Path, command: list[str]) -> Path:
    target = path.with_suffix(".compressed.dcm")
    subprocess.run([*command, str(path), str(target)], check=True, capture_output=True)
    return target


def compressed_syntax(path: Path) -> str:
    return str(read_tags(path)["TransferSyntaxUID"])
