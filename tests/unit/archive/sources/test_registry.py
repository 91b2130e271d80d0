"""Which source is chosen, where it is looked for, and whom the fetch may speak to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from medimg.archive import idc_index
from medimg.archive.collections import COLLECTIONS, Collection, CollectionTable
from medimg.archive.source import Addresses, Arrived
from medimg.archive.sources.registry import (
    MAKERS,
    VARIABLES,
    Connection,
    bring_tables,
    choose_names,
    list_hosts,
    list_known,
    list_origins,
    make_sources,
    origin_of,
    read_addresses,
)
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.transfer import Transfer
from medimg.errors import UsageError
from tests.fakes.tcia import TciaServer

CMMD, SKIN, OWN = (COLLECTIONS[name] for name in ("cmmd", "ham10000", "folder"))
PUBLIC = Addresses()
PACS, HERE = "https://pacs.example.org:8443/dicom-web", "/my/folder"


@pytest.mark.parametrize("name", ["idc", "nbia", "tcia", "dataverse", "dicomweb"])
def test_a_variable_of_the_environment_replaces_its_address_and_no_other(name):
    assert VARIABLES[name] == f"MEDIMG_{name.upper()}_URL"
    found = read_addresses({VARIABLES[name]: "https://mine.example.org"})
    assert found == dataclasses.replace(PUBLIC, **{name: "https://mine.example.org"})
    assert read_addresses({VARIABLES[name]: ""}) == PUBLIC


def test_the_command_line_goes_before_the_environment():
    environment = {VARIABLES["dicomweb"]: "https://other.example.org"}
    found = read_addresses(environment, dicomweb=PACS, folder=HERE, allowed_hosts=["a.example.org"])
    assert (found.dicomweb, found.folder, found.allowed_hosts) == (PACS, HERE, ("a.example.org",))


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        (PACS, "https://pacs.example.org:8443"),
        ("http://user:word@host/a?b#c", "http://host"),
    ],
)
def test_an_origin_is_scheme_host_and_port_without_credentials(address, origin):
    assert origin_of(address) == origin


@pytest.mark.parametrize(
    "address", ["pacs.example.org/dicom-web", "ftp://host/a", "file:///etc", "https://", ""]
)
def test_an_address_without_http_or_host_is_wrong_use(address):
    with pytest.raises(UsageError, match="expected one that begins with https://"):
        origin_of(address)


def test_every_address_and_each_bucket_may_be_asked():
    assert list_origins(dataclasses.replace(PUBLIC, dicomweb=PACS)) == (
        "https://nbia.cancerimagingarchive.net",
        "https://www.cancerimagingarchive.net",
        "https://dataverse.harvard.edu",
        "https://pacs.example.org:8443",
        "https://idc-open-data.s3.amazonaws.com",
        "https://idc-open-data-two.s3.amazonaws.com",
        "https://idc-open-data-cr.s3.amazonaws.com",
    )
    mine = Addresses(*["http://127.0.0.1:5000"] * 4)
    assert list_origins(mine) == ("http://127.0.0.1:5000",)


def test_redirects_lead_to_an_archives_own_storage_and_where_the_user_says():
    assert list_hosts(dataclasses.replace(PUBLIC, allowed_hosts=("mirror.example.org",))) == (
        "mirror.example.org",
        "idc-open-data.s3.amazonaws.com",
        "idc-open-data-two.s3.amazonaws.com",
        "idc-open-data-cr.s3.amazonaws.com",
        ".s3.amazonaws.com",
        "cancerimagingarchive.net",
        "www.cancerimagingarchive.net",
    )


@pytest.mark.parametrize(
    ("names", "collection", "given", "chosen"),
    [
        ([], CMMD, {}, ("idc", "nbia")),
        ([], SKIN, {}, ("dataverse",)),
        (["nbia", "idc"], CMMD, {}, ("nbia", "idc")),
        # A folder that was given holds what is asked for, whatever the collection.
        ([], CMMD, {"folder": HERE}, ("folder",)),
        ([], OWN, {"folder": HERE}, ("folder",)),
        ([], OWN, {"folder": HERE, "dicomweb": PACS}, ("folder", "dicomweb")),
        ([], OWN, {"dicomweb": PACS}, ("dicomweb",)),
        # A PACS in the environment is no reason not to fetch a public collection from its archive.
        ([], CMMD, {"dicomweb": PACS}, ("idc", "nbia")),
        (["dicomweb"], CMMD, {"dicomweb": PACS}, ("dicomweb",)),
        (["idc", "folder"], CMMD, {"folder": HERE}, ("idc", "folder")),
    ],
)
def test_sources_are_those_asked_for_else_those_with_an_address_else_the_collections_own(
    names, collection, given, chosen
):
    addresses = dataclasses.replace(PUBLIC, **given)
    assert choose_names(names, collection=collection, addresses=addresses) == chosen


@pytest.mark.parametrize(
    ("names", "collection", "words"),
    [
        (["ibc"], CMMD, r"--source ibc: no such source; did you mean 'idc'\?"),
        (["idc", "ftp"], CMMD, "--source ftp: no such source"),
        (["dicomweb"], CMMD, "--source dicomweb: needs the address of the PACS, --url .*MEDIMG_DICOMWEB_URL"),
        (["idc", "folder"], CMMD, "--source folder: needs a folder, --from DIR"),
        ([], OWN, "folder is in no public archive: give a PACS with --url or a folder with --from"),
    ],
)
def test_a_source_that_cannot_be_used_is_wrong_use(names, collection, words):
    with pytest.raises(UsageError, match=words):
        choose_names(names, collection=collection, addresses=PUBLIC)


def test_each_name_makes_its_source_at_its_address(tmp_path):
    names = tuple(MAKERS)
    addresses = Addresses("http://idc", "http://nbia", "http://tcia", "http://dataverse", PACS, str(tmp_path))
    connection = Connection(addresses, Transfer(Access(()), parts=tmp_path / "parts"), lambda line: None)
    sources = make_sources(names, connection=connection, staging=tmp_path / "staging")
    assert [source.name for source in sources] == ["idc", "nbia", "dicomweb", "folder", "dataverse"]
    found = {source.name: getattr(source, "address", "") for source in sources}
    assert (found["nbia"], found["dataverse"], found["dicomweb"]) == ("http://nbia", "http://dataverse", PACS)


@pytest.mark.parametrize(
    ("collection", "installed", "known"),
    [(CMMD, False, True), (COLLECTIONS["upenn_gbm"], False, False), (SKIN, True, False), (OWN, True, False)],
)
def test_without_a_network_the_series_of_a_bundled_list_are_known(monkeypatch, collection, installed, known):
    monkeypatch.setattr(idc_index, "is_installed", lambda: installed)
    assert (list_known(collection) is not None) == known


class Tables:
    """A source that holds some tables."""

    def __init__(self, name: str, tables: Sequence[str], folder: Path) -> None:
        self.name, self._tables, self._folder = name, tables, folder

    def fetch_table(self, name: str) -> Arrived | None:
        path = self._folder / f"{self.name} {name}"
        return Arrived(path, f"folder:{name}", 1, "", "", name=name) if name in self._tables else None


class NoTables:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize(
    ("held", "others", "came", "said"),
    [
        (["a.csv", "b.csv"], ["idc"], [("folder", "a.csv"), ("folder", "b.csv")], []),
        (["b.csv"], ["idc"], [("folder", "b.csv"), ("tcia", "a.csv")], []),
        ([], ["idc"], [("tcia", "a.csv"), ("tcia", "b.csv")], []),
        # Nobody asks an archive about the tables of a folder or a PACS.
        (["b.csv"], ["dicomweb"], [("folder", "b.csv")], ["a.csv: not in the folder or PACS"]),
        ([], [], [], ["a.csv, b.csv: not in the folder or PACS"]),
    ],
)
def test_tables_come_from_the_folder_else_from_tcia(tmp_path, held, others, came, said):
    lines: list[str] = []
    with TciaServer() as server:
        names = ("a.csv", "b.csv")
        server.files |= dict.fromkeys(names, b"x,y\n1,2\n")
        tables = [CollectionTable(name, server.at(name), "csv") for name in names]
        collection = Collection("mine", "mine", tcia="MINE", tables=tuple(tables))
        addresses = dataclasses.replace(PUBLIC, tcia="")
        transfer = Transfer(Access((server.url,)), parts=tmp_path / "parts")
        sources = [Tables("folder", held, tmp_path), *map(NoTables, others)]
        arriving = bring_tables(
            collection, tables, sources=sources, connection=Connection(addresses, transfer, lines.append)
        )
        assert [(source, arrived.name) for source, arrived in arriving] == came
    assert [line.partition(";")[0] for line in lines] == said
