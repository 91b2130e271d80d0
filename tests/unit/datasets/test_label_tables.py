"""The ways in which people hand over labels: other keys, other files, other content than the name says."""

import json

import cv2
import numpy as np
import openpyxl
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from medimg.datasets.identifiers import name_patient
from pipeline.config.overrides import load_config
from tests.unit.datasets.hospital import COUNT, HEADER, catalogue, rows, run, write_folder, write_image


def write_dicom(path, number, *, patient):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"1.2.3.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"1.2.{number // 2}", f"1.2.4.{number}"
    dataset.PatientID, dataset.Modality = patient, "OT"
    dataset.Rows = dataset.Columns = 32
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = np.random.default_rng(number).integers(0, 256, (32, 32)).astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


@pytest.fixture
def studies(tmp_path):
    """Twelve DICOM files, two in each study, a study for each patient."""
    for number in range(COUNT):
        write_dicom(tmp_path / "data" / f"{number:02}.dcm", number, patient=f"{number // 2:04}")
    return tmp_path / "data"


def write_workbook(path, sheets):
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.worksheets[0])
    for title, lines in sheets.items():
        sheet = workbook.create_sheet(title)
        for line in lines:
            sheet.append(line)
    workbook.save(path)


TABLE = [line.split(",") for line in (HEADER, *rows())]


def test_a_workbook_of_labels_is_read_like_text(tmp_path):
    root = write_folder(tmp_path / "data")
    write_workbook(root / "labels.xlsx", {"Labels": TABLE})
    seen = catalogue(root)
    assert seen.counts() == {"used": COUNT}
    assert seen.summary["anomalies"] == []
    (root / "Labels.CSV").write_text("\n".join([HEADER, *rows()]))
    (root / "labels.xlsx").unlink()
    assert catalogue(root).counts() == {"used": COUNT}


def test_of_two_tables_the_one_that_is_not_read_is_named(tmp_path):
    root = write_folder(tmp_path / "data", lines=[HEADER, *rows()])
    write_workbook(root / "labels.xlsx", {"Labels": TABLE})
    assert "labels.xlsx: not read, labels.csv is" in catalogue(root).anomalies


@pytest.mark.parametrize("column", ["sop_instance_uid", "SOPInstanceUID", "SOP Instance UID"])
def test_labels_may_be_keyed_by_the_uid_of_an_image(studies, column):
    lines = [f"{column},label", *(f"1.2.3.{number},{'ab'[number % 2]}" for number in range(COUNT - 1))]
    (studies / "labels.csv").write_text("\n".join([*lines, "1.2.3.99,a", "1.2.3.98,b"]) + "\n")
    seen = catalogue(studies)
    assert seen.counts() == {"used": COUNT - 1, "unlabelled": 1}
    assert set(seen.cases["group_id"]) == {name_patient(f"{number:04}") for number in range(COUNT // 2)}
    for row in (13, 14):
        assert f"labels.csv row {row}: no image of this sop_instance_uid in the folder" in seen.anomalies


@pytest.mark.parametrize("column", ["study_uid", "StudyInstanceUID"])
def test_labels_may_be_keyed_by_patient_and_study(studies, column):
    lines = [f"patient_id,{column},label,age"]
    lines += [f"{number},1.2.{number},{'ab'[number % 2]},4{number}" for number in range(COUNT // 2)]
    (studies / "labels.csv").write_text("\n".join(lines) + "\n")
    seen = catalogue(studies)
    assert seen.counts() == {"used": COUNT}
    assert list(seen.cases["label_label"][:4]) == ["a", "a", "b", "b"]
    assert list(seen.cases["clinical_age"][:3]) == [40, 40, 41]
    # As the table writes them: the headers' 0000 is the hospital's.
    assert set(seen.cases["group_id"]) == {str(number) for number in range(COUNT // 2)}


def test_uids_of_none_of_the_images_are_wrong_use_and_never_shown(studies):
    (studies / "labels.csv").write_text("sop_instance_uid,label\n9.9.1,a\n9.9.2,b\n")
    seen = catalogue(studies)
    assert (seen.code, "no row has the sop_instance_uid of an image of the folder" in seen.error) == (2, True)
    (studies / "labels.csv").write_text("name,label\nx,a\n")
    assert (
        "expected file, patient_id, label; or sop_instance_uid, label; or patient_id"
        in catalogue(studies).error
    )


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("labels.xlsx", OLE, "labels.xlsx: not a readable Excel workbook (an old Excel workbook (.xls))"),
        ("labels.xls", OLE, "found labels.xls: an old Excel workbook (.xls), save it as .xlsx"),
        ("labels.csv", OLE, "labels.csv: an old Excel workbook (.xls), expected delimited text"),
        (
            "labels.xlsx",
            OLE + "EncryptedPackage".encode("utf-16-le"),
            "labels.xlsx: not a readable Excel workbook (an Excel workbook with a password)",
        ),
        ("labels.xlsx", b"<html><table><tr><td>file</td></tr></table></html>", "(an HTML page)"),
        ("labels.xlsx", b"\xef\xbb\xbf\n<!DOCTYPE HTML>\n<p>", "(an HTML page)"),
        ("labels.csv", b"<table border=1><tr>", "labels.csv: an HTML page, expected delimited text"),
        ("labels.xlsx", b'<?xml version="1.0"?><Workbook xmlns="x">', "(an XML spreadsheet of Excel 2003)"),
        ("labels.xlsx", b"file,patient_id,label\n", "(plain text)"),
        ("labels.xlsx", b"%PDF-1.7", "(a PDF document)"),
        (
            "labels.csv.txt",
            b"file,patient_id,label\n",
            "whose last ending Windows hides: rename it to labels.csv",
        ),
        (
            "labels.csv.csv",
            b"file,patient_id,label\n",
            "found labels.csv.csv, whose last ending Windows hides",
        ),
        ("Labels.xlsx.xlsx", b"x", "whose last ending Windows hides: rename it to Labels.xlsx"),
    ],
)
def test_a_file_is_named_as_what_it_is(tmp_path, name, content, says):
    root = write_folder(tmp_path / "data")
    (root / name).write_bytes(content)
    seen = catalogue(root)
    assert seen.code == 2
    assert says in seen.error
    assert len(seen.error.splitlines()) == 1


def test_a_workbook_under_the_name_of_text_is_read_as_what_it_is(tmp_path):
    root = write_folder(tmp_path / "data")
    write_workbook(root / "labels.xlsx", {"Labels": TABLE})
    (root / "labels.xlsx").rename(root / "labels.csv")
    assert catalogue(root).counts() == {"used": COUNT}


def test_sheets_beside_the_first_are_named(tmp_path):
    root = write_folder(tmp_path / "data")
    write_workbook(root / "labels.xlsx", {"Centre A": TABLE, "Centre B": TABLE, "Empty": []})
    assert (
        "labels.xlsx: sheet 'Centre B' not read, the first one, 'Centre A', is" in catalogue(root).anomalies
    )
    write_workbook(root / "labels.xlsx", {"Notes": [["about"]], "Labels": TABLE})
    seen = catalogue(root)
    assert seen.code == 2
    assert "the first sheet 'Notes' has no column file, patient_id, label, sheet 'Labels' has" in seen.error


@pytest.mark.parametrize(("row", "column"), [(2, 3), (7, 2), (13, 1)])
def test_a_formula_without_a_value_is_named_by_its_cell(tmp_path, row, column):
    root = write_folder(tmp_path / "data")
    lines = [list(line) for line in TABLE]
    lines[row - 1][column - 1] = '=CONCATENATE("a","")'
    write_workbook(root / "labels.xlsx", {"Labels": lines})
    seen = catalogue(root)
    assert seen.code == 2
    assert f"labels.xlsx cell {'ABC'[column - 1]}{row}: a formula without a value" in seen.error


def test_an_absolute_path_inside_the_folder_is_called_so(tmp_path):
    root = write_folder(tmp_path / "data", lines=[HEADER, *rows()])
    table = root / "labels.csv"
    table.write_text(table.read_text().replace("03.png", f"{root}/03.png"))
    seen = catalogue(root)
    assert seen.code == 2
    assert (
        "row 5: file is an absolute path inside the folder, expected a path relative to it: '03.png'"
        in seen.error
    )


def test_init_writes_a_table_that_is_complete_once_it_is_filled_in(studies):
    write_image(studies / "more" / "=photo.png", 77)
    code, out, error = run("init", "folder", studies)
    assert code == 0, error
    assert "13 images; fill in label, and patient_id of 1 image" in out
    table = studies / "labels.csv"
    header, *lines = table.read_text(encoding="utf-8-sig").splitlines()
    assert header == HEADER
    assert lines[0] == "00.dcm,0000,"
    assert catalogue(studies).error.startswith("error: labels.csv: column label has 0 classes")
    filled = [f"{line}{'ab'[number % 2]}" for number, line in enumerate(lines)]
    filled[-1] = filled[-1].replace(",,", ",0007,")
    table.write_text("\n".join([header, *filled]) + "\n")
    assert catalogue(studies).counts() == {"used": COUNT + 1}
    config = load_config("folder_classification", overrides=[f"@{studies / 'settings.json'}"])
    assert (config.model.channels, config.ingest.channels) == (1, 1)


def test_init_never_overwrites_and_asks_for_images(tmp_path):
    root = write_folder(tmp_path / "data", lines=[HEADER, *rows()])
    before = (root / "labels.csv").read_bytes()
    code, _, error = run("init", "folder", root)
    assert (code, "labels.csv: there already, and not overwritten" in error) == (2, True)
    assert (root / "labels.csv").read_bytes() == before
    assert not (root / "settings.json").exists()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    assert run("init", "folder", tmp_path / "empty")[0] == 2
    code, _, error = run("init", "cmmd", root)
    assert (code, "cmmd comes with its table; medimg init is for folder" in error) == (2, True)


def test_init_suggests_colour_where_images_have_it_and_shields_formulas(tmp_path):
    (tmp_path / "data").mkdir()
    image_HWC = np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    assert cv2.imwrite(str(tmp_path / "data" / "=cmd.png"), image_HWC)
    assert run("init", "folder", tmp_path / "data")[0] == 0
    assert json.loads((tmp_path / "data" / "settings.json").read_text())["model.channels"] == 3
    assert (tmp_path / "data" / "labels.csv").read_text(encoding="utf-8-sig").splitlines()[
        1
    ] == "./=cmd.png,,"
