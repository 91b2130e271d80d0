"""NBIA's lists as servers write them: of series, and of the MD5 of each image in a zip."""

import json

import pytest

from medimg.archive.source import Series, SourceFailed
from medimg.archive.sources.nbia import match_md5s, name_licence, parse_md5s, parse_series, read_doi
from medimg.archive.transport.unzip import open_zip
from medimg.archive.transport.zip_checks import BadZip
from tests.fakes.loopback import md5_of, pack

ONE, TWO = (md5_of(text) for text in (b"one", b"two"))


@pytest.mark.parametrize(
    "content",
    [
        f"Filename,MD5Hash\n1-1.dcm,{ONE}\n1-2.dcm,{TWO}\n",
        f"1-1.dcm,{ONE}\n1-2.dcm,{TWO}",
        f'\ufeff"MD5Hash","Filename"\r\n"{TWO.upper()}","1-2.DCM"\r\n\r\n"{ONE}", 1-1.dcm\r\n',
        f"./1-1.dcm,{ONE},\n1-2.dcm,{TWO},\n1-2.dcm,{TWO},\n",
    ],
)
def test_md5_lists_are_read_as_servers_write_them(content):
    assert parse_md5s(content.encode(), name="list") == {"1-1.dcm": ONE, "1-2.dcm": TWO}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"Filename,MD5Hash\n1-1.dcm,\n", r"list, line 2: '1-1.dcm,', expected a file name and an MD5"),
        (b"1-1.dcm;abc\n1-2.dcm\n", "list, line 2: '1-2.dcm', expected"),
        (f"{ONE},{TWO}\n".encode(), "list, line 1"),
        (f"1-1.dcm,{ONE}\n1-1.dcm,{TWO}\n".encode(), "line 2: '1-1.dcm' is there twice"),
        (b"\xff\xfe\0", "no table of text"),
        (b'a,"\r' * 3, "list"),
    ],
)
def test_a_list_that_says_nothing_of_an_image_is_refused(content, reason):
    with pytest.raises(BadZip, match=reason):
        parse_md5s(content, name="list")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{}",
        b'{"error": 1}',
        b"[1]",
        b'[{"PatientID": "D1-1"}]',
        b'[{"SeriesInstanceUID": "1", "ImageCount": "x"}]',
        b"[" * 99_999,
    ],
)
def test_a_list_of_another_form_is_refused_in_one_line(body):
    if body == b"{}":
        assert parse_series(body, url="address") == []
        return
    with pytest.raises(
        SourceFailed, match=r"address: an answer that begins with b'.*', expected a JSON list of series"
    ):
        parse_series(body, url="address")


def test_what_nbia_does_not_say_of_a_series_stays_unknown():
    assert parse_series(b'[{"SeriesInstanceUID": "1.2", "ImageCount": "3", "FileSize": null}]', url="") == [
        Series("1.2", instances=3)
    ]


@pytest.mark.parametrize(
    ("uris", "doi"),
    [
        (
            {"CollectionURI": "https://doi.org/10.7937/a", "DataDescriptionURI": "https://doi.org/10.7937/b"},
            "a",
        ),
        ({"DataDescriptionURI": "https://doi.org/10.7937/b"}, "b"),
        ({"CollectionURI": " ", "DataDescriptionURI": "https://doi.org/10.7937/b"}, "b"),
    ],
)
def test_the_doi_is_the_collections_else_the_descriptions(uris, doi):
    row = {
        "SeriesInstanceUID": "1.2",
        "ImageCount": 0,
        "FileSize": "",
        "DateReleased": "2021-09-08 10:00",
        **uris,
    }
    assert parse_series(json.dumps([row]).encode(), url="") == [
        Series("1.2", instances=0, doi=f"10.7937/{doi}", version="2021-09-08")
    ]


def open_members(tmp_path, members, rows):
    content = {**members, "md5hashes.csv": "\n".join(rows).encode()} if rows is not None else members
    (tmp_path / "a.zip").write_bytes(pack(content))
    return open_zip(tmp_path / "a.zip", name="zip")


@pytest.mark.parametrize("licence", ["LICENSE", "licence.txt", "a/License", "LICENCE"])
def test_a_licence_needs_no_md5_and_an_image_of_any_name_has_its_own(tmp_path, licence):
    members = {"a/1.dcm": b"one", "b/1.dcm": b"two", "c/2.DCM": b"one", licence: b"text"}
    rows = ["Filename,MD5Hash", f"a/1.dcm,{ONE}", f"b/1.dcm,{TWO}", f"2.dcm,{ONE}"]
    with open_members(tmp_path, members, rows) as archive:
        assert match_md5s(archive) == {"a/1.dcm": ONE, "b/1.dcm": TWO, "c/2.DCM": ONE}


@pytest.mark.parametrize(
    ("members", "rows", "reason"),
    [
        (
            {"a/1.dcm": b"one", "b/1.dcm": b"one"},
            [f"1.dcm,{ONE}"],
            "'b/1.dcm' is not in md5hashes.csv, or is",
        ),
        (
            {"x/MD5hashes.csv": b"", "1.dcm": b"one"},
            [f"1.dcm,{ONE}"],
            "2 members md5hashes.csv, expected one",
        ),
        ({"1.dcm": b"one", "notes.txt": b""}, [f"1.dcm,{ONE}"], "'notes.txt' is not in md5hashes.csv"),
        ({"1.dcm": b"one"}, [f"1.dcm,{ONE}", f"2.dcm,{TWO}"], r"'2.dcm' is in .* not in the zip \(1 of 2"),
    ],
)
def test_list_and_zip_must_name_the_same_images_once(tmp_path, members, rows, reason):
    with open_members(tmp_path, members, rows) as archive, pytest.raises(BadZip, match=reason):
        match_md5s(archive)


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("by", "HTTPS://CREATIVECOMMONS.ORG/licenses/BY-SA/4.0/", "CC BY-SA 4.0"),
        (
            "Creative Commons Attribution 3.0 Unported License",
            "http://creativecommons.org/licenses/by/3.0/",
            "CC BY 3.0",
        ),
        (
            "Creative Commons Attribution-NonCommercial 4.0",
            "https://creativecommons.org/licenses/by-nc/4.0/",
            "CC BY-NC 4.0",
        ),
        ("TCIA Restricted", "https://wiki.cancerimagingarchive.net/x/c4hF", "TCIA Restricted"),
        ("", "", ""),
    ],
)
def test_creative_commons_licences_have_their_short_name(name, url, expected):
    assert name_licence(name, url=url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://doi.org/10.7937/K9/TCIA.2016.7O02S9CY", "10.7937/K9/TCIA.2016.7O02S9CY"),
        ("10.7937/tcia.eqde-4b16", "10.7937/tcia.eqde-4b16"),
        ("https://wiki.cancerimagingarchive.net/x/owEGAg", ""),
        ("", ""),
    ],
)
def test_the_doi_is_found_in_its_address(url, expected):
    assert read_doi(url) == expected
