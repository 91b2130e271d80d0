"""`medimg fetch` as a person sees it: the plan, what came, what failed, and what is checked afterwards."""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli import fetch as command
from cli.fetch import FetchRequest, bring, finish, list_held, open_session, print_plan, run_fetch, run_verify
from medimg.archive.collections import COLLECTIONS, Collection, CollectionTable
from medimg.archive.data_root import hold_root
from medimg.archive.fetch import FetchOutcome
from medimg.archive.plan import Selection
from medimg.archive.receipts import TABLES, Receipt, Receipts
from medimg.archive.source import Addresses, NotAvailable, Series, SourceFailed, one_by_one
from medimg.archive.sources.registry import Connection
from medimg.archive.transport.errors import Interrupted, TransferError
from medimg.console.terminal import make_console
from medimg.datasets import find_data_set, write_phantom
from medimg.errors import DiskFull, MedimgError, UsageError
from medimg.files import hash_file

MINE = Collection("mine", "Mine: a collection", licence="CC BY 4.0", doi="10.1/x")


@pytest.fixture
def console():
    return make_console(file=io.StringIO())


def lines_of(console):
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]


def request_for(to, collection=MINE, **options):
    return FetchRequest(collection, Selection(), to, Addresses(), **options)


def test_the_plan_counts_by_label_and_source_and_says_what_is_missing(tmp_path, console):
    series = [
        Series(
            "1.1", "P1", label="Benign", origin="D1", instances=2, bytes=3000, licence="CC0", doi="10.2/y"
        ),
        Series("1.2", "P1", label="Benign", origin="D1", instances=1, bytes=500, licence="CC0", doi="10.2/y"),
        Series("1.3", "P2", label="Malignant", origin="D2", instances=4, licence="CC BY 4.0", doi="10.1/x"),
        Series("1.4", "P3", instances=1, bytes=7),
    ]
    print_plan(series, series[1:2], request=request_for(tmp_path), console=console)
    title, head, _, *rows, licence, disk = lines_of(console)
    assert title == "Mine: a collection"
    assert head.split() == ["label", "source", "patients", "series", "files", "size", "to", "fetch"]
    assert [row.split() for row in rows] == [
        ["-", "-", "1", "1", "1", "7", "bytes", "nothing"],
        ["Benign", "D1", "1", "2", "3", "3.5", "kB", "500", "bytes"],
        ["Malignant", "D2", "1", "1", "4+", "0", "bytes+", "nothing"],
        ["all", "-", "3", "4", "8+", "3.5", "kB+", "500", "bytes"],
    ]
    assert licence == "licence: CC BY 4.0, CC0; cite: https://doi.org/10.1/x, https://doi.org/10.2/y"
    assert disk.startswith("disk: 500 bytes to come, ")
    assert disk.endswith(f" free in {tmp_path}")


def test_of_one_stratum_there_is_no_sum_and_of_own_data_no_licence(tmp_path, console):
    own = Collection("folder", "your own data")
    print_plan([Series("1.1", "P1")], [], request=request_for(tmp_path, own), console=console)
    assert not any(line.startswith(("all", "licence")) for line in lines_of(console))


def test_where_the_list_says_no_licence_it_is_the_collections(tmp_path, console):
    print_plan([Series("1.1", "P1")], [], request=request_for(tmp_path), console=console)
    assert "licence: CC BY 4.0; cite: https://doi.org/10.1/x" in lines_of(console)


@pytest.mark.parametrize(("failures", "shown"), [(1, 1), (10, 10), (11, 10)])
def test_failures_are_counted_and_ten_are_shown(tmp_path, console, failures, shown):
    outcome = FetchOutcome(
        1200, 3, 1001, 2_000_000, [f"series 1.{number}: gone" for number in range(failures)]
    )
    with pytest.raises(MedimgError) as raised:
        finish(outcome, root=tmp_path, console=console)
    assert str(raised.value) == (
        f"{failures} of 1,200 series or tables could not be had; 1,001 files, 2.0 MB fetched; "
        "3 of 1,200 series were there already; the same command tries again"
    )
    assert lines_of(console) == [f"failed: series 1.{number}: gone" for number in range(shown)]


def test_what_came_is_said_with_where_its_receipts_are(tmp_path, console):
    finish(FetchOutcome(2, 1, 1, 500), root=tmp_path, console=console)
    assert lines_of(console) == [
        "1 files, 500 bytes fetched; 1 of 2 series were there already. All are verified, see "
        f"{tmp_path / 'receipts.jsonl'}"
    ]


class Listing:
    """A source that lists these series, or fails."""

    def __init__(self, name: str, found: list[Series] | MedimgError) -> None:
        self.name, self._found = name, found

    def list_series(self, collection):
        if isinstance(self._found, MedimgError):
            raise self._found
        return self._found


CMMD = COLLECTIONS["cmmd"]


def test_a_bundled_list_counts_unless_only_a_folder_or_pacs_is_asked():
    strange = [Series("1.1", "P1")]
    assert len(list_held(CMMD, [Listing("idc", NotAvailable("x")), Listing("folder", strange)])) == 1775
    known = list_held(CMMD, [Listing("idc", [])])[7]
    held = [Series("1.1", "P1"), Series(known.uid, "someone", instances=1)]
    # A folder is asked for what it holds; what the list says of that is what counts.
    for name in ("folder", "dicomweb"):
        assert list_held(CMMD, [Listing(name, held)]) == [known]


def test_without_a_list_the_first_source_that_lists_counts_or_each_says_why_not():
    series = [Series("1.1")]
    failed = Listing("one", SourceFailed("no route"))
    assert list_held(MINE, [failed, Listing("two", series), Listing("three", [])]) == series
    with pytest.raises(NotAvailable, match=r"no list of mine's series; one: no route; two: not here$"):
        list_held(MINE, [failed, Listing("two", NotAvailable("not here"))])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_phantom(find_data_set("cmmd"), folder, cases=2, seed=1)
    return folder


def fetch_folder(folder: Path, to: Path, console, **options) -> None:
    to.mkdir(exist_ok=True)
    addresses = Addresses(folder=str(folder))
    run_fetch(
        FetchRequest(COLLECTIONS["folder"], Selection(), to, addresses, workers=2), console=console, **options
    )


def test_a_dry_run_says_what_would_come_and_brings_nothing(tmp_path, folder, console):
    fetch_folder(folder, tmp_path / "data", console, dry_run=True)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".medimg"]
    assert any(line.startswith("disk: ") for line in lines_of(console))


def test_what_a_killed_fetch_half_unpacked_goes_and_parts_go_once_all_is_there(tmp_path, folder, console):
    for name in ("staging", "parts"):
        (tmp_path / ".medimg" / name).mkdir(parents=True)
        (tmp_path / ".medimg" / name / "left").touch()
    fetch_folder(folder, tmp_path, console, dry_run=True)
    assert [path.name for path in (tmp_path / ".medimg").glob("*/left")] == ["left"]
    assert (tmp_path / ".medimg" / "parts" / "left").exists()
    fetch_folder(folder, tmp_path, console)
    assert not (tmp_path / ".medimg" / "parts" / "left").exists()
    assert len(Receipts(tmp_path)) == len(list(folder.rglob("*.dcm"))) > 0
    assert lines_of(console)[-1].startswith(f"{len(Receipts(tmp_path))} files, ")


def test_parts_stay_where_something_is_missing(tmp_path, folder, console, monkeypatch):
    (tmp_path / ".medimg" / "parts").mkdir(parents=True)
    (tmp_path / ".medimg" / "parts" / "left").touch()
    failed = FetchOutcome(1, failures=["series 1.1: gone"])
    monkeypatch.setattr(command, "bring", lambda *args, **options: failed)
    with pytest.raises(MedimgError, match="1 of 1 series or tables could not be had"):
        fetch_folder(folder, tmp_path, console)
    assert (tmp_path / ".medimg" / "parts" / "left").exists()


@contextmanager
def session_of(tmp_path, *sources):
    meter = SimpleNamespace(say=lambda line: None, count_file=lambda: None)
    yield SimpleNamespace(
        sources=sources,
        meter=meter,
        stop=threading.Event(),
        connection=Connection(Addresses(), None, meter.say),
    )


class Broken(Listing):
    """Has no series, and a table that fails."""

    def __init__(self, error: MedimgError) -> None:
        super().__init__("folder", [])
        self._error = error

    def fetch_table(self, name):
        raise self._error

    def fetch_series(self, series, *, have, at_once=one_by_one):
        raise NotAvailable("not here")
        yield


def test_a_table_that_cannot_be_had_is_a_failure_like_any_other(tmp_path):
    collection = Collection("mine", "Mine", licence="CC0", tables=(CollectionTable("a.csv", "", "csv"),))
    request = request_for(tmp_path, collection, workers=1)
    with hold_root(tmp_path, print) as receipts:
        with session_of(tmp_path, Broken(TransferError("a.csv: gone"))) as session:
            outcome = bring(request, [Series("1.1")], session=session, receipts=receipts)
        assert outcome.failures == ["a.csv: gone", "series 1.1: folder: not here"]
        assert (tmp_path / "LICENSE.txt").exists()
        for error in (DiskFull("full"), Interrupted("stopped")):
            with session_of(tmp_path, Broken(error)) as session, pytest.raises(type(error)):
                bring(request, [Series("1.1")], session=session, receipts=receipts)


def test_the_login_goes_to_the_pacs_that_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDIMG_DICOMWEB_TOKEN", "word")
    seen = []
    monkeypatch.setattr(command, "Transfer", lambda access, **options: seen.append(access))
    for address in ("https://pacs.example.org/dicom-web", ""):
        addresses = Addresses(dicomweb=address, folder=str(tmp_path))
        names = ["dicomweb"] if address else ["folder"]
        with open_session(FetchRequest(MINE, Selection(), tmp_path, addresses, names)):
            pass
    assert [[(login.origin, login.header) for login in access.logins] for access in seen] == [
        [("https://pacs.example.org:443", "Bearer word")],
        [],
    ]


def write_root(root, count):
    receipts = Receipts(root)
    for number in range(count):
        path = root / f"{number:02}.dcm"
        path.write_bytes(b"x" * 1000)
        receipts.add(Receipt(path.name, 1000, "", hash_file(path), "u", f"1.{number}", "mine", "idc"))
    (root / "a.csv").write_text("x")
    receipts.add(Receipt("a.csv", 1, "", hash_file(root / "a.csv"), "u", TABLES, "mine", "tcia"))


def test_verification_says_that_all_is_as_it_was_or_what_was_edited(tmp_path, console):
    write_root(tmp_path, 2)
    run_verify(tmp_path, console=console)
    (tmp_path / "a.csv").write_text("y")
    run_verify(tmp_path, console=console)
    first, edited, second = lines_of(console)
    assert first == f"all 3 files in {tmp_path} (2.0 kB) are as they were fetched"
    assert edited.startswith("edited: a.csv: sha256 is")
    assert second == f"all 2 files in {tmp_path} (2.0 kB) are as they were fetched"


@pytest.mark.parametrize(("bad", "shown"), [(1, 1), (10, 10), (11, 10)])
def test_verification_counts_what_is_bad_and_shows_ten(tmp_path, console, bad, shown):
    write_root(tmp_path, 12)
    for number in range(bad):
        (tmp_path / f"{number:02}.dcm").unlink()
    with pytest.raises(MedimgError, match=f"^{bad} of 13 files in .* are missing or differ") as raised:
        run_verify(tmp_path, console=console)
    assert "the same fetch again brings all of them" in str(raised.value)
    assert lines_of(console) == [f"{number:02}.dcm: missing, expected 1000 bytes" for number in range(shown)]


def test_a_folder_that_nobody_fetched_cannot_be_verified(tmp_path, console):
    with pytest.raises(UsageError, match=r"no receipts\.jsonl, expected a folder that medimg fetch has"):
        run_verify(tmp_path, console=console)
