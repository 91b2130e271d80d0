"""A tiny data set for these tests: DICOM files on disk, their table, and the DataSet that reads both."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medimg.cases import Case, DataSet, Header, ImageRef, Listing, Reject


@dataclass(frozen=True)
class Picture:
    """One file to write; `look` seeds its pixels, so that equal looks are identical pixels.

    A negative look is a blank image.
    """

    patient: str
    role: str
    look: int
    burned_in: bool = False
    uid: str = ""


def write_picture(path: Path, picture: Picture) -> None:
    """A small DICOM file whose header says who, and whose pixels depend on `look` alone."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    number = hash_number(f"{picture.patient}/{picture.role}")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = picture.uid or f"2.25.{number}"
    dataset.PatientID, dataset.Modality, dataset.ViewPosition = picture.patient, "MG", picture.role
    dataset.BurnedInAnnotation = "YES" if picture.burned_in else "NO"
    dataset.PixelSpacing = [0.1, 0.1]
    shape = (20, 18)
    pixels_HW = (
        np.full(shape, -picture.look, np.uint8)
        if picture.look < 0
        else np.random.default_rng(picture.look).integers(0, 255, shape, np.uint8)
    )
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = pixels_HW.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def hash_number(text: str) -> int:
    """A number from 0 to 2^48 that stands for the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def write_patients(root: Path, *, count: int) -> None:
    """`count` patients with two views each; every third is malignant, every fifth unlabelled."""
    labels = {}
    for number in range(count):
        patient = f"P{number:03d}"
        for role in ("CC", "MLO"):
            write_picture(
                root / patient / f"{role}.dcm", Picture(patient, role, look=hash_number(patient + role))
            )
        if number % 5:
            labels[patient] = "Malignant" if number % 3 == 0 else "Benign"
    write_labels(root, labels)


def write_labels(root: Path, labels: dict[str, str]) -> None:
    """The clinical table."""
    with (root / "labels.csv").open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["patient", "label"])
        writer.writerows(sorted(labels.items()))


def list_cases(root: Path, headers: Sequence[Header]) -> Listing:
    """One case per patient; a second image of a view is rejected."""
    with (root / "labels.csv").open(newline="") as opened:
        labels = {row["patient"]: row["label"] for row in csv.DictReader(opened)}
    by_patient: dict[str, dict[str, ImageRef]] = defaultdict(dict)
    rejects = []
    for header in headers:
        patient, role = header.tags["PatientID"], header.tags["ViewPosition"]
        if role in by_patient[patient]:
            rejects.append(Reject(header.path, "quarantined", f"a second {role} of {patient}"))
        else:
            by_patient[patient][role] = ImageRef(
                header.path, role, 0, header.tags["SOPInstanceUID"], header.sha256
            )
    cases = [
        Case(
            case_id=f"{patient}-case",
            group_id=patient,
            images=tuple(views[role] for role in sorted(views)),
            levels={"breast": f"{patient}-case", "patient": patient},
            labels={"malignancy": labels[patient]} if patient in labels else {},
            clinical={"source": patient[0], "number": int(patient[1:]) if patient[1:].isdigit() else None},
            status="used" if patient in labels else "unlabelled",
            reason="" if patient in labels else "no row in labels.csv",
        )
        for patient, views in by_patient.items()
    ]
    return Listing(cases, rejects)


DATA_SET = DataSet(
    published_ids=".*",
    name="tiny",
    title="A tiny data set",
    task="classification",
    licence="CC0",
    doi="",
    levels=("breast", "patient"),
    roles=("CC", "MLO"),
    targets={"malignancy": ("Benign", "Malignant")},
    list_cases=list_cases,
    list_tables=lambda root: [root / "labels.csv"],
    write_phantom=lambda *arguments, **options: None,
    stratify_by=("source",),
)
