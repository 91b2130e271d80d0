"""Credentials of a PACS come from the environment and appear in no message."""

from __future__ import annotations

import base64

import pytest

from medimg.archive.collections import Collection
from medimg.archive.sources.dicomweb import DicomwebSource
from medimg.archive.sources.dicomweb_login import PASSWORD, TOKEN, USER, login_from
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.transfer import Transfer
from medimg.errors import UsageError
from tests.fakes.pacs import Pacs, connect, paged, series_row


@pytest.mark.parametrize("environment", [{}, {USER: "", PASSWORD: "", TOKEN: ""}])
def test_without_credentials_there_is_no_login(environment):
    assert login_from(environment, "https://pacs.example.org/dicom-web/") is None


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://pacs.example.org/dicom-web/", "https://pacs.example.org:443"),
        ("http://pacs.example.org/dicom-web", "http://pacs.example.org:80"),
        ("https://pacs.example.org:8443", "https://pacs.example.org:8443"),
    ],
)
@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({USER: "ann", PASSWORD: "Grüße:1"}, "Basic " + base64.b64encode("ann:Grüße:1".encode()).decode()),
        ({TOKEN: "abc.def"}, "Bearer abc.def"),
    ],
)
def test_the_login_comes_from_the_environment_and_is_for_the_pacs_alone(environment, header, address, origin):
    login = login_from(environment, address)
    assert (login.header, login.origin) == (header, origin)


def test_the_token_is_sent_to_the_pacs(tmp_path):
    with Pacs().serve(paged([series_row("1.2.1")])) as pacs:
        connect(pacs, tmp_path, login=login_from({TOKEN: "abc.def"}, pacs.url)).list_series(
            Collection("folder", "own data")
        )
        assert {headers["authorization"] for _, _, headers in pacs.asked} == {"Bearer abc.def"}


@pytest.mark.parametrize(
    "environment",
    [
        {USER: "ann"},
        {PASSWORD: "secret"},
        {USER: "ann", PASSWORD: "secret", TOKEN: "secret"},
        {USER: "ann", TOKEN: "secret"},
        {PASSWORD: "secret", TOKEN: "secret"},
        {TOKEN: "sec ret"},
        {TOKEN: "secreté"},
        {USER: "ann", PASSWORD: "secret\n"},
        {USER: "an\tn", PASSWORD: "secret"},
        {TOKEN: "secret\r\nX: 1"},
        {USER: "a:b", PASSWORD: "secret"},
    ],
)
def test_half_a_login_or_one_that_cannot_be_sent_is_wrong_use(environment):
    with pytest.raises(UsageError, match=f"{USER}|{PASSWORD}|{TOKEN}") as error:
        login_from(environment, "https://pacs.example.org/dicom-web")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("more", [{USER: "ann"}, {PASSWORD: "word"}, {USER: "ann", PASSWORD: "word"}])
def test_a_token_beside_any_part_of_a_login_is_two_kinds_of_login(more):
    with pytest.raises(UsageError, match=f"{TOKEN} is set together with {USER} or {PASSWORD}"):
        login_from({TOKEN: "abc", **more}, "https://pacs.example.org/dicom-web")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://ann:secret@pacs.example.org/dicom-web", f"holds credentials; set {USER}"),
        ("https://secret@pacs.example.org/dicom-web", f"holds credentials; set {USER}"),
        ("pacs.example.org/dicom-web", "expected one like https://"),
        ("file:///etc", "expected one like https://"),
        ("https://pacs.example.org/dicom-web?x=1", "expected one like https://"),
        ("https://pacs.example.org/dicom-web#x", "expected one like https://"),
        ("https:///dicom-web", "expected one like https://"),
        ("https://:secret@pacs.example.org/dicom-web", f"holds credentials; set {USER}"),
        ("https://pacs.example.org:port/", "expected one like https://"),
        ("", "expected one like https://"),
    ],
)
def test_an_address_that_is_none_or_holds_credentials_is_wrong_use(tmp_path, address, says):
    for call in (
        lambda: login_from({}, address),
        lambda: DicomwebSource(Transfer(Access(()), parts=tmp_path), address),
    ):
        with pytest.raises(UsageError, match=says) as error:
            call()
        assert "secret" not in str(error.value)
