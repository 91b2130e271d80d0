"""DICOMweb answers that Orthanc does not give: caps, repeats, hostile UIDs.

The server is real, its answers are scripted.
"""

from __future__ import annotations

import hashlib
import json

import pytest

from medimg.archive.collections import Collection
from medimg.archive.source import NotAvailable, Series, SourceFailed
from medimg.archive.sources import dicomweb
from medimg.errors import MedimgError
from tests.fakes.pacs import (
    FILE,
    MULTIPART,
    Pacs,
    as_json,
    connect,
    element,
    multipart,
    one_instance,
    paged,
    series_row,
)

OWN = Collection(name="folder", title="own data")
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


@pytest.mark.parametrize(
    ("there", "requests", "says"), [(25, 2, None), (26, 3, "26 instances of series .*, expected 25")]
)
def test_a_page_without_room_is_not_the_last_though_it_holds_as_many_as_listed(
    tmp_path, there, requests, says
):
    rows = [{"00080018": element(f"1.2.3.{number}")} for number in range(there)]
    answer = (200, {"Content-Type": "application/dicom"}, FILE)

    def respond(path, query):
        return paged(rows, cap=25)(path, query) if path.endswith("/instances") else answer

    with Pacs().serve(respond) as pacs:
        arriving = connect(pacs, tmp_path, page=25).fetch_series(
            Series("1.2.3", study_uid="1.2", instances=25), have={}
        )
        if says:
            with pytest.raises(NotAvailable, match=says):
                next(arriving)
        else:
            next(arriving)
        assert sum(path.endswith("/instances") for path, _, _ in pacs.asked) == requests


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


@pytest.mark.parametrize("status", [400, 404, 405, 501])
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
        pytest.raises(SourceFailed, match=r"/series\?.*, expected (data sets|a)") as error,
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


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_another_status_is_no_reason_to_ask_by_study(tmp_path, status):
    with Pacs().serve(lambda path, query: (status, {}, b"no")) as pacs:
        with pytest.raises(MedimgError, match=f"status {status}"):
            connect(pacs, tmp_path).list_series(OWN)
        assert {path for path, _, _ in pacs.asked} == {"/dicom-web/series"}


def test_a_login_that_is_refused_or_a_pacs_that_is_gone_fails_the_source_and_says_where_it_comes_from(
    tmp_path,
):
    with Pacs().serve(lambda path, query: (403, {}, b"no")) as pacs:
        source = connect(pacs, tmp_path)
        with pytest.raises(
            SourceFailed, match="the login comes from MEDIMG_DICOMWEB_USER and MEDIMG_DICOMWEB_PAS"
        ):
            source.list_series(OWN)
    with pytest.raises(SourceFailed, match="expected an answer"):
        list(source.fetch_series(Series("1.2.3", study_uid="1.2"), have={}))


def test_a_page_that_came_broken_is_asked_for_once_more(tmp_path):
    broken = ["[", "<html>"]

    def respond(path, query):
        if broken and query["offset"] == "10":
            return 200, {}, broken.pop().encode()
        return paged(ROWS)(path, query)

    with Pacs().serve(respond) as pacs:
        with pytest.raises(SourceFailed, match="an answer of 1 bytes that is something else, expected"):
            connect(pacs, tmp_path, page=10).list_series(OWN)
        broken.append("<html>")
        assert len(connect(pacs, tmp_path, page=10).list_series(OWN)) == 25


@pytest.mark.parametrize(
    ("count", "instances"),
    [(7, 7), ("7", 7), ("7 ", 7), ("", None), (None, None), ("many", None), ("9" * 10, None), (1.5, None)],
)
def test_padding_is_taken_off_and_a_number_may_be_one_or_a_text(tmp_path, count, instances):
    row = {
        "0020000E": element("1.2.1\0"),
        "0020000D": element("1.2 "),
        "00100020": element("P1 "),
        "00201209": element(count),
        "00080060": {"vr": "CS"},
    }
    with Pacs().serve(paged([row])) as pacs:
        (found,) = connect(pacs, tmp_path).list_series(OWN)
    assert found == Series("1.2.1", patient_id="P1", study_uid="1.2", instances=instances)


def test_a_series_without_its_study_is_listed_and_its_study_found_later(tmp_path):
    def respond(path, query):
        if path.endswith("/instances"):
            return as_json([{"00080018": element("1.2.3.4")}] if query["offset"] == "0" else [])
        if path == "/series":
            study = {"0020000D": element("1.7")} if "SeriesInstanceUID" in query else {}
            return as_json([{"0020000E": element("1.2.3"), **study}] if query["offset"] == "0" else [])
        return 200, {"Content-Type": MULTIPART + "b0"}, multipart(FILE)

    with Pacs().serve(respond) as pacs:
        source = connect(pacs, tmp_path)
        (series,) = source.list_series(OWN)
        assert series == Series("1.2.3")
        (arrived,) = source.fetch_series(series, have={})
    assert arrived.url == f"{pacs.url}/studies/1.7/series/1.2.3/instances/1.2.3.4"


def test_a_server_that_does_not_match_by_series_is_not_believed(tmp_path):
    with (
        Pacs().serve(paged([series_row("1.2.9", study="1.9")])) as pacs,
        pytest.raises(NotAvailable, match=r"series 1.2.3 is in 0 studies"),
    ):
        list(connect(pacs, tmp_path).fetch_series(Series("1.2.3"), have={}))
