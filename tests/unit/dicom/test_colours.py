"""Colours come out as RGB, whichever way a file holds them."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from openjpeg.utils import encode as encode_openjpeg
from pydicom.pixels.processing import apply_color_lut, convert_color_space

from medimg.dicom.read import read_frame
from medimg.errors import UnreadableFile
from tests.unit.dicom.test_codecs import JPEG, RED, SMOOTH
from tests.unit.dicom.test_read import some_pixels
from tests.unit.dicom.written import (
    EXPLICIT,
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


@pytest.mark.parametrize(("photometric", "syntax"), [("YBR_FULL", JPEG_BASELINE), ("RGB", JPEG_BASELINE)])
def test_jpeg_colours_come_out_as_rgb(tmp_path, photometric, syntax):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    path = write_dicom(tmp_path / "a.dcm", red, syntax=syntax, PhotometricInterpretation=photometric)
    assert np.abs(read_frame(path).astype(int) - red).max() <= 3


def test_native_ybr_becomes_rgb(tmp_path):
    grey_ybr = np.full((4, 4, 3), 128, np.uint8)
    grey_ybr[..., 0] = 77
    path = write_dicom(tmp_path / "a.dcm", grey_ybr, PhotometricInterpretation="YBR_FULL")
    assert (read_frame(path) == 77).all()


def test_planes_are_interleaved(tmp_path):
    image_HWC = some_pixels("uint8", (3, 5, 3))
    dataset = make_dataset([image_HWC], PlanarConfiguration=1)
    dataset.PixelData = image_HWC.transpose(2, 0, 1).tobytes() + b"\0"
    np.testing.assert_array_equal(read_frame(dataset), image_HWC)


@pytest.mark.parametrize("tail", [50, 51])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_jpeg_that_says_itself_that_it_is_ycbcr_is_shown_so(photometric, tail):
    encoded = pillow_jpeg(RED, subsampling=0)
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"
    dataset = with_codestream(
        RED, encoded[:2] + adobe + encoded[2:], f"{JPEG}.{tail}", PhotometricInterpretation=photometric
    )
    assert np.abs(read_frame(dataset).astype(int) - RED).max() <= 3


@pytest.mark.parametrize(
    "adobe",
    [
        b"",
        b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00",
        b"\xff\xee\x00\x0dAdobe\x00\x64\x00\x00\x00\x01",  # Too short to say anything.
        b"\xff\xee\x00\x0eOther\x00\x64\x00\x00\x00\x00\x01",
        b"\xff\xed\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01",
    ],
)
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


@pytest.mark.parametrize("tail", [50, 57, 70])
@pytest.mark.parametrize(
    "segment",
    [
        b"",
        b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00",
        b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01",
    ],
    ids=["none", "JFIF", "Adobe"],
)
def test_lossless_jpeg_has_no_colour_transform_whatever_its_segments_say(tail, segment):
    image = some_pixels("uint8", (6, 8, 3))
    encoded = imagecodecs.jpeg8_encode(image, lossless=True, colorspace="RGB", outcolorspace="RGB")
    plain = encoded[:2] + segment + encoded[encoded.index(b"\xff\xc3") :]
    np.testing.assert_array_equal(read_frame(with_codestream(image, plain, f"{JPEG}.{tail}")), image)


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
