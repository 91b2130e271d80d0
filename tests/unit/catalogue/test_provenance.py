"""Fetched data against their receipts: the source is reported, and what has changed since is not used."""

from __future__ import annotations

import hashlib
import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from medimg.archive.receipts import Finished, Receipt, Receipts
from medimg.catalogue.build import BuildOptions, build_catalogue, data_fingerprint
from medimg.catalogue.provenance import (
    describe_receipts,
    find_changed,
    list_changed_tables,
    name_provenance,
)
from medimg.catalogue.split import SplitSettings
from medimg.catalogue.summary import hash_content, print_summary
from medimg.catalogue.tables import Catalogue
from medimg.errors import MedimgError, UsageError
from medimg.files import WORK_FOLDER
from tests.unit.catalogue.phantom import DATA_SET, Picture, write_patients, write_picture

TERMS = {
    "collection": "tiny",
    "source": "idc",
    "version": "24",
    "licence": "CC BY 4.0",
    "doi": "10.7937/tiny",
}
IMAGE = "P001/CC.dcm"


def make_receipt(root: Path, path: str) -> Receipt:
    """What `medimg fetch` writes of a file as it lies there now."""
    content = (root / path).read_bytes()
    values = {**TERMS, "series": path.partition("/")[0], "fetched": "2026-11-21T12:00:00Z"}
    hashes = {
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return Receipt(path=path, bytes=len(content), url=f"https://archive.example/{path}", **hashes, **values)


def write_receipts(root: Path) -> None:
    """Receipts of all files below the root, and a note that a series is complete."""
    receipts = Receipts(root)
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        receipts.add(make_receipt(root, path.relative_to(root).as_posix()))
    receipts.add(Finished("P001", "", 2))


def hash_receipts(root: Path, receipts: list[Receipt]) -> str:
    images = [(one.path, one.sha256) for one in Receipts(root) if one.path.endswith(".dcm")]
    return hash_content(images, tables=[root / "labels.csv"], root=root, receipts=receipts)


def flip_byte(path: Path) -> None:
    """Changes the last byte, of the pixels: the file stays as long and as readable as it was."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve patients that nobody fetched."""
    root = tmp_path_factory.mktemp("plain")
    write_patients(root, count=12)
    fingerprint(root)
    return root


@pytest.fixture
def fetched(plain: Path, tmp_path: Path) -> Path:
    """The same with a receipt for each of the 24 images and the table."""
    root = shutil.copytree(plain, tmp_path / "data")
    shutil.copy(index_of(plain), index_of(root))
    write_receipts(root)
    return root


def index_of(root: Path) -> Path:
    """Beside the root: what has not changed is read once for all these tests."""
    return root.with_name(f"{root.name}.parquet")


def build(root: Path, to: Path) -> Catalogue:
    return build_catalogue(
        DATA_SET,
        data_root=root,
        to=to,
        options=BuildOptions(SplitSettings(), index_path=index_of(root), workers=1),
    )


def fingerprint(root: Path) -> str:
    return data_fingerprint(DATA_SET, data_root=root, workers=1, index_path=index_of(root))


def test_the_catalogue_says_where_its_files_come_from(fetched, tmp_path):
    summary = build(fetched, tmp_path / "to").summary
    assert summary["provenance"] == [{**TERMS, "files": 25}]
    assert summary["receipts"] == {"with": 24, "without": 0, "changed": 0}
    assert summary["images"]["quarantined"] == 0


def test_data_that_nobody_fetched_have_no_provenance_and_nothing_else_changes(plain, fetched, tmp_path):
    without, with_receipts = build(plain, tmp_path / "without"), build(fetched, tmp_path / "with")
    assert without.summary["provenance"] == []
    assert without.summary["receipts"] == {"with": 0, "without": 24, "changed": 0}
    assert without.cases.equals(with_receipts.cases)
    assert without.images.equals(with_receipts.images)


def test_an_image_that_changed_since_it_was_fetched_is_quarantined_with_both_hashes(fetched, tmp_path):
    expected = hashlib.sha256((fetched / IMAGE).read_bytes()).hexdigest()
    flip_byte(fetched / IMAGE)
    found = hashlib.sha256((fetched / IMAGE).read_bytes()).hexdigest()
    catalogue = build(fetched, tmp_path / "to")
    row = catalogue.images.set_index("path").loc[IMAGE]
    assert row["status"] == "quarantined"
    assert row["reason"] == f"changed since it was fetched: sha256 {found}, expected {expected}"
    assert catalogue.summary["receipts"] == {"with": 23, "without": 0, "changed": 1}
    assert catalogue.summary["images"]["quarantined"] == 1
    assert sum(catalogue.summary["images"].values()) == 24


def test_an_image_cut_short_is_called_changed_and_counted_once(fetched, tmp_path):
    content = (fetched / IMAGE).read_bytes()[:-50]
    (fetched / IMAGE).write_bytes(content)
    catalogue = build(fetched, tmp_path / "to")
    row = catalogue.images.set_index("path").loc[IMAGE]
    assert row["reason"].startswith("changed since it was fetched: sha256 ")
    assert (row["size"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert catalogue.summary["receipts"] == {"with": 23, "without": 0, "changed": 1}
    assert catalogue.summary["input"]["images"] == 24


def test_a_link_in_place_of_a_fetched_image_is_not_read_and_keeps_its_own_reason(fetched, tmp_path):
    (tmp_path / "elsewhere.dcm").write_bytes((fetched / IMAGE).read_bytes())
    (fetched / IMAGE).unlink()
    (fetched / IMAGE).symlink_to(tmp_path / "elsewhere.dcm")
    catalogue = build(fetched, tmp_path / "to")
    assert "a link that leads out of the data root" in catalogue.images.set_index("path").loc[IMAGE, "reason"]
    assert catalogue.summary["receipts"] == {"with": 23, "without": 1, "changed": 0}


def test_an_image_that_was_added_by_hand_is_used_and_counted_as_without_a_receipt(fetched, tmp_path):
    write_picture(fetched / "P020" / "CC.dcm", Picture("P020", "CC", look=77))
    catalogue = build(fetched, tmp_path / "to")
    assert catalogue.summary["receipts"] == {"with": 24, "without": 1, "changed": 0}
    assert catalogue.images.set_index("path").loc["P020/CC.dcm", "status"] == "unlabelled"


def test_a_corrected_table_stays_in_use_and_is_an_anomaly(fetched, tmp_path):
    with (fetched / "labels.csv").open("a") as table:
        table.write("P000,Benign\n")
    catalogue = build(fetched, tmp_path / "to")
    assert catalogue.summary["anomalies"][0].startswith("labels.csv: changed since it was fetched: sha256 ")
    assert catalogue.cases.set_index("case_id").loc["P000-case", "status"] == "used"


def test_data_of_which_every_image_changed_are_refused_with_the_reason(fetched, tmp_path):
    for path in fetched.rglob("*.dcm"):
        flip_byte(path)
    with pytest.raises(
        UsageError,
        match=r"no readable image among 26 files \(24 unreadable, first: changed since it was fetched",
    ):
        build(fetched, tmp_path / "to")


def test_damaged_receipts_are_named_with_their_line(fetched, tmp_path):
    (fetched / "receipts.jsonl").write_text("{}\n")
    with pytest.raises(MedimgError, match=r"receipts\.jsonl, line 1: no receipt"):
        build(fetched, tmp_path / "to")


def test_the_fingerprint_is_that_of_the_catalogue(fetched, tmp_path):
    assert build(fetched, tmp_path / "to").summary["content_hash"] == fingerprint(fetched)
    flip_byte(fetched / IMAGE)
    assert build(fetched, tmp_path / "changed").summary["content_hash"] == fingerprint(fetched)


@pytest.mark.parametrize(
    "change",
    [
        lambda receipts: receipts[::-1],
        lambda receipts: [replace(one, fetched="2027-01-01T00:00:00Z") for one in receipts],
    ],
    ids=["order", "time"],
)
def test_the_hash_does_not_depend_on_when_and_in_which_order_files_came(fetched, change):
    receipts = list(Receipts(fetched))
    assert hash_receipts(fetched, change(receipts)) == hash_receipts(fetched, receipts)


@pytest.mark.parametrize(
    "change",
    [
        lambda receipts: [replace(one, version="25") for one in receipts],
        lambda receipts: [replace(receipts[0], source="nbia"), *receipts[1:]],
        lambda receipts: [replace(one, licence="CC BY-NC 4.0") for one in receipts],
        lambda receipts: [replace(one, doi="10.7937/other") for one in receipts],
        lambda receipts: [replace(one, collection="other") for one in receipts],
        lambda receipts: receipts[1:],
        lambda receipts: [],
        lambda receipts: [replace(receipts[0], sha256="0" * 64), *receipts[1:]],
    ],
    ids=["version", "source", "licence", "doi", "collection", "one less", "none", "a file counts as changed"],
)
def test_the_hash_follows_where_files_come_from_and_which_have_changed(fetched, change):
    receipts = list(Receipts(fetched))
    assert hash_receipts(fetched, change(receipts)) != hash_receipts(fetched, receipts)


def test_what_the_fetch_keeps_for_itself_is_no_data(fetched, tmp_path):
    before = build(fetched, tmp_path / "before").summary
    for name in ("parts/1.part", "quarantine/bad.dcm"):
        path = fetched / WORK_FOLDER / name
        path.parent.mkdir(parents=True)
        shutil.copy(fetched / IMAGE, path)
        flip_byte(path)
    assert build(fetched, tmp_path / "after").summary == before


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        ((), "tiny from idc, version 24, CC BY 4.0, doi 10.7937/tiny, 1,200 files with a receipt"),
        (("version",), "tiny from idc, CC BY 4.0, doi 10.7937/tiny, 1,200 files with a receipt"),
        (("licence",), "tiny from idc, version 24, doi 10.7937/tiny, 1,200 files with a receipt"),
        (("version", "doi"), "tiny from idc, CC BY 4.0, 1,200 files with a receipt"),
    ],
)
def test_of_where_files_come_from_what_is_unknown_is_left_out(missing, line):
    assert name_provenance({**TERMS, "files": 1200, **dict.fromkeys(missing, "")}) == line


def test_images_match_have_changed_or_cannot_be_compared_and_the_three_add_up(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"a")
    receipts = Receipts(tmp_path)
    receipts.add(make_receipt(tmp_path, "a.dcm"))
    receipts.add(replace(make_receipt(tmp_path, "a.dcm"), path="b.dcm"))
    receipts.add(replace(make_receipt(tmp_path, "a.dcm"), path="c.dcm"))
    sha256 = hashlib.sha256(b"a").hexdigest()
    images = [("a.dcm", sha256), ("b.dcm", "0" * 64), ("c.dcm", ""), ("d.dcm", sha256), ("e.dcm", "")]
    assert describe_receipts(images, receipts)["receipts"] == {"with": 1, "without": 3, "changed": 1}
    assert list(find_changed(images, receipts)) == ["b.dcm"]


def test_a_table_that_is_not_below_the_root_has_no_receipt_to_differ_from(fetched, tmp_path):
    (tmp_path / "labels.csv").write_text("patient,label\n")
    tables = [tmp_path / "labels.csv", fetched / "labels.csv"]
    assert list_changed_tables(tables, receipts=Receipts(fetched), root=fetched) == []
    (fetched / "labels.csv").write_text("patient,label\n")
    (line,) = list_changed_tables(tables, receipts=Receipts(fetched), root=fetched)
    assert line.startswith("labels.csv: changed since it was fetched")


def test_the_printed_summary_names_source_version_licence_and_doi(fetched, tmp_path):
    flip_byte(fetched / IMAGE)
    console = Console(record=True, width=200, file=io.StringIO())
    print_summary(build(fetched, tmp_path / "to").summary, console)
    text = console.export_text()
    assert "data: tiny from idc, version 24, CC BY 4.0, doi 10.7937/tiny, 25 files with a receipt" in text
    assert "images: 23 as their receipt says, 0 without one, 1 changed since they were fetched" in text
    assert (
        "quarantined: changed since it was fetched: sha256 "
        f"{hashlib.sha256((fetched / IMAGE).read_bytes()).hexdigest()}" in text
    )
