"""A data root: what is there already, its room, its names, its one writer, and the receipts of its files."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import threading

import pytest

from medimg.archive import data_root
from medimg.archive import receipts as receipts_module
from medimg.archive.data_root import RESERVE_BYTES, check_room, clear_parts, hold_root, is_there, safe_name
from medimg.archive.receipts import RECEIPTS_FILE, TABLES, Finished, Receipt, Receipts, read_provenance
from medimg.archive.source import Arrived, Series
from medimg.archive.verify import verify
from medimg.errors import DiskFull, MedimgError
from medimg.files import hash_file

SERIES = Series("1.2", key="v1")


def write(root, path, content, *, series="1.2", key="v1", **changed):
    """A file and its receipt."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    size, sha256 = len(content), hash_file(root / path)
    return Receipt(path, size, "", sha256, "u", series, "cmmd", "idc", **{"key": key} | changed)


@pytest.fixture
def finished(tmp_path):
    """Two files of one finished series, and one of another."""
    receipts = Receipts(tmp_path)
    for path, content in (("1.2/a.dcm", b"one"), ("1.2/b.dcm", b"two")):
        receipts.add(write(tmp_path, path, content))
    receipts.add(Finished("1.2", "v1", 2))
    receipts.add(write(tmp_path, "1.3/c.dcm", b"three", series="1.3"))
    receipts.add(Finished("1.3", "v1", 1))
    return receipts


def test_a_series_is_there_if_it_was_finished_as_the_list_has_it_and_no_file_lost_a_byte(tmp_path, finished):
    assert is_there(SERIES, root=tmp_path, receipts=finished)
    assert not is_there(dataclasses.replace(SERIES, key="v2"), root=tmp_path, receipts=finished)
    assert not is_there(Series("1.4", key="v1"), root=tmp_path, receipts=finished)
    for change in (lambda path: path.write_bytes(b"on"), lambda path: path.write_bytes(b"onee")):
        change(tmp_path / "1.2" / "a.dcm")
        assert not is_there(SERIES, root=tmp_path, receipts=finished)
    (tmp_path / "1.2" / "a.dcm").unlink()
    assert not is_there(SERIES, root=tmp_path, receipts=finished)


def test_a_series_whose_files_are_all_there_but_that_was_never_finished_is_not_there(tmp_path):
    receipts = Receipts(tmp_path)
    receipts.add(write(tmp_path, "1.2/a.dcm", b"one"))
    assert not is_there(SERIES, root=tmp_path, receipts=receipts)


def test_receipts_are_read_as_they_were_written_and_the_last_of_a_path_counts(tmp_path, finished):
    newer = dataclasses.replace(finished.of_series("1.2")[0], key="v2", licence="Größe\x85 ")
    finished.add(newer)
    again = Receipts(tmp_path)
    assert list(again) == list(finished)
    assert newer in again.of_series("1.2")
    assert len(again) == 3
    assert again.finished("1.3") == Finished("1.3", "v1", 1)
    lines = (tmp_path / RECEIPTS_FILE).read_bytes().split(b"\n")
    assert (len(lines), lines[-1]) == (7, b"")


def test_what_is_dropped_is_forgotten_with_the_note_of_its_series_and_nothing_else_is(tmp_path, finished):
    first, second = finished.of_series("1.2")
    finished.drop([first])
    for receipts in (finished, Receipts(tmp_path)):
        assert receipts.of_series("1.2") == [second]
        assert receipts.finished("1.2") is None
        assert receipts.finished("1.3") == Finished("1.3", "v1", 1)
        assert len(receipts.of_series("1.3")) == 1


def test_the_note_that_a_series_is_finished_brings_its_receipts_to_disk(tmp_path, monkeypatch):
    brought = []
    monkeypatch.setattr(receipts_module, "bring_to_disk", brought.append)
    receipts = Receipts(tmp_path)
    receipts.add(write(tmp_path, "1.2/a.dcm", b"one"))
    assert brought == []
    receipts.add(Finished("1.2", "v1", 1))
    assert brought == [tmp_path / RECEIPTS_FILE]


def test_provenance_counts_files_by_where_they_come_from_the_most_first(tmp_path):
    receipts = Receipts(tmp_path)
    for number in range(5):
        source = "nbia" if number < 2 else "idc"
        one = write(
            tmp_path,
            f"1.{number}/a.dcm",
            b"x",
            series=f"1.{number}",
            version="v9",
            licence="CC0",
            doi="10.1/x",
        )
        receipts.add(dataclasses.replace(one, source=source))
    assert [
        (one.source, one.version, one.licence, one.doi, one.files) for one in read_provenance(tmp_path)
    ] == [
        ("idc", "v9", "CC0", "10.1/x", 3),
        ("nbia", "v9", "CC0", "10.1/x", 2),
    ]
    assert read_provenance(tmp_path / "nowhere") == []


@pytest.mark.parametrize("line", ['{"finished": "1.2"}', "[]", "1", "{", '{"path": 1}', "\xff"])
def test_a_line_that_is_no_receipt_is_named_by_its_number(tmp_path, finished, line):
    with (tmp_path / RECEIPTS_FILE).open("ab") as opened:
        opened.write(line.encode("latin-1") + b"\n")
    with pytest.raises(MedimgError, match=r"receipts\.jsonl, line 6: no receipt"):
        Receipts(tmp_path)


@pytest.mark.parametrize(("spare", "enough"), [(-1, False), (0, True), (1, True)])
def test_there_must_be_room_for_what_is_to_come_and_a_reserve(tmp_path, monkeypatch, spare, enough):
    free = 1_000_000 + RESERVE_BYTES + spare
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, free))
    if enough:
        check_room(tmp_path, need_bytes=1_000_000)
    else:
        with pytest.raises(
            DiskFull, match=r"257 MB free, expected 1 MB for what is to come and 256 MB spare"
        ):
            check_room(tmp_path, need_bytes=1_000_000)


@pytest.mark.parametrize("name", ["a", "a.csv", "_a/b-c/d.e/f", "a" * 128])
def test_a_plain_name_is_a_name(name):
    assert safe_name(name) == name


@pytest.mark.parametrize("name", ["a" * 129, "a/b/c/d/e", "a//../b", "a b", "a/.b"])
def test_a_name_that_is_too_long_too_deep_or_not_plain_is_none(name):
    with pytest.raises(MedimgError, match="expected letters"):
        safe_name(name)


def test_the_folder_of_parts_is_emptied_and_stays(tmp_path):
    with hold_root(tmp_path, print):
        (tmp_path / ".medimg" / "parts").mkdir()
        (tmp_path / ".medimg" / "parts" / "x.part").touch()
        clear_parts(tmp_path)
    assert list((tmp_path / ".medimg" / "parts").iterdir()) == []


def test_a_second_fetch_says_so_waits_and_sees_what_the_first_has_brought(tmp_path):
    code = (
        "import sys; from pathlib import Path; from medimg.archive.data_root import hold_root\n"
        "with hold_root(Path(sys.argv[1]), print): print('held', flush=True); sys.stdin.read()"
    )
    said: list[str] = []
    seen: list[int] = []
    waiting = threading.Event()

    def wait_for_it():
        def hear(line):
            said.append(line)
            waiting.set()

        with hold_root(tmp_path, hear) as receipts:
            seen.append(len(receipts))

    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        second = threading.Thread(target=wait_for_it)
        second.start()
        assert waiting.wait(60)
        second.join(0.5)  # Who does not wait is through by then; who does waits as long as it takes.
        assert second.is_alive()
        # What a kill cut short is cut off before anybody reads.
        Receipts(tmp_path).add(write(tmp_path, "1.2/a.dcm", b"one"))
        with (tmp_path / RECEIPTS_FILE).open("ab") as opened:
            opened.write(b'{"path"')
        other.stdin.close()
        second.join(60)
    assert said == [f"another fetch is writing to {tmp_path}; waiting for it to end"]
    assert seen == [1]
    assert (tmp_path / RECEIPTS_FILE).read_bytes().endswith(b"}\n")


def test_a_file_gets_its_name_when_its_bytes_are_on_disk(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(
        data_root, "bring_to_disk", lambda path: order.append((path.exists(), final.exists()))
    )
    (tmp_path / "came").write_bytes(b"x")
    final = tmp_path / "1.2" / "a.dcm"
    data_root.place(Arrived(tmp_path / "came", "u", 1, "", ""), final)
    assert order == [(True, False)]
    assert final.read_bytes() == b"x"


@pytest.mark.parametrize("content", [b"on", b"onee", b"eno", None])
def test_verification_tells_sizes_from_content_and_keeps_what_differs(tmp_path, finished, content):
    victim = tmp_path / "1.2" / "a.dcm"
    receipt = finished.of_series("1.2")[0]
    says = {
        b"on": "has 2 bytes, expected 3",
        b"onee": "has 4 bytes, expected 3",
        b"eno": f"sha256 is [0-9a-f]{{64}}, expected {receipt.sha256}",
        None: "missing, expected 3 bytes",
    }
    victim.unlink()
    if content is not None:
        victim.write_bytes(content)
    counted: list[int] = []
    found = verify(tmp_path, finished, workers=2, advance=counted.append)
    (problem,) = found.bad
    assert re.fullmatch(f"1.2/a.dcm: {says[content]}.*", problem)
    assert found.edited == []
    assert sorted(counted) == [3, 3, 5]
    assert not victim.exists()
    quarantined = tmp_path / ".medimg" / "quarantine" / receipt.sha256
    assert (quarantined.read_bytes() if content is not None else None) == content
    assert [one.path for one in Receipts(tmp_path)] == ["1.2/b.dcm", "1.3/c.dcm"]
    assert Receipts(tmp_path).finished("1.2") is None


def test_a_table_that_was_edited_stays_and_one_that_is_gone_is_missing(tmp_path):
    receipts = Receipts(tmp_path)
    for name in ("a.csv", "b.csv"):
        receipts.add(write(tmp_path, name, b"x,y\n", series=TABLES))
    (tmp_path / "a.csv").write_bytes(b"x,z\n")
    (tmp_path / "b.csv").unlink()
    found = verify(tmp_path, receipts, workers=1, advance=lambda count: None)
    assert [line.partition(":")[0] for line in found.edited] == ["a.csv"]
    assert found.bad == ["b.csv: missing, expected 4 bytes"]
    assert (tmp_path / "a.csv").read_bytes() == b"x,z\n"
    assert [one.path for one in receipts] == ["a.csv"]
    assert json.loads((tmp_path / RECEIPTS_FILE).read_text())["path"] == "a.csv"
