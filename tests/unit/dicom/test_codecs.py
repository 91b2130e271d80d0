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
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_color_lut, convert_color_space

from medimg.dicom.codecs import CODECS, Codec
from medimg.dicom.parse import read_tags
from medimg.dicom.pixel_format import PixelFormat
from medimg.dicom.read import read_frame
from medimg.errors import UnreadableFile
from tests.unit.dicom.test_read import some_pixels
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

JPEG = "1.2.840.10008.1.2.4"
SMOOTH = np.linspace(0, 200, 36 * 34).reshape(36, 34).astype(np.uint8)
RED = np.zeros((16, 16, 3), np.uint8)
RED[..., 0] = 200


def with_codestream(image: np.ndarray, encoded: bytes, syntax: str, **attributes: object) -> Dataset:
    """A data set whose header describes the image and whose pixels are this codestream."""
    dataset = make_dataset([image], **attributes)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([encoded])
    return dataset


def pillow_jpeg(image: np.ndarray, **options: object) -> bytes:
    target = io.BytesIO()
    Image.fromarray(image).save(target, format="JPEG", quality=95, **options)
    return target.getvalue()


def test_every_standard_syntax_of_still_images_has_a_decoder():
    tails = (50, 51, 53, 55, 57, 70, 80, 81, 90, 91, 201, 202, 203)
    assert set(CODECS) == {f"{JPEG}.{tail}" for tail in tails} | {RLE}


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


@pytest.mark.parametrize("tail", [50, 51])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_jpeg_that_says_itself_that_it_is_ycbcr_is_shown_so(photometric, tail):
    encoded = pillow_jpeg(RED, subsampling=0)
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"
    dataset = with_codestream(
        RED, encoded[:2] + adobe + encoded[2:], f"{JPEG}.{tail}", PhotometricInterpretation=photometric
    )
    assert np.abs(read_frame(dataset).astype(int) - RED).max() <= 3


@pytest.mark.parametrize("adobe", [b"", b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"])
def test_rgb_in_jpeg_stays_rgb_without_or_with_a_segment_that_says_so(adobe):
    encoded = imagecodecs.jpeg8_encode(
        RED, level=98, colorspace="RGB", outcolorspace="RGB", subsampling="444"
    )
    start = encoded.index(b"\xff\xdb")
    dataset = with_codestream(RED, encoded[:2] + adobe + encoded[start:], JPEG_BASELINE)
    assert np.abs(read_frame(dataset).astype(int) - RED).max() <= 3


@pytest.mark.parametrize("syntax", [RLE, JPEG_LOSSLESS, JPEG_LS, EXPLICIT])
def test_ybr_that_no_decoder_converts_becomes_rgb(tmp_path, syntax):
    ybr = some_pixels("uint8", (6, 8, 3))
    dataset = make_dataset([ybr], syntax=syntax, PhotometricInterpretation="YBR_FULL")
    np.testing.assert_array_equal(read_frame(dataset), convert_color_space(ybr, "YBR_FULL", "RGB"))


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_a_lossless_frame_under_a_lossy_syntax_has_the_colours_that_the_header_says(photometric):
    stored = some_pixels("uint8", (6, 8, 3))
    encoded = imagecodecs.jpeg8_encode(stored, lossless=True, colorspace="RGB", outcolorspace="RGB")
    dataset = with_codestream(stored, encoded, JPEG_BASELINE, PhotometricInterpretation=photometric)
    expected = stored if photometric == "RGB" else convert_color_space(stored, "YBR_FULL", "RGB")
    np.testing.assert_array_equal(read_frame(dataset), expected)


def test_ybr_of_other_than_8_bits_is_refused():
    dataset = make_dataset([some_pixels("uint16", (6, 8, 3))], PhotometricInterpretation="YBR_FULL")
    with pytest.raises(UnreadableFile, match="YBR_FULL with 16 bits stored, expected 8"):
        read_frame(dataset)


@pytest.mark.parametrize("planar", [0, 1])
def test_subsampled_colours_are_expanded_to_pairs_of_pixels(planar):
    # PS3.3 C.7.6.3.1.2: two luminances, then the blue and the red difference of both.
    packed = np.array([[10, 20, 90, 200], [30, 40, 128, 128]], np.uint8)
    full = np.array([[[10, 90, 200], [20, 90, 200]], [[30, 128, 128], [40, 128, 128]]], np.uint8)
    dataset = make_dataset([full], PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=planar)
    dataset.PixelData = packed.tobytes()
    expected = convert_color_space(full, "YBR_FULL", "RGB")
    np.testing.assert_array_equal(read_frame(dataset), expected)
    dataset.NumberOfFrames = 2
    dataset.PixelData = bytes(8) + packed.tobytes()
    np.testing.assert_array_equal(read_frame(dataset, frame=1), expected)


@pytest.mark.parametrize("photometric", ["YBR_RCT", "YBR_ICT"])
def test_the_colour_transforms_of_jpeg_2000_are_undone_by_its_decoder(photometric):
    image = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH // 2], axis=2)
    lossy = {"compression_ratios": [2]} if photometric == "YBR_ICT" else {}
    encoded = encode_openjpeg(image, bits_stored=8, photometric_interpretation=1, use_mct=True, **lossy)
    dataset = with_codestream(
        image, encoded, f"{JPEG}.91" if lossy else JPEG_2000, PhotometricInterpretation=photometric
    )
    assert np.abs(read_frame(dataset).astype(int) - image).max() <= (4 if lossy else 0)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_is_applied_and_gives_rgb(bits):
    indices = some_pixels("uint8", (6, 8)) % 16
    dataset = make_dataset([indices], PhotometricInterpretation="PALETTE COLOR")
    entries = np.random.default_rng(0).integers(0, 2**bits, (3, 16)).astype(f"u{bits // 8}")
    for name, values in zip(("Red", "Green", "Blue"), entries, strict=True):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [16, 0, bits])
        setattr(dataset, f"{name}PaletteColorLookupTableData", values.tobytes())
    found = read_frame(dataset)
    assert found.dtype == np.dtype(f"u{bits // 8}")
    np.testing.assert_array_equal(found, entries.T[indices])
    np.testing.assert_array_equal(found, apply_color_lut(indices, dataset))


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
        (RuntimeError("two\nlines"), UnreadableFile, "Odd frame of .* bytes cannot be decoded: two lines$"),
        (BaseException("a panic"), UnreadableFile, "Odd frame of .* bytes cannot be decoded: a panic$"),
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
