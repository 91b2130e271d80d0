"""DICOMweb answers that Orthanc does not give: caps, repeats, hostile UIDs, odd multipart.

The server is real, its answers are scripted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from medimg.archive.collections import Collection
from medimg.archive.source import NotAvailable, Series, SourceFailed
from medimg.archive.sources import dicomweb
from medimg.archive.sources.dicomweb import PASSWORD, TOKEN, USER, DicomwebSource, login_from, unwrap
from medimg.archive.transport.retries import Patience
from medimg.archive.transport.transfer import Login, Transfer
from medimg.errors import MedimgError, UsageError

OWN = Collection(name="folder", title="own data")
FILE = b"\0" * 128 + b"DICM" + bytes(range(256)) * 9 + b"\r\n--almost the boundary\r\n"
MULTIPART = 'multipart/related; type="application/dicom"; boundary='

Reply = tuple[int, dict[str, str], bytes]
Respond = Callable[[str, Mapping[str, str]], Reply]


class Pacs:
    """Answers by a function of path and query; `asked` holds what came as (path, query, headers)."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, dict[str, str], Mapping[str, str]]] = []

    @contextmanager
    def serve(self, respond: Respond) -> Iterator[Pacs]:
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # Head and body in one packet, else each answer waits for an acknowledgement.

            def do_GET(self) -> None:
                address = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(address.query).items()}
                asked.append(
                    (address.path, query, {name.lower(): value for name, value in self.headers.items()})
                )
                status, headers, body = respond(address.path.removeprefix("/dicom-web"), query)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
            self.url = f"http://127.0.0.1:{server.server_port}/dicom-web"
            yield self
            server.shutdown()


def connect(pacs: Pacs, parts: Path, *, login: Login | None = None, **options: object) -> DicomwebSource:
    patience = Patience(read_seconds=5, attempts=2, first_wait_seconds=0.01)
    transfer = Transfer(origins=(pacs.url,), parts=parts, patience=patience, logins=(login,) if login else ())
    return DicomwebSource(transfer, pacs.url, **options)


def element(value: object) -> dict[str, object]:
    return {"vr": "UI", "Value": [value]}


def series_row(uid: str, *, study: str = "1.2", patient: str = "P1") -> dict[str, object]:
    return {
        "0020000E": element(uid),
        "0020000D": element(study),
        "00100020": element(patient),
        "00201209": element(1),
        "00080060": element("MG"),
    }


def as_json(rows: list[dict[str, object]], **headers: str) -> Reply:
    return 200, {"Content-Type": "application/dicom+json", **headers}, json.dumps(rows).encode()


def paged(rows: list[dict[str, object]], *, cap: int = 1000) -> Respond:
    """A well-behaved search that gives at most `cap` rows, with the warning that DICOM asks for (PS3.18 8.3.4.4)."""

    def respond(path: str, query: Mapping[str, str]) -> Reply:
        offset, limit = int(query["offset"]), min(int(query["limit"]), cap)
        left = len(rows) - offset - limit
        warning = (
            {"Warning": f'299 pacs "There are {left} additional results that can be requested"'}
            if left > 0
            else {}
        )
        return as_json(rows[offset : offset + limit], **warning)

    return respond


def one_instance(answer: Reply) -> Respond:
    """A PACS with one instance, which is handed over by this answer."""

    def respond(path: str, query: Mapping[str, str]) -> Reply:
        if path.endswith("/instances"):
            return as_json([{"00080018": element("1.2.3.4")}] if query["offset"] == "0" else [])
        return answer

    return respond


def multipart(
    content: bytes,
    *,
    boundary: str = "b0",
    begin: bytes = b"",
    headers: bytes = b"Content-Type: application/dicom\r\n",
    end: bytes = b"--\r\n",
) -> bytes:
    mark = b"--" + boundary.encode()
    return begin + mark + b"\r\n" + headers + b"\r\n" + content + b"\r\n" + mark + end


ROWS = [series_row(f"1.2.{number}") for number in range(25)]


@pytest.mark.parametrize("page", [1, 10, 24, 25, 26, 100])
@pytest.mark.parametrize("cap", [3, 25, 1000])
def test_all_pages_are_read_even_of_a_server_that_caps_them(tmp_path, page, cap):
    with Pacs().serve(paged(ROWS, cap=cap)) as pacs:
        found = connect(pacs, tmp_path, page=page).list_series(OWN)
    assert [series.uid for series in found] == [f"1.2.{number}" for number in range(25)]
    assert found[0] == Series("1.2.0", patient_id="P1", study_uid="1.2", instances=1, modality="MG")


@pytest.mark.parametrize(
    ("expected", "cap", "requests"), [(25, 1000, 1), (None, 1000, 2), (25, 10, 3), (24, 1000, 2)]
)
def test_no_further_page_is_asked_for_only_where_the_list_agrees_with_a_page_that_had_room(
    tmp_path, expected, cap, requests
):
    rows = [{"00080018": element(f"1.2.3.{number}")} for number in range(25)]
    series = Series("1.2.3", study_uid="1.2", instances=expected)
    have = {f"/studies/1.2/series/1.2.3/instances/1.2.3.{number}": "" for number in range(25)}
    with Pacs().serve(paged(rows, cap=cap)) as pacs:
        arriving = connect(pacs, tmp_path, page=30).fetch_series(
            series, have={f"{pacs.url}{path}": md5 for path, md5 in have.items()}
        )
        if expected == 24:
            with pytest.raises(NotAvailable, match=r"25 instances of series .*, expected 24"):
                list(arriving)
        else:
            assert list(arriving) == []
        assert len(pacs.asked) == requests


def test_a_row_that_comes_again_because_one_was_added_meanwhile_counts_once(tmp_path):
    def respond(path, query):
        offset = int(query["offset"])
        return as_json(ROWS[max(0, offset - 1) : offset + 9])

    with Pacs().serve(respond) as pacs:
        assert len(connect(pacs, tmp_path, page=10).list_series(OWN)) == 25


def test_a_server_that_ignores_offset_is_an_error_and_no_endless_loop(tmp_path):
    with (
        Pacs().serve(lambda path, query: as_json(ROWS[:10])) as pacs,
        pytest.raises(SourceFailed, match=r"same 10 rows as before.*ignores offset"),
    ):
        connect(pacs, tmp_path, page=10).list_series(OWN)


def test_a_promise_of_more_results_that_do_not_come_is_an_error(tmp_path):
    def respond(path, query):
        return as_json(
            ROWS[:10] if query["offset"] == "0" else [], Warning='299 pacs "There are 15 additional results"'
        )

    with Pacs().serve(respond) as pacs, pytest.raises(SourceFailed, match="There are 15 additional results"):
        connect(pacs, tmp_path, page=10).list_series(OWN)


def test_a_server_without_end_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(dicomweb, "MOST_ROWS", 50)
    with (
        Pacs().serve(lambda path, query: as_json([series_row(f"1.{query['offset']}")])) as pacs,
        pytest.raises(SourceFailed, match="more than 50 rows"),
    ):
        connect(pacs, tmp_path).list_series(OWN)


@pytest.mark.parametrize("status", [400, 404, 405])
def test_a_server_that_does_not_search_all_series_is_asked_by_study(tmp_path, status):
    def respond(path, query):
        first = query["offset"] == "0"
        if path == "/series":
            return status, {}, b"no"
        if path == "/studies":
            return as_json(
                [{"0020000D": element(uid), "00100020": element(f"P{uid}")} for uid in ("1.7", "1.8")]
                if first
                else []
            )
        study = path.split("/")[2]
        return as_json(
            [{"0020000E": element(f"{study}.1")}, {"0020000E": element(f"{study}.2")}] if first else []
        )

    with Pacs().serve(respond) as pacs:
        found = connect(pacs, tmp_path).list_series(OWN)
        with pytest.raises(NotAvailable, match=r"series 1\.9\.1 is in 0 studies"):
            list(connect(pacs, tmp_path).fetch_series(Series("1.9.1"), have={}))
    assert [(one.uid, one.study_uid, one.patient_id, one.instances) for one in found] == [
        (f"{study}.{number}", study, f"P{study}", None) for study in ("1.7", "1.8") for number in (1, 2)
    ]


@pytest.mark.parametrize("answer", [(204, {}, b""), as_json([])], ids=["204", "empty list"])
def test_an_empty_answer_is_not_here(tmp_path, answer):
    with (
        Pacs().serve(lambda path, query: answer) as pacs,
        pytest.raises(NotAvailable, match="lists no series"),
    ):
        connect(pacs, tmp_path).list_series(OWN)


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, b"{}"),
        (200, {}, b"[1]"),
        (200, {}, b'[{"0020000E": 5}]'),
        (200, {}, b'[{"0020000E": {"Value": 5}}]'),
        (200, {}, b"[" * 100_000),
        (200, {}, b"not json"),
        (206, {"Warning": "299 partial"}, b"[]"),
    ],
    ids=["object", "number", "no element", "no list", "nested", "text", "206"],
)
def test_an_answer_that_is_no_list_of_data_sets_is_named(tmp_path, answer):
    with (
        Pacs().serve(lambda path, query: answer) as pacs,
        pytest.raises(SourceFailed, match=r"/series\?.*expected a") as error,
    ):
        connect(pacs, tmp_path).list_series(OWN)
    assert len(str(error.value).splitlines()) == 1


BAD_UIDS = [
    "../../admin",
    "..",
    "1.2/3",
    "1.2?x=1",
    "1" * 65,
    "1.2%2f",
    "1.2\n",
    "",
    "http://169.254.169.254/",
]


@pytest.mark.parametrize("uid", BAD_UIDS)
def test_a_series_with_a_hostile_uid_is_reported_and_never_asked_for(tmp_path, uid):
    lines: list[str] = []
    with Pacs().serve(paged([series_row(uid), series_row("1.2.1")])) as pacs:
        found = connect(pacs, tmp_path, on_message=lines.append).list_series(OWN)
        with pytest.raises(MedimgError, match="SeriesInstanceUID is"):
            list(connect(pacs, tmp_path).fetch_series(Series(uid, study_uid="1.2"), have={}))
        assert {path for path, _, _ in pacs.asked} == {"/dicom-web/series"}
    assert [one.uid for one in found] == ["1.2.1"]
    assert len(lines) == 1
    assert lines[0].isprintable()


@pytest.mark.parametrize("uid", BAD_UIDS)
def test_an_instance_or_study_with_a_hostile_uid_ends_the_series(tmp_path, uid):
    def respond(path, query):
        return as_json(
            [{"00080018": element(uid), "0020000E": element("1.2.3"), "0020000D": element(uid)}]
            if query["offset"] == "0"
            else []
        )

    with Pacs().serve(respond) as pacs:
        with pytest.raises(MedimgError, match="SOPInstanceUID is"):
            list(connect(pacs, tmp_path).fetch_series(Series("1.2.3", study_uid="1.2"), have={}))
        with pytest.raises(MedimgError, match="StudyInstanceUID is"):
            list(connect(pacs, tmp_path).fetch_series(Series("1.2.3"), have={}))
        assert {path for path, _, _ in pacs.asked} <= {
            "/dicom-web/series",
            "/dicom-web/studies/1.2/series/1.2.3/instances",
        }


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
    monkeypatch.setattr(dicomweb, "BLOCK_BYTES", 1000)
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
    monkeypatch.setattr(dicomweb, "BLOCK_BYTES", block)
    (tmp_path / "a").write_bytes(multipart(b"pixels"))
    assert unwrap(tmp_path / "a", url="u", boundary="b0").path.read_bytes() == b"pixels"


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
        assert (
            sum(path.endswith("1.2.3.4") for path, _, _ in pacs.asked) == requests
        )  # What may be a cut connection is tried once more.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "says"),
    [(200, "warning '299 pacs \"lossy\"'"), (206, "206 although no range was asked for, expected 200")],
)
def test_a_warning_or_partial_content_is_an_error(tmp_path, status, says):
    answer = (status, {"Content-Type": MULTIPART + "b0", "Warning": '299 pacs "lossy"'}, multipart(FILE))
    with Pacs().serve(one_instance(answer)) as pacs, pytest.raises(MedimgError, match=says):
        list(connect(pacs, tmp_path).fetch_series(Series("1.2.3", study_uid="1.2"), have={}))


def test_an_instance_that_an_earlier_process_left_behind_whole_is_unwrapped_all_the_same(tmp_path):
    answer = (200, {"Content-Type": MULTIPART + "b0", "ETag": '"v1"'}, multipart(FILE))
    with Pacs().serve(one_instance(answer)) as pacs:
        source = connect(pacs, tmp_path)
        url = f"{pacs.url}/studies/1.2/series/1.2.3/instances/1.2.3.4"
        part = tmp_path / f"{hashlib.sha256(url.encode()).hexdigest()}.part"
        part.write_bytes(multipart(FILE))
        part.with_suffix(".json").write_text(
            json.dumps({"url": url, "etag": '"v1"', "md5": "", "size": len(multipart(FILE))})
        )
        (arrived,) = source.fetch_series(Series("1.2.3", study_uid="1.2"), have={})
    assert arrived.path.read_bytes() == FILE


def test_addresses_in_answers_are_never_followed(tmp_path):
    elsewhere = {
        "00081190": {"vr": "UR", "Value": ["http://169.254.169.254/latest"]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "http://169.254.169.254/"},
    }

    def respond(path, query):
        if path.endswith("/instances"):
            return as_json([{"00080018": element("1.2.3.4"), **elsewhere}] if query["offset"] == "0" else [])
        if path == "/series":
            return as_json([{**series_row("1.2.3"), **elsewhere}] if query["offset"] == "0" else [])
        return 200, {"Content-Type": MULTIPART + "b0"}, multipart(FILE)

    with Pacs().serve(respond) as pacs:
        source = connect(pacs, tmp_path)
        (series,) = source.list_series(OWN)
        (arrived,) = source.fetch_series(series, have={})
    assert arrived.url.startswith(pacs.url)


def test_a_server_that_does_not_match_by_series_is_not_believed(tmp_path):
    with (
        Pacs().serve(paged([series_row("1.2.9", study="1.9")])) as pacs,
        pytest.raises(NotAvailable, match=r"series 1.2.3 is in 0 studies"),
    ):
        list(connect(pacs, tmp_path).fetch_series(Series("1.2.3"), have={}))


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({}, None),
        ({USER: "", PASSWORD: "", TOKEN: ""}, None),
        ({USER: "ann", PASSWORD: "Grüße:1"}, "Basic " + base64.b64encode("ann:Grüße:1".encode()).decode()),
        ({TOKEN: "abc.def"}, "Bearer abc.def"),
    ],
)
def test_the_login_comes_from_the_environment(environment, header):
    login = login_from(environment, "https://pacs.example.org/dicom-web/")
    assert (login.header if login else None) == header
    assert login is None or login.origin == "https://pacs.example.org:443"


def test_the_token_is_sent_to_the_pacs(tmp_path):
    with Pacs().serve(paged(ROWS)) as pacs:
        connect(pacs, tmp_path, login=login_from({TOKEN: "abc.def"}, pacs.url)).list_series(OWN)
        assert {headers["authorization"] for _, _, headers in pacs.asked} == {"Bearer abc.def"}


@pytest.mark.parametrize(
    "environment",
    [
        {USER: "ann"},
        {PASSWORD: "secret"},
        {USER: "ann", PASSWORD: "secret", TOKEN: "secret"},
        {TOKEN: "secret\r\nX: 1"},
        {USER: "a:b", PASSWORD: "secret"},
    ],
)
def test_half_a_login_or_one_that_cannot_be_sent_is_wrong_use(environment):
    with pytest.raises(UsageError, match=f"{USER}|{PASSWORD}|{TOKEN}") as error:
        login_from(environment, "https://pacs.example.org/dicom-web")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://ann:secret@pacs.example.org/dicom-web", f"holds credentials; set {USER}"),
        ("https://secret@pacs.example.org/dicom-web", f"holds credentials; set {USER}"),
        ("pacs.example.org/dicom-web", "expected one like https://"),
        ("file:///etc", "expected one like https://"),
        ("https://pacs.example.org/dicom-web?x=1", "expected one like https://"),
        ("https://pacs.example.org:port/", "expected one like https://"),
        ("", "expected one like https://"),
    ],
)
def test_an_address_that_is_none_or_holds_credentials_is_wrong_use(tmp_path, address, says):
    for call in (
        lambda: login_from({}, address),
        lambda: DicomwebSource(Transfer(origins=(), parts=tmp_path), address),
    ):
        with pytest.raises(UsageError, match=says) as error:
            call()
        assert "secret" not in str(error.value)
