"""Progress in a log: a line now and then, nothing for what is quick, whole lines only."""

import io
from types import SimpleNamespace

import pytest

from medimg.console import progress
from medimg.console.progress import metering, show_progress
from medimg.console.terminal import WIDEST, make_console, say


@pytest.fixture
def clock(monkeypatch):
    """Seconds, as a list of one, that a test sets."""
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_loop_says_how_far_it_is_every_fifteen_seconds(clock, capsys):
    seen = []
    for number in show_progress(range(10), total=10, title="reading"):
        seen.append(number)
        clock[0] += 5
    assert seen == list(range(10))
    # After 20 and 40 seconds: at 15 none is due yet.
    assert capsys.readouterr().err.splitlines() == ["reading: 5 of 10", "reading: 9 of 10"]


@pytest.mark.parametrize("options", [{"total": 0}, {"total": 10, "shown": False}])
def test_a_loop_that_is_not_shown_says_nothing(clock, capsys, options):
    for _ in show_progress(range(10), title="reading", **options):
        clock[0] += 100
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("size", "of", "files", "of_files"), [(2_000_000, " of 2.0 MB", 1200, " of 1,200"), (None, "", None, "")]
)
def test_files_and_bytes_are_said_with_the_speed_since_the_last_line(
    clock, capsys, size, of, files, of_files
):
    with metering("fetching") as meter:
        meter.expect(size, files=files)
        for seconds, count in ((15, 100_000), (5, 300_000), (10, 0), (10, 600_000)):
            clock[0] += seconds
            meter.count_file()
            meter.advance(count)
        meter.say("a line\nfrom elsewhere\x1b")
    assert capsys.readouterr().err.splitlines() == [
        f"fetching: 2{of_files} files, 400.0 kB{of}, 20.0 kB/s",
        f"fetching: 4{of_files} files, 1.0 MB{of}, 30.0 kB/s",
        "a line\\nfrom elsewhere\\x1b",
    ]


def test_a_log_has_no_width_and_nothing_in_a_line_is_markup():
    console = make_console(file=io.StringIO())
    assert console.width == WIDEST == 1000
    say(console, "[bold]" + "x" * 2000 + "\n1.5 'a'")
    assert console.file.getvalue() == "[bold]" + "x" * 2000 + "\\n1.5 'a'\n"
    assert make_console(file=io.StringIO(), width=40).width == 40
    assert make_console(file=io.StringIO(), force_terminal=True, width=40).width == 40
