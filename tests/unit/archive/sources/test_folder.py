"""A user's own folder: every layout gives the same series, and every file is used or reported."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from pydicom import dcmread

from medimg.archive.collections import Collection
from medimg.archive.source import NotAvailable, Series
from medimg.archive.sources.folder import FolderSource
from medimg.errors import MedimgError, UsageError
from tests.unit.archive.sources.folder_layouts import (
    FIRST,
    LAYOUTS,
    SECOND,
    STUDY,
    lay_out_dicomdir,
    lay_out_retriever,
    lay_out_zip,
    pack,
    write_image,
    write_images,
)

OWN = Collection(name="folder", title="own data")


def connect(folder: Path, lines: list[str] | None = None) -> FolderSource:
    staging = folder.parent / "staging"
    staging.mkdir(exist_ok=True)
    return FolderSource(folder, staging=staging, on_message=None if lines is None else lines.append)


def fetch_all(source: FolderSource) -> dict[str, bytes]:
    series = source.list_series(OWN)
    return {
        arrived.sop_uid: arrived.path.read_bytes()
        for one in series
        for arrived in source.fetch_series(one, have={})
    }


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_series_and_bytes(folder, layout):
    images = LAYOUTS[layout](folder)
    before = snapshot(folder)
    lines: list[str] = []
    source = connect(folder, lines)
    sizes = {
        uid: sum(len(content) for sop_uid, content in images.items() if sop_uid.startswith(f"{uid}."))
        for uid in (FIRST, SECOND)
    }
    assert source.list_series(OWN) == [
        Series(uid, patient_id="P1", study_uid=STUDY, instances=count, bytes=sizes[uid], modality="MG")
        for uid, count in ((FIRST, 2), (SECOND, 1))
    ]
    if layout != "DICOMDIR":  # pydicom writes other meta information when it makes one.
        assert fetch_all(source) == images
    assert fetch_all(source).keys() == images.keys()
    assert snapshot(folder) == before
    assert " 3 used" in lines[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_copies_lie_in_the_staging_folder_with_their_hashes_and_an_address_without_this_machine(
    folder, layout
):
    LAYOUTS[layout](folder)
    source = connect(folder)
    arrived = list(source.fetch_series(Series(FIRST), have={}))
    for one in arrived:
        content = one.path.read_bytes()
        assert one.path.parent == folder.parent / "staging"
        assert not one.path.is_symlink()
        assert one.path.stat().st_nlink == 1
        assert (one.bytes, one.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert one.md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()
        assert one.url.startswith("folder:")
        assert str(folder) not in one.url
    have = {arrived[0].url: arrived[0].md5}
    assert [one.url for one in source.fetch_series(Series(FIRST), have=have)] == [arrived[1].url]


def test_used_and_left_out_add_up_to_what_is_there(folder):
    images = write_images(folder)
    shutil.copy(folder / "first" / "1-1.dcm", folder / "copy of it.dcm")
    (folder / "notes.txt").write_text("hello")
    (folder / "empty").touch()
    (folder / "damaged.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    (folder / "no zip.zip").write_bytes(b"PK\3\4" + b"\0" * 50)
    (folder / "table.xlsx").write_bytes(b"PK\3\4" + b"\0" * 50)
    write_image(folder / "odd.dcm", "1.2/3", 1)
    os.mkfifo(folder / "pipe")
    (folder / "dead").symlink_to(folder / "nowhere")
    (folder / "inner link").symlink_to(folder / "first" / "1-2.dcm")
    lines: list[str] = []
    assert fetch_all(connect(folder, lines)) == images
    assert lines[0] == (
        f"{folder}: 13 files, 3 used, left out: 2 identical copy, 3 no DICOM, 1 pipe, socket or "
        "device, 2 unreadable, 1 unreadable zip, "
        "1 without a valid SOPInstanceUID and SeriesInstanceUID"
    )
    assert "left out, identical copy: first/1-1.dcm of copy of it.dcm" in lines
    assert any(line.startswith("left out, unreadable: damaged.dcm: ") for line in lines)
    assert all(line.isprintable() for line in lines)


def test_where_all_is_used_nothing_is_said_to_be_left_out(folder):
    lines: list[str] = []
    images = write_images(folder)
    assert fetch_all(connect(folder, lines)) == images
    assert lines == [f"{folder}: 3 files, 3 used"]


def test_links_that_leave_the_folder_are_refused(folder):
    images = write_images(folder)
    secret = write_image(folder.parent / "elsewhere" / "secret.dcm", f"{STUDY}.9", 1)
    (folder / "file.dcm").symlink_to(secret)
    (folder / "linked").symlink_to(secret.parent)
    (folder / "first" / "up").symlink_to("../..")
    lines: list[str] = []
    source = connect(folder, lines)
    assert fetch_all(source).keys() == images.keys()
    assert sorted(line for line in lines if "link out" in line and line.startswith("left out,")) == [
        f"left out, link out of the folder (--follow-links reads it): {name}"
        for name in ("file.dcm", "first/up", "linked")
    ]
    with pytest.raises(NotAvailable, match=r"no file of series .*\.9"):
        list(source.fetch_series(Series(f"{STUDY}.9"), have={}))


def test_on_request_what_links_out_of_the_folder_point_to_is_brought_once(folder):
    images = write_images(folder)
    nas = folder.parent / "nas"
    write_image(nas / "deep" / "more.dcm", f"{STUDY}.9", 1)
    write_image(folder.parent / "alone.dcm", f"{STUDY}.10", 1)
    (folder / "file.dcm").symlink_to(folder.parent / "alone.dcm")
    (folder / "linked").symlink_to(nas)
    (folder / "linked again").symlink_to(nas / "deep")
    (nas / "back").symlink_to(folder)
    staging = folder.parent / "staging"
    staging.mkdir(exist_ok=True)
    lines: list[str] = []
    source = FolderSource(folder, staging=staging, follow_links=True, on_message=lines.append)
    found = {one.uid for one in source.list_series(OWN)}
    assert found == {FIRST, SECOND, f"{STUDY}.9", f"{STUDY}.10"}
    assert fetch_all(source).keys() > images.keys()
    assert lines == [f"{folder}: 5 files, 5 used"]
    assert not [
        one.path
        for uid in found
        for one in source.fetch_series(Series(uid), have={})
        if one.path.is_symlink()
    ]


def test_a_file_that_became_a_link_out_since_the_scan_is_not_read(folder):
    write_images(folder)
    secret = write_image(folder.parent / "secret.dcm", SECOND, 1)
    source = connect(folder)
    source.list_series(OWN)
    (folder / "second" / "1-1.dcm").unlink()
    (folder / "second" / "1-1.dcm").symlink_to(secret)
    with pytest.raises(MedimgError, match=r"second/1-1\.dcm is now link out of the folder"):
        list(source.fetch_series(Series(SECOND), have={}))


@pytest.mark.parametrize("archive", ["", "a.zip", "z.zip"])
def test_different_files_with_one_uid_end_their_series_and_no_other(folder, archive):
    images = write_images(folder)
    write_image(folder / "other" / "z.dcm", FIRST, 1, grey=9)
    if archive:
        pack(folder / archive, folder / "other")
        shutil.rmtree(folder / "other")
    lines: list[str] = []
    source = connect(folder, lines)
    with pytest.raises(MedimgError, match=rf"differ but have one SOPInstanceUID {FIRST}\.1") as error:
        list(source.fetch_series(Series(FIRST), have={}))
    assert "first/1-1.dcm" in str(error.value)
    assert (f"{archive}!/z.dcm" if archive else "other/z.dcm") in str(error.value)
    assert [arrived.path.read_bytes() for arrived in source.fetch_series(Series(SECOND), have={})] == [
        images[f"{SECOND}.1"]
    ]
    assert any("differ but have one SOPInstanceUID" in line for line in lines)


def test_one_uid_in_two_series_ends_both(folder):
    write_images(folder)
    dataset = dcmread(folder / "second" / "1-1.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{FIRST}.1"
    dataset.save_as(folder / "second" / "1-2.dcm")
    source = connect(folder)
    for uid in (FIRST, SECOND):
        with pytest.raises(MedimgError, match="differ but have one SOPInstanceUID"):
            list(source.fetch_series(Series(uid), have={}))


def test_a_series_of_two_patients_is_an_error(folder):
    write_images(folder)
    dataset = dcmread(folder / "first" / "1-2.dcm")
    dataset.PatientID = "P2"
    dataset.save_as(folder / "first" / "1-2.dcm")
    with pytest.raises(MedimgError, match="several patients or studies"):
        list(connect(folder).fetch_series(Series(FIRST), have={}))


def test_a_zip_with_a_fault_is_reported_as_a_whole_and_other_copies_of_its_files_are_used(folder):
    images = write_images(folder / "x")
    packed = pack(folder / "all.zip", folder / "x")
    shutil.rmtree(folder / "x")
    content = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        last = archive.getinfo("second/1-1.dcm")
    for index in range(last.header_offset + 80, last.header_offset + 120):
        content[index] ^= 0xFF
    packed.write_bytes(content)
    lines: list[str] = []
    with pytest.raises(NotAvailable, match="no DICOM file among 1 files"):
        connect(folder, lines).list_series(OWN)
    assert any(line.startswith("left out, unreadable zip: all.zip: ") for line in lines)
    assert list((folder.parent / "staging").iterdir()) == []
    write_images(folder / "y")
    assert fetch_all(connect(folder)) == images


@pytest.mark.parametrize("change", ["longer", "shorter", "gone", "member"])
def test_a_file_that_changed_since_the_scan_is_not_handed_over(folder, change):
    (lay_out_zip if change == "member" else write_images)(folder)
    source = connect(folder)
    source.list_series(OWN)
    if change == "member":
        write_image(folder / "x" / "second" / "1-1.dcm", SECOND, 1, grey=5)
        pack(folder / "all.zip", folder / "x")
    else:
        path = folder / "second" / "1-1.dcm"
        content = path.read_bytes()
        path.unlink()
        if change != "gone":
            path.write_bytes(content + b"\0" if change == "longer" else content[:-1])
    with pytest.raises(MedimgError, match=r"second/1-1\.dcm (has changed since|is now unreadable)"):
        list(source.fetch_series(Series(SECOND), have={}))
    assert list((folder.parent / "staging").iterdir()) == []


def test_a_series_that_lacks_what_metadata_csv_counts_is_not_here(folder):
    lay_out_retriever(folder)
    next(folder.rglob("first/1-2.dcm")).unlink()
    source = connect(folder)
    with pytest.raises(NotAvailable, match=rf"1 files of series {FIRST}, expected 2 as metadata\.csv says"):
        list(source.fetch_series(Series(FIRST), have={}))
    assert len(list(source.fetch_series(Series(SECOND), have={}))) == 1


def test_a_series_that_lacks_what_dicomdir_lists_is_not_here(folder):
    lay_out_dicomdir(folder)
    lost = next(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != "DICOMDIR" and dcmread(path).SOPInstanceUID == f"{FIRST}.2"
    )
    lost.unlink()
    source = connect(folder)
    stated = lost.relative_to(folder / "cd").as_posix()
    with pytest.raises(
        NotAvailable, match=rf"series {FIRST} lacks 1 files that DICOMDIR lists, first {stated}$"
    ):
        list(source.fetch_series(Series(FIRST), have={}))
    assert len(list(source.fetch_series(Series(SECOND), have={}))) == 1


def test_a_path_in_dicomdir_is_never_opened(folder):
    """A record that leads out counts as a file that is missing; one that leads into itself ends."""
    lay_out_dicomdir(folder)
    secret = write_image(folder.parent / "secret.dcm", SECOND, 2)
    directory = dcmread(folder / "cd" / "DICOMDIR")
    image = next(
        record for record in directory.DirectoryRecordSequence[::-1] if record.DirectoryRecordType == "IMAGE"
    )
    image.ReferencedFileID = ["..", "..", secret.name]
    image.ReferencedSOPInstanceUIDInFile = f"{SECOND}.2"
    directory.save_as(folder / "cd" / "DICOMDIR")
    changed = dcmread(folder / "cd" / "DICOMDIR")
    for record in changed.DirectoryRecordSequence:
        if record.DirectoryRecordType == "IMAGE":
            record.OffsetOfTheNextDirectoryRecord = record.seq_item_tell
    changed.save_as(folder / "cd" / "DICOMDIR")
    with pytest.raises(NotAvailable, match=r"lacks 1 files that DICOMDIR lists, first \.\./\.\./secret\.dcm"):
        list(connect(folder).fetch_series(Series(SECOND), have={}))


def test_a_list_of_series_that_expects_more_is_not_met(folder):
    write_images(folder)
    with pytest.raises(NotAvailable, match=r"2 files of series .*, expected 3 as the list of series says"):
        list(connect(folder).fetch_series(Series(FIRST, instances=3), have={}))


@pytest.mark.parametrize(
    "content",
    ["", "a,b\n1,2\n", "Series UID,Number of Images\n../x,3\n1.2,many\n1.2.3\n", "\0\xff" * 100, '"' * 1000],
)
def test_another_metadata_csv_says_nothing(folder, content):
    images = write_images(folder)
    (folder / "metadata.csv").write_text(content, encoding="latin-1")
    assert fetch_all(connect(folder)) == images


def test_staging_and_work_folders_inside_are_no_input(folder):
    images = write_images(folder)
    staging = folder / "out" / "staging"
    write_image(staging / "left.dcm", f"{STUDY}.3", 1)
    write_image(folder / ".medimg" / "quarantine" / "bad.dcm", f"{STUDY}.4", 1)
    assert fetch_all(FolderSource(folder, staging=staging)).keys() == images.keys()


def test_names_that_are_not_utf8_are_read_and_quoted(folder):
    path = write_image(folder / "x.dcm", FIRST, 1)
    path.rename(folder / os.fsdecode(b"\xff\nx.dcm"))
    lines: list[str] = []
    (arrived,) = connect(folder, lines).fetch_series(Series(FIRST), have={})
    assert arrived.url == "folder:%FF%0Ax.dcm"


def test_an_empty_folder_is_not_here_and_none_is_wrong_use(folder):
    with pytest.raises(NotAvailable, match="no DICOM file among 0 files"):
        connect(folder).list_series(OWN)
    with pytest.raises(UsageError, match="no such folder"):
        FolderSource(folder / "none", staging=folder)


def test_a_table_is_found_anywhere_by_its_name(folder):
    source = connect(folder)
    assert source.find_table("labels.csv") is None
    for name in ("a/b/labels.csv", "c/Labels.CSV"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("x")
    (folder.parent / "outside.csv").write_text("y")
    (folder / "labels.csv").symlink_to(folder.parent / "outside.csv")
    assert source.find_table("labels.csv") == folder / "c" / "Labels.CSV"
    (folder / "a" / "b" / "labels.csv").write_text("z")
    with pytest.raises(MedimgError, match=r"c/Labels\.CSV and a/b/labels\.csv differ"):
        source.find_table("labels.csv")
