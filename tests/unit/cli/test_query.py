"""`medimg query` fits the terminal: cells fold, wide rows become blocks, a log has whole lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.app import app
from tests.faults.catalogued import catalogue, write_folder

LONG = "a-folder-with-a-long-name/another-folder-with-a-long-name/a-picture-of-a-long-name"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    data = write_folder(tmp_path_factory.mktemp("query") / "data")
    place = data / f"{LONG}.png"
    place.parent.mkdir(parents=True)
    (data / "00.png").rename(place)
    table = data / "labels.csv"
    table.write_text(table.read_text().replace("00.png", f"{LONG}.png"))
    assert catalogue(data).code == 0
    return data.with_name("data.cat")


def ask(made: Path, sql: str) -> list[str]:
    """The printed lines without the codes that make letters bold."""
    result = CliRunner().invoke(app, ["query", str(made), sql])
    assert result.exit_code == 0, result.exception
    return re.sub(r"\x1b\[[0-9;]*m", "", result.stdout).splitlines()


@pytest.fixture
def narrow(monkeypatch):
    """A terminal of 60 letters."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")


def test_long_cells_fold_at_the_width_of_the_terminal_and_lose_nothing(made, narrow):
    lines = ask(made, "SELECT path, status, size FROM images ORDER BY path")
    assert max(map(len, lines)) <= 60
    folded = "".join(line.partition(" ")[0] for line in lines)
    assert f"{LONG}.png" in folded


def test_rows_of_more_columns_than_fit_are_blocks(made, narrow):
    lines = ask(made, "SELECT * FROM images ORDER BY path LIMIT 2")
    assert max(map(len, lines)) <= 60
    assert sum(line.startswith("status ") for line in lines) == 2
    assert any(re.fullmatch(r"case_id +01\.png *", line) for line in lines)


def test_absent_values_are_null_and_markup_is_text(made, narrow):
    lines = ask(made, "SELECT NULL AS nothing, '[red]x[/red]' AS marked, chr(27) AS steering")
    assert lines[2].split() == ["NULL", "[red]x[/red]", "\\x1b"]


def test_a_log_has_one_line_per_row(made):
    lines = ask(made, "SELECT path, status FROM images ORDER BY path")
    assert len(lines) == 13
    assert any(line.split() == [f"{LONG}.png", "used"] for line in lines)
