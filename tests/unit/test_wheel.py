"""The wheel holds what git has below the packages, the schemas, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import medimg

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("medimg", "components", "pipeline", "kubeflow", "cli")
# Without isolation, which would fetch setuptools: `make wheel` (tests/e2e/test_wheel.py) does so.
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy: setuptools leaves files behind."""
    tree, to = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in (*PACKAGES, "schema", "tests"):
        shutil.copytree(REPOSITORY / name, tree / name, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tree)
    subprocess.run([sys.executable, "-c", BUILD, to], cwd=tree, check=True, capture_output=True)
    return zipfile.ZipFile(next(to.glob("*.whl")))


def list_contents(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


def list_tracked(*folders: str) -> set[str]:
    """The files that git knows or would take, links left out."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip(f"not a git repository: {answer.stderr.strip()}")
    names = answer.stdout.split("\0")
    return {name for name in names if (REPOSITORY / name).is_file() and not (REPOSITORY / name).is_symlink()}


def test_the_wheel_holds_what_git_has_and_the_schemas(wheel):
    schemas = {f"pipeline/schemas/{Path(name).name}" for name in list_tracked("schema")}
    assert len(schemas) >= 4
    assert list_contents(wheel) == list_tracked(*PACKAGES) | schemas


def test_the_wheel_adds_no_top_level_name_but_the_packages(wheel):
    assert {name.partition("/")[0] for name in list_contents(wheel)} == set(PACKAGES)


def test_each_package_is_marked_as_typed(wheel):
    assert {f"{package}/py.typed" for package in PACKAGES} <= list_contents(wheel)


def test_a_schema_in_the_wheel_is_the_one_of_the_repository(wheel):
    assert wheel.read("pipeline/schemas/cmmd.pbtxt") == (REPOSITORY / "schema/cmmd.pbtxt").read_bytes()


def test_a_script_in_the_wheel_may_be_executed(wheel):
    assert wheel.getinfo("kubeflow/flink/flink.sh").external_attr >> 16 & 0o111


def test_the_wheel_has_the_version_that_the_code_names(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert Parser().parsestr(wheel.read(name).decode())["Version"] == medimg.__version__
