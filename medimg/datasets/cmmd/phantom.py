"""A stand-in for CMMD, drawn from a seed: the collection's layout, headers, table and quirks.

Breasts in which a small network finds the lesions.

A malignant mass has spicules and tends to be larger and brighter than a benign one, which is smooth;
malignant calcifications are many in a cluster, benign ones few and scattered. The looks overlap, texture
distracts. It says nothing about medicine.

The outlines of its lesions lie beside it in lesions.csv. To the pixel the truth can be drawn again:
`plan_breasts` names the breasts of a tree, `cmmd_drawing.draw_breast` gives image and lesion mask.
"""

from __future__ import annotations

import io
import re
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import openpyxl
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medimg.cases import Annotation
from medimg.datasets.cmmd.drawing import PhantomBreast, draw_breast, lesion_outline
from medimg.datasets.outlines import write_lesions
from medimg.errors import UsageError

TABLE = "CMMD_clinicaldata_revision.xlsx"
HEADER = ("ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype")
SUBTYPES = ("Luminal B", "Luminal A", "HER2-enriched", "triple negative")
VIEWS = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
IMAGE_ROWS, IMAGE_COLUMNS = 574, 480
NAMESPACE = uuid.UUID("6f0d3d6e-7c0a-5b3f-9d43-2d6f6a1f3c11")
SHARE_D1 = 0.58  # As in the collection: 1026 of 1775 patients.
TWO_SIDED_D1_EVERY = 12  # As in the collection: 81 of D1's 1026 patients have four images.
FULL_WIDTH_MM = 1914 * 0.094090909  # Of CMMD's detector: the spacing follows from the number of columns.

# Places in D1 (0-based) of the quirks that the real D1-0087, D1-1343, D1-1506 and D1-0808 = D1-1292 have.
TWO_LABELS, SIXTEEN_BIT, ODD_NUMBERS, COPIED, COPY = 1, 2, 3, 4, 5


def write_phantom(
    to: Path, *, cases: int, seed: int, rows: int = IMAGE_ROWS, columns: int = IMAGE_COLUMNS
) -> None:
    """Writes the tree of `cases` patients.

    That is the clinical workbook, lesions.csv and <patient>/<series UID>/1-<n>.dcm.

    The same arguments give the same bytes.

    Raises:
        UsageError: fewer than one patient, or an image too small to hold a lesion.
    """
    if cases < 1 or min(rows, columns) < 64:
        raise UsageError(
            f"phantom of {cases} patients at {rows}x{columns} pixels, expected at least 1 patient and "
            "64x64 pixels"
        )
    breasts = plan_breasts(cases=cases, seed=seed)
    to.mkdir(parents=True, exist_ok=True)
    (to / TABLE).write_bytes(make_workbook([HEADER, *list_table_rows(breasts)]))
    outlines: dict[str, list[Annotation]] = {}
    for breast in breasts:
        folder = to / breast.patient / make_uid(seed, breast.patient, "series")
        folder.mkdir(parents=True, exist_ok=True)
        for number, view in breast.views:
            image_HW, mask_HW = draw_breast(breast, view=view, rows=rows, columns=columns)
            dataset = make_dataset(image_HW, breast, seed=seed, number=number, view=view)
            dataset.save_as(folder / f"1-{number}.dcm", enforce_file_format=True)
            if points := lesion_outline(mask_HW):
                outlines[str(dataset.SOPInstanceUID)] = [
                    Annotation("", str(breast.abnormality), "polygon", points)
                ]
    write_lesions(to, outlines)


def plan_breasts(*, cases: int, seed: int) -> list[PhantomBreast]:
    """Makes the breasts of `cases` patients, by patient, in the order of the collection.

    D1 is balanced, D2 nearly all malignant.
    """
    rng = np.random.default_rng([seed, 0])
    count_d1 = max(1, round(cases * SHARE_D1))
    breasts: list[PhantomBreast] = []
    malignant_d1 = spread_labels(count_d1, rng=rng)
    for place in range(cases):
        in_d1 = place < count_d1
        malignant = bool(malignant_d1[place]) if in_d1 else True
        patient = f"D1-{place + 1:04d}" if in_d1 else f"D2-{place - count_d1 + 1:04d}"
        first = plan_breast(patient, seed=seed, malignant=malignant, rng=rng)
        breasts += (
            plan_d1(first, place=place, rng=rng) if in_d1 else plan_d2(first, place=place - count_d1, rng=rng)
        )
    return copy_pixels(breasts)


def spread_labels(count: int, *, rng: np.random.Generator) -> np.ndarray:
    """Makes half the patients malignant, in random order.

    But benign for the copied one and malignant for its copy.
    """
    malignant = rng.permutation(np.arange(count) % 2 == 0)
    if count > COPY:
        malignant[[COPIED, COPY]] = (False, True)
    return malignant


def plan_breast(patient: str, *, seed: int, malignant: bool, rng: np.random.Generator) -> PhantomBreast:
    """A labelled breast with a random side, age and abnormality. Malignant patients are older."""
    source, number = int(patient[1]), int(patient[3:])
    label = "Malignant" if malignant else "Benign"
    return PhantomBreast(
        patient=patient,
        side=str(rng.choice(["L", "R"])),
        seed=(seed, source, number, 0),
        malignancy=label,
        look=label,
        abnormality=str(rng.choice(["mass", "both", "calcification"], p=[0.61, 0.25, 0.14])),
        age_years=int(np.clip(rng.normal(53 if malignant else 43, 10), 17, 87)),
    )


def plan_d1(first: PhantomBreast, *, place: int, rng: np.random.Generator) -> list[PhantomBreast]:
    """One labelled breast, or now and then two; the quirks are at their places."""
    if place == TWO_LABELS or place % TWO_SIDED_D1_EVERY == TWO_SIDED_D1_EVERY - 1:
        second = other_breast(
            first, malignancy=flip(first.malignancy) if place == TWO_LABELS else first.malignancy
        )
        second = replace(second, abnormality=str(rng.choice(["mass", "both"])))
        return number_views([first, second])
    if place == SIXTEEN_BIT:
        return [replace(first, bits=16)]
    if place == ODD_NUMBERS:
        return [replace(first, views=((2, "MLO"), (3, "CC")))]
    return [first]


def plan_d2(first: PhantomBreast, *, place: int, rng: np.random.Generator) -> list[PhantomBreast]:
    """Makes a malignant breast with its subtype, missing for some, and the other breast.

    The other one is not labelled, or now and then benign.
    """
    subtype = None if place % 7 == 6 else str(rng.choice(SUBTYPES, p=[0.5, 0.2, 0.18, 0.12]))
    second = other_breast(first, malignancy="Benign" if place % 60 == 3 else None)
    return number_views([replace(first, subtype=subtype), second])


def other_breast(first: PhantomBreast, *, malignancy: str | None) -> PhantomBreast:
    """The patient's other breast, with a mass if it has a label and without a lesion if not."""
    return replace(
        first,
        side="R" if first.side == "L" else "L",
        seed=(*first.seed[:-1], 1),
        malignancy=malignancy,
        look=malignancy,
        abnormality="mass" if malignancy else None,
        subtype=None,
    )


def flip(malignancy: str | None) -> str:
    """The other label."""
    return "Benign" if malignancy == "Malignant" else "Malignant"


def number_views(breasts: Sequence[PhantomBreast]) -> list[PhantomBreast]:
    """Four images of one patient are numbered left CC, left MLO, right CC, right MLO."""
    numbers = {"L": ((1, "CC"), (2, "MLO")), "R": ((3, "CC"), (4, "MLO"))}
    return [replace(breast, views=numbers[breast.side]) for breast in breasts]


def copy_pixels(breasts: Sequence[PhantomBreast]) -> list[PhantomBreast]:
    """Gives one D1 patient the pixels of another with the opposite label.

    An erratum that only comparing pixels can find.
    """
    position = {breast.patient: index for index, breast in enumerate(breasts)}
    copied, copy = position.get(f"D1-{COPIED + 1:04d}"), position.get(f"D1-{COPY + 1:04d}")
    breasts = list(breasts)
    if copied is not None and copy is not None:
        original = breasts[copied]
        breasts[copy] = replace(
            breasts[copy],
            side=original.side,
            seed=original.seed,
            look=original.look,
            abnormality=original.abnormality,
        )
    return breasts


def list_table_rows(breasts: Iterable[PhantomBreast]) -> Iterator[tuple[str | int | None, ...]]:
    """A row for each labelled breast.

    `number` is always 2, as in the collection, also for patients with four images.
    """
    for breast in breasts:
        if breast.malignancy:
            yield (
                breast.patient,
                breast.side,
                breast.age_years,
                2,
                breast.abnormality,
                breast.malignancy,
                breast.subtype,
            )


def make_uid(seed: int, *names: str) -> str:
    """A UID under 2.25 (DICOM PS3.5 B.2) that depends on its arguments only."""
    return f"2.25.{uuid.uuid5(NAMESPACE, '/'.join((str(seed), *names))).int}"


def make_dataset(
    image_HW: np.ndarray, breast: PhantomBreast, *, seed: int, number: int, view: str
) -> Dataset:
    """Makes the image with the attributes that CMMD's files have.

    Digital Mammography X-Ray Image, For Presentation, uncompressed.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    dataset.SOPInstanceUID = make_uid(seed, breast.patient, str(number))
    dataset.StudyInstanceUID = make_uid(seed, breast.patient, "study")
    dataset.SeriesInstanceUID = make_uid(seed, breast.patient, "series")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20100718"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "000000"
    dataset.StudyID = dataset.AccessionNumber = dataset.Manufacturer = dataset.ReferringPhysicianName = (
        dataset.PatientBirthDate
    ) = ""
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    dataset.PatientName = dataset.PatientID = breast.patient
    dataset.PatientSex, dataset.PatientAge = "F", f"{breast.age_years:03d}Y"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "None needed: a drawn phantom, no patient"
    dataset.Modality, dataset.PresentationIntentType = "MG", "FOR PRESENTATION"
    dataset.BodyPartExamined = dataset.OrganExposed = "BREAST"
    dataset.PositionerType, dataset.DetectorType, dataset.BurnedInAnnotation = (
        "MAMMOGRAPHIC",
        "SCINTILLATOR",
        "NO",
    )
    add_geometry(dataset, breast, view=view, columns=image_HW.shape[1])
    add_pixels(dataset, image_HW, bits=breast.bits)
    return dataset


def add_geometry(dataset: Dataset, breast: PhantomBreast, *, view: str, columns: int) -> None:
    """Side, view, orientation and spacing, in place.

    As in CMMD the view is in ViewCodeSequence only, without ViewPosition.
    """
    code = Dataset()
    code.CodeValue, code.CodeMeaning = VIEWS[view]
    code.CodingSchemeDesignator = "SCT"
    dataset.ViewCodeSequence = [code]
    dataset.ImageLaterality = breast.side
    dataset.PatientOrientation = [{"L": "A", "R": "P"}[breast.side], {"L": "R", "R": "L"}[breast.side]]
    if view == "MLO":
        dataset.PatientOrientation = [dataset.PatientOrientation[0], "F" + dataset.PatientOrientation[1]]
    dataset.ImagerPixelSpacing = [round(FULL_WIDTH_MM / columns, 6)] * 2


def add_pixels(dataset: Dataset, image_HW: np.ndarray, *, bits: int) -> None:
    """Pixels and what explains them, in place; 16 bits spread the 8 over the whole range, window included."""
    stored_HW = image_HW if bits == 8 else image_HW.astype("<u2") * np.uint16(257)
    dataset.Rows, dataset.Columns = image_HW.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = (
        1,
        "MONOCHROME2",
        0,
    )
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "US"
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits
    dataset.VOILUTFunction, dataset.PresentationLUTShape, dataset.LossyImageCompression = (
        "SIGMOID",
        "IDENTITY",
        "00",
    )
    pixels = stored_HW.tobytes()
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = (
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
    )


def make_workbook(rows: Iterable[tuple[str | int | None, ...]]) -> bytes:
    """An .xlsx of one sheet. openpyxl writes the clock into it in two places.

    Both are set to a fixed time so that equal rows give equal bytes.
    """
    workbook = openpyxl.Workbook()
    sheet = workbook.worksheets[0]
    sheet.title = "Sheet1"
    for row in rows:
        sheet.append(row)
    written, fixed = io.BytesIO(), io.BytesIO()
    workbook.save(written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(fixed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2021-01-01T00:00:00Z", source.read(entry))
            target.writestr(zipfile.ZipInfo(entry.filename), content, zipfile.ZIP_DEFLATED)
    return fixed.getvalue()
