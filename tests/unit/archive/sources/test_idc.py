import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pydicom
import pytest

from medimg.archive.plan import Selection, select
from medimg.archive.source import NotAvailable, Series, SourceFailed
from medimg.archive.sources.idc import IdcSource, bucket_address, read_series_list
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.retries import Patience
from medimg.archive.transport.transfer import Transfer
from medimg.catalogue.index import Reading, scan
from medimg.datasets.cmmd.cases import DATA_SET, list_cases
from medimg.errors import MedimgError
from tests.fakes.cmmd import write_cmmd_series
from tests.fakes.s3 import PAGE, S3Archive, publish_cmmd

KEY = "00000000-0000-4000-8000-{:012d}"
FIRST = KEY.format(1)
HASTY = Patience(attempts=2, first_wait_seconds=0.01)


@pytest.fixture(scope="module")
def s3():
    with S3Archive() as archive:
        yield archive


@pytest.fixture
def bucket(s3, request):
    """A bucket of the test's own."""
    return md5_of(request.node.name.encode())


@pytest.fixture
def source(s3, tmp_path):
    return make_source(s3.url, tmp_path)


def md5_of(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def make_source(url, tmp_path):
    return IdcSource(Transfer(Access((url,)), parts=tmp_path / "parts", patience=HASTY), address=url)


def series_of(bucket, *, key=FIRST, instances=None):
    return Series(uid="1.2.3", key=key, bucket=bucket, instances=instances)


def put_files(s3, bucket, count, *, key=FIRST):
    contents = {f"{key}/{KEY.format(number)}.dcm": f"file {number}".encode() for number in range(count)}
    for name, content in contents.items():
        s3.put(bucket, name, content)
    return contents


def fetch(source, series, have=None):
    """What arrives, by URL, as its bytes."""
    return {one.url: one.path.read_bytes() for one in source.fetch_series(series, have=have or {})}


def test_a_series_arrives_as_it_lies_in_the_bucket(s3, bucket, source):
    contents = put_files(s3, bucket, 3)
    put_files(s3, bucket, 2, key=KEY.format(2))
    arrived = list(source.fetch_series(series_of(bucket, instances=3), have={}))
    assert {one.url: one.path.read_bytes() for one in arrived} == {
        f"{s3.url}/{bucket}/{name}": content for name, content in contents.items()
    }
    for one in arrived:
        content = one.path.read_bytes()
        assert (one.bytes, one.md5, one.sha256) == (
            len(content),
            md5_of(content),
            hashlib.sha256(content).hexdigest(),
        )
        assert (one.name, one.sop_uid) == ("", "")


def test_a_list_of_several_pages_is_complete(s3, bucket, source):
    count = 2 * PAGE + 1
    contents = put_files(s3, bucket, count)
    assert sorted(fetch(source, series_of(bucket, instances=count)).values()) == sorted(contents.values())


def test_what_is_there_with_the_same_md5_does_not_come_again(s3, bucket, source):
    contents = put_files(s3, bucket, 3)
    same, changed, missing = (f"{s3.url}/{bucket}/{name}" for name in contents)
    have = {same: md5_of(b"file 0"), changed: "0" * 32}
    assert fetch(source, series_of(bucket), have=have).keys() == {changed, missing}


def test_an_object_in_pieces_has_no_md5_and_is_held_to_its_size(s3, bucket, source):
    name, content = f"{FIRST}/{KEY.format(9)}.dcm", bytes(5 << 20)
    s3.put_in_pieces(bucket, name, content, b"end")
    url = f"{s3.url}/{bucket}/{name}"
    assert fetch(source, series_of(bucket)) == {url: content + b"end"}
    assert fetch(source, series_of(bucket), have={url: md5_of(content + b"end")}) == {}


@pytest.mark.parametrize("instances", [2, 4])
def test_more_or_fewer_objects_than_listed_are_named_with_both_counts(s3, bucket, source, instances):
    put_files(s3, bucket, 3)
    with pytest.raises(NotAvailable, match=rf"/{FIRST}/ holds 3 objects, expected {instances} files"):
        fetch(source, series_of(bucket, instances=instances))


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (
            series_of("bucket", key=KEY.format(7), instances=2),
            rf"/{KEY.format(7)}/ is empty, expected 2 files",
        ),
        (series_of("no-such-bucket"), "404"),
        (series_of("bucket", key=""), r"series 1\.2\.3 has no crdc_series_uuid \(''\)"),
        (series_of("bucket", key="../../etc"), "no crdc_series_uuid"),
    ],
)
def test_a_series_that_is_not_there_says_so(s3, source, series, message):
    put_files(s3, "bucket", 1)
    with pytest.raises(NotAvailable, match=message):
        fetch(source, series)


@pytest.mark.parametrize("name", ["notes.txt", "../x.dcm", "x/y.dcm", f"{FIRST}.dcm.exe"])
def test_an_object_of_another_name_is_refused_by_name(s3, bucket, source, name):
    s3.put(bucket, f"{FIRST}/{name}", b"x")
    with pytest.raises(MedimgError, match=rf"expected {FIRST}/<uuid>\.dcm") as raised:
        fetch(source, series_of(bucket))
    assert repr(f"{FIRST}/{name}") in str(raised.value)


def test_an_object_that_vanishes_after_it_was_listed_is_named(s3, bucket, source):
    put_files(s3, bucket, 2)
    arriving = source.fetch_series(series_of(bucket), have={})
    next(arriving)
    gone = f"{FIRST}/{FIRST}.dcm"
    s3.delete(bucket, gone)
    with pytest.raises(NotAvailable, match=f"{gone}: listed, but not there"):
        next(arriving)


def test_a_series_without_a_bucket_is_in_the_first_and_a_slash_after_the_address_does_not_matter(
    s3, tmp_path
):
    contents = put_files(s3, "idc-open-data", 1)
    found = fetch(make_source(f"{s3.url}/", tmp_path), Series(uid="1.2.3", key=FIRST))
    assert found == {f"{s3.url}/idc-open-data/{name}": content for name, content in contents.items()}


def test_a_bucket_that_goes_on_for_ever_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("medimg.archive.sources.idc.MOST_OBJECTS", 5)
    item = f"<Contents>{GOOD_KEY}<Size>1</Size></Contents>"
    asked = []

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            going_on = (
                f"<IsTruncated>true</IsTruncated><NextContinuationToken>{len(asked)}</NextContinuationToken>"
            )
            body = listing(item + going_on if len(asked) < 50 else item)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        source = make_source(f"http://127.0.0.1:{server.server_port}", tmp_path)
        with pytest.raises(MedimgError, match="a list without end after 6 objects"):
            fetch(source, series_of("bucket"))
        server.shutdown()
    assert len(asked) == 6


def test_a_server_that_is_not_there_fails_the_source(tmp_path):
    with pytest.raises(SourceFailed, match=r"127\.0\.0\.1"):
        fetch(make_source("http://127.0.0.1:9", tmp_path), series_of("bucket"))


@pytest.fixture
def answering():
    """Starts servers with one answer to every list, and one content, without an ETag, for every object."""
    servers = []

    def start(status, listed, content=b""):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = content if self.path.endswith(".dcm") else listed
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def listing(inner):
    opening = '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{opening}{inner}</ListBucketResult>".encode()


GOOD_KEY = f"<Key>{FIRST}/{FIRST}.dcm</Key>"


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (200, b"<html><body>Please log in<br></body></html>", MedimgError, "expected an S3 ListBucketResult"),
        (200, b"<html><body>Please log in</body></html>", MedimgError, "expected an S3 ListBucketResult"),
        (200, b"", MedimgError, "expected an S3 ListBucketResult"),
        (
            200,
            b'<!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult>&b;</ListBucketResult>',
            MedimgError,
            "expected an S3 ListBucketResult",
        ),
        (200, listing("")[:-9], MedimgError, "expected an S3 ListBucketResult"),
        (
            200,
            listing(f"<Contents>{GOOD_KEY}<Size>many</Size></Contents>"),
            MedimgError,
            "of size 'many', expected a number of bytes",
        ),
        *(
            (200, listing(f"<Contents>{GOOD_KEY}<Size>{size}</Size></Contents>"), MedimgError, "of size")
            for size in ("", "-1", "1.5", "&#178;", "&#1633;")
        ),
        (
            200,
            listing(f"<Contents><Key>{KEY.format(2)}/{FIRST}.dcm</Key><Size>1</Size></Contents>"),
            MedimgError,
            f"expected {FIRST}/<uuid>",
        ),
        (200, listing("<IsTruncated>true</IsTruncated>"), MedimgError, "a list without end after 0 objects"),
        (
            200,
            listing("<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>"),
            MedimgError,
            "a list without end",
        ),
        (403, b"<Error><Code>AccessDenied</Code></Error>", SourceFailed, "403"),
        (404, b"<Error><Code>NoSuchBucket</Code></Error>", NotAvailable, "404"),
        (500, b"", MedimgError, "500"),
    ],
)
def test_an_answer_that_is_no_list_ends_in_one_line(answering, tmp_path, status, body, kind, message):
    url = answering(status, body)
    with pytest.raises(kind, match=message) as raised:
        fetch(make_source(url, tmp_path), series_of("bucket"))
    assert url.removeprefix("http://") in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("size", "md5"), [(5, md5_of(b"right")), (5, md5_of(b"right").upper()), (6, md5_of(b"wrong"))]
)
def test_a_file_is_held_to_the_size_and_the_md5_of_the_list(answering, tmp_path, size, md5):
    url = answering(
        200,
        listing(f"<Contents>{GOOD_KEY}<Size>{size}</Size><ETag>&quot;{md5}&quot;</ETag></Contents>"),
        content=b"wrong",
    )
    with pytest.raises(MedimgError, match=f"{FIRST}.dcm"):
        fetch(make_source(url, tmp_path), series_of("bucket"))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://{bucket}.s3.amazonaws.com", "https://idc-open-data.s3.amazonaws.com"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/idc-open-data"),
    ],
)
def test_a_bucket_is_in_the_host_name_or_the_path(address, expected):
    assert bucket_address(address, "idc-open-data") == expected


def test_a_sample_of_cmmd_arrives_as_the_bundled_list_promises(s3, source, tmp_path):
    chosen = select(read_series_list("cmmd_series.csv"), Selection(patients=6, seed=1))
    write_cmmd_series(chosen, tmp_path / "tree", rows=64, columns=64)
    publish_cmmd(s3, tmp_path / "tree", chosen)
    for series in chosen:
        arrived = list(source.fetch_series(series, have={}))
        assert len(arrived) == series.instances
        for one in arrived:
            header = pydicom.dcmread(one.path)
            assert (header.SeriesInstanceUID, header.StudyInstanceUID, header.PatientID) == (
                series.uid,
                series.study_uid,
                series.patient_id,
            )


def test_the_stand_in_for_cmmd_is_the_same_every_time_and_labelled_as_the_list_says(tmp_path):
    known = read_series_list("cmmd_series.csv")
    chosen = select(known, Selection(patients=12, seed=3)) + [
        one for one in known if one.patient_id in ("D1-0087", "D2-0026")
    ]
    for name in ("a", "b"):
        write_cmmd_series(chosen, tmp_path / name, rows=64, columns=64)
    first, second = (
        sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("a", "b")
    )
    assert [path.relative_to(tmp_path / "a") for path in first] == [
        path.relative_to(tmp_path / "b") for path in second
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    found = list_cases(
        tmp_path / "a", scan(tmp_path / "a", workers=1, reading=Reading(DATA_SET.published_ids)).headers
    )
    assert found.rejects == []
    labels = {one.patient_id: set() for one in chosen}
    for case in found.cases:
        labels[case.group_id] |= {case.labels["malignancy"]} if case.labels else set()
    assert labels == {one.patient_id: set(one.label.split("+")) for one in chosen}
