"""`medimg fetch` against the public archives on loopback, and what was fetched through the pipeline."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.conftest import TINY
from tests.fakes.archive import CmmdArchive, choose_series, publish

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PATIENTS = 48
FORTY = ("fetch", "cmmd", "--patients", "40", "--seed", "1", "--source", "idc")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    with publish(choose_series(PATIENTS, 1), tmp_path_factory.mktemp("archive")) as published:
        yield published


@pytest.fixture(scope="module")
def fetched(archive, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("fetched") / "data"
    done = archive.medimg(*FORTY, "--to", str(root))
    assert done.returncode == 0, done.stderr
    return root


def tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.dcm"))
    }


def test_forty_patients_are_of_both_classes_and_both_sources_and_equal_what_is_published(
    archive: CmmdArchive, fetched
):
    patients = {one.patient_id: one for one in archive.series if (fetched / one.uid).is_dir()}
    assert len(patients) == 40
    assert {one.label for one in patients.values()} >= {"Benign", "Malignant"}
    assert Counter(one.origin for one in patients.values()).keys() == {"D1", "D2"}
    published = tree(archive.tree)
    assert tree(fetched).items() <= published.items()
    assert (fetched / "CMMD_clinicaldata_revision.xlsx").read_bytes() == (
        archive.tree / "CMMD_clinicaldata_revision.xlsx"
    ).read_bytes()
    assert "CC BY 4.0" in (fetched / "LICENSE.txt").read_text()
    assert "eqde-4b16" in (fetched / "CITATION.bib").read_text()


def test_the_same_call_again_moves_no_byte(archive, fetched):
    before = (archive.proxy.bytes_sent, len(archive.proxy.requests), len(archive.tcia.asked))
    again = archive.medimg(*FORTY, "--to", str(fetched))
    assert again.returncode == 0
    assert "0 files, 0 bytes fetched; 40 of 40 series were there already" in again.stdout
    assert (archive.proxy.bytes_sent, len(archive.proxy.requests), len(archive.tcia.asked)) == before


def test_parts_that_nobody_will_continue_are_gone_after_a_fetch_that_brought_everything(archive, fetched):
    left = fetched / ".medimg" / "parts" / "0.part"
    left.write_bytes(b"the beginning of a file that the archive has renamed since")
    assert archive.medimg(*FORTY, "--to", str(fetched)).returncode == 0
    assert not left.exists()


def test_more_patients_add_just_those(archive, fetched):
    known = tree(fetched)
    before = len(archive.proxy.requests)
    more = archive.medimg(
        "fetch", "cmmd", "--patients", str(PATIENTS), "--seed", "1", "--source", "idc", "--to", str(fetched)
    )
    assert more.returncode == 0, more.stderr
    after = tree(fetched)
    assert known.items() <= after.items()
    assert after == tree(archive.tree)
    asked = [request for request in archive.proxy.requests[before:] if request.path.endswith(".dcm")]
    assert len(asked) == len(after) - len(known)


def test_a_flipped_bit_is_found_and_mended(archive, fetched):
    before = tree(fetched)
    victim = fetched / sorted(before)[3]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 4
    victim.write_bytes(content)
    found = archive.medimg("fetch", "cmmd", "--verify", "--to", str(fetched))
    assert found.returncode == 1
    assert victim.name in found.stdout
    # Beside the lines that a log gets now and then of how far it is.
    assert len([line for line in found.stderr.splitlines() if line.startswith("error: ")]) == 1
    mended = archive.medimg(
        "fetch", "cmmd", "--patients", str(PATIENTS), "--seed", "1", "--source", "idc", "--to", str(fetched)
    )
    assert mended.returncode == 0, mended.stderr
    assert tree(fetched) == before
    assert archive.medimg("fetch", "cmmd", "--verify", "--to", str(fetched)).returncode == 0


def test_a_dry_run_fetches_nothing_and_says_what_would_come(archive, tmp_path):
    before = len(archive.proxy.requests)
    told = archive.medimg(*FORTY, "--to", str(tmp_path / "data"), "--dry-run")
    assert told.returncode == 0, told.stderr
    assert "CC BY 4.0" in told.stdout
    assert re.search(r"all +- +40 +40 ", told.stdout)
    assert len(archive.proxy.requests) == before
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".medimg"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--patient", "D9-0001"), "D9-0001"),
        (("--where", "label = "), "--where"),
        (("--where", "1) UNION SELECT content FROM read_text('/etc/passwd') --"), "--where"),
        (("--source", "ftp"), "no such source"),
        (("--source", "dicomweb"), "MEDIMG_DICOMWEB_URL"),
        (("--manifest", "nowhere.tcia"), "nowhere.tcia"),
    ],
)
def test_wrong_use_is_one_line_and_exit_two(archive, tmp_path, arguments, words):
    wrong = archive.medimg("fetch", "cmmd", "--to", str(tmp_path / "data"), *arguments)
    assert wrong.returncode == 2
    assert words in wrong.stderr
    assert wrong.stderr.count("\n") == 1


def test_what_was_fetched_runs_through_the_pipeline_and_lineage_names_the_archive(archive, fetched, tmp_path):
    overrides = [part for item in TINY for part in ("--set", item)]
    ran = archive.medimg(
        "run", "cmmd_demo", "--data", str(fetched), "--to", str(tmp_path / "run"), *overrides
    )
    assert ran.returncode in (0, 3), ran.stderr
    traced = archive.medimg("lineage", str(tmp_path / "run"))
    assert traced.returncode == 0, traced.stderr
    for words in ("idc", "IDC v", "CC BY 4.0", "10.7937/tcia.eqde-4b16"):
        assert words in traced.stdout
