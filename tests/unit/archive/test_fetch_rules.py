"""What a fetch makes of what its sources hand over: refused, taken once, counted, or tried elsewhere."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from medimg.archive.collections import Collection, CollectionTable
from medimg.archive.data_root import RESERVE_BYTES, hold_root, is_there, work_folder
from medimg.archive.fetch import Fetcher, FetchOutcome, fetch_all, fetch_tables
from medimg.archive.receipts import Receipts
from medimg.archive.source import Arrived, AtOnce, NotAvailable, Series, SourceFailed, one_by_one
from medimg.archive.transport.errors import Interrupted
from medimg.errors import DiskFull, MedimgError
from tests.unit.dicom.written import write_dicom

MINE = Collection("mine", "mine", licence="CC BY 4.0", doi="10.1/x")
ONE = Series("1.2", patient_id="P1", key="v1", version="v9")


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def dicom(folder: Path, sop_uid: str, *, series: str = "1.2", patient: str = "P1", grey: int = 0) -> bytes:
    tags = {"SeriesInstanceUID": series, "SOPInstanceUID": sop_uid, "PatientID": patient}
    return write_dicom(folder / "drawn.dcm", np.full((4, 4), grey, np.uint8), **tags).read_bytes()


class Handing:
    """A source that hands over these contents, by address; an exception among them is raised in its turn."""

    def __init__(self, root: Path, contents: Mapping[str, bytes | Exception], *, name: str = "one") -> None:
        self.name, self._contents = name, contents
        self._staging = work_folder(root, "staging")
        self.asked: list[str] = []
        self.had: list[Mapping[str, str]] = []
        self.promised: dict[str, str] = {}
        self.names: dict[str, str] = {}

    def fetch_series(
        self, series: Series, *, have: Mapping[str, str], at_once: AtOnce = one_by_one
    ) -> Iterator[Arrived]:
        self.asked.append(series.uid)
        self.had.append(have)
        for number, (url, content) in enumerate(self._contents.items()):
            if isinstance(content, Exception):
                raise content
            if url in have:
                continue
            path = self._staging / f"{self.name}-{len(self.asked)}-{number}"
            path.write_bytes(content)
            hashes = [hashlib.new(kind, content).hexdigest() for kind in ("md5", "sha256")]
            yield Arrived(
                path,
                url,
                len(content),
                *hashes,
                name=self.names.get(url, ""),
                sop_uid=self.promised.get(url, ""),
            )


def fetch(root: Path, *sources: Handing, series=(ONE,), stop=None, said=None) -> FetchOutcome:
    lines = said if said is not None else []
    with hold_root(root, lines.append) as receipts:
        stop = stop or threading.Event()
        fetcher = Fetcher(MINE, root, receipts, sources, say=lines.append, stop=stop)
        return fetch_all(fetcher, series, workers=1)


def on_disk(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.glob("[!.]*/*"))}


@pytest.mark.parametrize("error", [DiskFull("full"), Interrupted("stopped")])
def test_a_full_disk_and_an_interrupt_end_the_fetch_and_no_other_source_or_series_is_asked(
    root, tmp_path, error
):
    first, second = (
        Handing(root, {"u": error}),
        Handing(root, {"u": dicom(tmp_path, "1.2.1")}, name="two"),
    )
    stop = threading.Event()
    series = [dataclasses.replace(ONE, uid=f"1.{number}") for number in range(2, 30)]
    with pytest.raises(type(error)):
        fetch(root, first, second, series=series, stop=stop)
    assert second.asked == []
    assert stop.is_set()
    # Those that were handed to the workers already may begin, no more.
    assert len(first.asked) <= 2


def test_an_interrupt_comes_between_two_files_of_a_series(root, tmp_path):
    stop = threading.Event()
    contents = {f"u{number}": dicom(tmp_path, f"1.2.{number}") for number in range(3)}

    class Stopping(Handing):
        def fetch_series(self, series, *, have, at_once=one_by_one):
            for number, arrived in enumerate(super().fetch_series(series, have=have)):
                if number == 1:
                    stop.set()
                yield arrived

    with pytest.raises(Interrupted):
        fetch(root, Stopping(root, contents), stop=stop)
    assert list(on_disk(root)) == ["1.2/1.2.0.dcm", "1.2/1.2.1.dcm"]


def test_only_where_another_source_follows_it_is_said_to_be_tried(root, tmp_path):
    said: list[str] = []
    first, last = (Handing(root, {"u": NotAvailable("not here")}, name=name) for name in ("first", "last"))
    outcome = fetch(root, first, last, said=said)
    assert outcome.failures == ["series 1.2: first: not here; last: not here"]
    assert said == ["series 1.2 not from first (not here); trying the next source"]


def test_a_source_that_failed_altogether_is_not_asked_again(root, tmp_path):
    said: list[str] = []
    down = Handing(root, {"u": SourceFailed("no route")}, name="down")
    up = Handing(root, {"u": dicom(tmp_path, "1.2.1")}, name="up")
    series = [ONE, dataclasses.replace(ONE, uid="1.3", patient_id="")]
    outcome = fetch(root, down, up, series=series, said=said)
    assert (down.asked, up.asked) == (["1.2"], ["1.2", "1.3", "1.3"])
    assert said[0] == "down is left out from here on: no route"
    assert outcome.failures[0].startswith("series 1.3: down: no route; up: ")


def test_a_file_that_is_refused_is_asked_for_once_more_and_kept_in_quarantine(root, tmp_path):
    content = dicom(tmp_path, "1.2.1")[:-3]
    source = Handing(root, {"u": content})
    outcome = fetch(root, source)
    assert source.asked == ["1.2", "1.2"]
    assert len(outcome.failures) == 1
    assert [path.read_bytes() for path in (root / ".medimg" / "quarantine").iterdir()] == [content]
    assert on_disk(root) == {}
    assert list((root / ".medimg" / "staging").iterdir()) == []


@pytest.mark.parametrize(
    ("found", "promised", "says"),
    [
        ({"series": "1.9"}, {}, "SeriesInstanceUID is '1.9', expected '1.2'"),
        ({"patient": "P2"}, {}, "PatientID is not the one that the archive lists"),
        ({}, {"u": "1.2.9"}, "SOPInstanceUID is '1.2.1', expected '1.2.9'"),
    ],
)
def test_another_series_patient_or_instance_than_promised_is_refused(root, tmp_path, found, promised, says):
    source = Handing(root, {"u": dicom(tmp_path, "1.2.1", **found)})
    source.promised = promised
    (failure,) = fetch(root, source).failures
    assert says in failure
    assert on_disk(root) == {}


@pytest.mark.parametrize("patient", ["P1", " P1 ", "P\x071", ""])
def test_what_a_list_leaves_out_of_a_patients_id_or_does_not_say_is_no_contradiction(root, tmp_path, patient):
    source = Handing(root, {"u": dicom(tmp_path, "1.2.1", patient="P1 ")})
    source.promised = {"u": "1.2.1"}
    assert fetch(root, source, series=[dataclasses.replace(ONE, patient_id=patient)]).failures == []


@pytest.mark.parametrize(("series", "sop_uid"), [("1.2", "..1"), ("1..2", "1.2.1")])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_uid_that_is_none_is_no_name_for_a_file_or_folder(root, tmp_path, series, sop_uid):
    source = Handing(root, {"u": dicom(tmp_path, sop_uid, series=series)})
    (failure,) = fetch(root, source, series=[dataclasses.replace(ONE, uid=series)]).failures
    assert "is no UID, expected digits and dots" in failure
    assert on_disk(root) == {}


def test_the_same_file_twice_is_one_and_two_contents_of_one_uid_are_refused(root, tmp_path):
    same, other = dicom(tmp_path, "1.2.1"), dicom(tmp_path, "1.2.1", grey=9)
    last = dicom(tmp_path, "1.2.2")
    outcome = fetch(root, Handing(root, {"u": same, "v": same, "w": last}))
    assert (outcome.failures, outcome.files) == ([], 2)
    assert on_disk(root) == {"1.2/1.2.1.dcm": same, "1.2/1.2.2.dcm": last}
    assert list((root / ".medimg" / "staging").iterdir()) == []
    newer = dataclasses.replace(ONE, key="v2")
    (failure,) = fetch(root, Handing(root, {"u": same, "v": other}), series=[newer]).failures
    assert ": SOPInstanceUID 1.2.1 came twice with different content" in failure
    # Nobody can know which is right: neither is taken, in this call or a later one.
    assert on_disk(root) == {"1.2/1.2.2.dcm": last}
    assert {path.read_bytes() for path in (root / ".medimg" / "quarantine").iterdir()} == {same, other}
    (failure,) = fetch(root, Handing(root, {"u": same, "v": other}), series=[newer]).failures
    assert ": SOPInstanceUID 1.2.1 came twice with different content" in failure


@pytest.mark.parametrize(("instances", "says"), [(1, "2 files, expected 1"), (3, "2 files, expected 3")])
def test_more_or_fewer_files_than_listed_do_not_finish_a_series(root, tmp_path, instances, says):
    contents = {f"u{number}": dicom(tmp_path, f"1.2.{number}") for number in range(2)}
    listed = dataclasses.replace(ONE, instances=instances)
    (failure,) = fetch(root, Handing(root, contents), series=[listed]).failures
    assert f"one handed over {says}" in failure
    assert not is_there(listed, root=root, receipts=Receipts(root))


def test_a_source_that_hands_over_nothing_does_not_finish_a_series(root):
    (failure,) = fetch(root, Handing(root, {})).failures
    assert "one handed over no file, expected one or more" in failure
    assert Receipts(root).finished("1.2") is None


def test_files_of_an_older_version_are_neither_had_nor_counted(root, tmp_path):
    contents = {f"u{number}": dicom(tmp_path, f"1.2.{number}") for number in range(2)}
    fetch(root, Handing(root, contents))
    source = Handing(root, {"u0": contents["u0"], "w": dicom(tmp_path, "1.2.7")})
    newer = dataclasses.replace(ONE, key="v2", instances=2)
    outcome = fetch(root, source, series=[newer])
    assert (outcome.failures, outcome.files, source.had) == ([], 2, [{}])
    assert sorted(on_disk(root)) == ["1.2/1.2.0.dcm", "1.2/1.2.7.dcm"]
    assert [path.read_bytes() for path in (root / ".medimg" / "replaced").iterdir()] == [contents["u1"]]


def test_a_series_that_came_in_two_calls_is_finished_with_all_its_files(root, tmp_path):
    contents = {f"u{number}": dicom(tmp_path, f"1.2.{number}") for number in range(2)}
    fetch(root, Handing(root, {"u0": contents["u0"], "x": MedimgError("cut off")}))
    second = Handing(root, contents)
    outcome = fetch(root, second)
    md5 = hashlib.md5(contents["u0"], usedforsecurity=False).hexdigest()
    assert (second.had, outcome.files, outcome.bytes) == ([{"u0": md5}], 1, len(contents["u1"]))
    assert Receipts(root).finished("1.2").files == 2
    third = Handing(root, contents)
    assert (fetch(root, third).kept, third.asked) == (1, [])


def test_a_file_that_another_series_holds_now_is_not_put_aside(root):
    def hand(contents, names, series):
        source = Handing(root, contents)
        source.names = names
        return fetch(root, source, series=[series])

    hand({"u": b"a", "v": b"b"}, {"u": "part/a.jpg", "v": "part/b.jpg"}, ONE)
    hand({"w": b"b"}, {"w": "part/b.jpg"}, Series("1.3", key="v1"))
    hand({"u": b"a"}, {"u": "part/a.jpg"}, dataclasses.replace(ONE, key="v2"))
    assert on_disk(root) == {"part/a.jpg": b"a", "part/b.jpg": b"b"}


def test_a_receipt_says_where_a_file_comes_from_and_on_which_terms(root, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    content = dicom(tmp_path, "1.2.1")
    series = [dataclasses.replace(ONE, licence="CC0", doi="10.2/y")]
    before = datetime.now(timezone.utc).replace(microsecond=0)
    fetch(root, Handing(root, {"https://a/b": content}), series=series)
    (receipt,) = Receipts(root)
    assert dataclasses.replace(receipt, fetched="") == dataclasses.replace(
        receipt,
        path="1.2/1.2.1.dcm",
        bytes=len(content),
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
        sha256=hashlib.sha256(content).hexdigest(),
        url="https://a/b",
        series="1.2",
        collection="mine",
        source="one",
        patient_id="P1",
        sop_uid="1.2.1",
        key="v1",
        version="v9",
        licence="CC0",
        doi="10.2/y",
        fetched="",
    )
    fetched = datetime.strptime(receipt.fetched, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    assert before <= fetched <= datetime.now(timezone.utc)
    monkeypatch.undo()
    time.tzset()


def test_room_is_needed_for_what_is_missing_alone(root, tmp_path, monkeypatch):
    large = dataclasses.replace(ONE, bytes=10**12)
    free = RESERVE_BYTES + 5000

    def usage(path):
        return shutil._ntuple_diskusage(10**13, 0, free)

    contents = {"u": dicom(tmp_path, "1.2.1")}
    fetch(root, Handing(root, contents))
    monkeypatch.setattr("shutil.disk_usage", usage)
    other = dataclasses.replace(ONE, uid="1.3", bytes=5000, patient_id="")
    outcome = fetch(root, Handing(root, {"v": dicom(tmp_path, "1.3.1", series="1.3")}), series=[large, other])
    assert (outcome.kept, outcome.files, outcome.failures) == (1, 1, [])
    with pytest.raises(DiskFull):
        fetch(root, Handing(root, {}), series=[dataclasses.replace(ONE, uid="1.4", bytes=5001)])


def test_files_and_bytes_of_all_series_and_tables_are_added_up(root, tmp_path):
    class Both(Handing):
        def fetch_series(self, series, *, have, at_once=one_by_one):
            self._contents = {f"u{series.uid}": contents[series.uid]}
            return super().fetch_series(series, have=have)

    contents = {uid: dicom(tmp_path, f"{uid}.1", series=uid) for uid in ("1.2", "1.3", "1.4")}
    outcome = fetch(root, Both(root, {}), series=[Series(uid) for uid in contents])
    assert (outcome.series, outcome.kept, outcome.files) == (3, 0, 3)
    assert outcome.bytes == sum(map(len, contents.values()))

    collection = dataclasses.replace(
        MINE, tables=(CollectionTable("a.csv", "", "csv"), CollectionTable("b.csv", "", "csv"))
    )
    (root / "a.csv").write_text("corrected")
    wanted = []

    def arriving(tables):
        for table in tables:
            wanted.append(table.name)
            path = root / ".medimg" / "staging" / table.name
            path.write_bytes(b"x,y\n")
            yield "tcia", Arrived(path, "u", 4, "m", "s", name=table.name)

    with hold_root(root, print) as receipts:
        found = fetch_tables(collection, root=root, receipts=receipts, arriving=arriving)
    assert (wanted, found.files, found.bytes) == (["b.csv"], 1, 4)
    assert (root / "b.csv").read_bytes() == b"x,y\n"
    (receipt,) = (one for one in Receipts(root) if one.path == "b.csv")
    assert (receipt.series, receipt.source, receipt.licence) == ("tables", "tcia", "CC BY 4.0")
