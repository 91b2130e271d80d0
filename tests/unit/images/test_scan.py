"""What is below a data root: which files are images, and what their pixels' hash stands for."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from medimg.errors import UnreadableFile
from medimg.images.encoding import encode_png
from medimg.images.scan import hash_pixels, list_files, scan_file, sniff
from tests.unit.dicom.test_read import some_pixels
from tests.unit.dicom.written import RLE, write_dicom


@pytest.mark.parametrize(
    "ending",
    [
        *("dcm", "dicom", "dic", "ima", "png", "jpg", "jpeg", "jpe", "jfif", "tif", "tiff", "bmp", "dib"),
        *("webp", "DCM", "IMA", "Png", "JPG"),
    ],
)
def test_what_is_called_an_image_and_is_none_is_refused(tmp_path, ending):
    (tmp_path / f"a.{ending}").write_text("<html>503 Service Unavailable</html>")
    with pytest.raises(
        UnreadableFile, match=rf"^a\.{ending}: is called an image and is none that can be read"
    ):
        scan_file(f"a.{ending}", root=str(tmp_path))


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx", "dcm", "a.dcm.txt", "png.zip"])
def test_what_is_not_called_an_image_and_is_none_is_passed_over(tmp_path, name):
    (tmp_path / name).write_text("ID1,LeftRight")
    assert scan_file(name, root=str(tmp_path)) is None


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\x89PNG\r\n\x1a", None),
        (b"\xff\xd8\xff", "jpeg"),
        (b"\xff\xd8", None),
        (b"\0" * 128 + b"DICM", "dicom"),
        (b"", None),
        (b"GIF89a", None),
    ],
)
def test_a_kind_is_known_by_all_of_its_first_bytes(tmp_path, head, kind):
    (tmp_path / "a").write_bytes(head)
    assert sniff(tmp_path / "a") == kind


@pytest.mark.parametrize(("name", "kind"), [("a.png", "png"), ("a.jpg", "jpeg")])
def test_a_raster_has_a_header_too(tmp_path, name, kind):
    pixels = some_pixels("uint8", (20, 30, 3))
    Image.fromarray(pixels).save(tmp_path / name)
    header = scan_file(name, root=str(tmp_path))
    assert (header.path, header.kind, header.size) == (name, kind, (tmp_path / name).stat().st_size)
    assert header.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert header.tags == {
        "Rows": 20,
        "Columns": 30,
        "BitsStored": 8,
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
    }


def test_links_within_the_root_are_read_and_their_folders_are_not_listed_twice(tmp_path):
    (tmp_path / "a").mkdir()
    write_dicom(tmp_path / "a" / "1.dcm", some_pixels("uint8"))
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "2.dcm").symlink_to(tmp_path / "a" / "1.dcm")
    assert list_files(tmp_path) == ["2.dcm", "a/1.dcm"]
    first, second = (scan_file(name, root=str(tmp_path)) for name in ("a/1.dcm", "2.dcm"))
    assert (first.sha256, first.pixel_hash) == (second.sha256, second.pixel_hash)


def test_the_hash_is_over_count_shape_type_and_little_endian_values():
    frames = [np.array([[1, 2, 3]], np.int16), np.array([[4, 5, -6]], np.int16)]
    content = b"2 (1, 3) i2" + np.array([1, 2, 3, 4, 5, -6], "<i2").tobytes()
    assert hash_pixels(frames, count=2) == hashlib.sha256(content).hexdigest()


def test_the_hash_is_the_same_in_any_byte_order_and_layout():
    image = some_pixels("uint16", (6, 8))
    expected = hash_pixels([image], count=1)
    assert hash_pixels([image.astype(">u2")], count=1) == expected
    assert hash_pixels([np.asfortranarray(image)], count=1) == expected
    assert hash_pixels([image[::-1][::-1]], count=1) == expected


@pytest.mark.parametrize(
    ("other", "count"),
    [
        (np.zeros((6, 8), np.int16), 1),
        (np.zeros((8, 6), np.uint16), 1),
        (np.zeros((6, 4), np.uint32), 1),
        (np.zeros((6, 8), np.uint16), 2),
    ],
)
def test_the_same_bytes_of_another_type_shape_or_number_have_another_hash(other, count):
    assert hash_pixels([other], count=count) != hash_pixels([np.zeros((6, 8), np.uint16)], count=1)


@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_every_frame_is_decoded_so_that_damage_in_any_is_found(tmp_path, damaged):
    frames = [np.full((40, 40), value, np.uint8) for value in (1, 2, 3)]
    path = write_dicom(tmp_path / "a.dcm", *frames, syntax=RLE)
    assert scan_file("a.dcm", root=str(tmp_path)).tags["NumberOfFrames"] == 3
    data = bytearray(path.read_bytes())
    header = (1).to_bytes(4, "little") + (64).to_bytes(
        4, "little"
    )  # One segment, behind a header of 64 bytes.
    at = [index for index in range(len(data)) if data[index : index + 8] == header][damaged]
    data[at + 64 : at + 66] = b"\x05\x05"
    path.write_bytes(data)
    with pytest.raises(UnreadableFile, match=r"^a\.dcm: RLE Lossless frame .* cannot be decoded"):
        scan_file("a.dcm", root=str(tmp_path))


def test_pixels_of_a_png_and_of_a_dicom_file_have_one_hash_and_signed_ones_another(tmp_path):
    image = some_pixels("uint8", (6, 8)) // 2
    (tmp_path / "a.png").write_bytes(encode_png(image))
    write_dicom(tmp_path / "b.dcm", image)
    write_dicom(tmp_path / "c.dcm", image.astype(np.int8))
    png, unsigned, signed = (
        scan_file(name, root=str(tmp_path)).pixel_hash for name in ("a.png", "b.dcm", "c.dcm")
    )
    assert png == unsigned != signed
