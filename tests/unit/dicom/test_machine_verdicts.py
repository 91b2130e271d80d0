"""What a busy or small machine does to a reader is no verdict on the file."""

import functools
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from medimg.catalogue.index import scan
from medimg.dicom.safety import Limits, allow_pixels, guarded_map
from medimg.errors import OutOfMeans, UnreadableFile
from medimg.images.scan import scan_file
from tests.unit.dicom.written import write_dicom


def misbehave_once(item: str, *, folder: Path) -> str:
    """Fails the first time that an item is read, as on a machine that is short of something."""
    seen = folder / f"{item}.seen"
    if item.startswith("fine") or seen.exists():
        return item.upper()
    seen.touch()
    if item == "memory":
        raise MemoryError
    if item == "hang":
        while True:
            pass
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


@pytest.mark.parametrize("deed", ["memory", "hang", "die"])
@pytest.mark.parametrize("place", [0, 7, 19])
def test_what_fails_once_is_read_once_more(tmp_path, deed, place):
    items = [f"fine{number}" for number in range(20)]
    items[place] = deed
    read = functools.partial(misbehave_once, folder=tmp_path)
    assert list(guarded_map(read, items, workers=2, limits=Limits(seconds=1))) == [
        (item, item.upper()) for item in items
    ]


def note_and_die(item: str, *, folder: Path) -> str:
    """Writes down when it begins and ends; "die" takes its process along."""
    with (folder / "log").open("a") as log:
        log.write(f"{item} begins\n")
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    with (folder / "log").open("a") as log:
        log.write(f"{item} ends\n")
    return item


def test_the_second_reading_is_alone(tmp_path):
    items = ["a", "die", *(f"b{number}" for number in range(12))]
    outcomes = dict(guarded_map(functools.partial(note_and_die, folder=tmp_path), items, workers=2))
    assert isinstance(outcomes["die"], OutOfMeans)
    log = (tmp_path / "log").read_text().split("\n")
    last = len(log) - 1 - log[::-1].index("die begins")
    assert log.count("die begins") > 1
    begun, ended = (
        {line.split()[0] for line in log[:last] if line.endswith(word)} for word in ("begins", "ends")
    )
    assert begun - ended == {"die"}


def burn(seconds: float, *, pixels: int) -> float:
    """Takes processor time for a file that declares so many pixels."""
    allow_pixels(pixels, limits=Limits(seconds_per_megapixel=1))
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return seconds


@pytest.mark.parametrize(("pixels", "passes"), [(0, False), (3_000_000, True)])
def test_time_is_in_proportion_to_the_declared_pixels(pixels, passes):
    ((_, result),) = guarded_map(
        functools.partial(burn, pixels=pixels), [1.5], workers=1, limits=Limits(seconds=0.5)
    )
    assert (result == 1.5) is passes
    assert isinstance(result, OutOfMeans) is not passes


def test_more_time_is_given_to_an_item_alone():
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    allow_pixels(1_000_000)
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


def test_a_verdict_on_the_machine_is_not_remembered(tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    write_dicom(data / "a.dcm", np.ones((20, 20), np.uint8))
    (data / "b.dcm").write_bytes(b"no image")

    def fail(function, items, **_):
        return [
            (item, OutOfMeans(f"{item}: took longer") if item == "a.dcm" else function(item))
            for item in items
        ]

    def read_safely(item: str, **named):
        try:
            return scan_file(item, **named)
        except UnreadableFile as error:
            return error

    with monkeypatch.context() as patched:
        patched.setattr("medimg.catalogue.index.guarded_map", fail)
        patched.setattr("medimg.catalogue.index.scan_file", read_safely)
        first = scan(data, index_path=tmp_path / "index.parquet", workers=1)
    assert [one.path for one in first.quarantined] == ["a.dcm", "b.dcm"]
    again = scan(data, index_path=tmp_path / "index.parquet", workers=1)
    assert [header.path for header in again.headers] == ["a.dcm"]
    assert again.read == 1


def test_of_many_frames_three_are_decoded_and_all_are_counted(tmp_path):
    frames = [np.full((8, 8), number, np.uint8) for number in range(9)]
    frames[4][0] = 77
    path = write_dicom(tmp_path / "a.dcm", *frames, syntax="1.2.840.10008.1.2.5")
    native = write_dicom(tmp_path / "b.dcm", *frames)
    assert (
        scan_file("a.dcm", root=str(tmp_path)).pixel_hash == scan_file("b.dcm", root=str(tmp_path)).pixel_hash
    )
    for changed, differs in ((0, True), (1, False), (4, True), (8, True)):
        others = list(frames)
        others[changed] = np.full((8, 8), 200, np.uint8)
        write_dicom(native, *others)
        found = scan_file("b.dcm", root=str(tmp_path)).pixel_hash
        assert (found != scan_file("a.dcm", root=str(tmp_path)).pixel_hash) is differs
    damaged = path.read_bytes()
    (tmp_path / "c.dcm").write_bytes(damaged[: len(damaged) - 40])
    with pytest.raises(UnreadableFile):
        scan_file("c.dcm", root=str(tmp_path))
