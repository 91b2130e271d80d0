"""Hostile files cost their own item and nothing else."""

import io
import os
import signal
import sys
import time
import zlib
from functools import partial

import numpy as np
import pytest

from medimg.dicom import safety
from medimg.dicom.safety import Limits, guarded_map, inflate
from medimg.errors import UnreadableFile, UsageError
from medimg.images.scan import scan_file
from tests.unit.dicom.written import write_dicom


def double(number: int) -> int:
    return 2 * number


def misbehave(deed: str) -> str:
    """What a broken decoder does, by name; runs in a child process."""
    if deed == "hang":
        while True:
            pass
    if deed == "wait":
        time.sleep(1)
    if deed == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if deed == "exit":
        os._exit(0)
    if deed == "memory":
        return str(len(np.ones(3_000_000_000, np.uint8)))
    if deed == "raise":
        raise KeyError("a key\nthat is missing")
    if deed == "refuse":
        raise UnreadableFile("deed: found refuse, expected fine")
    return deed.upper()


def loaded_modules(_: int) -> list[str]:
    import medimg.images.prepare  # noqa: F401 - what a worker really loads

    return sorted(sys.modules)


def test_results_come_in_the_order_of_the_items():
    assert list(guarded_map(double, range(1000), workers=2)) == [
        (number, 2 * number) for number in range(1000)
    ]


def test_items_are_drawn_as_they_are_needed():
    drawn = []
    results = guarded_map(double, (drawn.append(number) or number for number in range(100_000)), workers=1)
    assert next(results) == (0, 0)
    results.close()
    assert len(drawn) < 1000


@pytest.mark.parametrize("deed", ["hang", "die", "exit", "memory", "raise", "refuse"])
def test_a_misbehaving_item_becomes_one_error_and_its_neighbours_are_fine(deed):
    items = [f"fine{number}" for number in range(40)]
    items[23] = deed
    outcomes = dict(guarded_map(misbehave, items, workers=2, limits=Limits(seconds=2)))
    assert list(outcomes) == items
    assert isinstance(outcomes.pop(deed), UnreadableFile)
    assert all(outcomes[item] == item.upper() for item in outcomes)


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        ("hang", "hang: took longer than 1 seconds of processor time"),
        ("die", "die: the process that read it died .exit code -11."),
        ("memory", "memory: needs more memory"),
        ("raise", "raise: KeyError: 'a key.*missing'"),
        ("refuse", "deed: found refuse"),
    ],
)
def test_the_reason_names_the_item_and_what_happened(deed, message):
    ((_, error),) = guarded_map(misbehave, [deed], workers=1, limits=Limits(seconds=1))
    with pytest.raises(UnreadableFile, match=f"^{message}"):
        raise error


def test_an_item_that_waits_for_its_turn_on_a_busy_machine_is_fine():
    outcomes = list(guarded_map(misbehave, ["wait"], workers=1, limits=Limits(seconds=0.25)))
    assert outcomes == [("wait", "WAIT")]


def test_an_item_that_never_ends_is_an_error_though_it_takes_no_processor(monkeypatch):
    monkeypatch.setattr(safety, "IDLE_FACTOR", 0.5)
    ((_, error),) = guarded_map(misbehave, ["wait"], workers=1, limits=Limits(seconds=1))
    assert str(error) == "wait: did not end within 0.5 seconds"


def test_progress_counts_every_item():
    counts = []
    list(guarded_map(double, range(50), workers=1, progress=counts.append))
    assert counts == list(range(1, 51))


def test_a_child_does_not_load_tensorflow():
    ((_, modules),) = guarded_map(loaded_modules, [0], workers=1)
    assert "pydicom" in modules
    assert not {"tensorflow", "tfx", "apache_beam"} & set(modules)


def test_no_workers_is_wrong_use():
    with pytest.raises(UsageError, match=r"workers: found 0, expected 1 or more"):
        list(guarded_map(double, [1], workers=0))


def test_a_bomb_is_inflated_to_its_limit_only():
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = squeeze.compress(bytes(100_000_000)) + squeeze.flush()
    with pytest.raises(ValueError, match=r"inflates to more than 1000000 bytes"):
        inflate(io.BytesIO(bomb), limit_bytes=1_000_000)


def test_every_malformed_file_is_read_or_refused(shared_data):
    folder = shared_data / "malformed"
    files = sorted(path.name for path in folder.iterdir())
    outcomes = list(guarded_map(partial(scan_file, root=str(folder)), files, workers=2, limits=Limits()))
    assert [name for name, _ in outcomes] == files
    refused = {name: str(outcome) for name, outcome in outcomes if isinstance(outcome, UnreadableFile)}
    read = [name for name, outcome in outcomes if name not in refused and outcome is not None]
    assert len(read) + len(refused) == len(files)
    assert "pwnlab_v3__baseline__BASELINE_valid_ct.dcm" in read
    for name, reason in refused.items():
        assert reason.startswith(f"{name}: ")
        assert "\n" not in reason
        assert not any(word in reason for word in ("took longer", "died", "needs more memory"))


def test_a_hostile_header_does_not_stop_a_run(tmp_path):
    pixels = np.zeros((4, 4), np.uint8)
    write_dicom(tmp_path / "a.dcm", pixels)
    write_dicom(tmp_path / "b.dcm", pixels, Rows=65535, Columns=65535)
    write_dicom(tmp_path / "c.dcm", pixels)
    outcomes = dict(
        guarded_map(partial(scan_file, root=str(tmp_path)), ["a.dcm", "b.dcm", "c.dcm"], workers=1)
    )
    assert isinstance(outcomes["b.dcm"], UnreadableFile)
    assert outcomes["a.dcm"].pixel_hash == outcomes["c.dcm"].pixel_hash
