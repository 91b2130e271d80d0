"""The index: nothing is read twice, nothing changed goes unnoticed, and a broken index costs time only."""

import hashlib
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medimg.catalogue import index
from medimg.catalogue.index import scan
from medimg.errors import MedimgError, UsageError
from medimg.files import hash_file
from medimg.images.scan import list_files, scan_file
from tests.unit.catalogue.phantom import Picture, write_picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images, one broken file and a table."""
    data = tmp_path / "data"
    for number in range(3):
        write_picture(data / f"{number}.dcm", Picture(f"P{number}", "CC", look=number))
    (data / "broken.dcm").write_bytes(b"not an image")
    (data / "table.csv").write_text("a,b\n")
    return data


def scan_once(root: Path) -> index.Scan:
    return scan(root, index_path=root.parent / "index.parquet", workers=1)


def last_letters_first(path: str) -> list[int]:
    return [-byte for byte in os.fsencode(path)]


def test_every_file_is_an_image_quarantined_or_other(root):
    found = scan_once(root)
    assert [header.path for header in found.headers] == ["0.dcm", "1.dcm", "2.dcm"]
    assert [reject.path for reject in found.quarantined] == ["broken.dcm"]
    assert found.other_files == 1


def test_an_unchanged_file_is_not_read_again_quarantined_ones_included(root):
    first = scan_once(root)
    second = scan_once(root)
    assert (first.read, second.read) == (5, 0)
    assert second.headers == first.headers
    assert second.quarantined == first.quarantined


def test_a_touched_file_is_read_again_and_has_the_same_hash(root):
    first = scan_once(root)
    os.utime(root / "1.dcm", (1, 1))
    second = scan_once(root)
    assert second.read == 1
    assert second.headers == first.headers


def test_what_a_file_holds_is_what_its_reader_found(root):
    found = scan_once(root)
    read = [scan_file(f"{number}.dcm", root=str(root)) for number in range(3)]
    assert found.headers == [
        replace(header, tags=index.hide_patient(header.tags, published_ids="")) for header in read
    ]
    assert [header.sha256 for header in found.headers] == [
        hash_file(root / f"{number}.dcm") for number in range(3)
    ]
    (broken,) = found.quarantined
    assert (broken.size, broken.sha256) == (12, hash_file(root / "broken.dcm"))


def test_a_file_is_read_again_if_its_size_or_its_time_is_another_be_it_by_a_nanosecond_or_older(root):
    first = scan_once(root)
    times = {path.name: path.stat().st_mtime_ns for path in root.iterdir()}
    for number, later_ns in enumerate((1, -1, 0)):
        path = root / f"{number}.dcm"
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) + b"\0\0" * (later_ns == 0))
        os.utime(path, ns=(0, times[path.name] + later_ns))
    second = scan_once(root)
    assert second.read == 3
    assert {header.sha256 for header in first.headers}.isdisjoint(sha256 for _, sha256 in second.content)


def test_the_index_forgets_what_was_deleted_and_is_left_alone_where_nothing_changed(root):
    scan_once(root)
    path = root.parent / "index.parquet"
    os.utime(path, ns=(1, 1))
    scan_once(root)
    assert path.stat().st_mtime_ns == 1
    (root / "1.dcm").unlink()
    assert scan_once(root).read == 0
    assert pq.read_table(path)["path"].to_pylist() == ["0.dcm", "2.dcm", "broken.dcm", "table.csv"]


def test_the_same_files_are_found_alike_with_any_index_from_any_place(root, tmp_path):
    alone = scan(root, workers=1)
    (tmp_path / "link").symlink_to(root)
    index_path = root / "index.parquet"
    shutil.copytree(root, tmp_path / "half")
    (tmp_path / "half" / "1.dcm").unlink()
    scan(tmp_path / "half", index_path=index_path, workers=1)
    for place in (root, tmp_path / "link"):
        found = scan(place, index_path=index_path, workers=2)
        assert (found.headers, found.quarantined) == (alone.headers, alone.quarantined)
        assert (found.content, found.other_files) == (alone.content, alone.other_files)


@pytest.mark.parametrize("changed", ["scan", "raster", "dicom"])
def test_an_index_is_as_old_as_the_oldest_of_its_readers(changed, tmp_path, monkeypatch):
    before = index.hash_readers(index.PLAINLY)
    module = {"scan": index.image_scan, "raster": index.raster, "dicom": index.dicom}[changed]
    folder = shutil.copytree(Path(module.__file__).parent, tmp_path / "readers")
    monkeypatch.setattr(module, "__file__", str(folder / Path(module.__file__).name))
    assert index.hash_readers.__wrapped__(index.PLAINLY) == before
    with (folder / ("read.py" if changed == "dicom" else f"{changed}.py")).open("a") as source:
        source.write("# changed\n")
    assert index.hash_readers.__wrapped__(index.PLAINLY) != before


def test_an_index_with_other_columns_is_not_read(root):
    scan_once(root)
    path = root.parent / "index.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop(["reason"]).replace_schema_metadata(table.schema.metadata), path)
    assert scan_once(root).read == 5


def test_changed_new_and_deleted_files_are_noticed(root):
    first = scan_once(root)
    write_picture(root / "1.dcm", Picture("P1", "CC", look=99))
    write_picture(root / "3.dcm", Picture("P3", "CC", look=3))
    (root / "2.dcm").unlink()
    second = scan_once(root)
    assert second.read == 2
    assert [header.path for header in second.headers] == ["0.dcm", "1.dcm", "3.dcm"]
    assert second.headers[1].sha256 != first.headers[1].sha256


def test_an_interrupted_scan_goes_on_where_it_was_saved(root, monkeypatch):
    monkeypatch.setattr(index, "SAVE_EVERY_SECONDS", 0.0)
    read_files = index.read_files

    def die_after_two(*arguments, **options):
        for count, entry in enumerate(read_files(*arguments, **options)):
            if count == 3:
                raise KeyboardInterrupt
            yield entry

    monkeypatch.setattr(index, "read_files", die_after_two)
    with pytest.raises(KeyboardInterrupt):
        scan_once(root)
    monkeypatch.setattr(index, "read_files", read_files)
    assert scan_once(root).read == 2
    assert scan_once(root).read == 0


def test_without_an_index_nothing_is_saved_however_long_it_takes(root, monkeypatch):
    monkeypatch.setattr(index, "SAVE_EVERY_SECONDS", 0.0)
    assert scan(root, workers=1).read == 5
    assert sorted(path.name for path in root.parent.iterdir()) == ["data"]


@pytest.mark.parametrize("damage", [b"", b"PAR1 and then nothing", None])
def test_a_damaged_index_is_built_anew(root, damage):
    first = scan_once(root)
    path = root.parent / "index.parquet"
    path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    second = scan_once(root)
    assert second.read == 5
    assert second.headers == first.headers


def test_an_index_of_other_readers_is_not_trusted(root):
    scan_once(root)
    path = root.parent / "index.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({"readers": "an older version"}), path)
    assert scan_once(root).read == 5


@pytest.mark.parametrize("name", ["caf\\xe9.dcm", "\\xe9 before all others.dcm"])
def test_a_name_that_is_not_utf8_is_quarantined_and_the_scan_goes_on(root, name, monkeypatch):
    path = os.fsencode(root) + b"/" + name.encode().decode("unicode_escape").encode("latin-1")
    Path(os.fsdecode(path)).write_bytes(b"x")
    monkeypatch.setattr(
        index, "list_files", lambda root, **how: sorted(list_files(root, **how), key=last_letters_first)
    )
    found = scan_once(root)
    assert sorted(reject.path for reject in found.quarantined) == sorted(["broken.dcm", name])
    [reject] = [reject for reject in found.quarantined if reject.path == name]
    assert reject.sha256 == hashlib.sha256(b"x").hexdigest()
    assert len(found.headers) == 3


def test_a_link_out_of_the_root_is_quarantined_and_never_read(root):
    write_picture(root.parent / "outside.dcm", Picture("P9", "CC", look=9))
    (root / "link.dcm").symlink_to(root.parent / "outside.dcm")
    reject = scan_once(root).quarantined[-1]
    assert (reject.path, reject.sha256) == ("link.dcm", "")


@pytest.mark.parametrize("target", ["nowhere.dcm", "0-link.dcm"])
def test_a_link_to_nothing_or_to_itself_is_quarantined_and_the_scan_goes_on(root, target):
    (root / "0-link.dcm").symlink_to(root / target)
    found = scan_once(root)
    assert [reject.path for reject in found.quarantined] == ["0-link.dcm", "broken.dcm"]
    assert found.quarantined[0].reason.endswith(", expected a readable file")
    assert [header.path for header in found.headers] == ["0.dcm", "1.dcm", "2.dcm"]


def test_named_pipes_and_sockets_are_quarantined_and_never_opened(root, monkeypatch):
    os.mkfifo(root / "pipe.dcm")
    monkeypatch.chdir(root)  # A socket's name may have about a hundred characters.
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("socket.dcm")
        rejects = scan_once(root).quarantined[-2:]
    assert [(reject.path, reject.reason) for reject in rejects] == [
        (name, f"{name}: a pipe, socket or device, expected a file") for name in ("pipe.dcm", "socket.dcm")
    ]


def test_a_root_that_is_a_file_is_said_to_be_one(root):
    with pytest.raises(UsageError, match=r"table\.csv: not a folder, expected the folder"):
        scan(root / "table.csv")


def test_a_root_that_is_not_there_or_has_no_file_is_said_to_be_so(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere: no such folder, expected the folder"):
        scan(tmp_path / "nowhere")
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    index_path = tmp_path / "empty" / "index.parquet"
    index_path.touch()
    with pytest.raises(UsageError, match=r"empty: an empty folder, expected images"):
        scan(tmp_path / "empty", index_path=index_path)


@pytest.mark.parametrize(
    ("patient", "published", "kept"),
    [
        *(("D1-0001", "", False), ("D1-0001", "D1-[0-9]{4}", True), ("D1-00012", "D1-[0-9]{4}", False)),
        *((" D1-0001 ", "D1-[0-9]{4}", True), ("", "", True), ("  ", "", True), (None, "", True)),
    ],
)
def test_an_id_that_was_never_published_is_not_kept(patient, published, kept):
    tags = {"PatientID": patient, "Modality": "MG"}
    found = index.hide_patient(tags, published_ids=published)
    assert (found == tags) == kept
    assert found["Modality"] == "MG"
    if not kept:
        assert found["PatientID"] == index.name_patient(patient)
    assert index.hide_patient({}, published_ids=published) == {}


def test_what_is_known_to_be_no_image_is_listed_by_kind_and_counted_with_the_others():
    entries = [
        index.Entry("b.csv", 1, 1, "other"),
        *(
            index.Entry(name, 1, 1, "other", kind)
            for name, kind in (("y", "note"), ("x", "a log"), ("z", "note"))
        ),
        index.Entry("c.png", 7, 1, "image", "PNG", "hash", "pixels", '{"a": 1}'),
        index.Entry("d.png", 3, 1, "quarantined", sha256="other", reason="d.png: odd"),
    ]
    found = index.make_scan(entries, read=2)
    assert list(found.not_images.items()) == [("a log", ["x"]), ("note", ["y", "z"])]
    assert (found.other_files, found.read) == (4, 2)
    assert found.content == [("c.png", "hash"), ("d.png", "other")]
    assert (found.headers[0].kind, found.headers[0].size, found.headers[0].pixel_hash) == ("PNG", 7, "pixels")
    assert (found.quarantined[0].reason, found.quarantined[0].size) == ("d.png: odd", 3)


def test_outputs_that_lie_among_the_data_are_left_out_and_links_out_are_followed_on_request(root):
    outside = root.parent / "elsewhere"
    write_picture(outside / "9.dcm", Picture("P9", "CC", look=9))
    (root / "link").symlink_to(outside)
    skip = [root / "table.csv", root.parent / "elsewhere.csv"]
    for follow, count in ((False, 3), (True, 4)):
        found = scan(root, workers=1, skip=skip, reading=index.Reading(follow_links=follow))
        assert (len(found.headers), found.other_files) == (count, 0)


def test_an_index_that_cannot_be_written_is_one_clear_line(root, tmp_path):
    (tmp_path / "index.parquet").mkdir()
    with pytest.raises(MedimgError, match=r"index\.parquet: cannot be written") as caught:
        scan_once(root)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "index.parquet"]


def test_a_quarantined_file_with_other_bytes_has_another_hash(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    hashes = []
    for content in (b"not an image", b"nor is this one"):
        (root / "a.dcm").write_bytes(content)
        hashes += [
            reject
            for reject in scan(root, index_path=tmp_path / "index.parquet", workers=1).content
            if reject[0] == "a.dcm"
        ]
    assert len({sha256 for _, sha256 in hashes}) == 2
