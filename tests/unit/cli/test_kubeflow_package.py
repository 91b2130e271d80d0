"""PyPI's `kubeflow` beside ours: a package of that name with its metadata stands in for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
COMMANDS = {
    "compile": (
        "compile",
        "none",
        "--image",
        "registry.example/medimg",
        "--root",
        "minio://bucket",
        "--to",
        "spec.yaml",
    ),
    "run-spec": ("run-spec", "none.yaml", "--to", "out"),
}
# An editable install finds our modules in a foreign package, too; a wheel or a path file does not.
START = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
from cli.app import main
main()
"""


@pytest.fixture
def sdk(tmp_path: Path) -> Path:
    """A folder with PyPI's kubeflow 0.5.0 as pip would leave it."""
    for name, text in (
        ("kubeflow/__init__.py", ""),
        ("kubeflow-0.5.0.dist-info/METADATA", "Name: kubeflow\nVersion: 0.5.0\n"),
    ):
        path = tmp_path / "site-packages" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return tmp_path / "site-packages"


def start(*words: str, path: tuple[Path, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-c", START, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_sdk_that_hides_our_package_ends_the_command_in_one_line(tmp_path, sdk, name):
    answer = start(*COMMANDS[name], path=(sdk, REPOSITORY), folder=tmp_path)
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith("error: PyPI's package kubeflow 0.5.0 hides medimg's own")
    assert "pip uninstall kubeflow" in answer.stderr


def test_an_sdk_beside_our_package_is_warned_of_in_one_line(tmp_path, sdk):
    answer = start(*COMMANDS["run-spec"], path=(REPOSITORY, sdk), folder=tmp_path)
    warning, error = answer.stderr.splitlines()
    assert warning.startswith("warning: PyPI's package kubeflow 0.5.0 ")
    assert "pip uninstall kubeflow" in warning
    assert error.startswith("error: none.yaml")


def test_without_the_sdk_nothing_is_said_of_it(tmp_path):
    answer = start(*COMMANDS["run-spec"], path=(REPOSITORY,), folder=tmp_path)
    assert "kubeflow 0" not in answer.stderr
    assert answer.stderr.startswith("error: none.yaml")
