"""Redirects, credentials, forms and small answers."""

import pytest

from medimg.archive.transport.errors import TransferError, Unreachable
from medimg.archive.transport.http_messages import HttpResponse, Login
from tests.fakes.fault_proxy import Fault
from tests.unit.archive.transport.servers import (
    CONTENT,
    MD5,
    FileServer,
    is_right,
    serving,
    transfer,
)


def test_a_small_answer_is_read_whole(tmp_path, proxy):
    proxy.script("/file", [Fault("status", status=500), Fault("reset", at=1000)])
    answer = transfer(proxy.url, tmp_path).read(f"{proxy.url}/file")
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, CONTENT, f'"{MD5}"')


def test_an_answer_that_is_no_json_is_named():
    answer = HttpResponse("http://archive/list", 200, {}, b"<html>Scheduled maintenance</html>")
    with pytest.raises(
        TransferError,
        match=r"^http://archive/list: an answer that begins with b'<html>Sched.*', expected JSON$",
    ):
        answer.json()
    assert HttpResponse("http://archive/list", 200, {}, b'[{"a": 1}]').json() == [{"a": 1}]


def test_a_form_is_posted(tmp_path, server):
    assert (
        transfer(server, tmp_path).read(f"{server}/form", form={"list": "1.2,1.3", "format": "csv"}).body
        == b"list=1.2%2C1.3&format=csv"
    )


def test_an_empty_answer_is_an_answer(tmp_path, server):
    answer = transfer(server, tmp_path).read(f"{server}/status/204")
    assert (answer.status, answer.body) == (204, b"")


def test_a_large_answer_is_refused_where_a_small_one_was_expected(tmp_path, server):
    fetching, size = transfer(server, tmp_path), len(CONTENT)
    assert fetching.read(f"{server}/file", limit_bytes=size).body == CONTENT
    with pytest.raises(TransferError, match=f"more than {size - 1} bytes, expected a small answer"):
        fetching.read(f"{server}/file", limit_bytes=size - 1)


class Redirecting(FileServer):
    """Sends on by /STATUS/REST, answers with what was asked and how."""

    def do_GET(self):
        status, _, rest = self.path[1:].partition("/")
        form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if status.isdecimal():
            self.answer(int(status), {"Location": rest} if rest else {}, b"")
        else:
            kept = [f"{name}={self.headers[name]}" for name in ("Authorization", "Cookie", "X-Mine")]
            said = [self.command, self.path, form, *kept]
            self.answer(200, {}, "|".join(said).encode())

    do_POST = do_GET


@pytest.mark.parametrize(("count", "is_followed"), [(1, True), (5, True), (6, False)])
def test_five_redirects_are_followed_by_any_way_to_say_so(tmp_path, count, is_followed):
    with serving(Redirecting) as server:
        for status in (301, 302, 303, 307, 308):
            url = f"{server}{f'/{status}/' * count}/x"
            if is_followed:
                answer = transfer(server, tmp_path).read(url)
                assert (answer.url, answer.body[:6]) == (f"{server}/x", b"GET|/x")
            else:
                with pytest.raises(TransferError, match="more than 5 redirects, expected an answer"):
                    transfer(server, tmp_path).read(url)


@pytest.mark.parametrize("target", ["/x", "//{host}/x", "{server}/x"])
def test_a_redirect_may_be_relative(tmp_path, target):
    with serving(Redirecting) as server:
        target = target.format(server=server, host=server.partition("//")[2])
        assert transfer(server, tmp_path).read(f"{server}/302/{target}").url == f"{server}/x"


def test_a_redirect_without_an_address_is_none(tmp_path):
    with serving(Redirecting) as server:
        with pytest.raises(TransferError, match="/302: redirect without Location, expected an https address"):
            transfer(server, tmp_path).read(f"{server}/302")
        with pytest.raises(TransferError, match="/300//x: status 300, expected 200"):
            transfer(server, tmp_path).read(f"{server}/300//x")


@pytest.mark.parametrize(
    ("status", "said"),
    [(301, "GET|/x|"), (302, "GET|/x|"), (303, "GET|/x|"), (307, "POST|/x|a=1"), (308, "POST|/x|a=1")],
)
def test_a_form_is_sent_on_only_where_the_redirect_says_so(tmp_path, status, said):
    with serving(Redirecting) as server:
        answer = transfer(server, tmp_path).read(f"{server}/{status}//x", form={"a": "1"})
    assert answer.body.decode().startswith(f"{said}|")


@pytest.mark.parametrize("names", [("Authorization", "Cookie"), ("authorization", "COOKIE")])
def test_a_callers_credentials_stay_with_the_origin_and_another_port_is_another(tmp_path, names):
    sent = dict.fromkeys(names, "secret") | {"X-Mine": "yes"}
    with serving(Redirecting) as server, serving(Redirecting) as other:
        fetching = transfer(server, tmp_path, origins=(server, other))
        stay = fetching.read(f"{server}/302//x", headers=sent).body.decode()
        leave = fetching.read(f"{server}/302/{other}/x", headers=sent).body.decode()
        back = fetching.read(f"{server}/302/{other}/302/{server}/x", headers=sent).body.decode()
    assert stay.endswith("Authorization=secret|Cookie=secret|X-Mine=yes")
    assert leave.endswith("Authorization=None|Cookie=None|X-Mine=yes")
    assert back.endswith("Authorization=None|Cookie=None|X-Mine=yes")


def test_redirects_of_a_file_are_followed_and_its_name_is_as_asked_for(tmp_path, server):
    downloaded = transfer(server, tmp_path).download(f"{server}/to//to//file")
    assert is_right(downloaded)
    assert downloaded.url == f"{server}/to//to//file"


def test_packed_bytes_are_not_asked_for_whatever_the_caller_says(tmp_path, proxy):
    transfer(proxy.url, tmp_path).read(f"{proxy.url}/file", headers={"Accept-Encoding": "gzip"})
    assert proxy.requests[0].headers["accept-encoding"] == "identity"


def test_credentials_go_to_their_origin_only(tmp_path, server):
    with serving() as other:
        fetching = transfer(
            server, tmp_path, origins=(server, other), logins=(Login(server, "Bearer secret"),)
        )
        assert fetching.read(f"{server}/login").body == b"Bearer secret"
        assert fetching.read(f"{other}/login").body == b"None"
        assert fetching.read(f"{server}/to/{other}/login").body == b"None"
        assert (
            fetching.read(f"{server}/to/{other}/login", headers={"Authorization": "Basic mine"}).body
            == b"None"
        )
        assert fetching.read(f"{other}/to/{server}/login").body == b"Bearer secret"
    assert "secret" not in repr(Login(server, "Bearer secret"))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("http://169.254.169.254/latest/meta-data", "host '169.254.169.254' is not allowed"),
        ("http://storage.example.org/file", "host 'storage.example.org' is not allowed"),
        ("file:///etc/passwd", "expected http or https"),
        ("ftp://127.0.0.1/file", "expected http or https"),
        ("http://127.0.0.1@storage.example.org/file", "host 'storage.example.org' is not allowed"),
        ("http://notexample.com/file", "host 'notexample.com' is not allowed"),
        ("http://example.com/file", "host 'example.com' is not allowed"),
        ("http://www.example.com.evil.org/file", "host 'www.example.com.evil.org' is not allowed"),
    ],
)
def test_a_redirect_to_a_stranger_is_refused(tmp_path, server, target, words):
    with pytest.raises(Unreachable, match=words):
        transfer(server, tmp_path, allowed_hosts=(".example.com",)).download(f"{server}/to/{target}")
