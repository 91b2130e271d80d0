from __future__ import annotations

import dataclasses
import hashlib

import cv2
import numpy as np
import pytest
from PIL import Image

from medimg.cases import Annotation, Case, ImageRef
from medimg.errors import UnreadableFile
from medimg.examples.decoding import decode_image
from medimg.examples.encoding import record_to_examples
from medimg.examples.record import read_record
from medimg.images.prepare import Ingest
from medimg.images.raster import read_raster
from tests.unit.dicom.written import write_dicom

EXIF_UPRIGHT = (
    b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00"
    b"\x01\x00\x00\x00\x00\x00\x00\x00"
)
AS_IT_IS = Ingest(image_size=None, channels=3)


def write_jpeg(path, **options):
    y_HW, x_HW = np.mgrid[:30, :40]
    Image.fromarray(np.stack([6 * x_HW, 8 * y_HW, 0 * x_HW + 60], axis=2).astype(np.uint8)).save(
        path, "JPEG", quality=95, **options
    )
    return path


def payload(path, ingest):
    """The image's bytes in the Example of a case with this one image."""
    from tensorflow.core.example import example_pb2

    record, _ = read_record(
        Case("c", "g", (ImageRef(path.name, "image"),)), data_root=path.parent, ingest=ingest
    )
    [example] = record_to_examples(record)
    return example_pb2.Example.FromString(example).features.feature["image_image"].bytes_list.value[0]


@pytest.mark.parametrize("ingest", [AS_IT_IS, Ingest(image_size=(30, 40), channels=3)])
def test_a_jpeg_that_needs_nothing_enters_its_example_byte_for_byte(tmp_path, ingest):
    path = write_jpeg(tmp_path / "a.jpg")
    assert payload(path, ingest) == path.read_bytes()


def test_a_grey_jpeg_is_kept_where_grey_is_asked_for(tmp_path):
    Image.new("L", (40, 30), 90).save(tmp_path / "a.jpg")
    assert payload(tmp_path / "a.jpg", Ingest(image_size=None)) == (tmp_path / "a.jpg").read_bytes()


def test_the_network_sees_a_kept_jpeg_as_it_sees_a_decoded_one(tmp_path):
    path = write_jpeg(tmp_path / "a.jpg")
    seen = decode_image(payload(path, AS_IT_IS), size=(30, 40), channels=3).numpy()
    # TensorFlow's decoder trades a grey level for speed: 1.0 on average over HAM10000's images.
    assert np.abs(seen.astype(int) - read_raster(path)).mean() < 2


@pytest.mark.parametrize(
    ("ingest", "options"),
    [
        (Ingest(image_size=(15, 20), channels=3), {}),
        (Ingest(image_size=None, channels=1), {}),
        (Ingest(image_size=None, channels=3, bits=16), {}),
        (Ingest(image_size=None, channels=3, orientation="mammogram"), {}),
        (AS_IT_IS, {"exif": EXIF_UPRIGHT}),
        (AS_IT_IS, {"comment": b"Jane Doe, 1950-01-01"}),
    ],
)
def test_a_jpeg_that_needs_work_or_may_name_a_patient_is_decoded(tmp_path, ingest, options):
    assert payload(write_jpeg(tmp_path / "a.jpg", **options), ingest).startswith(b"\x89PNG")


def test_a_jpeg_that_is_not_what_was_catalogued_or_that_is_none_at_all_is_refused_by_name(tmp_path):
    path = write_jpeg(tmp_path / "a.jpg")
    image = ImageRef("a.jpg", "image", sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UnreadableFile, match=r"^a.jpg: sha256 \w+, expected \w+ as catalogued"):
        read_record(Case("c", "g", (image,)), data_root=tmp_path, ingest=AS_IT_IS)
    path.write_bytes(b"\xff\xd8\xff and nothing more")
    with pytest.raises(UnreadableFile, match=r"^a.jpg: cannot be decoded as JPEG"):
        read_record(Case("c", "g", (ImageRef("a.jpg", "image"),)), data_root=tmp_path, ingest=AS_IT_IS)
    path.unlink()
    with pytest.raises(UnreadableFile, match=r"^a.jpg: No such file"):
        read_record(Case("c", "g", (image,)), data_root=tmp_path, ingest=AS_IT_IS)


def test_a_png_is_prepared_as_ever(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert payload(tmp_path / "a.png", AS_IT_IS) != (tmp_path / "a.png").read_bytes()


def test_findings_on_a_view_that_cannot_be_read_are_counted_in_its_reject(tmp_path):
    write_jpeg(tmp_path / "good.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    box = Annotation("MLO", "mass", "box", ((1.0, 2.0), (3.0, 4.0)))
    case = Case(
        "c",
        "g",
        (ImageRef("good.jpg", "CC"), ImageRef("bad.jpg", "MLO")),
        annotations=(dataclasses.replace(box, role="CC"), box, box),
    )
    record, [reason] = read_record(case, data_root=tmp_path, ingest=AS_IT_IS)
    assert [item.role for item in record.case.annotations] == ["CC"]
    assert reason.startswith("bad.jpg")
    assert reason.endswith("; outlined findings on it that are left out: 2")
    _, [reason] = read_record(dataclasses.replace(case, annotations=()), data_root=tmp_path, ingest=AS_IT_IS)
    assert reason.startswith("bad.jpg")
    assert "outlined" not in reason


def test_a_case_of_which_no_view_can_be_read_names_each_reason(tmp_path):
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    case = Case("c", "g", (ImageRef("one.jpg", "CC"), ImageRef("two.jpg", "MLO")))
    with pytest.raises(UnreadableFile, match=r"^one\.jpg: .*; two\.jpg: "):
        read_record(case, data_root=tmp_path, ingest=AS_IT_IS)
    with pytest.raises(UnreadableFile, match=r"^case c has no image$"):
        read_record(dataclasses.replace(case, images=()), data_root=tmp_path, ingest=AS_IT_IS)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_file_whose_hash_begins_alike_is_not_the_one_that_was_catalogued(tmp_path, name):
    Image.new("L", (40, 30), 90).save(tmp_path / name)
    found = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    other = found[:12] + "0" * 52
    case = Case("c", "g", (ImageRef(name, "CC", sha256=found),))
    record, _ = read_record(case, data_root=tmp_path, ingest=Ingest(image_size=None))
    assert record.images["CC"].count == 1
    case = Case("c", "g", (ImageRef(name, "CC", sha256=other),))
    with pytest.raises(UnreadableFile, match=f"^{name}: sha256 {found[:12]}, expected {found[:12]} as"):
        read_record(case, data_root=tmp_path, ingest=Ingest(image_size=None))


@pytest.mark.parametrize("frame", [0, 1])
def test_the_frame_that_a_case_names_is_the_one_that_is_read(tmp_path, frame):
    frames_HW = [np.eye(6, dtype=np.uint8) * 200, np.eye(6, dtype=np.uint8)[::-1] * 200]
    write_dicom(tmp_path / "a.dcm", *frames_HW)
    case = Case("c", "g", (ImageRef("a.dcm", "image", frame),))
    record, _ = read_record(case, data_root=tmp_path, ingest=Ingest(image_size=None))
    (image_HW,) = record.images["image"].slices
    np.testing.assert_array_equal(image_HW > 0, frames_HW[frame] > 0)


def test_a_second_frame_of_a_jpeg_is_refused_not_the_first_one_taken(tmp_path):
    write_jpeg(tmp_path / "a.jpg")
    case = Case("c", "g", (ImageRef("a.jpg", "image", 1),))
    with pytest.raises(UnreadableFile, match="frame 1 asked for, expected 0"):
        read_record(case, data_root=tmp_path, ingest=AS_IT_IS)
