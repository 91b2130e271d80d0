"""A folder of DICOM files whose headers hold another canary in every text, and the search for any of them."""

from __future__ import annotations

import gzip
import io
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pyarrow.parquet as pq
from pydicom.datadict import DicomDictionary, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from tests.unit.dicom.written import EXPLICIT, make_dataset

HOSPITAL_ID = "REAL-HOSPITAL-ID-4711"
CANARY = "CANARY"
BIRTH_DATE = "19061907"
MARKS = (b"canary", b"real-hospital", BIRTH_DATE.encode(), "canary".encode("utf-16-le"))
"""In lower case: what no canary does without."""
TEXTS = ("LO", "SH", "PN", "ST", "LT", "UT", "UC", "AE")
CODES = ("CS", "UI", "AS", "DA", "TM", "DT", "IS", "DS", "UR")
GROUPS = (0x0008, 0x0010, 0x0012, 0x0018, 0x0020, 0x0028, 0x0032, 0x0038, 0x0040, 0x0054, 0x2050, 0x4008)
NEEDED = ("SOPClassUID", "SOPInstanceUID", "PatientID", "PhotometricInterpretation")
MUTED = (
    *("Modality", "PatientOrientation", "BurnedInAnnotation", "ImageLaterality", "Laterality"),
    *(
        "ViewPosition",
        "PatientAge",
        "RescaleType",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "PresentationLUTShape",
    ),
    *(
        "FrameOfReferenceUID",
        "SOPClassUID",
        "SOPInstanceUID",
        "InstanceNumber",
        "SeriesNumber",
        "PixelSpacing",
    ),
    *("ImagerPixelSpacing", "SliceThickness", "LossyImageCompression", "VOILUTFunction", "WindowCenter"),
    *("WindowWidth", "RescaleSlope", "RescaleIntercept", "NumberOfFrames", "SpecificCharacterSet"),
    *("PhotometricInterpretation", "FieldOfViewHorizontalFlip", "ImagePositionPatient"),
    *("EchoTime", "PatientID", "Rows", "BitsStored", "PixelPaddingValue", "ViewCodeSequence"),
)
"""Each of them is a canary in a file of its own, in three spellings."""
SPELLINGS = (("{0}{1:08X}", None), ("{0}^Jane {1:08X}", None), ("{0} {1:08X}", "LO"))
"""A code string that is valid by its form, a name, and a text whose representation says that it is one."""


def list_text_tags() -> list[tuple[int, str]]:
    """Every element of the standard that holds text, in the groups that hospitals fill, and its VR."""
    return [
        (tag, str(entry[0]))
        for tag, entry in DicomDictionary.items()
        if tag >> 16 in GROUPS and str(entry[0]) in TEXTS and entry[4] not in NEEDED
    ]


def set_raw(dataset: Dataset, tag: int, text: str, representation: str) -> None:
    """An element with bytes that pydicom would not write."""
    value = text.encode() + b" " * (len(text) % 2)
    dataset[tag] = RawDataElement(Tag(tag), representation, len(value), value, 0, False, True)


def make_identified(pixels: np.ndarray, *, uid: str) -> Dataset:
    """An image whose every text, free, private, nested or of the file itself, is a canary of its own."""
    dataset = make_dataset([pixels], SOPInstanceUID=uid, Modality="CT", PatientAge="044Y")
    for tag, representation in list_text_tags():
        dataset.add_new(tag, representation, f"{CANARY}{tag:08X}")
    dataset.PatientID = HOSPITAL_ID
    dataset.PatientBirthDate = dataset.StudyDate = BIRTH_DATE
    nested = Dataset()
    for tag, representation in list_text_tags():
        nested.add_new(tag, representation, f"{CANARY}NESTED{tag:08X}")
    dataset.RequestAttributesSequence = [nested]
    dataset.ViewCodeSequence = [nested]
    dataset.OtherPatientIDsSequence = [nested]
    dataset.WindowCenterWidthExplanation = f"{CANARY}WINDOW"
    dataset.WindowCenter, dataset.WindowWidth = 128, 256
    block = dataset.private_block(0x0011, f"{CANARY}MAKER", create=True)
    block.add_new(0x01, "LO", f"{CANARY}PRIVATE")
    block.add_new(0x02, "UN", f"{CANARY}UNKNOWN".encode())
    dataset.file_meta.SourceApplicationEntityTitle = f"{CANARY}META"
    dataset.file_meta.ImplementationVersionName = f"{CANARY}VERSION"
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = f"{CANARY}META".encode()
    return dataset


def make_muted(pixels: np.ndarray, *, uid: str, keyword: str, spelling: int) -> Dataset:
    """An image of which one element that the product reads holds a canary in place of its value."""
    dataset = make_identified(pixels, uid=uid)
    tag = int(tag_for_keyword(keyword) or 0)
    form, representation = SPELLINGS[spelling]
    representation = representation or str(dictionary_VR(tag))
    set_raw(dataset, tag, form.format(CANARY, tag), "LO" if representation == "SQ" else representation)
    return dataset


def write_canaries(folder: Path, *, patients: int) -> list[str]:
    """Writes images with labels.csv, healthy and muted ones; returns the names of the muted ones."""
    folder.mkdir(parents=True)
    rows = ["file,patient_id,label"]
    random = np.random.default_rng(0)
    for number in range(patients):
        pixels = random.integers(0, 120 + 100 * (number % 2), (40, 40)).astype(np.uint8)
        name = f"{number:03d}.dcm"
        make_identified(pixels, uid=f"2.25.{number}").save_as(folder / name, enforce_file_format=True)
        rows.append(f"{name},P{number:03d},{'ab'[number % 2]}")
    muted = []
    for number, keyword in enumerate(MUTED):
        for spelling in range(len(SPELLINGS)):
            pixels = random.integers(0, 255, (40, 40)).astype(np.uint8)
            name = f"{keyword}{spelling}.dcm"
            dataset = make_muted(pixels, uid=f"2.25.9{number}{spelling}", keyword=keyword, spelling=spelling)
            dataset.preamble = bytes(128)
            dataset.save_as(folder / name, implicit_vr=False, little_endian=True)
            rows.append(f"{name},M{number:03d}{spelling},{'ab'[number % 2]}")
            muted.append(name)
    whole = (folder / "000.dcm").read_bytes()
    syntax = f"{CANARY}SYNTAX".ljust(len(EXPLICIT) + 1).encode()
    (folder / "syntax.dcm").write_bytes(whole.replace(EXPLICIT.encode() + b"\0", syntax, 1))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return muted


def find_marks(content: bytes) -> list[bytes]:
    """What of MARKS is in the bytes, whatever its case."""
    lowered = content.lower()
    return [mark for mark in MARKS if mark in lowered]


def open_up(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """The bytes of a file and of what is packed in it: zip members, gzip, Parquet's values, SQLite's."""
    yield name, content
    if content.startswith(b"\x1f\x8b"):
        yield from open_up(f"{name}!gunzip", gzip.decompress(content))
    elif content.startswith(b"PK\3\4"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield from open_up(f"{name}!{member}", archive.read(member))
    elif content.startswith(b"PAR1"):
        table = pq.read_table(io.BytesIO(content))
        yield f"{name}!rows", f"{table.to_pylist()} {table.schema.metadata}".encode()
    elif content.startswith(b"SQLite format 3"):
        yield f"{name}!rows", dump_database(content).encode()


def dump_database(content: bytes) -> str:
    """All rows of all tables of a SQLite database."""
    rows = []
    with NamedTemporaryFile() as copy:
        copy.write(content)
        copy.flush()
        database = sqlite3.connect(copy.name)
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows += database.execute(f"SELECT * FROM {name}").fetchall()
        database.close()
    return str(rows)


def find_canaries(folder: Path) -> list[str]:
    """One line for each place below a folder that holds a canary: in a name, in bytes or packed in them."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        packed = open_up(name, path.read_bytes()) if path.is_file() else ()
        for place, content in [(name, name.encode()), *packed]:
            lowered = content.lower()
            for mark in find_marks(content):
                at = lowered.index(mark)
                found.append(f"{place}: {content[max(0, at - 60) : at + 60]!r}")
    return found
