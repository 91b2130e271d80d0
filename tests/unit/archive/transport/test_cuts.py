"""Wherever connections are cut and whatever a server says meanwhile: the bytes of one version, or none."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medimg.archive.transport.retries import Patience
from tests.unit.archive.transport.servers import FileServer, serving, transfer

SIZE = 3000
FILES = [random.Random(number).randbytes(SIZE + 500 * (number == 2)) for number in range(3)]
"""Three versions of one file, two of them of the same size."""


@dataclass(frozen=True)
class Step:
    """How one request is answered, and from which version.

    Attributes:
        cut: bytes of the body before the connection is closed; None for all.
        way: "length" states one, "close" none, "chunked" as it says; "no range" ignores the range that is
            asked for, "no match" the version; "other length" states ten bytes more than come.
    """

    version: int
    cut: int | None = None
    way: str = "length"


class Scripted(FileServer):
    """Answers by `steps`, one after the other, and by the last one from then on."""

    steps: list[Step]
    etags: tuple[str, ...]

    def do_GET(self):
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        content, etag = FILES[step.version], self.etags[step.version]
        status, headers = 200, {"ETag": etag} if etag else {}
        if step.way == "error":
            self.answer(503, {}, b"")
            return
        if step.way != "no match" and self.headers.get("If-Match", etag) != etag:
            self.answer(412, {}, b"")
            return
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found and step.way != "no range":
            start = int(found[1])
            if start >= len(content):
                self.answer(416, {}, b"")
                return
            status, headers["Content-Range"] = 206, f"bytes {start}-{len(content) - 1}/{len(content)}"
            content = content[start:]
        self.send(status, headers, content, step)

    def send(self, status, headers, content, step):
        body = content if step.cut is None else content[: step.cut]
        self.close_connection = True
        self.send_response(status)
        if step.way == "chunked":
            headers["Transfer-Encoding"] = "chunked"
            end = b"0\r\n\r\n" if len(body) == len(content) else b""
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + end
        elif step.way != "close":
            headers["Content-Length"] = str(len(content) + 10 * (step.way == "other length"))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def url():
    with serving(Scripted) as url:
        yield url


steps = st.builds(
    Step,
    st.integers(0, 2),
    st.one_of(st.none(), st.integers(0, SIZE)),
    st.sampled_from(["length", "close", "chunked", "no range", "no match", "other length", "error"]),
)
strong = tuple(f'"{number}"' for number in range(3))
weak = tuple(f'W/"{number}"' for number in range(3))
md5s = tuple(f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"' for content in FILES)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.lists(steps, max_size=6),
    final=st.integers(0, 2),
    etags=st.sampled_from([strong, weak, ("", "", ""), md5s]),
    known=st.sets(st.sampled_from(["size", "md5"])),
)
def test_whatever_is_cut_and_changes_the_bytes_of_one_version_come(
    tmp_path_factory, url, before, final, etags, known
):
    Scripted.steps, Scripted.etags = [*before, Step(final)], etags
    content = FILES[final]
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    stated = {"size": len(content), "md5": md5}
    patience = Patience(attempts=len(before) + 3, first_wait_seconds=0, longest_wait_seconds=0)
    fetching = transfer(url, tmp_path_factory.mktemp("cuts"), patience=patience)
    downloaded = fetching.download(f"{url}/file", **{name: stated[name] for name in known})
    found = downloaded.path.read_bytes()
    # Of an answer whose length nobody states an early end cannot be told where nothing is known of the file.
    assert found in ([content] if "md5" in known else FILES)
    assert (downloaded.bytes, downloaded.sha256) == (len(found), hashlib.sha256(found).hexdigest())
    if "size" in known:
        assert len(found) == len(content)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, SIZE), min_size=1, max_size=8))
def test_wherever_it_is_cut_nothing_is_fetched_twice(tmp_path_factory, url, cuts):
    Scripted.steps, Scripted.etags = [*(Step(0, cut) for cut in cuts), Step(0)], strong
    patience = Patience(attempts=len(cuts) + 1, first_wait_seconds=0, longest_wait_seconds=0)
    counts: list[int] = []
    folder = tmp_path_factory.mktemp("cuts")
    downloaded = transfer(url, folder, patience=patience, on_bytes=counts.append).download(f"{url}/file")
    assert downloaded.path.read_bytes() == FILES[0]
    assert downloaded.fetched == sum(counts) == SIZE
