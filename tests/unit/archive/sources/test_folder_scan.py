"""What a folder's lists and odd files mean: counts, records, marks, copies, lines that tell of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydicom import dcmread

from medimg.archive.collections import Collection
from medimg.archive.source import Series
from medimg.archive.sources.folder import FolderSource
from medimg.archive.sources.folder_scan import read_retriever_list
from medimg.errors import DiskFull, MedimgError
from tests.unit.archive.sources.folder_layouts import (
    FIRST,
    RETRIEVER_HEAD,
    SECOND,
    STUDY,
    lay_out_dicomdir,
    pack,
    write_image,
    write_images,
)

OWN = Collection(name="folder", title="own data")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def connect(folder: Path, lines: list[str] | None = None) -> FolderSource:
    staging = folder.parent / "staging"
    staging.mkdir(exist_ok=True)
    return FolderSource(folder, staging=staging, on_message=None if lines is None else lines.append)


def fetch(source: FolderSource, uid: str) -> list[str]:
    return [arrived.sop_uid for arrived in source.fetch_series(Series(uid), have={})]


@pytest.mark.parametrize(("count", "shown", "more"), [(9, 9, ""), (10, 10, ""), (11, 10, "and 1 more")])
def test_ten_files_are_named_for_each_reason(folder, count, shown, more):
    write_images(folder)
    for number in range(count):
        (folder / f"{number:02}.txt").write_text("x")
    lines: list[str] = []
    connect(folder, lines).list_series(OWN)
    named = [line for line in lines if line.startswith("left out, no DICOM: ")]
    assert named == [
        *(f"left out, no DICOM: {number:02}.txt" for number in range(shown)),
        *([f"left out, no DICOM: {more}"] if more else []),
    ]


def write_counts(folder: Path, *rows: str, begin: str = "") -> None:
    (folder / "metadata.csv").write_text(begin + "\n".join([RETRIEVER_HEAD, *rows]) + "\n", encoding="utf-8")


@pytest.mark.parametrize("begin", ["", "\ufeff"])
@pytest.mark.parametrize(("count", "there"), [(1, True), (2, True), (3, False)])
def test_a_series_may_hold_more_files_than_metadata_csv_counts_and_no_fewer(folder, count, there, begin):
    write_images(folder)
    write_counts(folder, f"{FIRST},CMMD,P1,{STUDY},MG,{count},10 KB,./x", begin=begin)
    if there:
        assert len(fetch(connect(folder), FIRST)) == 2
    else:
        with pytest.raises(MedimgError, match=r"2 files of series .*, expected 3 as metadata\.csv says"):
            fetch(connect(folder), FIRST)


def test_the_byte_order_mark_of_a_list_belongs_to_no_column(folder):
    (folder / "metadata.csv").write_text("\ufeffSeries UID,Number of Images\n1.2, 3 \n", encoding="utf-8")
    assert read_retriever_list(folder / "metadata.csv") == {"1.2": 3}


@pytest.mark.parametrize("lists", ["metadata.csv", "DICOMDIR"])
def test_series_that_a_list_names_and_of_which_nothing_is_here_are_counted(folder, lists):
    lines: list[str] = []
    if lists == "DICOMDIR":
        lay_out_dicomdir(folder)
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "DICOMDIR" and dcmread(path).SeriesInstanceUID == FIRST:
                path.unlink()
    else:
        write_images(folder)
        shutil.rmtree(folder / "first")
        write_counts(folder, *(f"{uid},CMMD,P1,{STUDY},MG,1,10 KB,./x" for uid in (FIRST, SECOND)))
    assert [one.uid for one in connect(folder, lines).list_series(OWN)] == [SECOND]
    assert (
        f"{folder}: DICOMDIR or metadata.csv lists 1 series of which no file is here, first {FIRST}" in lines
    )


def test_a_record_that_is_no_longer_in_use_is_not_missed(folder):
    lay_out_dicomdir(folder)
    path = folder / "cd" / "DICOMDIR"
    directory = dcmread(path)
    gone = f"{FIRST}.2"
    for record in directory.DirectoryRecordSequence:
        if record.get("ReferencedSOPInstanceUIDInFile") == gone:
            record.RecordInUseFlag = 0
    directory.save_as(path)
    for file in folder.rglob("*"):
        if file.is_file() and file != path and dcmread(file).SOPInstanceUID == gone:
            file.unlink()
    assert fetch(connect(folder), FIRST) == [f"{FIRST}.1"]


@pytest.mark.parametrize("tag", ["PatientID", "StudyInstanceUID"])
def test_a_series_of_two_patients_or_two_studies_is_of_neither(folder, tag):
    write_images(folder)
    path = folder / "first" / "1-2.dcm"
    dataset = dcmread(path)
    setattr(dataset, tag, "1.9")
    dataset.save_as(path)
    with pytest.raises(MedimgError, match="has files of several patients or studies, expected one"):
        fetch(connect(folder), FIRST)
    assert fetch(connect(folder), SECOND) == [f"{SECOND}.1"]


@pytest.mark.parametrize("suffix", [".xlsx", ".docx", ".pptx", ".ods", ".odt", ".XLSX"])
def test_a_table_or_a_text_that_is_a_zip_inside_is_not_looked_into(folder, suffix):
    write_images(folder)
    (folder / f"table{suffix}").write_bytes(b"PK\3\4" + b"\0" * 50)
    lines: list[str] = []
    connect(folder, lines).list_series(OWN)
    assert f"left out, no DICOM: table{suffix}" in lines


def test_a_zip_is_known_by_its_content_not_by_its_name(folder):
    write_image(folder / "x" / "1.dcm", FIRST, 1)
    pack(folder / "backup.dat", folder / "x")
    shutil.rmtree(folder / "x")
    (folder / "no.zip").write_text("text")
    assert fetch(connect(folder), FIRST) == [f"{FIRST}.1"]


def test_a_full_disk_while_a_zip_is_unpacked_is_no_fault_of_the_zip(folder, monkeypatch):
    write_image(folder / "x" / "1.dcm", FIRST, 1)
    pack(folder / "backup.zip", folder / "x")

    def fill(zipped, **options):
        raise DiskFull("no room")
        yield

    monkeypatch.setattr("medimg.archive.sources.folder_scan.extract", fill)
    with pytest.raises(DiskFull, match="no room"):
        connect(folder).list_series(OWN)


def test_the_table_nearest_to_the_top_is_the_one(folder):
    for name in ("a/b/labels.csv", "z/labels.csv"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("x")
    assert connect(folder).find_table("LABELS.csv") == folder / "z" / "labels.csv"
