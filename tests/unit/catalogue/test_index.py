"""The index: nothing is read twice, nothing changed goes unnoticed, and a broken index costs time only."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medimg.catalogue import index
from medimg.catalogue.index import scan
from medimg.errors import MedimgError
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
    return scan(root, index_path=root.parent / "index.parquet", workers=1, progress=False)


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


def test_a_name_that_is_not_utf8_is_quarantined_and_the_scan_goes_on(root):
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.dcm")).write_bytes(b"x")
    found = scan_once(root)
    assert [reject.path for reject in found.quarantined] == ["broken.dcm", "caf\\xe9.dcm"]
    assert len(found.headers) == 3


def test_a_link_out_of_the_root_is_quarantined_and_never_read(root):
    write_picture(root.parent / "outside.dcm", Picture("P9", "CC", look=9))
    (root / "link.dcm").symlink_to(root.parent / "outside.dcm")
    reject = scan_once(root).quarantined[-1]
    assert (reject.path, reject.sha256) == ("link.dcm", "")


def test_a_named_pipe_is_quarantined_and_never_opened(root):
    os.mkfifo(root / "pipe.dcm")
    reject = scan_once(root).quarantined[-1]
    assert (reject.path, reject.reason) == ("pipe.dcm", "pipe.dcm: a pipe, socket or device, expected a file")


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
            for reject in scan(root, index_path=tmp_path / "index.parquet", workers=1, progress=False).content
            if reject[0] == "a.dcm"
        ]
    assert len({sha256 for _, sha256 in hashes}) == 2
