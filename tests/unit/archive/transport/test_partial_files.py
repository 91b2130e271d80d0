"""Parts of files are continued with their own bytes only, and checked by what archive and server state."""

import base64
import dataclasses
import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medimg.archive.transport.errors import TransferError
from medimg.archive.transport.partial_files import BLOCK_BYTES
from tests.fakes.fault_proxy import Fault, FaultProxy
from tests.unit.archive.transport.servers import (
    CONTENT,
    MD5,
    SHORT,
    FileServer,
    Stating,
    interrupted_part,
    is_right,
    serving,
    talking,
    transfer,
)


def test_a_wrong_md5_in_the_answer_does_not_matter_where_the_archive_stated_the_right_one(tmp_path, proxy):
    proxy.script("/file", [Fault("wrong_md5")])
    assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file", md5=MD5.upper()))
    assert len(proxy.requests) == 1


def test_a_reset_part_is_continued_and_nothing_is_fetched_twice(tmp_path, proxy):
    proxy.script("/file", [Fault("reset", at=100_000), Fault("reset", at=50_000)])
    downloaded = transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")
    assert is_right(downloaded)
    # A reset may cost what the kernel had taken in and not yet handed over; what was handed over is kept.
    assert downloaded.fetched == len(CONTENT)
    assert len(proxy.requests) == 3


def test_a_part_that_was_cut_short_is_continued_where_it_ended(tmp_path, proxy):
    proxy.script("/file", [Fault("short_length", at=100_000), Fault("short_length", at=50_000)])
    downloaded = transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")
    assert is_right(downloaded)
    assert downloaded.fetched == len(CONTENT)
    assert [request.headers.get("range") for request in proxy.requests] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
    ]
    assert {request.headers.get("if-match") for request in proxy.requests[1:]} == {f'"{MD5}"'}


def test_a_later_process_continues_a_part(tmp_path, proxy):
    interrupted_part(proxy, tmp_path)
    downloaded = transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")
    assert is_right(downloaded)
    assert downloaded.fetched == len(CONTENT) - 100_000


@pytest.mark.parametrize("known", [{}, {"size": len(CONTENT), "md5": MD5}])
def test_a_whole_part_is_hashed_not_fetched(tmp_path, proxy, known):
    part = interrupted_part(proxy, tmp_path)
    part.write_bytes(CONTENT)
    proxy.clear()
    downloaded = transfer(proxy.url, tmp_path).download(f"{proxy.url}/file", **known)
    assert is_right(downloaded)
    assert (downloaded.fetched, proxy.requests) == (0, [])


def test_a_killed_process_leaves_a_part_that_is_continued(tmp_path):
    content = random.Random(1).randbytes(6_000_000)
    code = (
        "import sys; from pathlib import Path; from medimg.archive.transport.transfer import Transfer; "
        "from medimg.archive.transport.http_messages import Access; url, parts = sys.argv[1:]; "
        "Transfer(Access((url,)), parts=Path(parts)).download(url)"
    )
    with serving(content=content, etag='"one"') as server, FaultProxy(server) as proxy:
        url, parts = f"{proxy.url}/file", tmp_path / "parts"
        proxy.script("/file", [Fault("stall", at=3_000_000)])
        with subprocess.Popen([sys.executable, "-c", code, url, str(parts)]) as child:
            while not any(path.stat().st_size for path in parts.glob("*.part")):
                assert child.poll() is None
                time.sleep(0.02)
            child.kill()
        downloaded = transfer(proxy.url, tmp_path).download(url)
    assert downloaded.path.read_bytes() == content
    assert downloaded.fetched < len(content)


@pytest.mark.parametrize("spoil", ["flipped", "longer", "no notes", "damaged notes", "notes of another size"])
def test_a_part_that_cannot_be_trusted_is_fetched_anew(tmp_path, proxy, spoil):
    part = interrupted_part(proxy, tmp_path)
    notes = part.with_suffix(".json")
    if spoil == "flipped":
        part.write_bytes(b"\0" * 100_000)
    elif spoil == "longer":
        part.write_bytes(CONTENT * 2)
    elif spoil == "no notes":
        notes.unlink()
    elif spoil == "damaged notes":
        notes.write_bytes(notes.read_bytes()[:10])
    else:
        notes.write_text(notes.read_text().replace(str(len(CONTENT)), str(len(CONTENT) - 1)))
    proxy.clear()
    assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file"))
    # Only flipped bytes look as if they could be continued; that they cannot shows at the end.
    assert [request.headers.get("range") for request in proxy.requests] == (
        ["bytes=100000-", None] if spoil in ("flipped", "notes of another size") else [None]
    )


def test_a_whole_part_of_nobody_knows_which_version_is_fetched_again(tmp_path):
    with serving(etag="") as server, FaultProxy(server) as proxy:
        part = interrupted_part(proxy, tmp_path)
        part.write_bytes(CONTENT[::-1])
        assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file", size=len(CONTENT)))


@pytest.mark.parametrize("known", [{"size": len(CONTENT) - 1}, {"md5": "0" * 32}])
def test_a_part_of_another_file_than_the_archive_has_now_is_not_continued(tmp_path, proxy, known):
    interrupted_part(proxy, tmp_path)
    proxy.clear()
    with pytest.raises(TransferError, match=r"expected (299999|0{32})"):
        transfer(proxy.url, tmp_path).download(f"{proxy.url}/file", **known)
    assert proxy.requests[0].headers.get("range") is None


def test_another_size_than_the_archive_says_is_told_before_a_byte_is_written(tmp_path, proxy):
    counts = []
    with pytest.raises(
        TransferError, match=rf": {len(CONTENT)} bytes announced, expected 299999 \(4 "
    ) as error:
        transfer(proxy.url, tmp_path, on_bytes=counts.append).download(f"{proxy.url}/file", size=299_999)
    assert (counts, error.value.status) == ([], 200)


@pytest.mark.parametrize("known", [{"size": len(CONTENT)}, {"md5": MD5}, {"size": len(CONTENT), "md5": MD5}])
def test_a_file_of_unknown_length_is_continued_until_it_is_what_the_archive_states(tmp_path, known):
    with serving(etag='"one"') as server, FaultProxy(server) as proxy:
        proxy.script("/file", [Fault("short_close", at=100_000)])
        downloaded = transfer(proxy.url, tmp_path).download(f"{proxy.url}/file", **known)
        assert is_right(downloaded)
        # Where only the MD5 is known nobody can tell a short file from a wrong one.
        expected = "bytes=100000-" if "size" in known else None
        assert [request.headers.get("range") for request in proxy.requests] == [None, expected]


@pytest.mark.parametrize("known", [{"size": len(CONTENT)}, {"md5": MD5}])
def test_size_or_md5_alone_says_that_a_file_of_unknown_length_came_whole(tmp_path, known):
    with serving(etag="") as server, FaultProxy(server) as proxy:
        proxy.script("/file", [Fault("short_close", at=len(CONTENT))] * 9)
        assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file", **known))
        assert len(proxy.requests) == 1


def test_a_server_that_sends_more_than_the_archive_states_is_left_at_once(tmp_path):
    def talk(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(30):
            connection.sendall(b"%x\r\n" % len(CONTENT) + CONTENT + b"\r\n")
        connection.sendall(b"0\r\n\r\n")

    counts = []
    patience = dataclasses.replace(SHORT, attempts=1)
    words = f"at least {BLOCK_BYTES} bytes, expected 1000 "
    with talking(talk) as url, pytest.raises(TransferError, match=words):
        transfer(url, tmp_path, patience=patience, on_bytes=counts.append).download(f"{url}/file", size=1000)
    assert sum(counts) < 2 << 20


class RestWithoutEtag(FileServer):
    etag = '"first"'

    def answer(self, status, headers, content):
        super().answer(status, {**headers, "ETag": ""} if status == 206 else headers, content)


def test_a_rest_that_repeats_no_etag_is_the_rest_for_the_server_was_asked_for_no_other(tmp_path):
    with serving(RestWithoutEtag) as server, FaultProxy(server) as proxy:
        proxy.script("/file", [Fault("short_length", at=100_000)])
        downloaded = transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")
    assert (is_right(downloaded), downloaded.fetched) == (True, len(CONTENT))


def test_chunks_count_though_the_answer_states_a_length_too(tmp_path):
    def talk(connection):
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n"
        )

    with talking(talk) as url:
        assert transfer(url, tmp_path).download(f"{url}/file").path.read_bytes() == b"abcdefghij"


class Changed(FileServer):
    content = b"another version" * 10_000
    etag = '"second"'


class IgnoresRange(FileServer):
    def do_GET(self):
        del self.headers["Range"]
        super().do_GET()


class IgnoresIfMatch(Changed):
    def do_GET(self):
        del self.headers["If-Match"]
        super().do_GET()


class SameSize(IgnoresIfMatch):
    content = CONTENT[::-1]


class RefusesRange(FileServer):
    def do_GET(self):
        self.answer(
            416 if "Range" in self.headers else 200,
            {"ETag": self.etag},
            b"" if "Range" in self.headers else self.content,
        )


class WrongRange(FileServer):
    etag = '"first"'

    def answer(self, status, headers, content):
        if status == 206:  # As many bytes as asked for, and says so, but ten bytes too early.
            start = len(CONTENT) - len(content) - 10
            headers |= {"Content-Range": f"bytes {start}-{len(CONTENT) - 11}/{len(CONTENT)}"}
            content = CONTENT[start:-10]
        super().answer(status, headers, content)


class LateRange(FileServer):
    etag = '"first"'

    def answer(self, status, headers, content):
        if status == 206:  # To the end of the file, but not from where the part ends.
            content = content[10:]
            start = len(CONTENT) - len(content)
            headers |= {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        super().answer(status, headers, content)


@pytest.mark.parametrize(
    "handler", [Changed, IgnoresRange, IgnoresIfMatch, SameSize, RefusesRange, WrongRange, LateRange]
)
def test_a_part_is_never_continued_with_other_bytes(tmp_path, handler):
    with serving(etag='"first"') as first, FaultProxy(first) as proxy:
        part = interrupted_part(proxy, tmp_path)
    with serving(handler) as second:
        # The same file at the address of another server: the part gets the name of its address.
        name = hashlib.sha256(f"{second}/file".encode()).hexdigest()
        for suffix in (".json", ".part"):
            part.with_suffix(suffix).rename(part.with_name(name + suffix))
        downloaded = transfer(second, tmp_path).download(f"{second}/file")
    assert downloaded.path.read_bytes() == handler.content


WRONG_MD5 = base64.b64encode(bytes(16)).decode()


@pytest.mark.parametrize(
    ("stated", "right"),
    [
        ({"ETag": f'"{"0" * 32}"'}, False),
        ({"ETag": f'"{"0" * 32}-2"'}, True),  # S3, uploaded in two parts.
        ({"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms"}, True),
        ({"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms:dsse"}, True),
        ({"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "AES256"}, False),
        ({"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption-customer-algorithm": "AES256"}, True),
        ({"ETag": f'"{MD5.upper()}"'}, True),
        ({"ETag": f'W/"{"0" * 32}"'}, True),
        ({"ETag": '"1"', "x-goog-hash": f"crc32c=AAAAAA==,md5={WRONG_MD5}"}, False),
        ({"ETag": '"1"', "x-goog-hash": f"md5=!{WRONG_MD5}"}, True),  # No base64: states nothing.
        (
            {
                "ETag": '"1"',
                "x-goog-hash": f"crc32c=AAAAAA==,md5={base64.b64encode(bytes.fromhex(MD5)).decode()}",
            },
            True,
        ),
        ({"Content-Type": "TEXT/HTML; charset=utf-8"}, False),
        ({"Content-Type": "application/xhtml+xml"}, False),
        ({"Content-Type": "text/plain"}, True),
    ],
)
def test_what_the_answer_states_of_the_file_must_be_true(tmp_path, stated, right):
    with serving(Stating, stated=stated) as server:
        if right:
            assert is_right(transfer(server, tmp_path).download(f"{server}/file"))
        else:
            with pytest.raises(TransferError, match=r"(MD5|web page).*, expected"):
                transfer(server, tmp_path).download(f"{server}/file")


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html>\n<html></html>", b"\n  <HTML lang=en>", b"\xef\xbb\xbf<!-- moved --><html>"]
)
def test_a_web_page_is_no_file_whatever_it_calls_itself(tmp_path, page):
    with serving(content=page, etag="") as server:
        with pytest.raises(TransferError, match="a web page, expected a file"):
            transfer(server, tmp_path).download(f"{server}/file")
        assert list((tmp_path / "parts").glob("*.part")) == []


@pytest.mark.parametrize(
    "content", [b"<htmlish/>", b"<!-- a --><svg/>", b"text <html>", b"<xml><html/></xml>"]
)
def test_what_only_looks_a_little_like_a_web_page_is_a_file(tmp_path, content):
    with serving(content=content, etag='"1"') as server:
        assert transfer(server, tmp_path).download(f"{server}/file").path.read_bytes() == content


def test_a_web_page_is_a_file_where_the_archive_states_its_md5(tmp_path):
    page = b"<!DOCTYPE html>\n<html></html>"
    md5 = hashlib.md5(page, usedforsecurity=False).hexdigest()
    with serving(content=page, etag="") as server:
        assert transfer(server, tmp_path).download(f"{server}/file", md5=md5).md5 == md5


def test_what_nobody_can_know_to_be_whole_is_refused(tmp_path):
    with serving(etag="") as server, FaultProxy(server) as proxy:
        proxy.script("/", [Fault("short_close", at=1000)] * SHORT.attempts)
        with pytest.raises(
            TransferError,
            match="an answer of unknown length without checksum, expected a way to know that it came whole",
        ):
            transfer(proxy.url, tmp_path).download(f"{proxy.url}/file")


@pytest.mark.parametrize("etag", ['W/"weak"', ""])
def test_without_a_strong_etag_it_begins_anew(tmp_path, etag):
    with serving(etag=etag) as server, FaultProxy(server) as proxy:
        proxy.script("/file", [Fault("short_length", at=100_000)])
        assert is_right(transfer(proxy.url, tmp_path).download(f"{proxy.url}/file"))
        assert [request.headers.get("range") for request in proxy.requests] == [None, None]


def test_names_below_parts_are_hashes(tmp_path, server):
    url = f"{server}/..%2f..%2fetc/passwd?a=/b"
    downloaded = transfer(server, tmp_path).download(url)
    assert downloaded.path == Path(tmp_path / "parts" / f"{hashlib.sha256(url.encode()).hexdigest()}.part")
