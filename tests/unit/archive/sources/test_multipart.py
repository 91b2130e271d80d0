"""Multipart answers as servers write them, well and badly."""

from __future__ import annotations

import hashlib

import pytest

from medimg.archive.source import Series
from medimg.archive.sources import multipart as reader
from medimg.archive.sources.multipart import unwrap
from medimg.errors import MedimgError
from tests.fakes.pacs import FILE, MULTIPART, Pacs, connect, multipart, one_instance

GOOD = {
    "as Orthanc writes it": ("b0", multipart(FILE)),
    "quoted boundary": ('"b 0=?"', multipart(FILE, boundary="b 0=?")),
    "preamble": ("b0", multipart(FILE, begin=b"This is MIME.\r\n\r\n")),
    "line break first": ("b0", multipart(FILE, begin=b"\r\n")),
    "no part headers": ("b0", multipart(FILE, headers=b"")),
    "part length": (
        "b0",
        multipart(FILE, headers=b"content-type: application/dicom\r\nCONTENT-LENGTH: %d\r\n" % len(FILE)),
    ),
    "no line break at the end": ("b0", multipart(FILE, end=b"--")),
    "epilogue": ("b0", multipart(FILE, end=b"--\r\nbye\r\n--b0\r\n")),
    "half a boundary in the pixels": ("b0", multipart(FILE + b"\r\n--b")),
    "over several blocks": ("b0", multipart(FILE * 1000)),
}


@pytest.mark.parametrize("case", GOOD)
def test_the_instance_is_unwrapped_whatever_the_multipart_looks_like(tmp_path, monkeypatch, case):
    boundary, body = GOOD[case]
    content = {"half a boundary in the pixels": FILE + b"\r\n--b", "over several blocks": FILE * 1000}.get(
        case, FILE
    )
    monkeypatch.setattr(reader, "BLOCK_BYTES", 1000)
    with Pacs().serve(one_instance((200, {"Content-Type": MULTIPART + boundary}, body))) as pacs:
        (arrived,) = connect(pacs, tmp_path).fetch_series(Series("1.2.3", study_uid="1.2"), have={})
        assert pacs.asked[-1][2]["accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'
    assert arrived.path.read_bytes() == content
    assert (arrived.bytes, arrived.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (arrived.sop_uid, arrived.url) == (
        "1.2.3.4",
        f"{pacs.url}/studies/1.2/series/1.2.3/instances/1.2.3.4",
    )
    assert list(tmp_path.iterdir()) == [arrived.path]


@pytest.mark.parametrize("block", [1, 2, 3, 5, 7, 64])
def test_a_boundary_is_found_wherever_a_block_ends(tmp_path, monkeypatch, block):
    monkeypatch.setattr(reader, "BLOCK_BYTES", block)
    (tmp_path / "a").write_bytes(multipart(b"pixels"))
    assert unwrap(tmp_path / "a", url="u", boundary="b0").path.read_bytes() == b"pixels"


def test_a_preamble_may_be_64_kibibytes_long(tmp_path):
    short, long = (b"x" * (size - 2) + b"\r\n" for size in (2**16 - 1, 2**16))
    (tmp_path / "a").write_bytes(multipart(b"pixels", begin=short))
    assert unwrap(tmp_path / "a", url="u", boundary="b0").path.read_bytes() == b"pixels"
    (tmp_path / "a").write_bytes(multipart(b"pixels", begin=long))
    with pytest.raises(MedimgError, match="no boundary in the first 65536 bytes"):
        unwrap(tmp_path / "a", url="u", boundary="b0")


def test_a_plain_answer_is_the_instance(tmp_path):
    with Pacs().serve(one_instance((200, {"Content-Type": "application/dicom"}, FILE))) as pacs:
        (arrived,) = connect(pacs, tmp_path).fetch_series(Series("1.2.3", study_uid="1.2"), have={})
    assert (arrived.path.read_bytes(), arrived.bytes) == (FILE, len(FILE))


BAD = {
    "no closing boundary": (MULTIPART + "b0", multipart(FILE)[:-20], 2, "without its closing boundary"),
    "half a closing boundary": (
        MULTIPART + "b0",
        multipart(FILE, end=b"-"),
        2,
        "within its closing boundary",
    ),
    "no boundary at all": (MULTIPART + "b0", FILE, 2, "no boundary in the first"),
    "part shorter than it says": (
        MULTIPART + "b0",
        multipart(FILE, headers=b"Content-Length: 9999\r\n"),
        2,
        "expected 9999 as its Content-Length",
    ),
    "two parts": (
        MULTIPART + "b0",
        multipart(FILE, end=b"\r\n\r\n" + FILE + b"\r\n--b0--"),
        1,
        "several parts",
    ),
    "another kind of part": (
        MULTIPART + "b0",
        multipart(FILE, headers=b"Content-Type: image/jpeg\r\n"),
        1,
        "part of type 'image/jpeg'",
    ),
    "no boundary named": (
        "multipart/related",
        multipart(FILE),
        1,
        "content type 'multipart/related', expected",
    ),
    "json": ("application/json", b"{}", 1, "content type 'application/json', expected"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_answer_without_a_whole_instance_is_an_error_and_leaves_nothing(tmp_path, case):
    kind, body, requests, says = BAD[case]
    with Pacs().serve(one_instance((200, {"Content-Type": kind}, body))) as pacs:
        with pytest.raises(MedimgError, match=f"/instances/1.2.3.4: .*{says}"):
            list(connect(pacs, tmp_path).fetch_series(Series("1.2.3", study_uid="1.2"), have={}))
        # What may be a cut connection is tried once more.
        assert sum(path.endswith("1.2.3.4") for path, _, _ in pacs.asked) == requests
    assert list(tmp_path.iterdir()) == []
