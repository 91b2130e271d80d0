"""The package without its sources: the README's commands install it, its demo runs where no checkout is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
BLOCK = re.compile(r"\n## As a package\n.*?```bash\n(.*?)```", re.DOTALL)
LITTER = shutil.ignore_patterns(".*", "__pycache__", "build", "demo", "runs", "*.egg-info")


def read_commands() -> list[str]:
    """Returns the lines of the README's block, for the Python that runs here."""
    block = BLOCK.search((REPOSITORY / "README.md").read_text())
    assert block, "the README does not say how to install the wheel"
    return block[1].replace("3.10", HERE).replace("py310", f"py{HERE.replace('.', '')}").splitlines()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody with pythonX.Y on the PATH and nothing of ours."""
    ours = {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"}
    python = tmp_path / "programs" / f"python{HERE}"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys._base_executable}" "$@"\n')  # type: ignore[attr-defined]
    python.chmod(0o755)
    # A private uv of the checkout is as good as one on the PATH.
    path = f"{python.parent}:{REPOSITORY / '.uv/bin'}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    # Compiling what is never imported would take half a minute.
    return {**kept, "PATH": path, "PIP_NO_COMPILE": "1"}


def run(command: str, *, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = ["bash", "-euo", "pipefail", "-c", command]
    return subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_installed_wheel_runs_the_demo_without_the_sources(tmp_path, environment):
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    shutil.copytree(REPOSITORY, tree, symlinks=True, ignore=LITTER)
    outside.mkdir()
    *installing, demo = read_commands()
    answer = run("\n".join(installing), folder=tree, environment=environment)
    assert answer.returncode == 0, answer.stderr
    assert (
        "looking at multiple versions" not in answer.stdout + answer.stderr
    )  # pip's words for backtracking.
    for name in ("medimg", "components", "pipeline", "kubeflow", "cli", "schema", "docs", "requirements"):
        shutil.rmtree(tree / name)
    code = "import medimg, pathlib; print(pathlib.Path(medimg.__file__).parent)"
    where = run(f'{tree}/venv/bin/python -c "{code}"', folder=outside, environment=environment).stdout
    assert Path(where.strip()).is_relative_to(tree / "venv")
    answer = run(f"{tree}/{demo}", folder=outside, environment=environment)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.splitlines()[-2:] == ["BLESSED", "report: demo/run/report/report.html"]
    assert (outside / "demo/run/report/report.html").is_file()
