"""TIFF, BMP and WebP are read as they are meant; other formats, and rows without an image, are counted."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from medimg.catalogue.summary import count_quarantined
from medimg.dicom.safety import Limits
from medimg.errors import UnreadableFile
from medimg.images.prepare import Ingest, prepare_image
from medimg.images.raster import read_raster, read_raster_tags
from tests.faults.catalogued import catalogue, noise, write_folder
from tests.unit.dicom.written import EXPLICIT, JPEG_2000, JPEG_LS, RLE, write_dicom

GREY = noise(1)
COLOUR = np.stack([noise(1), noise(2), noise(3)], axis=2)
DEEP = noise(4, bits=16)


def write_tiff(path: Path, pixels: np.ndarray, **tags: int) -> Path:
    """One uncompressed strip, little endian; `tags` by number, `t262=0`, replace what the pixels say."""
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    entries = {
        254: 0,
        256: pixels.shape[1],
        257: pixels.shape[0],
        258: 8 * pixels.itemsize,
        259: 1,
        262: 1,
        273: 0,
        277: samples,
        278: pixels.shape[0],
        279: pixels.nbytes,
        339: {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind],
    } | {int(name[1:]): value for name, value in tags.items()}
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    listed = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    path.write_bytes(b"II*\0" + struct.pack("<LH", 8, len(entries)) + listed + b"\0" * 4 + pixels.tobytes())
    return path


@pytest.mark.parametrize("name", ["a.tif", "a.bmp", "a.webp"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_picture_of_each_format_comes_back_as_written(tmp_path, name, pixels):
    Image.fromarray(pixels).save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    found = read_raster(tmp_path / name)
    if name == "a.webp" and pixels.ndim == 2:  # WebP has no grey.
        found = found[..., 0]
    np.testing.assert_array_equal(found, pixels)
    assert read_raster_tags(tmp_path / name)["Rows"] == 64


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
@pytest.mark.parametrize("pixels", [DEEP, np.stack([DEEP, DEEP // 2, DEEP // 3], axis=2)], ids=["L", "RGB"])
def test_sixteen_bits_of_a_tiff_stay_sixteen(tmp_path, pixels, compression):
    shown = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    cv2.imwrite(str(tmp_path / "a.tif"), shown, [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    np.testing.assert_array_equal(read_raster(tmp_path / "a.tif"), pixels)
    assert read_raster_tags(tmp_path / "a.tif")["BitsStored"] == 16


@pytest.mark.parametrize("pixels", [GREY, DEEP], ids=["8", "16"])
def test_a_tiff_that_says_zero_is_white_is_turned_around(tmp_path, pixels):
    found = read_raster(write_tiff(tmp_path / "a.tif", pixels, t262=0))
    np.testing.assert_array_equal(found, np.iinfo(pixels.dtype).max - pixels)


def test_a_big_endian_tiff_is_read_as_meant(tmp_path):
    big = write_tiff(tmp_path / "a.tif", DEEP)
    with Image.open(big) as image:
        pixels = np.asarray(image)
    Image.frombytes("I;16B", (64, 64), pixels.astype(">u2").tobytes()).save(tmp_path / "b.tif")
    np.testing.assert_array_equal(read_raster(tmp_path / "b.tif"), DEEP)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_is_turned_as_its_orientation_says(tmp_path, compression):
    turned = {1: GREY[:32], 3: np.rot90(GREY[:32], 2), 6: np.rot90(GREY[:32], -1), 8: np.rot90(GREY[:32])}
    for orientation, expected in turned.items():
        Image.fromarray(GREY[:32]).save(
            tmp_path / "a.tif", tiffinfo={274: orientation}, compression=compression
        )
        np.testing.assert_array_equal(read_raster(tmp_path / "a.tif"), expected)
        assert read_raster_tags(tmp_path / "a.tif")["Rows"] == len(expected)


@pytest.mark.parametrize(
    ("pixels", "tags", "message"),
    [
        (GREY.astype(np.float32), {}, "has 32-bit samples of SampleFormat 3, expected unsigned integers"),
        (DEEP.view(np.int16), {}, "has 16-bit samples of SampleFormat 2, expected unsigned integers"),
        (GREY.astype(np.uint32), {}, "has 32-bit samples of SampleFormat 1, expected unsigned integers"),
        (GREY, {"t254": 1}, "begins with a reduced copy or a mask of another page"),
        (GREY, {"t256": 60_000, "t257": 60_000}, "declares 60000 x 60000 pixels, expected at most"),
    ],
)
def test_a_tiff_that_is_no_picture_is_refused_by_what_it_holds(tmp_path, pixels, tags, message):
    with pytest.raises(UnreadableFile, match=f"^a.tif: {message}"):
        read_raster(write_tiff(tmp_path / "a.tif", pixels, **tags))


def test_several_pages_and_an_animation_are_refused(tmp_path):
    pages = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    for name, message in (("a.tif", "has 2 pages"), ("a.webp", r"is animated \(2 frames\)")):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with pytest.raises(UnreadableFile, match=f"^{name}: {message}, expected one image"):
            read_raster(tmp_path / name)


@pytest.mark.parametrize("name", ["a.tif", "a.bmp", "a.webp", "a.png", "a.jpg"])
def test_a_picture_cut_short_is_named_without_a_word_of_python(tmp_path, name):
    Image.fromarray(COLOUR).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for share in (0.3, 0.9):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UnreadableFile, match=rf"^{name}: cannot be decoded as \w+: it is damaged or cut"):
            read_raster(tmp_path / name)


def test_one_limit_holds_for_the_decoded_size_and_it_is_ours(tmp_path):
    flat = Image.new("L", (15_000, 12_000))  # Pillow refuses more than 178,956,970 pixels.
    flat.save(tmp_path / "a.png", compress_level=1)
    assert read_raster_tags(tmp_path / "a.png")["Columns"] == 15_000
    with pytest.raises(UnreadableFile, match="expected at most 179000000 bytes decoded"):
        read_raster_tags(tmp_path / "a.png", limits=Limits(frame_bytes=179_000_000))


def test_what_was_catalogued_of_each_format_is_what_a_run_sees(tmp_path):
    data = write_folder(tmp_path / "data", named=["a.tif", "b.bmp", "c.webp"])
    Image.fromarray(noise(30)).save(data / "a.tif")
    Image.fromarray(noise(31)).save(data / "b.bmp")
    Image.fromarray(COLOUR).save(data / "c.webp", lossless=True)
    found = catalogue(data)
    assert found.summary["cases"] == {"used": 15, "unlabelled": 0, "excluded": 0, "quarantined": 0}
    assert list(found.images.loc[["a.tif", "b.bmp", "c.webp"], "kind"]) == ["tiff", "bmp", "webp"]
    prepared = prepare_image(data / "a.tif", ingest=Ingest((64, 64)))
    np.testing.assert_array_equal(prepared.pixels, noise(30))


OTHERS = {
    "12.gif": (b"GIF89a", "is a picture of the format GIF"),
    "13.jp2": (b"\0\0\0\x0cjP  \r\n\x87\n", "is a picture of the format JPEG 2000"),
    "14.png": (b"\0\0\0\x18ftypheic", "is a picture of the format HEIF"),
    "15.bin": (b"8BPS\0\1", "is a picture of the format Photoshop"),
    "16.pgm": (b"P5 2 2 255 ....", "is a picture of the format portable anymap"),
    "17.tif": (b"no picture at all", "is called an image and is none that can be read"),
    "18.txt": (b"notes", "no image"),
}


def test_a_row_whose_file_is_no_usable_image_is_quarantined_and_counted(tmp_path):
    data = write_folder(tmp_path / "data", named=[*OTHERS, "19.png"])
    for name, (content, _) in OTHERS.items():
        (data / name).write_bytes(content + b"\0" * 200)
    found = catalogue(data)
    assert found.summary["cases"] == {"used": 12, "unlabelled": 0, "excluded": 0, "quarantined": 8}
    assert found.summary["images"] == {"used": 12, "unlabelled": 0, "excluded": 0, "quarantined": 6}
    assert (found.summary["input"]["cases"], count_quarantined(found.summary)) == (20, 8)
    for name, (_, reason) in OTHERS.items():
        case = found.cases.loc[name]
        assert case["status"] == "quarantined"
        assert case["reason"].startswith(f"{name}: {reason}")
        assert case["reason"].endswith("expected DICOM, PNG, JPEG, TIFF, BMP or WebP")
    assert found.cases.loc["19.png", "reason"] == "labels.csv names it and it is not in the folder"
    assert "labels.csv row 21: 19.png is not in the folder" in found.summary["anomalies"]


def test_a_row_has_the_reason_of_its_file_whatever_that_is(tmp_path):
    named = ["report.txt", "burned.dcm", "copy.png", "._00.png"]
    data = write_folder(tmp_path / "data", named=named)
    write_dicom(data / "burned.dcm", GREY, BurnedInAnnotation="YES")
    (data / "._00.png").write_bytes(b"\0\5\x16\7" + b"\0" * 100)
    (data / "labels.csv").write_text((data / "labels.csv").read_text() + "20.png,P20,\n21.png,,a\n")
    found = catalogue(data)
    assert dict(found.cases.loc[[*named, "20.png", "21.png"], "status"]) == {
        "report.txt": "quarantined",
        "burned.dcm": "quarantined",
        "copy.png": "quarantined",
        "._00.png": "excluded",
        "20.png": "excluded",
        "21.png": "quarantined",
    }
    assert found.cases.loc["burned.dcm", "reason"].startswith("BurnedInAnnotation (0028,0301) is YES")
    assert found.cases.loc["._00.png", "reason"] == "._00.png: no image (left behind by macOS)"
    assert found.cases.loc["21.png", "reason"] == "labels.csv row 19: no patient_id"
    assert count_quarantined(found.summary) == 4


def test_of_two_copies_the_one_with_a_row_stays(tmp_path):
    data = write_folder(tmp_path / "data")
    (data / "00 copy.png").write_bytes((data / "00.png").read_bytes())
    found = catalogue(data)
    assert found.summary["cases"]["used"] == 12
    assert found.status("00 copy.png") == ("excluded", "same bytes as 00.png")


def test_one_image_in_two_transfer_syntaxes_stays_once(tmp_path):
    data = write_folder(tmp_path / "data", named=["a/x.dcm", "b/x.dcm", "b/other.dcm"])
    for folder in ("a", "b", "c"):
        (data / folder).mkdir()
    write_dicom(data / "a/x.dcm", GREY, SOPInstanceUID="1.2.3", PatientID="P12")
    write_dicom(data / "b/x.dcm", GREY, syntax=JPEG_LS, SOPInstanceUID="1.2.3", PatientID="P12")
    write_dicom(data / "c/x.dcm", GREY, syntax=JPEG_LS, SOPInstanceUID="1.2.3", SeriesNumber=7)
    write_dicom(data / "b/other.dcm", DEEP, SOPInstanceUID="1.2.4")
    write_dicom(data / "c/other.dcm", DEEP + np.uint16(1), SOPInstanceUID="1.2.4")
    found = catalogue(data)
    # Two rows: their labels differ, so neither is used; a third copy without a row is no case at all.
    assert found.cases.loc["a/x.dcm", "reason"].startswith("identical pixels with different label")
    assert found.status("c/x.dcm")[0] == "excluded"
    uid_clash = "SOPInstanceUID 1.2.4 also in {}, with other content"
    assert found.status("b/other.dcm") == ("quarantined", uid_clash.format("c/other.dcm"))
    assert found.cases.loc["b/other.dcm", "status"] == "quarantined"
    assert found.status("c/other.dcm") == ("quarantined", uid_clash.format("b/other.dcm"))


@pytest.mark.parametrize("patients", [("P12", "P12", "P12"), ("P12", "P13", "P14")])
@pytest.mark.parametrize("syntaxes", [(EXPLICIT, JPEG_LS, RLE), (JPEG_2000, "1.2.840.10008.1.2.2", EXPLICIT)])
def test_of_copies_in_other_transfer_syntaxes_with_one_label_one_is_used(tmp_path, syntaxes, patients):
    data = write_folder(tmp_path / "data")
    with (data / "labels.csv").open("a", encoding="utf-8") as table:
        for number, (syntax, patient) in enumerate(zip(syntaxes, patients, strict=True)):
            write_dicom(
                data / f"{number}.dcm", DEEP, syntax=syntax, SOPInstanceUID="1.2.3", SeriesNumber=number
            )
            table.write(f"{number}.dcm,{patient},a\n")
    found = catalogue(data)
    assert found.summary["images"] == {"used": 13, "unlabelled": 0, "excluded": 2, "quarantined": 0}
    assert found.status("0.dcm")[0] == "used"
