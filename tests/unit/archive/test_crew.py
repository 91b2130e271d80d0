"""Files come several at a time, of one series as of many, and in any order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from medimg.archive.crew import Crew, as_they_come
from medimg.archive.source import Arrived, Series
from medimg.archive.sources.idc import IdcSource
from medimg.archive.transport.errors import Interrupted
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.transfer import Transfer
from tests.fakes.loopback import Answer, LoopbackServer
from tests.fakes.pacs import FILE, Pacs, connect, element, paged

AT_ONCE = 4
PATIENCE_SECONDS = 60
KEY = "00000000-0000-4000-8000-{:012d}"


@pytest.fixture
def crew() -> Iterator[Crew]:
    with Crew(workers=AT_ONCE, stop=threading.Event()) as made:
        yield made


class Bucket(LoopbackServer):
    """A series whose files are answered only when four of them are asked for at once."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._keys = [f"{KEY.format(0)}/{KEY.format(number)}.dcm" for number in range(count)]
        self._barrier = threading.Barrier(AT_ONCE, timeout=PATIENCE_SECONDS)

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        if "list-type" not in query:
            self._barrier.wait()
            return Answer(path.encode())
        items = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(key) + len('/bucket/')}</Size><ETag>x</ETag></Contents>"
            for key in self._keys
        )
        page = f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>"
        return Answer(page.encode())


def test_files_of_one_series_of_a_bucket_are_asked_for_at_once(tmp_path: Path, crew: Crew) -> None:
    with Bucket(3 * AT_ONCE) as server:
        source = IdcSource(Transfer(Access((server.url,)), parts=tmp_path), address=server.url)
        arriving = source.fetch_series(
            Series("1.2", key=KEY.format(0), bucket="bucket"), have={}, at_once=crew.bring
        )
        assert len({arrived.url for arrived in arriving}) == 3 * AT_ONCE


def test_instances_of_one_series_of_a_pacs_are_asked_for_at_once(tmp_path: Path, crew: Crew) -> None:
    rows = [{"00080018": element(f"1.2.3.{number}")} for number in range(3 * AT_ONCE)]
    barrier = threading.Barrier(AT_ONCE, timeout=PATIENCE_SECONDS)

    def respond(path: str, query: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        if path.endswith("/instances"):
            return paged(rows, cap=100)(path, query)
        barrier.wait()
        return 200, {"Content-Type": "application/dicom"}, FILE

    with Pacs().serve(respond) as pacs:
        series = Series("1.2.3", study_uid="1.2")
        arriving = connect(pacs, tmp_path).fetch_series(series, have={}, at_once=crew.bring)
        assert len({arrived.sop_uid for arrived in arriving}) == 3 * AT_ONCE


def number_of(number: int) -> Callable[[], int]:
    return partial(int, number)


def fail() -> int:
    raise ValueError("broken")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(AT_ONCE) as made:
        yield made


def test_what_is_quick_does_not_wait_for_what_is_slow(pool: ThreadPoolExecutor) -> None:
    last = threading.Event()

    def slow() -> int:
        assert last.wait(PATIENCE_SECONDS)
        return -1

    found = []
    for number in as_they_come(pool, [slow, *map(number_of, range(20))], ahead=2, stop=threading.Event()):
        found.append(number)
        if number == 19:
            last.set()
    assert found == [*range(20), -1]


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_no_more_jobs_are_asked_for_than_may_be_ahead(pool: ThreadPoolExecutor, ahead: int) -> None:
    asked: list[int] = []

    def ask() -> Iterator[Callable[[], int]]:
        for number in range(10):
            asked.append(number)
            yield number_of(number)

    arriving = as_they_come(pool, ask(), ahead=ahead, stop=threading.Event())
    for count, _ in enumerate(arriving, start=1):
        assert len(asked) <= count - 1 + ahead
    assert asked == list(range(10))


def test_what_was_under_way_when_one_failed_is_handed_over_before_the_failure_is_raised(
    pool: ThreadPoolExecutor,
) -> None:
    failed = threading.Event()

    def slow() -> int:
        assert failed.wait(PATIENCE_SECONDS)
        return 7

    def fail_first() -> int:
        failed.set()
        return fail()

    never = [partial(pytest.fail, "begun after a failure")] * 3
    arriving = as_they_come(pool, [slow, fail_first, *never], ahead=2, stop=threading.Event())
    assert next(arriving) == 7
    with pytest.raises(ValueError, match="broken"):
        next(arriving)


def test_a_list_that_breaks_off_is_a_failure_after_what_was_begun(pool: ThreadPoolExecutor) -> None:
    def break_off() -> Iterator[Callable[[], int]]:
        yield number_of(3)
        raise ValueError("the list broke off")

    arriving = as_they_come(pool, break_off(), ahead=2, stop=threading.Event())
    assert next(arriving) == 3
    with pytest.raises(ValueError, match="the list broke off"):
        next(arriving)


def test_after_a_stop_nothing_is_begun_and_what_came_is_handed_over(pool: ThreadPoolExecutor) -> None:
    stop = threading.Event()

    def last() -> int:
        stop.set()
        return 1

    never = [partial(pytest.fail, "begun after a stop")] * 3
    arriving = as_they_come(pool, [last, *never], ahead=1, stop=stop)
    assert next(arriving) == 1
    with pytest.raises(Interrupted):
        next(arriving)


def test_files_that_wait_for_a_thread_are_not_begun_after_a_stop() -> None:
    stop, begun = threading.Event(), []

    def bring(number: int) -> Arrived:
        begun.append(number)
        stop.set()
        return Arrived(Path(), url=str(number), bytes=0, md5="", sha256="")

    with Crew(workers=1, stop=stop) as crew, ThreadPoolExecutor(2) as two:
        jobs = [[partial(bring, 2 * series + number) for number in range(2)] for series in range(2)]
        results = [two.submit(lambda some: list(crew.bring(some)), some) for some in jobs]
        assert all(isinstance(one.exception(PATIENCE_SECONDS), Interrupted) for one in results)
    assert len(begun) == 1


def test_who_leaves_early_waits_for_what_is_under_way(pool: ThreadPoolExecutor) -> None:
    begun, left, ended = threading.Event(), threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert left.wait(PATIENCE_SECONDS)
        ended.set()
        return 0

    arriving = as_they_come(pool, [number_of(1), slow], ahead=2, stop=threading.Event())
    assert next(arriving) == 1
    assert begun.wait(PATIENCE_SECONDS)
    threading.Timer(0.2, left.set).start()
    arriving.close()
    assert ended.is_set()
