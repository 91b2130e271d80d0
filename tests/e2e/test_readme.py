"""The README is true: its commands run as written, its targets and links exist.

So are the examples in the commands' own help.

Every line that starts with `medimg` in a ```bash block is run, in order, in one folder, on fewer patients and
a smaller network than by default; the sections ALONE, which bring data of their own, are run in folders of
their own. A block that follows a line `<!-- not run: reason -->` (it needs a download, say) is only parsed.
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

from cli.app import app
from cli.options import EXIT_NOT_BLESSED
from pipeline.config.overrides import load_config
from tests.e2e.conftest import TINY

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
BLOCK = re.compile(r"(?P<before>[^\n]*)\n+```bash\n(?P<body>.*?)```", re.DOTALL)
ALONE = ("Tissue tiles", "Skin lesions")
SHORT = (
    "training.epochs=1",
    "evaluation.resamples=50",
    "evaluation.explained_cases=1",
    "examples.cases_per_shard=128",
    "model.width=4",
)
CASES = {"cmmd": 60, "ham10000": 49, "tissue": 8}
SETTINGS = {
    "cmmd": TINY,
    "ham10000": (*SHORT, "model.image_size=36,48", "split.ratios=0.6,0.2,0.2"),
    "tissue": (*SHORT, "model.image_size=32,32"),
}
COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def read_part(part: str) -> str:
    """The sections of the README whose heading starts so; for the empty string all but those of ALONE."""
    sections = README.read_text().split("\n## ")
    return "\n## ".join(
        section
        for section in sections
        if (section.startswith(part) if part else not section.startswith(ALONE))
    )


def list_commands(text: str, *, to_run: bool) -> Iterator[list[str]]:
    """Yields the words after `medimg` of each command in the blocks.

    Those marked `not run` only if to_run is False.
    """
    for block in BLOCK.finditer(text):
        if to_run and block["before"].startswith("<!-- not run:"):
            continue
        for line in block["body"].replace("\\\n", " ").splitlines():
            if line.startswith("medimg "):
                yield shlex.split(line, comments=True)[1:]


def list_smaller(words: list[str]) -> list[str]:
    """Options that make a command's data and network small."""
    if words[0] == "demo":
        return ["--patients", "60"]
    if words[0] == "phantom":
        return ["--cases", str(CASES[words[1]])]
    config = words[1] if words[0] == "run" else name_config(words)
    if config:
        return [part for item in SETTINGS[load_config(config).data_set] for part in ("--set", item)]
    return []


def name_config(words: list[str]) -> str:
    """The config that `medimg catalogue` is given; empty for any other command."""
    return words[words.index("--config") + 1] if "--config" in words else ""


def parse(words: list[str]) -> None:
    """Raises click.UsageError for a command or option that there is not; runs nothing."""
    if words != ["--help"]:
        COMMANDS[words[0]].make_context(words[0], list(words[1:]))


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("part", ["", *ALONE])
def test_the_commands_of_the_readme_run_in_order(tmp_path, monkeypatch, part):
    monkeypatch.chdir(tmp_path)
    commands = list(list_commands(read_part(part), to_run=True))
    assert commands, "the README shows no command"
    for words in commands:
        result = CliRunner().invoke(app, [*words, *list_smaller(words)])
        # The small network need not pass the gates of the real one.
        accepted = {0, EXIT_NOT_BLESSED} if words[0] in ("demo", "run") else {0}
        assert result.exit_code in accepted, (
            f"medimg {shlex.join(words)}: {result.exception!r}\n{result.output}"
        )


def test_the_commands_of_the_readme_are_spelled_right():
    for words in list_commands(README.read_text(), to_run=False):
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
    named = set(re.findall(r"`?\bmake ([a-z]+)`", README.read_text())) | set(
        re.findall(r"^make ([a-z]+)", README.read_text(), re.MULTILINE)
    )
    assert {"demo", "test"} <= named
    for target in sorted(named):
        result = subprocess.run(
            ["make", "--dry-run", target], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr


def test_the_links_of_the_readme_lead_somewhere():
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", README.read_text()):
        assert (REPOSITORY / link).exists(), link
