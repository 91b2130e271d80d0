from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from medimg.archive.collections import Collection, CollectionTable
from medimg.archive.data_root import hold_root, is_there, safe_name
from medimg.archive.fetch import Fetcher, fetch_all, fetch_tables
from medimg.archive.receipts import RECEIPTS_FILE, Receipts, read_provenance, repair
from medimg.archive.source import Arrived, AtOnce, NotAvailable, Series, SourceFailed, one_by_one
from medimg.archive.sources.folder import FolderSource
from medimg.archive.transport.errors import Interrupted
from medimg.archive.verify import verify
from medimg.datasets import find_data_set, write_phantom
from medimg.errors import DiskFull, MedimgError

MINE = Collection("folder", "mine", licence="CC BY 4.0", doi="10.1/x", sources=("folder",))


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_phantom(find_data_set("cmmd"), folder, cases=4, seed=1)
    return folder


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


class Recording(FolderSource):
    """A folder that notes which series were asked of it, and can be told to hand over something else."""

    def __init__(self, folder: Path, *, staging: Path) -> None:
        staging.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, staging=staging)
        self.asked: list[str] = []
        self.spoil: list[str] = []

    def fetch_series(
        self, series: Series, *, have: Mapping[str, str], at_once: AtOnce = one_by_one
    ) -> Iterator[Arrived]:
        self.asked.append(series.uid)
        for arrived in super().fetch_series(series, have=have):
            if series.uid in self.spoil:
                self.spoil.remove(series.uid)
                arrived.path.write_bytes(arrived.path.read_bytes()[:-1000])
            yield arrived


def run(root: Path, *sources, series, said: list[str] | None = None):
    lines = said if said is not None else []
    with hold_root(root, lines.append) as receipts:
        fetcher = Fetcher(MINE, root, receipts, sources, say=lines.append, stop=threading.Event())
        return fetch_all(fetcher, series, workers=2)


def tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.dcm"))
    }


@pytest.fixture
def source(archive, root) -> Recording:
    return Recording(archive, staging=root / ".medimg" / "parts")


@pytest.fixture
def series(source) -> list[Series]:
    return [
        dataclasses.replace(one, key=f"v1-{one.uid[-6:]}", version="IDC v25")
        for one in source.list_series(MINE)
    ]


def test_files_are_named_by_their_uids_and_each_has_a_receipt(root, source, series):
    outcome = run(root, source, series=series)
    receipts = {receipt.path: receipt for receipt in Receipts(root)}
    assert tree(root) == {path: receipt.sha256 for path, receipt in receipts.items()}
    assert outcome.files == len(receipts) == sum(one.instances for one in series)
    assert all(path == f"{receipt.series}/{receipt.sop_uid}.dcm" for path, receipt in receipts.items())
    assert [
        (one.collection, one.source, one.version, one.licence, one.doi, one.files)
        for one in read_provenance(root)
    ] == [("folder", "folder", "IDC v25", "CC BY 4.0", "10.1/x", len(receipts))]


def test_a_second_call_asks_for_nothing_and_more_series_add_just_those(root, source, series):
    run(root, source, series=series[:2])
    source.asked.clear()
    outcome = run(root, source, series=series)
    assert sorted(source.asked) == sorted(one.uid for one in series[2:])
    assert (outcome.kept, outcome.series) == (2, len(series))
    source.asked.clear()
    assert run(root, source, series=series).files == 0
    assert source.asked == []


def test_a_file_that_is_gone_or_cut_short_is_fetched_again_and_its_neighbours_are_not(root, source, series):
    run(root, source, series=series)
    before = tree(root)
    gone, cut = [root / path for path in list(before)[:2]]
    gone.unlink()
    cut.write_bytes(b"short")
    outcome = run(root, source, series=series)
    assert tree(root) == before
    assert outcome.files == 2


def test_verification_finds_a_flipped_bit_of_the_same_size_and_the_next_call_mends_it(root, source, series):
    run(root, source, series=series)
    before = tree(root)
    victim = root / list(before)[1]
    content = bytearray(victim.read_bytes())
    content[-7] ^= 1
    victim.write_bytes(content)
    with hold_root(root, print) as receipts:
        [problem] = verify(root, receipts, workers=2, advance=lambda count: None).bad
    assert victim.relative_to(root).as_posix() in problem
    assert "sha256" in problem
    assert not victim.exists()
    assert run(root, source, series=series).files == 1
    assert tree(root) == before
    with hold_root(root, print) as receipts:
        assert verify(root, receipts, workers=2, advance=lambda count: None).bad == []


def test_a_spoilt_file_goes_to_quarantine_and_is_fetched_again(root, source, series):
    source.spoil = [series[0].uid]
    said: list[str] = []
    outcome = run(root, source, series=series, said=said)
    assert outcome.failures == []
    assert len(tree(root)) == sum(one.instances for one in series)
    assert len(list((root / ".medimg/quarantine").iterdir())) == 1
    assert any("fetching it again" in line for line in said)


def test_a_series_that_stays_spoilt_is_one_named_failure_and_the_others_come(root, source, series):
    source.spoil = [series[0].uid] * 9
    outcome = run(root, source, series=series)
    [failure] = outcome.failures
    assert failure.startswith(f"series {series[0].uid}: folder: ")
    assert "cut short" in failure
    assert not is_there(series[0], root=root, receipts=Receipts(root))
    assert all(is_there(one, root=root, receipts=Receipts(root)) for one in series[1:])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patient_id": "someone else"}, "PatientID is"),
        ({"instances": 99}, "99"),
        ({"uid": "1.2.3"}, "1.2.3"),
    ],
)
def test_files_that_are_not_what_the_list_promises_are_refused(root, source, series, change, words):
    promised = dataclasses.replace(series[0], **change)
    [failure] = run(root, source, series=[promised]).failures
    assert words in failure
    assert not is_there(promised, root=root, receipts=Receipts(root))


class Down:
    name = "idc"
    calls = 0

    def list_series(self, collection):
        raise SourceFailed("no route")

    def fetch_series(self, series, *, have, at_once=one_by_one):
        Down.calls += 1
        raise SourceFailed("no route to the bucket")
        yield


class Without:
    name = "nbia"

    def fetch_series(self, series, *, have, at_once=one_by_one):
        raise NotAvailable(f"no series {series.uid}")
        yield


def test_sources_are_tried_in_order_and_one_that_is_down_is_left_out_with_one_message(root, source, series):
    Down.calls = 0
    said: list[str] = []
    outcome = run(root, Down(), Without(), source, series=series, said=said)
    assert outcome.failures == []
    assert {receipt.source for receipt in Receipts(root)} == {"folder"}
    assert len([line for line in said if "idc is left out" in line]) == 1
    assert Down.calls <= 2  # One per worker at most.
    assert any("not from nbia" in line for line in said)


def test_a_series_that_no_source_has_says_why_of_each(root, series):
    [failure] = run(root, Down(), Without(), series=series[:1]).failures
    assert "idc: no route to the bucket" in failure
    assert f"nbia: no series {series[0].uid}" in failure


def test_another_version_of_a_series_replaces_it_and_what_it_no_longer_holds_is_put_aside(
    root, source, series
):
    run(root, source, series=series[:1])
    old = tree(root)
    extra = root / series[0].uid / "1.2.9.dcm"
    extra.write_bytes(b"old")
    first = Receipts(root).of_series(series[0].uid)[0]
    Receipts(root).add(
        dataclasses.replace(
            first, path=f"{series[0].uid}/1.2.9.dcm", bytes=3, sop_uid="1.2.9", sha256="0" * 64
        )
    )
    newer = dataclasses.replace(series[0], key="v2")
    outcome = run(root, source, series=[newer])
    assert outcome.files == series[0].instances
    assert tree(root) == old
    assert {receipt.key for receipt in Receipts(root)} == {"v2"}
    assert (root / ".medimg/replaced" / ("0" * 64)).read_bytes() == b"old"


def test_an_interrupt_keeps_what_is_finished(root, archive, source, series):
    stop = threading.Event()

    class Stopping(Recording):
        def fetch_series(self, one, *, have, at_once=one_by_one):
            for arrived in super().fetch_series(one, have=have):
                yield arrived
                stop.set()

    stopping = Stopping(archive, staging=root / ".medimg" / "parts")
    with hold_root(root, print) as receipts, pytest.raises(Interrupted):
        fetch_all(Fetcher(MINE, root, receipts, [stopping], say=print, stop=stop), series, workers=1)
    kept = tree(root)
    assert 0 < len(kept) < sum(one.instances for one in series)
    run(root, source, series=series)
    assert len(tree(root)) == sum(one.instances for one in series)


def test_a_full_disk_is_named_with_what_is_needed_before_anything_is_fetched(root, source, series):
    huge = dataclasses.replace(series[0], bytes=10**18)
    with pytest.raises(DiskFull, match=r"MB free, expected 1,000,000,000,000 MB"):
        run(root, source, series=[huge])
    assert source.asked == []


def test_a_receipt_that_a_kill_cut_short_is_dropped_and_the_next_begins_on_its_own_line(root, source, series):
    run(root, source, series=series[:1])
    path = root / RECEIPTS_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"path": "1.2/3.dcm", "byt')
    assert len(Receipts(root)) == series[0].instances
    repair(root)
    assert path.read_bytes() == whole


def test_a_damaged_receipt_is_named_by_its_line(root):
    (root / RECEIPTS_FILE).write_text('{"no": "receipt"}\n')
    with pytest.raises(MedimgError, match=r"receipts\.jsonl, line 1"):
        Receipts(root)


def test_receipts_hold_no_path_of_this_machine(root, source, series, tmp_path):
    run(root, source, series=series)
    assert str(tmp_path) not in (root / RECEIPTS_FILE).read_text()
    assert all(json.loads(line) for line in (root / RECEIPTS_FILE).read_text().splitlines())


def test_a_table_that_was_corrected_is_told_and_stays(root, archive, tmp_path):
    collection = dataclasses.replace(
        MINE, tables=(CollectionTable("CMMD_clinicaldata_revision.xlsx", "", "xlsx"),)
    )
    source = Recording(archive, staging=root / ".medimg" / "parts")

    def arriving(wanted):
        yield from (("folder", source.fetch_table(table.name)) for table in wanted)

    with hold_root(root, print) as receipts:
        assert fetch_tables(collection, root=root, receipts=receipts, arriving=arriving).files == 1
        table = root / "CMMD_clinicaldata_revision.xlsx"
        assert table.read_bytes() == (archive / table.name).read_bytes()
        table.write_bytes(b"corrected")
        found = verify(root, receipts, workers=1, advance=lambda count: None)
        assert (found.bad, len(found.edited)) == ([], 1)
        assert fetch_tables(collection, root=root, receipts=receipts, arriving=arriving).files == 0
    assert table.read_bytes() == b"corrected"


@pytest.mark.parametrize(
    "name",
    [
        "../x.csv",
        "/etc/passwd",
        "a/../b",
        "",
        ".hidden",
        "a\nb",
        "a\\b",
        "-rf",
        "x" * 200,
        "a/b/c/d/e",
        "CON\u202e",
    ],
)
def test_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(MedimgError, match="expected letters"):
        safe_name(name)
