"""DICOMweb against a real PACS: what comes is what Orthanc holds.

Each way of coming back empty-handed says which one it is.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medimg.archive.collections import Collection
from medimg.archive.source import Arrived, NotAvailable, Series, SourceFailed
from medimg.archive.sources.dicomweb import DicomwebSource
from medimg.archive.sources.dicomweb_login import PASSWORD, TOKEN, USER, login_from
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.retries import Patience
from medimg.archive.transport.transfer import Transfer
from tests.fakes.fault_proxy import Fault, FaultProxy
from tests.fakes.orthanc import Orthanc
from tests.unit.dicom.written import (
    EXPLICIT,
    JPEG_2000,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    make_dataset,
    write_dicom,
)

REPOSITORY = Path(__file__).resolve().parents[2]
SYNTAXES = (EXPLICIT, "1.2.840.10008.1.2", RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000)
STUDY, SERIES = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.1.1"
OWN = Collection(name="folder", title="own data")
STUDIES = 251

pytestmark = pytest.mark.skipif(bool(Orthanc.missing()), reason=Orthanc.missing() or "here")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One series with one instance per transfer syntax, by SOPInstanceUID."""
    folder = tmp_path_factory.mktemp("originals")
    image_HW = np.random.default_rng(4).integers(0, 255, (64, 48), dtype=np.uint8)
    return {
        f"{SERIES}.{number}": write_dicom(
            folder / f"{number}.dcm", image_HW + number, syntax=syntax, **identity(number)
        )
        for number, syntax in enumerate(SYNTAXES)
    }


@pytest.fixture(scope="module")
def pacs(originals: dict[str, Path]) -> Iterator[Orthanc]:
    with Orthanc() as orthanc:
        orthanc.store(list(originals.values()))
        yield orthanc


@pytest.fixture(scope="module")
def empty_pacs() -> Iterator[Orthanc]:
    with Orthanc() as orthanc:
        yield orthanc


def identity(number: int, *, study: str = STUDY, series: str = SERIES, patient: str = "P1") -> dict[str, str]:
    return {
        "PatientID": patient,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "SOPInstanceUID": f"{series}.{number}",
        "Modality": "MG",
    }


def connect(
    pacs: Orthanc, parts: Path, *, password: str = "", page: int = 100, **environment: str
) -> DicomwebSource:
    environment = environment or {USER: pacs.user, PASSWORD: password or pacs.password}
    login = login_from(environment, pacs.url)
    patience = Patience(attempts=2, first_wait_seconds=0.01)
    return DicomwebSource(
        Transfer(Access((pacs.root,), logins=(login,) if login else ()), parts=parts, patience=patience),
        pacs.url,
        page=page,
    )


def fetch(source: DicomwebSource, series: Series, **have: str) -> dict[str, Arrived]:
    return {arrived.sop_uid: arrived for arrived in source.fetch_series(series, have=have)}


def test_every_instance_is_byte_equal_to_what_the_pacs_holds(pacs, originals, tmp_path):
    (series,) = (one for one in connect(pacs, tmp_path).list_series(OWN) if one.uid == SERIES)
    assert series == Series(SERIES, patient_id="P1", study_uid=STUDY, instances=len(SYNTAXES), modality="MG")
    arrived = fetch(connect(pacs, tmp_path), series)
    assert arrived.keys() == originals.keys()
    for sop_uid, one in arrived.items():
        content = one.path.read_bytes()
        assert content == pacs.file_of(sop_uid)
        assert (one.bytes, one.md5, one.sha256) == (
            len(content),
            hashlib.md5(content, usedforsecurity=False).hexdigest(),
            hashlib.sha256(content).hexdigest(),
        )
        assert one.url == f"{pacs.url}/studies/{STUDY}/series/{SERIES}/instances/{sop_uid}"
    assert sorted(tmp_path.iterdir()) == sorted(
        one.path for one in arrived.values()
    )  # What it was unwrapped from is gone.


def test_nothing_is_transcoded(pacs, originals, tmp_path):
    for sop_uid, one in fetch(connect(pacs, tmp_path), Series(SERIES)).items():
        expected, found = pydicom.dcmread(originals[sop_uid]), pydicom.dcmread(one.path)
        assert found.file_meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID
        assert found.PixelData == expected.PixelData


@pytest.mark.parametrize(
    "name",
    [
        "mammograms/GH133.dcm",
        "mammograms/MG1_J2KI",
        "transfer_syntaxes/CTImage.dcm_JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm",
        "transfer_syntaxes/CTImage.dcm_JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90.dcm",
        "transfer_syntaxes/CTImage.dcm_JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80.dcm",
        "transfer_syntaxes/CTImage.dcm_BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm",
        "transfer_syntaxes/"
        "CTImage.dcm_DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99.dcm",
    ],
)
def test_real_files_keep_their_syntax_and_pixels(pacs, shared_data, tmp_path, name):
    if not (shared_data / name).exists():
        pytest.skip(f"{name} is not among the real test data")
    expected = pydicom.dcmread(shared_data / name)
    pacs.store([shared_data / name])
    arrived = fetch(
        connect(pacs, tmp_path),
        Series(str(expected.SeriesInstanceUID), study_uid=str(expected.StudyInstanceUID)),
    )
    one = arrived[str(expected.SOPInstanceUID)]
    assert one.path.read_bytes() == pacs.file_of(one.sop_uid)
    found = pydicom.dcmread(one.path)
    assert found.file_meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID
    assert found.PixelData == expected.PixelData


def test_what_is_there_does_not_come_again(pacs, tmp_path):
    arrived = fetch(connect(pacs, tmp_path), Series(SERIES, study_uid=STUDY))
    kept = dict(list(arrived.items())[:4])
    have = {one.url: one.md5 for one in kept.values()}
    assert (
        fetch(connect(pacs, tmp_path / "again"), Series(SERIES, study_uid=STUDY), **have).keys()
        == arrived.keys() - kept.keys()
    )


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=503, retry_after="0"),
        Fault("reset", at=500),
        Fault("html"),
        Fault("short_length", at=500),
        Fault("short_close", at=500),
        Fault("short_chunked", at=500),
        Fault("gzip"),
    ],
    ids=lambda fault: fault.kind,
)
@pytest.mark.parametrize("where", ["/instances/", r"/instances\?"])
def test_after_a_fault_on_the_way_the_files_are_the_same(pacs, tmp_path, fault, where):
    with FaultProxy(pacs.root) as proxy:
        proxy.script(where, [fault])
        patience = Patience(attempts=3, first_wait_seconds=0.01)
        login = login_from({USER: pacs.user, PASSWORD: pacs.password}, proxy.url)
        source = DicomwebSource(
            Transfer(Access((proxy.url,), logins=(login,)), parts=tmp_path, patience=patience),
            f"{proxy.url}/dicom-web",
        )
        arrived = fetch(source, Series(SERIES, study_uid=STUDY))
        assert sum(request.fault is not None for request in proxy.requests) == 1
    assert {sop_uid: one.path.read_bytes() for sop_uid, one in arrived.items()} == {
        sop_uid: pacs.file_of(sop_uid) for sop_uid in arrived
    }
    assert len(arrived) == len(SYNTAXES)


@pytest.mark.parametrize(
    "login", [{USER: "tester", PASSWORD: "wrong horse"}, {TOKEN: "wrong.horse"}, {"nothing": "at all"}]
)
def test_a_wrong_login_names_the_variables_and_no_secret(pacs, tmp_path, login):
    source = connect(pacs, tmp_path, **login)
    for call in (lambda: source.list_series(OWN), lambda: fetch(source, Series(SERIES, study_uid=STUDY))):
        with pytest.raises(SourceFailed, match=rf"401.*{USER} and {PASSWORD}, or {TOKEN}") as error:
            call()
        assert "horse" not in str(error.value)


@pytest.mark.parametrize(
    ("series", "says"),
    [
        (Series("1.2.3.4"), "series 1.2.3.4 is in 0 studies"),
        (Series("1.2.3.4", study_uid=STUDY), "no instance of series 1.2.3.4 in study"),
        (Series(SERIES, study_uid="1.2.3.4"), "no instance of series .* in study 1.2.3.4"),
        (Series(SERIES, study_uid=STUDY, instances=7), "6 instances of series .*, expected 7"),
    ],
)
def test_a_series_that_is_not_there_is_not_here(pacs, tmp_path, series, says):
    with pytest.raises(NotAvailable, match=says):
        fetch(connect(pacs, tmp_path), series)


def test_an_address_without_dicomweb_says_404(pacs, tmp_path):
    pacs_elsewhere = Orthanc()
    pacs_elsewhere.root, pacs_elsewhere.url, pacs_elsewhere.user, pacs_elsewhere.password = (
        pacs.root,
        f"{pacs.root}/elsewhere",
        pacs.user,
        pacs.password,
    )
    with pytest.raises(
        SourceFailed, match=r"elsewhere/studies.* status 404.*neither /series nor /studies is there"
    ):
        connect(pacs_elsewhere, tmp_path).list_series(OWN)


def test_an_empty_pacs_says_that_it_is_empty(empty_pacs, tmp_path):
    with pytest.raises(NotAvailable, match="answers but lists no series"):
        connect(empty_pacs, tmp_path).list_series(OWN)


def test_paging_over_251_studies_is_complete(tmp_path):
    with Orthanc() as pacs:
        for number in range(STUDIES):
            study = f"{STUDY}.9.{number}"
            buffer = io.BytesIO()
            tags = identity(1, study=study, series=f"{study}.1", patient=f"P{number}")
            make_dataset([np.full((2, 2), number % 256, np.uint8)], **tags).save_as(
                buffer, enforce_file_format=True
            )
            pacs.post(buffer.getvalue())
        expected = {
            (f"P{number}", f"{STUDY}.9.{number}", f"{STUDY}.9.{number}.1", 1) for number in range(STUDIES)
        }
        for page in (7, 100, 251, 1000):
            listed = connect(pacs, tmp_path, page=page).list_series(OWN)
            assert len(listed) == STUDIES
            assert {(one.patient_id, one.study_uid, one.uid, one.instances) for one in listed} == expected


HOSTILE_IDS = ("../../outside", "/etc/passwd", "CON", "-rf", "x" * 60, "\u202egnp.exe")


def test_the_command_writes_nothing_outside_its_folder_and_the_password_nowhere(tmp_path):
    files = []
    for number, patient in enumerate(HOSTILE_IDS, start=1):
        names = identity(number, study=f"{STUDY}.9{number}", series=f"{SERIES}.9{number}", patient=patient)
        image_HW = np.full((16, 12), number, np.uint8)
        files.append(
            write_dicom(tmp_path / f"{number}.dcm", image_HW, SpecificCharacterSet="ISO_IR 192", **names)
        )
    root = tmp_path / "outer" / "inner" / "data"
    root.mkdir(parents=True)
    with Orthanc() as pacs:
        for file in files:
            pacs.post(file.read_bytes())
        environment = {
            **os.environ,
            "MEDIMG_DICOMWEB_URL": pacs.url,
            USER: pacs.user,
            PASSWORD: pacs.password,
            "PYTHONPATH": str(REPOSITORY),
        }
        command = [
            sys.executable,
            "-m",
            "cli.app",
            "fetch",
            "folder",
            "--to",
            str(root),
            "--source",
            "dicomweb",
        ]
        done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    written = [path for path in (tmp_path / "outer").rglob("*") if path.is_file()]
    assert all(path.is_relative_to(root) for path in written)
    assert {path.relative_to(root).as_posix() for path in written if path.suffix == ".dcm"} == {
        f"{SERIES}.9{number}/{SERIES}.9{number}.{number}.dcm" for number in range(1, len(HOSTILE_IDS) + 1)
    }
    assert pacs.password not in done.stdout + done.stderr
    assert not any(pacs.password.encode() in path.read_bytes() for path in written)
