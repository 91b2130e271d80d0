"""Hostile files cost their own item and nothing else."""

import contextlib
import io
import os
import resource
import signal
import sys
import time
import warnings
import zlib
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from medimg.dicom import safety
from medimg.dicom.safety import Limits, describe, guarded_map, inflate
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


def burn(item: tuple[int, float], *, record: Path) -> int:
    """Uses so many seconds of processor time, and writes down that the item was run."""
    number, seconds = item
    with record.open("a") as runs:
        runs.write(f"{number}\n")
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return number


def meet(name: str, *, folder: Path) -> str:
    """Returns once "read" and "write" run at the same time: opening a pipe waits for its other end."""
    with (folder / "runs").open("a") as runs:
        runs.write(f"{name}\n")
    with (folder / "pipe").open("rb" if name == "read" else "wb"):
        return name


def count_runs(record: Path) -> Counter[str]:
    return Counter(record.read_text().split())


def child_limits(_: int) -> dict[str, object]:
    with warnings.catch_warnings(record=True) as caught:
        # Filters that stand in front of the child's own would hide what it does.
        warnings.warn_explicit("odd value", UserWarning, "dataelem.py", 1, module="pydicom.dataelem")
    return {
        "memory": resource.getrlimit(resource.RLIMIT_AS),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "threads": (os.environ.get("OPENBLAS_NUM_THREADS"), os.environ.get("OMP_NUM_THREADS")),
        "warnings of pydicom": len(caught),
    }


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
def test_a_misbehaving_item_becomes_one_error_and_its_neighbours_are_fine(deed, monkeypatch):
    # A child that leaves with code 0 is missed only after this many times the limit.
    monkeypatch.setattr(safety, "IDLE_FACTOR", 4)
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
        (
            "raise",
            r"raise: reading stopped in tests\.unit\.dicom\.test_safety, line \d+, expected a readable",
        ),
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


def test_items_that_are_slow_together_are_each_run_once_and_in_order(tmp_path):
    # Chunks of 1, 2 and 3 items: the third has used up its eighth of 2 seconds after two of its items, and
    # would be killed during the third of them.
    items = [(number, 0.2) for number in range(6)] + [(number, 0.0) for number in range(6, 12)]
    function = partial(burn, record=tmp_path / "runs")
    outcomes = list(guarded_map(function, items, workers=1, limits=Limits(seconds=2)))
    assert outcomes == [(item, item[0]) for item in items]
    assert count_runs(tmp_path / "runs") == {str(number): 1 for number in range(12)}


def test_an_item_that_is_killed_among_others_has_its_whole_time_when_it_is_alone(tmp_path):
    # 0.8 seconds are over the quarter of 2 that a chunk has, and below what one item has.
    items = [(0, 0.0), (1, 0.0), (2, 0.8), (3, 0.0), (4, 0.0)]
    function = partial(burn, record=tmp_path / "runs")
    outcomes = list(guarded_map(function, items, workers=1, limits=Limits(seconds=2)))
    assert outcomes == [(item, item[0]) for item in items]


def test_two_items_are_run_by_two_children_at_the_same_time(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    function = partial(meet, folder=tmp_path)
    outcomes = list(guarded_map(function, ["read", "write"], workers=2, limits=Limits(seconds=4)))
    assert outcomes == [("read", "read"), ("write", "write")]
    assert count_runs(tmp_path / "runs") == {"read": 1, "write": 1}


def test_no_more_than_some_chunks_of_items_wait_however_many_are_done():
    drawn: list[int] = []
    results = guarded_map(double, (drawn.append(number) or number for number in range(5000)), workers=1)
    with contextlib.closing(results):
        for number, _ in results:
            assert len(drawn) - number <= 5 * safety.CHUNK
            if number == 2500:
                return


def test_a_child_has_the_limits_that_the_caller_asked_for():
    ((_, found),) = guarded_map(child_limits, [0], workers=1, limits=Limits(memory_bytes=1_500_000_000))
    assert found == {
        "memory": (1_500_000_000, 1_500_000_000),
        "core": (0, 0),
        "threads": ("1", "1"),
        "warnings of pydicom": 0,
    }


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


def deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush()


def test_a_bomb_is_inflated_to_its_limit_only():
    with pytest.raises(ValueError, match=r"inflates to more than 1000000 bytes"):
        inflate(io.BytesIO(deflate(bytes(100_000_000))), limit_bytes=1_000_000)


def test_what_inflates_to_the_limit_is_read_and_a_byte_more_is_refused():
    compressed = deflate(b"ab" * 50)
    assert inflate(io.BytesIO(compressed), limit_bytes=100).read() == b"ab" * 50
    with pytest.raises(ValueError, match=r"inflates to more than 99 bytes"):
        inflate(io.BytesIO(compressed), limit_bytes=99)


def test_a_stream_of_many_blocks_is_inflated_whole_from_where_it_stands():
    # Noise is read in several pieces, and zeros come out of one piece in several.
    data = np.random.default_rng(0).bytes(3_000_000) + bytes(10_000_000)
    stream = io.BytesIO(b"head" + deflate(data))
    stream.seek(4)
    assert inflate(stream, limit_bytes=len(data)).read() == data


@pytest.mark.parametrize(
    ("compressed", "message"),
    [
        (b"", "ends too early"),
        (deflate(b"some text")[:-1], "ends too early"),
        (b"\xff" * 20, r"is damaged .*, expected a deflate stream"),
    ],
)
def test_a_stream_that_is_cut_short_or_damaged_is_refused(compressed, message):
    with pytest.raises(ValueError, match=message):
        inflate(io.BytesIO(compressed), limit_bytes=100)


def test_of_an_unexpected_error_it_is_said_where_it_arose_and_none_of_its_words():
    try:
        int("Doe^Jane")
    except ValueError as error:
        said = describe(error)
    assert said.startswith(f"reading stopped in {__name__}, line ")
    assert "Jane" not in said
    assert describe(KeyError("Doe^Jane")) == "reading stopped in an unknown place"


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
