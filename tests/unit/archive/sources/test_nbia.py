"""NBIA over loopback: each image is what md5hashes.csv says, or one line names series and file."""

import hashlib

import numpy as np
import pytest

from medimg.archive.collections import Collection
from medimg.archive.source import NotAvailable, Series, SourceFailed
from medimg.archive.sources.nbia import (
    NbiaSource,
)
from medimg.archive.transport.errors import TransferError
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.retries import Patience
from medimg.archive.transport.transfer import Control, Transfer
from medimg.errors import MedimgError
from tests.fakes.clock import ServerClock
from tests.fakes.fault_proxy import Fault, FaultProxy
from tests.fakes.loopback import md5_of
from tests.fakes.nbia import NbiaServer
from tests.unit.dicom.written import write_dicom

CMMD = Collection(name="cmmd", title="CMMD", tcia="CMMD")
FIRST, SECOND = "1.2.3.1", "1.2.3.2"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    pixels = np.random.default_rng(1).integers(0, 255, size=(64, 64), dtype=np.uint8)
    for uid, count in ((FIRST, 3), (SECOND, 1)):
        (folder / uid).mkdir()
        for number in range(count):
            sop_uid = f"{uid}.{number}"
            tags = {
                "SOPInstanceUID": sop_uid,
                "SeriesInstanceUID": uid,
                "StudyInstanceUID": f"{uid}.0.1",
                "PatientID": f"D1-{uid[-1]}",
                "Modality": "MG",
            }
            write_dicom(folder / uid / f"{sop_uid}.dcm", pixels + np.uint8(number), **tags)
    return folder


@pytest.fixture
def server(tree):
    with NbiaServer(tree) as server:
        yield server


def make_source(tmp_path, address, **options):
    origin = "/".join(address.split("/")[:3])
    (tmp_path / "staging").mkdir(exist_ok=True)
    transfer = Transfer(
        Access((origin,)),
        parts=tmp_path / "parts",
        **{"patience": Patience(attempts=2, first_wait_seconds=0.01)} | options,
    )
    return NbiaSource(transfer, address=address, staging=tmp_path / "staging")


def fetch(source, uid):
    """Contents as they are handed over; the files are taken away at once, as the fetch does."""
    found = []
    for arrived in source.fetch_series(Series(uid), have={}):
        content = arrived.path.read_bytes()
        assert (arrived.bytes, arrived.md5, arrived.sha256) == (
            len(content),
            md5_of(content),
            hashlib.sha256(content).hexdigest(),
        )
        assert not arrived.name
        arrived.path.unlink()
        found.append(content)
    return found


def contents(tree, uid):
    return [path.read_bytes() for path in sorted((tree / uid).iterdir())]


def is_clean(tmp_path):
    return not [*(tmp_path / "parts").glob("*.part"), *(tmp_path / "staging").iterdir()]


def test_the_list_tells_of_each_series_what_nbia_knows(tmp_path, server, tree):
    first, second = make_source(tmp_path, server.address + "/").list_series(CMMD)
    assert first == Series(
        uid=FIRST,
        patient_id="D1-1",
        study_uid="1.2.3.1.0.1",
        instances=3,
        bytes=sum(map(len, contents(tree, FIRST))),
        modality="MG",
        licence="CC BY 4.0",
        doi="10.7937/tcia.eqde-4b16",
        version="2021-09-08",
    )
    assert (second.uid, second.instances) == (SECOND, 1)


@pytest.mark.parametrize("folders", [False, True])
def test_all_images_of_a_series_arrive_and_nothing_else_stays(tmp_path, tree, folders):
    with NbiaServer(tree, folders_in_zip=folders) as server:
        assert fetch(make_source(tmp_path, server.address), FIRST) == contents(tree, FIRST)
    assert is_clean(tmp_path)


def test_the_address_of_an_image_names_its_zip_and_its_member(tmp_path, server):
    [arrived] = make_source(tmp_path, server.address).fetch_series(Series(SECOND), have={})
    assert arrived.url == f"{server.address}/getImageWithMD5Hash?SeriesInstanceUID={SECOND}#1-1.dcm"


@pytest.mark.parametrize(
    "kind", ["wrong_md5", "no_list", "extra_file", "missing_file", "truncated", "bad_crc", "html", "empty"]
)
def test_a_zip_that_broke_once_is_fetched_again(tmp_path, server, tree, kind):
    server.spoil(FIRST, kind)
    assert fetch(make_source(tmp_path, server.address), FIRST) == contents(tree, FIRST)
    assert len(server.asked) == 2
    assert is_clean(tmp_path)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("wrong_md5", f"'1-1.dcm' has MD5 .*, expected {md5_of(b'another image')} as md5hashes.csv says"),
        ("no_list", "0 members md5hashes.csv, expected one"),
        ("extra_file", "'9-9.dcm' is not in md5hashes.csv"),
        ("missing_file", r"'1-1.dcm' is in md5hashes.csv but not in the zip \(2 of 3 images are\)"),
        ("truncated", "not the whole of one .*truncated"),
        ("bad_crc", "member '1-1.dcm': damaged .*CRC"),
        ("html", "a web page, expected a file"),
        ("empty", r"no zip archive.*\(0 bytes"),
    ],
)
def test_a_zip_that_stays_broken_is_one_line_with_series_and_file(tmp_path, server, kind, reason):
    server.spoil(FIRST, kind, times=2)
    with pytest.raises(MedimgError, match=reason) as caught:
        fetch(make_source(tmp_path, server.address), FIRST)
    assert FIRST in str(caught.value)
    assert "\n" not in str(caught.value)
    assert is_clean(tmp_path)


def test_images_before_the_broken_one_are_handed_over_once(tmp_path, tree):
    # The order in the zip is the order of handing over: break the last image of the first answer.
    with NbiaServer(tree) as server, FaultProxy(server.url) as proxy:
        server.chunked = False
        last = contents(tree, FIRST)[-1]
        at = server.pack_series(FIRST).index(last) + len(last) // 2
        proxy.script("getImageWithMD5Hash", [Fault("bit_flip", at=at)])
        source = make_source(tmp_path, server.address.replace(server.url, proxy.url))
        assert fetch(source, FIRST) == contents(tree, FIRST)
        assert len(proxy.requests) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=500),
        Fault("reset", at=3000),
        Fault("short_chunked", at=3000),
        Fault("stall", at=3000),
    ],
)
def test_a_server_that_stumbles_is_asked_again(tmp_path, server, tree, monkeypatch, fault):
    clock = ServerClock()
    clock.replace_time(monkeypatch)
    patience = Patience(attempts=2, first_wait_seconds=0.01, read_seconds=0.5)
    with FaultProxy(server.url, clock=clock) as proxy:
        proxy.script("getImageWithMD5Hash", [fault])
        address = server.address.replace(server.url, proxy.url)
        options = {"patience": patience, "control": Control(on_retry=lambda line: clock.wait_until_still())}
        source = make_source(tmp_path, address, **options)
        assert fetch(source, FIRST) == contents(tree, FIRST)


@pytest.mark.parametrize(
    ("collection", "error", "reason"),
    [
        (Collection(name="ham10000", title=""), NotAvailable, "ham10000 is not in NBIA"),
        (
            Collection(name="none", title="", tcia="NO SUCH"),
            NotAvailable,
            r"Collection=NO\+SUCH&format=json: an empty answer, expected the series of NO SUCH",
        ),
    ],
)
def test_a_collection_that_nbia_does_not_have_is_not_here(tmp_path, server, collection, error, reason):
    with pytest.raises(error, match=reason):
        make_source(tmp_path, server.address).list_series(collection)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("status", status=400), NotAvailable),
        (Fault("status", status=404), NotAvailable),
        (Fault("status", status=500), SourceFailed),
        (Fault("status", status=401), SourceFailed),
        (Fault("html"), SourceFailed),
    ],
)
def test_a_list_that_does_not_come_says_why(tmp_path, server, fault, error):
    with FaultProxy(server.url) as proxy:
        proxy.script("getSeries", [fault] * 2)
        with pytest.raises(error, match="getSeries"):
            make_source(tmp_path, server.address.replace(server.url, proxy.url)).list_series(CMMD)


def test_a_series_that_is_not_public_is_not_here(tmp_path, server):
    with pytest.raises(
        NotAvailable,
        match=r"SeriesInstanceUID=1\.9: status 400.*NBIA does not hold the series, or not for the public",
    ):
        fetch(make_source(tmp_path, server.address), "1.9")


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, NotAvailable), (403, SourceFailed), (500, TransferError), (503, TransferError)],
)
def test_one_series_that_fails_does_not_condemn_the_source_unless_it_would_fail_for_all(
    tmp_path, server, status, error
):
    with FaultProxy(server.url) as proxy:
        proxy.script("getImage", [Fault("status", status=status)] * 2)
        with pytest.raises(error, match=f"status {status}"):
            fetch(make_source(tmp_path, server.address.replace(server.url, proxy.url)), FIRST)


def test_a_server_that_is_gone_has_failed(tmp_path, tree):
    with NbiaServer(tree) as server:
        address = server.address
    with pytest.raises(SourceFailed, match=address):
        make_source(tmp_path, address).list_series(CMMD)
    with pytest.raises(SourceFailed, match=address):
        fetch(make_source(tmp_path, address), FIRST)
