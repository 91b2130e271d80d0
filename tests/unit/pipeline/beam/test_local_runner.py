"""The local runner hands over every element of a bundle longer than Beam's timer; no stream has a timer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import data_plane

from medimg.errors import MedimgError
from pipeline.beam.flags import LOCAL_RUNNER

BEAMS_OWN = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
TIMED = "TimeBasedBufferingClosableOutputStream"
BUNDLE_SECONDS, ELEMENTS = 1.5, 300


class Slow(beam.DoFn):
    """Takes longer for a bundle than Beam's timer, a second; yields all the while."""

    def process(self, _: int) -> Iterator[tuple[int, bytes]]:
        for number in range(ELEMENTS):
            time.sleep(BUNDLE_SECONDS / ELEMENTS)
            yield number % 7, b"x" * 1000


def write_count(counts: list[int], path: str) -> None:
    Path(path).write_text(str(sum(counts)))


def count_elements(runner: str, path: Path, *, mode: str) -> int:
    """The number of elements that arrive of two bundles."""
    flags = [f"--runner={runner}", f"--direct_running_mode={mode}", "--direct_num_workers=2"]
    with beam.Pipeline(argv=flags) as pipeline:
        groups = pipeline | beam.Create([0, 1]) | beam.Reshuffle() | beam.ParDo(Slow()) | beam.GroupByKey()
        counts = groups | beam.MapTuple(lambda _, values: sum(1 for _ in values)) | beam.combiners.ToList()
        _ = counts | "Write" >> beam.Map(write_count, str(path))
    return int(path.read_text())


@pytest.fixture
def streams(monkeypatch) -> list[str]:
    """Lists the kinds of streams made from here on; a timer's flush is slow, as on a busy machine."""
    monkeypatch.setattr(worker_handlers, "DATA_BUFFER_TIME_LIMIT_MS", 1000)
    made: list[str] = []
    create = data_plane.ClosableOutputStream.create

    def record(
        close: Callable[[bytes], None], flush: Callable[[bytes], None], limit: int
    ) -> data_plane.ClosableOutputStream:
        def hand_over(buffer: bytes) -> None:
            if limit:
                time.sleep(0.2)
            flush(buffer)

        stream = create(close, hand_over, limit)
        made.append(type(stream).__name__)
        return stream

    monkeypatch.setattr(data_plane.ClosableOutputStream, "create", staticmethod(record))
    return made


@pytest.mark.parametrize("mode", ["multi_threading", "multi_processing"])
def test_every_element_of_a_long_bundle_arrives_and_no_stream_has_a_timer(mode, streams, tmp_path):
    assert count_elements(LOCAL_RUNNER, tmp_path / "count", mode=mode) == 2 * ELEMENTS
    assert streams
    assert TIMED not in streams


def test_beams_own_runner_has_a_timer_and_loses_elements(streams, tmp_path):
    """If this fails, Beam has been mended: docs/decisions/0013 says what is then to do."""
    assert count_elements(BEAMS_OWN, tmp_path / "count", mode="multi_threading") < 2 * ELEMENTS
    assert TIMED in streams


def test_a_beam_without_the_constant_is_refused(monkeypatch, tmp_path):
    monkeypatch.delattr(worker_handlers, "DATA_BUFFER_TIME_LIMIT_MS")
    with pytest.raises(
        MedimgError, match=r"apache-beam \S+ has no .*DATA_BUFFER_TIME_LIMIT_MS.*expected 2\.62 to 2\.77"
    ):
        count_elements(LOCAL_RUNNER, tmp_path / "count", mode="in_memory")
