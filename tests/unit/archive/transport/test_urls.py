"""Addresses are shown without secrets, and are compared as they are connected to."""

import pytest

from medimg.archive.transport.errors import Unreachable
from medimg.archive.transport.urls import is_loopback, origin_of, shown_url
from tests.unit.archive.transport.servers import (
    transfer,
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:word@host/a?b=1#c", "https://host/a?b=1"),
        ("https://host/a?token=1&b=2", "https://host/a?token=...&b=2"),
        (
            "https://host/a?X-Amz-Signature=1&X-Amz-Credential=2&x-amz-date=3",
            "https://host/a?X-Amz-Signature=...&X-Amz-Credential=...&x-amz-date=...",
        ),
        (
            "https://host/a?SeriesInstanceUID=1.2&format=json",
            "https://host/a?SeriesInstanceUID=1.2&format=json",
        ),
        ("https://host/a?access%5Ftoken=1", "https://host/a?access%5Ftoken=..."),
        ("https://user:word@[host/a?token=1", "https://[host/a"),
        ("https://host/a\x1b[31m", "https://host/a\\x1b[31m"),
    ],
)
def test_an_address_is_shown_without_secrets(url, shown):
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    "name",
    [
        *(
            "token",
            "access_token",
            "secret",
            "client-secret",
            "Signature",
            "password",
            "passwd",
            "credential",
        ),
        *(
            "apikey",
            "api_key",
            "api-key",
            "x-api-key",
            "sig",
            "se",
            "sp",
            "key",
            "pwd",
            "auth",
            "authorization",
        ),
        *("policy", "X-Amz-Date", "X-Goog-Date", "AWSAccessKeyId"),
    ],
)
def test_the_value_of_a_secret_parameter_is_never_shown(name):
    assert shown_url(f"https://h/a?x=1&{name}=word&y=2") == f"https://h/a?x=1&{name}=...&y=2"


@pytest.mark.parametrize("name", ["signal", "series", "spacing", "monkey", "author", "policyholder", "date"])
def test_other_parameters_are(name):
    assert shown_url(f"https://h/a?{name}=word") == f"https://h/a?{name}=word"


def test_of_a_password_with_an_at_sign_nothing_is_shown():
    assert shown_url("https://user:wo@rd@h/a") == "https://h/a"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://h/a", "http://h:80"),
        ("https://h/a", "https://h:443"),
        ("http://h:443/a", "http://h:443"),
        ("https://H.Example.org.:8443", "https://h.example.org:8443"),
        ("https://user:word@h", "https://h:443"),
        ("http://[::1]:80/", "http://::1:80"),
    ],
)
def test_an_origin_names_scheme_host_and_port(url, origin):
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("10.0.0.1", False)],
)
def test_this_machine_is_known_by_name_and_address(host, expected):
    assert is_loopback(host) == expected
    assert not is_loopback(f"{host}.example.org")


def test_errors_contain_no_secret(tmp_path):
    url = "http://user:hunter2@127.0.0.1:1/file?Signature=hunter2"
    with pytest.raises(Unreachable) as raised:
        transfer(url, tmp_path).download(url)
    assert "hunter2" not in str(raised.value)
