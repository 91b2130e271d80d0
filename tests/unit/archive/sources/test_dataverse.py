"""Dataverse over loopback: tables as their authors wrote them, images out of verified zips."""

import hashlib
import json
import zipfile

import pytest

from medimg.archive.collections import Collection
from medimg.archive.source import NotAvailable, Series, SourceFailed
from medimg.archive.sources.dataverse import DataverseSource, parse_version
from medimg.archive.transport.errors import AccessDenied
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.retries import Patience
from medimg.archive.transport.transfer import Transfer
from medimg.archive.transport.zip_checks import BadZip
from medimg.errors import MedimgError
from tests.fakes.dataverse import DOI, DataFile, DataverseServer
from tests.fakes.loopback import md5_of, pack

HAM10000 = Collection(name="ham10000", title="HAM10000", dataverse=DOI)
IMAGES = {f"ISIC_{number:07}.jpg": f"jpeg {number}".encode() for number in range(5)}
ORIGINAL, RENDERED = b"lesion_id,image_id,dx\nHAM_0,ISIC_0000000,bkl\n", b"lesion_id\timage_id\tdx\n"
TABLE = DataFile("HAM10000_metadata.tab", RENDERED, original=ORIGINAL, original_name="HAM10000_metadata.csv")
PART = DataFile("HAM10000_images_part_1.zip", bytes(pack(IMAGES, method=zipfile.ZIP_DEFLATED)))
TRUTH = DataFile("ISIC2018_Task3_Test_GroundTruth.csv", b"image,MEL\nISIC_1,1\n")


def make_source(tmp_path, server):
    (tmp_path / "staging").mkdir(exist_ok=True)
    origins = (server.url, server.storage.url)
    transfer = Transfer(
        Access(origins), parts=tmp_path / "parts", patience=Patience(attempts=2, first_wait_seconds=0.01)
    )
    return DataverseSource(transfer, address=server.url, staging=tmp_path / "staging")


def fetch_all(tmp_path, server):
    """Contents by the name that they ask for."""
    source, found = make_source(tmp_path, server), {}
    for series in source.list_series(HAM10000):
        for arrived in source.fetch_series(series, have={}):
            content = arrived.path.read_bytes()
            assert (arrived.bytes, arrived.md5, arrived.sha256) == (
                len(content),
                md5_of(content),
                hashlib.sha256(content).hexdigest(),
            )
            assert "Signature" not in arrived.url
            assert arrived.url.startswith(server.url)
            arrived.path.unlink()
            found[arrived.name] = content
    return found


def is_clean(tmp_path):
    return not [*(tmp_path / "parts").glob("*.part"), *(tmp_path / "staging").iterdir()]


def test_each_file_of_the_archive_is_one_series(tmp_path):
    with DataverseServer(TABLE, PART) as server:
        table, part = make_source(tmp_path, server).list_series(HAM10000)
    common = {"licence": "CC BY-NC 4.0", "doi": "10.7910/DVN/DBW86T", "version": "1.2"}
    assert table == Series("HAM10000_metadata.csv", key="3172600:original", bytes=len(ORIGINAL), **common)
    assert part == Series(PART.name, key=f"3172601:{md5_of(PART.content)}", bytes=len(PART.content), **common)


def test_images_arrive_in_a_folder_of_their_zip_and_tables_as_they_were_uploaded(tmp_path):
    with DataverseServer(TABLE, PART, TRUTH) as server:
        found = fetch_all(tmp_path, server)
    images = {f"HAM10000_images_part_1/{name}": content for name, content in IMAGES.items()}
    assert found == {"HAM10000_metadata.csv": ORIGINAL, **images, TRUTH.name: TRUTH.content}
    # Of what was not taken in there is no original, and Dataverse refuses to give one.
    asked = [path.partition("datafile/")[2] for path in server.asked if "datafile" in path]
    assert asked == ["3172600?format=original", "3172601", "3172602"]
    assert is_clean(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("HAM10000_metadata.tab", "HAM10000_metadata.csv"),
        ("HAM10000_metadata", "HAM10000_metadata"),
        ("a.csv", "a.csv"),
    ],
)
def test_older_versions_of_dataverse_do_not_say_what_a_table_was_called(tmp_path, name, expected):
    with DataverseServer(DataFile(name, RENDERED, original=ORIGINAL)) as server:
        assert fetch_all(tmp_path, server) == {expected: ORIGINAL}


@pytest.mark.parametrize("said", [{"tabularData": True}, {"originalFileFormat": "text/csv"}])
def test_a_table_that_was_taken_in_is_known_by_either_sign_and_its_size_may_be_unknown(said):
    entry = {"id": 7, "filename": "a.tab", "filesize": 9, "md5": "A" * 32, **said}
    version = {"versionNumber": 1, "versionMinorNumber": 0, "files": [{"dataFile": entry}]}
    body = json.dumps({"data": {"latestVersion": version}}).encode()
    (series,) = parse_version(body, url="", doi="")
    name = "a.csv" if "originalFileFormat" in said else "a.tab"
    assert (series.uid, series.key, series.bytes, series.version) == (name, "7:original", None, "1.0")


@pytest.mark.parametrize(
    ("said", "key"), [({"md5": "Ab" * 16}, f"7:{'ab' * 16}"), ({"md5": None}, "7:"), ({}, "7:")]
)
def test_a_checksum_is_the_same_in_either_case_and_may_be_missing(said, key):
    entry = {"id": 7, "filename": "a.zip", "filesize": 9, **said}
    version = {"versionNumber": 1, "versionMinorNumber": 0, "files": [{"dataFile": entry}]}
    body = json.dumps({"data": {"latestVersion": version}}).encode()
    (series,) = parse_version(body, url="", doi="")
    assert series.key == key


def test_a_table_that_was_not_taken_in_keeps_its_name_and_is_checked_by_md5(tmp_path):
    with DataverseServer(DataFile("HAM10000_metadata", ORIGINAL)) as server:
        assert fetch_all(tmp_path, server) == {"HAM10000_metadata": ORIGINAL}


def test_folders_in_a_zip_and_what_systems_leave_there_are_left_out(tmp_path):
    members = {
        "part/": b"",
        "part/ISIC_1.JPG": b"1",
        "__MACOSX/part/._ISIC_1.JPG": b"mac",
        "part/.DS_Store": b"mac",
        "part/Thumbs.db": b"windows",
        "part/b/ISIC_2.png": b"2",
        "ISIC_3.jpeg": b"3",
        "table.CSV": b"4",
        "ATTRIBUTION.txt": b"5",
    }
    for name in ("part.zip", "part.ZIP"):
        with DataverseServer(DataFile(name, bytes(pack(members)))) as server:
            assert fetch_all(tmp_path, server) == {
                "part/ISIC_1.JPG": b"1",
                "part/ISIC_2.png": b"2",
                "part/ISIC_3.jpeg": b"3",
                "part/table.CSV": b"4",
                "part/ATTRIBUTION.txt": b"5",
            }


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"ISIC_1.jpg": b"1", "run.sh": b"2"}, "member 'run.sh', expected only .jpg"),
        (
            {"a/ISIC_1.jpg": b"1", "b/ISIC_1.jpg": b"2"},
            "members 'a/ISIC_1.jpg' and 'b/ISIC_1.jpg' have the same file name",
        ),
        ({"../ISIC_1.jpg": b"1"}, "name that could lead elsewhere"),
        ({"a b.jpg": b"1"}, "member 'a b.jpg', expected a file name of letters"),
        ({".jpg": b"1"}, "member '.jpg', expected"),
    ],
)
def test_a_zip_with_anything_else_is_refused_before_it_is_unpacked(tmp_path, members, reason):
    with (
        DataverseServer(DataFile("part.zip", bytes(pack(members)))) as server,
        pytest.raises(BadZip, match=reason),
    ):
        fetch_all(tmp_path, server)
    assert is_clean(tmp_path)


@pytest.mark.parametrize("file", [PART, TRUTH, TABLE])
def test_a_file_that_differs_from_its_checksum_or_size_never_arrives(tmp_path, file):
    with DataverseServer(file) as server:
        for key, content in server.storage.contents.items():
            flipped = bytearray(content)
            flipped[5] ^= 1
            server.storage.contents[key] = bytes(flipped) if file is not TABLE else content + b"\n"
        with pytest.raises(MedimgError, match="expected"):
            fetch_all(tmp_path, server)
    assert not list((tmp_path / "staging").iterdir())


def test_a_call_that_was_stopped_while_it_unpacked_does_not_fetch_the_zip_again(tmp_path):
    with DataverseServer(PART) as server:
        source = make_source(tmp_path, server)
        [series] = source.list_series(HAM10000)
        arriving = source.fetch_series(series, have={})
        next(arriving).path.unlink()
        arriving.close()
        asked = len(server.storage.asked)
        assert len(list(make_source(tmp_path, server).fetch_series(series, have={}))) == len(IMAGES)
        assert len(server.storage.asked) == asked


def test_a_restricted_file_says_that_credentials_are_missing(tmp_path):
    with (
        DataverseServer(DataFile("a.csv", b"a,b", restricted=True)) as server,
        pytest.raises(AccessDenied, match="status 403"),
    ):
        fetch_all(tmp_path, server)


def test_a_redirect_to_a_host_that_nobody_allowed_is_refused(tmp_path):
    with DataverseServer(PART) as server:
        server.storage.url = "http://169.254.169.254"
        (tmp_path / "staging").mkdir()
        transfer = Transfer(
            Access((server.url,), allowed_hosts=(".s3.amazonaws.com",)),
            parts=tmp_path / "parts",
            patience=Patience(attempts=1),
        )
        source = DataverseSource(transfer, address=server.url, staging=tmp_path / "staging")
        with pytest.raises(SourceFailed, match=r"169\.254\.169\.254"):
            list(source.fetch_series(source.list_series(HAM10000)[0], have={}))


@pytest.mark.parametrize(
    ("collection", "error", "reason"),
    [
        (Collection(name="cmmd", title=""), NotAvailable, "cmmd is in no Dataverse"),
        (
            Collection(name="a", title="", dataverse="doi:10.1/none"),
            NotAvailable,
            "status 404 .*no data set doi:10.1/none",
        ),
        (HAM10000, NotAvailable, "version 1.2 holds no file"),
    ],
)
def test_a_data_set_that_is_not_there_is_not_here(tmp_path, collection, error, reason):
    with DataverseServer() as server, pytest.raises(error, match=reason):
        make_source(tmp_path, server).list_series(collection)


def test_a_repository_that_is_gone_has_failed(tmp_path):
    with DataverseServer() as server:
        source = make_source(tmp_path, server)
    with pytest.raises(SourceFailed, match=server.url):
        source.list_series(HAM10000)
    with pytest.raises(SourceFailed, match=server.url):
        list(source.fetch_series(Series("a.csv", key="1:"), have={}))


@pytest.mark.parametrize(
    ("key", "error"), [("", NotAvailable), ("7", NotAvailable), ("x:", NotAvailable), ("../1:", NotAvailable)]
)
def test_a_file_that_the_archive_does_not_list_is_not_here(tmp_path, key, error):
    with DataverseServer(PART) as server, pytest.raises(error):
        list(make_source(tmp_path, server).fetch_series(Series("a.csv", key=key), have={}))


def test_a_data_set_with_terms_of_its_own_states_no_licence(tmp_path):
    with DataverseServer(PART, licence="") as server:
        assert make_source(tmp_path, server).list_series(HAM10000)[0].licence == ""


def test_two_files_of_one_name_are_refused(tmp_path):
    with (
        DataverseServer(TRUTH, TRUTH) as server,
        pytest.raises(MedimgError, match=r"two files 'ISIC2018_Task3_Test_GroundTruth\.csv'"),
    ):
        make_source(tmp_path, server).list_series(HAM10000)


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"{}", b"[]", b'{"data": {"latestVersion": {"versionNumber": "DRAFT"}}}', b"[" * 99_999],
)
def test_a_description_of_another_form_is_refused_in_one_line(body):
    with pytest.raises(SourceFailed, match=r"address: an answer that begins with b'.*', expected the JSON"):
        parse_version(body, url="address", doi="")


def test_a_file_that_its_storage_has_lost_is_not_here(tmp_path):
    with DataverseServer(PART) as server:
        source = make_source(tmp_path, server)
        [series] = source.list_series(HAM10000)
        server.storage.contents.clear()
        with pytest.raises(NotAvailable, match=r"HAM10000_images_part_1\.zip"):
            list(source.fetch_series(series, have={}))
