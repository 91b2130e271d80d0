"""One line per component in a log; a status line beside it on a terminal."""

import io
import logging

import pytest
from rich.console import Console
from rich.text import Text

from pipeline.local.component_progress import following

LINES = (
    "Component CatalogueGen is running.",
    "A cached execution 7 is used.",
    "Component CatalogueGen is finished.",
    "Component Trainer is running.",
    "Going to run a new execution 8",
    "Component Trainer is finished.",
)


def follow(tmp_path, console):
    with following(console, count=2, log=tmp_path / "run.log") as progress:
        for line in LINES:
            logging.getLogger("absl").info(line)
    return progress


def test_a_log_gets_one_plain_line_per_component(tmp_path):
    text = io.StringIO()
    follow(tmp_path, Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    assert [line.split()[:2] for line in lines] == [["1/2", "CatalogueGen"], ["2/2", "Trainer"]]
    assert "cached" in lines[0]
    assert "\x1b" not in text.getvalue()


def test_a_terminal_names_the_component_while_it_runs(tmp_path):
    text = io.StringIO()
    follow(tmp_path, Console(file=text, width=80, force_terminal=True))
    assert "Trainer" in text.getvalue().split("CatalogueGen")[-1]
    assert "\x1b" in text.getvalue()


def test_everything_is_in_the_log_file_and_logging_is_as_before(tmp_path):
    before = logging.getLogger().handlers[:], logging.getLogger("absl").handlers[:]
    progress = follow(tmp_path, Console(file=io.StringIO()))
    assert "Going to run a new execution 8" in (tmp_path / "run.log").read_text()
    assert progress.current == "Trainer"
    assert (logging.getLogger().handlers, logging.getLogger("absl").handlers) == before


def fail_in_a_component(tmp_path, console):
    with following(console, count=1, log=tmp_path / "run.log") as progress:
        logging.getLogger("absl").info(LINES[0])
        assert progress.spinner is not None
        raise RuntimeError(progress)


def test_a_failure_takes_the_status_line_away(tmp_path):
    with pytest.raises(RuntimeError) as caught:
        fail_in_a_component(tmp_path, Console(file=io.StringIO(), force_terminal=True))
    assert caught.value.args[0].spinner is None


def test_the_log_leaves_out_the_password_of_the_store(tmp_path):
    with following(
        Console(file=io.StringIO()), count=0, log=tmp_path / "run.log", secret="word-of-the-store"
    ):
        logging.getLogger("absl").info("Using connection config: password: %r", "word-of-the-store")
    assert "password: '***'" in (tmp_path / "run.log").read_text()


def shown_on(progress):
    """What the status line reads, as rich draws it a moment later."""
    return progress.spinner and Text.from_markup(progress.spinner.status).plain


@pytest.mark.parametrize(("name", "shown"), [("medimg", True), ("absl", False), ("medimg.other", False)])
def test_a_terminal_shows_what_our_own_code_reports_beside_the_component(tmp_path, name, shown):
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True)
    with following(terminal, count=1, log=tmp_path / "run.log") as progress:
        logging.getLogger(name).info("epoch [red] 1 of 9")
        assert shown_on(progress) == ("start: epoch [red] 1 of 9" if shown else None)
        logging.getLogger("absl").info(LINES[0])
        assert shown_on(progress) == "CatalogueGen"
        logging.getLogger(name).info("reading [2] of 9")
        assert shown_on(progress) == ("CatalogueGen: reading [2] of 9" if shown else "CatalogueGen")


def test_a_log_shows_no_report_of_our_own_code_and_its_file_does(tmp_path):
    text = io.StringIO()
    with following(Console(file=text, width=80), count=1, log=tmp_path / "run.log"):
        logging.getLogger("medimg").info("epoch 1 of 9")
    assert text.getvalue() == ""
    assert "medimg: epoch 1 of 9" in (tmp_path / "run.log").read_text()


def test_lines_that_end_what_never_began_are_taken_for_nothing(tmp_path):
    text = io.StringIO()
    with following(Console(file=text, width=80), count=1, log=tmp_path / "run.log") as progress:
        for line in LINES[1:3]:
            logging.getLogger("absl").info(line)
    assert (text.getvalue(), progress.steps, progress.current) == ("", [], "start")
