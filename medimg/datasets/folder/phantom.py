"""Phantom of a user's own folder, made from a seed: discs and rings as DICOM, PNG and JPEG.

With a labels.csv and two metadata columns.
"""

from __future__ import annotations

import csv
import io
import uuid
from pathlib import Path

import cv2
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from medimg.errors import UsageError

CLASSES = ("disc", "ring")
SUFFIXES = (".dcm", ".png", ".jpg")
IMAGE_ROWS, IMAGE_COLUMNS = 160, 144
UNLABELLED_EVERY = 40  # The last image of every 40th patient has an empty label.
NAMESPACE = uuid.UUID("0b8e5a52-55d4-5d0a-8f2e-3f0f4c1b9a77")


def write_phantom(to: Path, *, cases: int, seed: int) -> None:
    """Writes the images of `cases` patients, one or two each, and labels.csv.

    The same arguments give the same bytes.

    Raises:
        UsageError: fewer than two patients, which cannot have two classes.
    """
    if cases < 2:
        raise UsageError(f"phantom of {cases} patients, expected at least 2")
    rng = np.random.default_rng([seed, 0])
    rows = [["file", "patient_id", "label", "age", "scanner"]]
    for number in range(cases):
        patient, label = f"P{number + 1:04d}", CLASSES[number % 2]
        age, scanner = str(rng.integers(20, 80)), str(rng.choice(["north", "south"]))
        count = 1 + int(rng.integers(2))
        for image_number in range(count):
            suffix = SUFFIXES[int(rng.integers(len(SUFFIXES)))]
            file = f"images/{patient}/{image_number + 1}{suffix}"
            image_HW, _ = draw_image(label, rng=rng)
            write_image(to / file, image_HW, patient=patient, uid_name=f"{seed}/{file}")
            unlabelled = number % UNLABELLED_EVERY == UNLABELLED_EVERY - 1 and image_number == count - 1
            rows.append([file, patient, "" if unlabelled else label, age, scanner])
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    (to / "labels.csv").write_text(table.getvalue(), encoding="utf-8")


def draw_image(label: str, *, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A disc or a ring on cloudy ground: uint8 image_HW and the bool mask_HW of the shape."""
    ground = cv2.resize(
        rng.standard_normal((6, 5), dtype=np.float32),
        (IMAGE_COLUMNS, IMAGE_ROWS),
        interpolation=cv2.INTER_CUBIC,
    )
    image_HW = 80 + 12 * ground + 8 * rng.standard_normal((IMAGE_ROWS, IMAGE_COLUMNS), dtype=np.float32)
    radius = rng.uniform(16, 30)
    centre_y, centre_x = rng.uniform(radius, IMAGE_ROWS - radius), rng.uniform(radius, IMAGE_COLUMNS - radius)
    distance_HW = np.hypot(
        np.arange(IMAGE_ROWS)[:, None] - centre_y, np.arange(IMAGE_COLUMNS)[None, :] - centre_x
    )
    mask_HW = distance_HW < radius
    if label == "ring":
        mask_HW &= distance_HW > radius * rng.uniform(0.55, 0.7)
    image_HW[mask_HW] += rng.uniform(35, 70)
    return image_HW.clip(0, 255).astype(np.uint8), mask_HW


def write_image(path: Path, image_HW: np.ndarray, *, patient: str, uid_name: str) -> None:
    """Writes the image in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".dcm":
        make_dataset(image_HW, patient=patient, uid_name=uid_name).save_as(path, enforce_file_format=True)
        return
    _, encoded = cv2.imencode(path.suffix, image_HW)
    path.write_bytes(encoded.tobytes())


def make_dataset(image_HW: np.ndarray, *, patient: str, uid_name: str) -> Dataset:
    """The image as an uncompressed Secondary Capture object."""
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = f"2.25.{uuid.uuid5(NAMESPACE, uid_name).int}"
    dataset.StudyInstanceUID = f"2.25.{uuid.uuid5(NAMESPACE, uid_name + '/study').int}"
    dataset.SeriesInstanceUID = f"2.25.{uuid.uuid5(NAMESPACE, uid_name + '/series').int}"
    dataset.PatientName = dataset.PatientID = patient
    dataset.Modality, dataset.ConversionType = "OT", "SYN"
    dataset.Rows, dataset.Columns = image_HW.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = (
        1,
        "MONOCHROME2",
        0,
    )
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = image_HW.tobytes()
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = (
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
    )
    return dataset
