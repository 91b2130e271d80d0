"""What a hospital's headers say of a patient is in nothing that the product writes or prints."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from cli.app import main
from medimg.images.prepare import Ingest, prepare_image
from medimg.images.scan import scan_file

HOSPITAL_ID, CANARY = "REAL-HOSPITAL-ID-4711", "Canary^Jane"
SPACING = b"0.1250000\\0.12500000"
FREE_TEXT = (
    *("PatientName", "OtherPatientNames", "ReferringPhysicianName", "OperatorsName", "InstitutionName"),
    *("StudyDescription", "SeriesDescription", "ProtocolName", "SequenceName", "StationName", "Manufacturer"),
    *("ManufacturerModelName", "DeviceSerialNumber", "AccessionNumber", "StudyID", "OtherPatientIDs"),
    *("PatientComments", "ImageComments", "PatientAddress", "ContrastBolusAgent", "DerivationDescription"),
)


def write_identified(path: Path, *, seed: int, patient: str = HOSPITAL_ID) -> bytes:
    """A mammogram whose every free text, public, private or nested, is the canary; returns its bytes."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.{seed}"
    dataset.PatientID, dataset.Modality, dataset.PatientAge = patient, "MG", "044Y"
    for keyword in FREE_TEXT:
        setattr(dataset, keyword, CANARY)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399162004", "SCT", CANARY
    dataset.ViewCodeSequence = [code]
    dataset.private_block(0x0011, "MAKER", create=True).add_new(0x01, "LO", CANARY)
    dataset.PixelSpacing = SPACING.decode().split("\\")
    pixels_HW = np.random.default_rng(seed).integers(0, 255, (40, 32), np.uint8)
    dataset.Rows, dataset.Columns = pixels_HW.shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = pixels_HW.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path.read_bytes()


def exchange(whole: bytes, found: bytes, new: bytes) -> bytes:
    """The bytes with one passage exchanged, which must be there once."""
    assert whole.count(found) == 1
    return whole.replace(found, new)


DAMAGES = {
    "photometric.dcm": (b"CS\x0c\x00MONOCHROME2 ", b"CS\x0c\x00Canary^Jane "),
    "rows.dcm": (b"\x28\x00\x10\x00US\x02\x00\x28\x00", b"\x28\x00\x10\x00US\x0c\x00Canary^Jane "),
    "syntax.dcm": (b"1.2.840.10008.1.2.1\0", b"Canary^Jane.1.2.840\0"),
    "spacing.dcm": (SPACING, b"Canary^Jane\\Canary^J"),
    "representation.dcm": (b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00Ca"),
    "age.dcm": (b"AS\x04\x00044Y", b"AS\x0c\x00Canary^Jane "),
}
"""By file: what is exchanged in a healthy one, so that a parser meets the canary where it expects a code."""


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    """Catalogues files of all kinds: other ids than the table's, damaged, without a row."""
    data = tmp_path / "data"
    data.mkdir()
    rows = ["file,patient_id,label"]
    for number in range(8):
        write_identified(data / f"{number}.dcm", seed=number + 1)
        rows.append(f"{number}.dcm,P{number},{'ab'[number % 2]}")
    for number, (name, (found, new)) in enumerate(DAMAGES.items()):
        whole = write_identified(data / name, seed=100 + number)
        (data / name).write_bytes(exchange(whole, found, new))
        rows.append(f"{name},Q{number},a")
    (data / "cut.dcm").write_bytes(write_identified(data / "cut.dcm", seed=200)[:700])
    write_identified(data / "no_row.dcm", seed=201)
    write_identified(data / "no_row_known.dcm", seed=202, patient="P3")
    (data / "labels.csv").write_text("\n".join(rows) + "\n")
    arguments = ["medimg", "catalogue", "folder", "--data", str(data), "--to", str(tmp_path / "to")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    captured = capsys.readouterr()
    return captured.out + captured.err


def read_all(folder: Path) -> str:
    """All text below a folder; of Parquet the values, whatever their compression."""
    texts = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            texts += [json.dumps(table.to_pylist(), default=str), str(table.schema.metadata)]
        elif path.is_file():
            texts.append(path.read_text(errors="replace"))
    return "\n".join(texts)


def test_no_text_of_a_header_is_printed_or_written(printed, tmp_path):
    written = read_all(tmp_path / "to")
    assert "0.dcm" in written
    for text in (printed, written):
        assert HOSPITAL_ID not in text
        assert "anary" not in text


def test_that_the_ids_differ_is_said_with_file_and_row(printed, tmp_path):
    said = json.loads((tmp_path / "to" / "summary.json").read_text())["anomalies"]
    [line] = [line for line in said if line.startswith("(0010,0020)")]
    assert "PatientID is another than patient_id in labels.csv" in line
    assert "(first: 0.dcm, row 2); the rows count" in line


def test_files_without_a_row_are_grouped_by_patient_all_the_same(printed, tmp_path):
    cases = pd.read_parquet(tmp_path / "to" / "cases.parquet").set_index("case_id")
    assert cases.loc["no_row_known.dcm", "group_id"] == "P3"
    assert cases.loc["no_row.dcm", "group_id"].startswith("patient-")
    assert cases.loc["no_row_known.dcm", "status"] == cases.loc["no_row.dcm", "status"] == "unlabelled"


def test_damaged_files_are_named_with_what_was_expected(printed, tmp_path):
    images = pd.read_parquet(tmp_path / "to" / "images.parquet").set_index("path")
    reasons = images["reason"][images["status"] == "quarantined"]
    assert {"photometric.dcm", "rows.dcm", "syntax.dcm", "cut.dcm"} <= set(reasons.index)
    assert "a text of 11 characters" in reasons["photometric.dcm"]
    for name, reason in reasons.items():
        assert reason.startswith(f"{name}: ")
        assert "expected" in reason
        assert "Error" not in reason


def test_the_healthy_file_of_this_test_is_read_as_it_was_written(tmp_path):
    write_identified(tmp_path / "a.dcm", seed=1)
    assert pydicom.dcmread(tmp_path / "a.dcm").PatientID == HOSPITAL_ID


@pytest.mark.parametrize("name", ["characters", "number", "uid"])
def test_what_pydicom_would_say_of_a_file_is_in_no_log(tmp_path, caplog, name):
    dataset = pydicom.dcmread(io.BytesIO(write_identified(tmp_path / "a.dcm", seed=1)))
    found, representation = {
        "characters": (0x00080005, "CS"),
        "number": (0x00200013, "IS"),
        "uid": (0x0020000D, "UI"),
    }[name]
    dataset[found] = RawDataElement(Tag(found), representation, 12, b"Canary^Jane ", 0, False, True)
    dataset.save_as(tmp_path / "a.dcm")
    pydicom.config.debug(False, default_handler=False)  # As pydicom does when it is imported.
    with caplog.at_level(logging.DEBUG):
        scan_file("a.dcm", root=str(tmp_path))
        prepare_image(tmp_path / "a.dcm", ingest=Ingest((8, 8)))
    assert "anary" not in caplog.text
