"""The README is true: its commands run as written, its targets and links exist. So are the examples in the commands' own help.

Every line that starts with `medimg` in a ```bash block is run, in order, in one folder, on fewer patients and a smaller network than by default.
A block that follows a line `<!-- not run: reason -->` (it needs a download, say) is only parsed.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli import EXIT_NOT_BLESSED, app
from tests.e2e.conftest import TINY

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
BLOCK = re.compile(r"(?P<before>[^\n]*)\n+```bash\n(?P<body>.*?)```", re.DOTALL)
SMALLER = {
    "demo": ["--patients", "60"],
    "phantom": ["--cases", "60"],
    "run": [part for item in TINY for part in ("--set", item)],
}
COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def list_commands(*, to_run: bool) -> Iterator[list[str]]:
    """Yields the words after `medimg` of each command in the README's blocks; those marked `not run` only if to_run is False."""
    for block in BLOCK.finditer(README.read_text()):
        if to_run and block["before"].startswith("<!-- not run:"):
            continue
        for line in block["body"].replace("\\\n", " ").splitlines():
            if line.startswith("medimg "):
                yield shlex.split(line, comments=True)[1:]


def parse(words: list[str]) -> None:
    """Raises click.UsageError for a command or option that there is not; runs nothing."""
    if words != ["--help"]:
        COMMANDS[words[0]].make_context(words[0], list(words[1:]))


@pytest.mark.e2e
@pytest.mark.slow
def test_the_commands_of_the_readme_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = list(list_commands(to_run=True))
    assert commands, "the README shows no command"
    for words in commands:
        result = CliRunner().invoke(app, [*words, *SMALLER.get(words[0], [])])
        # The small network need not pass the gates of the real one.
        accepted = {0, EXIT_NOT_BLESSED} if words[0] in ("demo", "run") else {0}
        assert result.exit_code in accepted, f"medimg {shlex.join(words)}: {result.exception!r}\n{result.output}"


def test_the_commands_of_the_readme_are_spelled_right():
    for words in list_commands(to_run=False):
        parse(words)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_that_is_spelled_right(name):
    examples = re.findall(r"Example: (medimg .*)", COMMANDS[name].help or "")
    assert examples
    for example in examples:
        words = shlex.split(example)[1:]
        assert words[0] == name
        parse(words)


def test_the_make_targets_of_the_readme_exist():
    named = set(re.findall(r"`?\bmake ([a-z]+)`", README.read_text())) | set(re.findall(r"^make ([a-z]+)", README.read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named
    for target in sorted(named):
        result = subprocess.run(["make", "--dry-run", target], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def test_the_links_of_the_readme_lead_somewhere():
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", README.read_text()):
        assert (REPOSITORY / link).exists(), link
