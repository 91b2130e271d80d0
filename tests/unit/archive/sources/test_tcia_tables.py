"""Clinical tables: their address is the archive's, else the configured one; only tables pass for one."""

import io

import openpyxl
import pytest

from medimg.archive.collections import Collection, CollectionTable
from medimg.archive.sources.tcia_tables import fetch_tables, find_address
from medimg.archive.transport.errors import NotFound
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.retries import Patience
from medimg.archive.transport.transfer import Transfer
from medimg.errors import MedimgError
from tests.fakes.loopback import PAGE, pack
from tests.fakes.tcia import TciaServer

NAME = "CMMD_clinicaldata_revision.xlsx"
CSV = b"patient_id,breast_density,left or right breast\r\nP_00001,3,LEFT\r\n"


def make_workbook(text):
    book, written = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["ID1", text])
    book.save(written)
    return written.getvalue()


@pytest.fixture
def server():
    with TciaServer() as server:
        server.files[NAME] = make_workbook("as configured")
        yield server


def fetch(server, tmp_path, *, table=None, address=None):
    """Returns the content of the one table, its address, and what was said."""
    said = []
    transfer = Transfer(
        Access((server.url,)),
        parts=tmp_path / "parts",
        patience=Patience(attempts=2, first_wait_seconds=0.01),
    )
    table = table or CollectionTable(NAME, server.at(NAME), "xlsx")
    collection = Collection(name="cmmd", title="CMMD", tcia="CMMD", tables=(table,))
    address = server.address if address is None else address
    [arrived] = fetch_tables(collection, transfer=transfer, address=address, on_message=said.append)
    assert arrived.name == table.name
    content = arrived.path.read_bytes()
    arrived.path.unlink()
    assert not list((tmp_path / "parts").glob("*.part"))
    return content, arrived.url, said


def test_the_address_comes_from_the_collection_manager(tmp_path, server):
    server.files["2024/CMMD_clinicaldata_revision.xlsx"] = make_workbook("present")
    server.publish("CMMD-DA-clinical", name=f"2024/{NAME}")
    content, url, said = fetch(server, tmp_path)
    assert (content, url, said) == (server.files[f"2024/{NAME}"], server.at(f"2024/{NAME}"), [])


def test_an_address_of_its_own_goes_before_the_file_that_wordpress_keeps(tmp_path, server):
    server.files["moved/" + NAME] = make_workbook("present")
    server.publish("CMMD-DA-clinical", name=NAME, url=server.at("moved/" + NAME))
    assert fetch(server, tmp_path)[1] == server.at("moved/" + NAME)


@pytest.mark.parametrize(
    "write",
    [
        lambda url: [{"guid": url}, {"guid": f"{url}.other"}],
        lambda url: [url],
        lambda url: {"url": url},
        lambda url: {"guid": {"rendered": url}},
        lambda url: url,
        lambda url: url.replace("http://", "https://"),
    ],
)
def test_every_form_in_which_wordpress_names_a_file_is_read(tmp_path, server, write):
    server.files["moved/" + NAME] = make_workbook("present")
    server.publish("CMMD-DA-clinical", name=NAME)
    server.rows[-1]["download_file"] = write(server.at("moved/" + NAME))
    assert fetch(server, tmp_path)[1] == server.at("moved/" + NAME)


def test_all_pages_are_read(tmp_path, server):
    for number in range(200):
        server.publish(f"OTHER-DA-{number}", name=f"{number}.csv")
    # Two full pages: the one after the last answers 400.
    assert fetch(server, tmp_path)[2] == [
        f"{NAME}: not among 0 files of CMMD that {server.address} lists; the configured address is used"
    ]
    server.publish("CMMD-DA-clinical", name=f"last/{NAME}")
    server.files[f"last/{NAME}"] = make_workbook("present")
    assert fetch(server, tmp_path)[1] == server.at(f"last/{NAME}")
    assert sum("downloads" in path for path in server.asked) == 3 + 3


@pytest.mark.parametrize(
    ("title", "name", "access"),
    [
        ("CMMD2-DA-clinical", f"wrong/{NAME}", "Public"),
        ("UPENN-GBM", f"wrong/{NAME}", "Public"),
        ("CMMD-DA-clinical", f"wrong/{NAME}", "Restricted"),
        ("CMMD-DA-clinical", f"wrong/{NAME.replace('xlsx', 'csv')}", "Public"),
        ("CMMD-DA-clinical", "wrong/CMMD_clinicaldata_revision_explained.xlsx", "Public"),
        ("CMMD-DA-clinical", "", "Public"),
    ],
)
def test_only_public_files_of_this_collection_and_of_this_name_count(tmp_path, server, title, name, access):
    server.files[name] = make_workbook("wrong")
    server.publish(title, name=name, access=access)
    _, url, [said] = fetch(server, tmp_path)
    assert url == server.at(NAME)
    assert said.endswith("the configured address is used")


@pytest.mark.parametrize(
    "published",
    [
        "2024/CMMD_clinicaldata_revision-1.xlsx",
        "cmmd_clinicaldata_revision_v2.1.XLSX",
        "CMMD_clinicaldata_revision_2024-05-01.xlsx",
    ],
)
def test_a_newer_version_is_found_under_its_name_and_said(tmp_path, server, published):
    server.files[published] = make_workbook("newer")
    server.publish("CMMD-DA-clinical", name=published)
    content, url, said = fetch(server, tmp_path)
    assert (content, url) == (server.files[published], server.at(published))
    assert said == [f"{NAME}: the archive has it as {url} now"]


def test_of_two_versions_the_one_published_last_is_taken(tmp_path, server):
    for published in ("CMMD_clinicaldata_revision-1.xlsx", "CMMD_clinicaldata_revision-2.xlsx"):
        server.files[published] = make_workbook(published)
        server.publish("CMMD-DA-clinical", name=published)
    assert fetch(server, tmp_path)[1] == server.at("CMMD_clinicaldata_revision-2.xlsx")


def test_the_very_name_goes_before_a_version_and_the_newest_before_older_ones():
    table = CollectionTable("a_v2.csv", "https://host/a_v2.csv", "csv")
    assert (
        find_address(table, ["https://host/a_v3.csv", "https://host/x/A_V2.csv"]) == "https://host/x/A_V2.csv"
    )
    assert find_address(table, ["https://host/a_v4.csv", "https://host/a_v3.csv"]) == "https://host/a_v4.csv"
    assert find_address(table, ["https://host/b_v2.csv"]) == ""


@pytest.mark.parametrize(
    "elsewhere",
    ["http://169.254.169.254/{}", "file:///etc/{}", "http://[/{}", "http://127.0.0.1.example.org/{}"],
)
def test_an_address_at_another_host_is_never_followed(tmp_path, server, elsewhere):
    server.publish("CMMD-DA-clinical", url=elsewhere.format(NAME))
    _, url, [said] = fetch(server, tmp_path)
    assert url == server.at(NAME)
    assert said.startswith(f"{NAME}: not among 0 files")


@pytest.mark.parametrize("status", [404, 500])
def test_a_collection_manager_that_fails_is_said_and_the_configured_address_used(tmp_path, server, status):
    server.breakdown = status
    _, url, [said] = fetch(server, tmp_path)
    assert url == server.at(NAME)
    assert f"status {status}" in said
    assert said.endswith("the configured addresses are used")


def test_a_page_in_place_of_the_list_is_said(tmp_path, server):
    _, url, [said] = fetch(server, tmp_path, address=f"{server.url}/wp-content/uploads")
    assert "begins with b'<!DOCTYPE html>" in said
    assert url == server.at(NAME)


@pytest.mark.parametrize("rows", [b'[{"title": "CMMD"}, 7]', b'[7, {"title": "CMMD"}]', b'{"rows": []}'])
def test_a_list_of_something_else_is_said_too(tmp_path, server, rows):
    server.files["downloads/"] = rows
    _, url, [said] = fetch(server, tmp_path, address=f"{server.url}/wp-content/uploads")
    assert "expected a JSON list of downloads" in said
    assert url == server.at(NAME)


def test_a_file_that_went_away_is_fetched_from_the_configured_address(tmp_path, server):
    server.publish("CMMD-DA-clinical", name=f"gone/{NAME}")
    content, _, [said] = fetch(server, tmp_path)
    assert content == server.files[NAME]
    assert "a web page, expected a file" in said
    assert said.endswith("the configured address is used")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("xlsx", PAGE),
        ("xlsx", b""),
        ("xlsx", CSV),
        ("xlsx", bytes(pack({"word/document.xml": b"<xml/>"}))),
        ("xlsx", make_workbook("cut")[:-30]),
        ("csv", PAGE),
        ("csv", b"\n <!-- page, with commas, -->"),
        ("csv", b""),
        ("csv", b"one column\n1\n"),
        ("csv", b'{"code": "rest_no_route", "data": 1}'),
        ("csv", make_workbook("not text")),
        ("csv", b"a,b\0,c\n"),
    ],
)
def test_what_is_no_table_is_refused_by_its_content(tmp_path, server, kind, content):
    server.files["table"] = content
    with pytest.raises(
        MedimgError,
        match=rf"/table: (begins with b.*, expected a table \({kind}\)|a web page, expected a file)",
    ):
        fetch(server, tmp_path, table=CollectionTable("table", server.at("table"), kind))
    assert not list((tmp_path / "parts").glob("*.part"))


@pytest.mark.parametrize(
    "content",
    [
        CSV,
        b"\xef\xbb\xbf" + CSV,
        CSV.replace(b"\n", b"\r"),
        b'"a\nb",c\n1,2\n',
        "größe,alter\n1,2\n".encode("latin-1"),
    ],
)
def test_a_csv_is_taken_as_authors_write_it(tmp_path, server, content):
    server.files["table.csv"] = content
    assert (
        fetch(server, tmp_path, table=CollectionTable("table.csv", server.at("table.csv"), "csv"))[0]
        == content
    )


def test_a_table_without_any_address_is_named(tmp_path, server):
    with pytest.raises(MedimgError, match=r"a\.csv: no address known"):
        fetch(server, tmp_path, table=CollectionTable("a.csv", "", "csv"))


def test_a_table_that_is_not_there_is_missing(tmp_path, server):
    with pytest.raises(NotFound, match=r"nowhere/a.csv: status 404"):
        fetch(server, tmp_path, table=CollectionTable("a.csv", f"{server.url}/nowhere/a.csv", "csv"))


def test_a_collection_without_tables_asks_nobody(tmp_path, server):
    transfer = Transfer(Access((server.url,)), parts=tmp_path / "parts")
    assert (
        list(
            fetch_tables(Collection(name="a", title="", tcia="A"), transfer=transfer, address=server.address)
        )
        == []
    )
    assert server.asked == []
