"""Whom a transfer speaks to: allowed hosts and addresses, proxies, certificates, connections kept."""

import contextlib
import dataclasses
import errno
import time

import pytest
from urllib3.exceptions import ConnectTimeoutError

from medimg.archive.transport.connections import Hosts, explain
from medimg.archive.transport.errors import TransferError, Unreachable
from medimg.archive.transport.retries import PATIENCE, Patience
from medimg.errors import UsageError
from tests.fakes.fault_proxy import FaultProxy
from tests.unit.archive.transport.servers import (
    CLOCK,
    CONTENT,
    SHORT,
    FileServer,
    is_right,
    serving,
    talking,
    transfer,
)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/file", "http://no-such-host.invalid/file"])
def test_a_server_that_is_not_there_is_unreachable(tmp_path, address):
    with pytest.raises(
        Unreachable,
        match=r"^http://.*/file: (Connection refused|no such host), expected an answer \(4 attempts\)$",
    ):
        transfer(address, tmp_path).download(address)


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Connection refused"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "Connection timed out"),
        (TimeoutError("timed out"), "no connection within 10 s"),
    ],
)
def test_what_the_system_says_of_a_connection_is_said_and_only_our_own_limit_is_called_one(cause, words):
    error = ConnectTimeoutError("Failed to establish a new connection")
    error.__cause__ = cause
    assert explain(error, PATIENCE) == words


def trickle_head(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.1)


def continue_for_ever(connection):
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 10)


def trail_for_ever(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n")
    while True:
        connection.sendall(b"X-More: 1\r\n" * 100)


def extend_chunk_for_ever(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def send_too_much(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")


def say_nothing(connection):
    connection.recv(1)


def close_at_once(connection):
    pass


def talk_nonsense(connection):
    connection.sendall(b"220 ftp.example.org ready\r\n")


@pytest.mark.parametrize(
    "talk",
    [
        trickle_head,
        continue_for_ever,
        trail_for_ever,
        extend_chunk_for_ever,
        send_too_much,
        say_nothing,
        close_at_once,
        talk_nonsense,
    ],
)
@pytest.mark.parametrize("call", ["download", "read"])
@pytest.mark.usefixtures("all_time")
def test_no_server_holds_us_for_ever(tmp_path, talk, call):
    options = {"size": 100} if call == "download" else {"limit_bytes": 1_000_000}
    with talking(talk) as url, pytest.raises(TransferError, match=rf"^{url}/file: .*expected"):
        getattr(transfer(url, tmp_path, patience=Patience(**vars(SHORT) | {"attempts": 2})), call)(
            f"{url}/file", **options
        )


def promise_less_than_is_sent(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more")


def test_a_file_ends_where_its_server_said_whatever_follows_it(tmp_path):
    with talking(promise_less_than_is_sent) as url:
        assert transfer(url, tmp_path).download(f"{url}/file").path.read_bytes() == b"hello"


@pytest.mark.parametrize(
    ("origin", "allowed", "reached"),
    [
        ("http://localhost", (), True),  # The user named it.
        ("http://elsewhere.example.org", ("localhost",), False),  # A name that leads to a private address.
        ("http://elsewhere.example.org", ("127.0.0.1", "localhost"), True),  # The very address is allowed.
    ],
)
def test_only_what_the_user_named_may_be_a_private_address(tmp_path, server, origin, allowed, reached):
    address = server.replace("127.0.0.1", "localhost")
    expected = (
        contextlib.nullcontext()
        if reached
        else pytest.raises(Unreachable, match=r"localhost: leads to 127\.0\.0\.1, not connected")
    )
    with expected:
        transfer(origin, tmp_path, allowed_hosts=allowed).download(f"{address}/file")


@pytest.mark.parametrize(
    ("peer", "named", "allowed", "connected"),
    [
        ("93.184.216.34", False, (), True),
        ("10.1.2.3", False, (), False),
        ("10.1.2.3", True, (), True),
        ("10.1.2.3", False, ("10.1.2.3",), True),
        ("100.64.0.1", False, (), False),
        ("::ffff:127.0.0.1", False, (), False),
        ("::1", False, (), False),
        ("fd00:ec2::254", False, (), False),
        ("224.0.0.1", False, (), False),
        ("169.254.169.254", True, (), False),
        ("::ffff:169.254.169.254", True, (), False),
        ("fe80::1%eth0", True, (), False),
        ("169.254.169.254", True, ("169.254.169.254",), True),
    ],
)
def test_the_address_behind_a_name_is_what_counts(peer, named, allowed, connected):
    hosts = Hosts(("http://named.example.org",), (".example.org", *allowed))
    with contextlib.nullcontext() if connected else pytest.raises(Unreachable, match="leads to"):
        hosts.check_peer("named.example.org" if named else "other.example.org", peer)


@pytest.mark.parametrize(
    "url",
    ["http://a.example.org/x", "https://B.example.org./x", "http://C.Example.com", "http://x.y.example.net"],
)
def test_every_origin_and_every_allowed_host_may_be_asked(url):
    Hosts(
        ("http://a.example.org:8042", "", "https://b.example.org"), ("c.EXAMPLE.com", ".Example.net")
    ).check_url(url)


@pytest.mark.parametrize("url", ["http://example.net", "http://xexample.net", "http://z.c.example.com"])
def test_a_suffix_stands_for_what_is_below_it_and_a_name_for_itself(url):
    with pytest.raises(Unreachable, match=r"is not allowed, expected one of \.example\.net, a\.org"):
        Hosts(("http://a.org",), ("c.example.com", ".example.net")).check_url(url)


def test_a_server_that_becomes_slow_is_left_however_fast_it_began(tmp_path):
    def talk(connection):
        connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 300000\r\n\r\n')
        connection.sendall(CONTENT[:200_000])
        with CLOCK.going():
            for number in range(200_000, 200_100):
                connection.sendall(CONTENT[number : number + 1])
                time.sleep(0.02)
        connection.sendall(CONTENT[200_100:])

    patience = dataclasses.replace(SHORT, attempts=1)
    with (
        talking(talk) as url,
        pytest.raises(TransferError, match=r"slower than 10000 bytes per second over 0\.5"),
    ):
        transfer(url, tmp_path, patience=patience).download(f"{url}/file")


def test_a_server_that_takes_its_time_before_it_answers_is_not_slow(tmp_path):
    def talk(connection):
        with CLOCK.going():
            time.sleep(2 * SHORT.slow_seconds)
        connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 300000\r\n\r\n')
        connection.sendall(CONTENT)

    patience = dataclasses.replace(SHORT, attempts=1, read_seconds=60)
    with talking(talk) as url:
        assert is_right(transfer(url, tmp_path, patience=patience).download(f"{url}/file"))


def test_connections_are_used_again(tmp_path):
    peers = set()

    class Watched(FileServer):
        def setup(self):
            peers.add(self.client_address)
            super().setup()

    with serving(Watched) as url:
        fetching = transfer(url, tmp_path)
        for number in range(5):
            fetching.download(f"{url}/{number}")
        fetching.download(f"{url}/to//file")
    assert len(peers) == 1


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_of_the_environment_is_used(tmp_path, server, monkeypatch, scheme):
    with FaultProxy(server) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("http://", f"{scheme}user:pa%20ss@"))
        monkeypatch.setenv("no_proxy", "direct.invalid")
        fetching = transfer(
            "http://archive.example.org",
            tmp_path,
            origins=("http://archive.example.org", "http://direct.invalid", server),
        )
        with contextlib.suppress(
            TransferError
        ):  # The proxy is told the whole address, with which the server behind it can do nothing.
            fetching.read("http://archive.example.org/file")
        assert proxy.requests[0].path == "http://archive.example.org/file"
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwYSBzcw=="
        seen = len(proxy.requests)
        with pytest.raises(Unreachable):
            fetching.read("http://direct.invalid/file")
        assert is_right(fetching.download(f"{server}/file"))
        assert len(proxy.requests) == seen


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1", "nonsense://x"])
def test_a_proxy_that_we_cannot_speak_to_is_named(tmp_path, monkeypatch, address):
    monkeypatch.setenv("https_proxy", address)
    with pytest.raises(
        UsageError, match=f"proxy {address} from the environment: not supported, expected http://host:port"
    ):
        transfer("https://archive.example.org", tmp_path)
