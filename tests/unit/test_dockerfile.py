"""The images: what the Dockerfile promises, and that the small one's lock is enough to fetch.

No container is run here. What the target `fetch` installs is installed into a fresh environment instead, and
works there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest

from tests.unit.catalogue.phantom import Picture, write_picture

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "medimg", "components", "pipeline", "kubeflow", "cli")
PYTHON = (REPOSITORY / ".python-version").read_text().strip()
SERIES = "2.25.99"

INSTALL = """
set -euo pipefail
. setup/uv.sh
find_uv
"$UV" venv --quiet --python "$1" "$2"
"$UV" pip sync --quiet --python "$2" --require-hashes requirements/py310-fetch.lock
"$UV" pip install --quiet --python "$2" --no-deps --no-build-isolation "$3"
"$UV" pip uninstall --quiet --python "$2" setuptools
"""

IMPORT_ALL = """
import importlib, pkgutil, sys
import medimg.archive
names = [module.name for module in pkgutil.walk_packages(medimg.archive.__path__, "medimg.archive.")]
for name in [*names, "cli.fetch"]:
    importlib.import_module(name)
loaded = {name.partition(".")[0] for name in sys.modules}
print(len(names), *sorted(loaded & {"numpy", "pandas", "tensorflow", "tfx", "setuptools"}))
"""


@dataclass
class Stage:
    """One stage of the Dockerfile: its name ("" for none), and its instructions as (keyword, rest)."""

    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, keyword: str) -> list[str]:
        return [rest for found, rest in self.instructions if found == keyword]

    def last(self, keyword: str) -> str:
        return self.all(keyword)[-1]


def read_instructions() -> Iterator[tuple[str, str]]:
    text = "\n".join(
        line
        for line in (REPOSITORY / "Dockerfile").read_text().splitlines()
        if not line.lstrip().startswith("#")
    )
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            keyword, _, rest = line.strip().partition(" ")
            yield keyword.upper(), rest.strip()


def read_stages() -> list[Stage]:
    stages: list[Stage] = []
    for keyword, rest in read_instructions():
        if keyword == "FROM":
            stages.append(Stage(rest.partition(" AS ")[2]))
        elif stages:
            stages[-1].instructions.append((keyword, rest))
    return stages


STAGES = {stage.name: stage for stage in read_stages()}
# What is handed on; the other stages are left behind with all that they know.
IMAGES = ("fetch", "run", "gpu")
PARENTS = {
    name: rest.partition(" AS ")[0]
    for keyword, rest in read_instructions()
    if keyword == "FROM"
    for name in [rest.partition(" AS ")[2]]
}
PLATFORMS = ("py310", "py313")


def lineage(name: str) -> list[Stage]:
    """The stages that an image is made of, the base first."""
    return [*lineage(PARENTS[name]), STAGES[name]] if name in STAGES else []


def all_of(name: str, keyword: str) -> list[str]:
    return [rest for stage in lineage(name) for rest in stage.all(keyword)]


def test_without_a_target_the_image_of_the_pipeline_is_built():
    assert read_stages()[-1] == Stage("")
    assert PARENTS[""] == "run"


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_the_command_under_any_user_but_not_as_root_by_default(name):
    assert [json.loads(entry) for entry in all_of(name, "ENTRYPOINT")] == [["medimg"]]
    # A number, because a cluster that refuses root cannot know who a name is.
    assert all_of(name, "USER") == ["1000:1000"]
    assert any("HOME=/tmp" in line for line in all_of(name, "ENV"))
    (folder,) = all_of(name, "WORKDIR")
    assert any(re.search(rf"mkdir --mode 1777 .*{folder}\b", command) for command in all_of(name, "RUN"))


def test_the_fetch_image_keeps_data_in_a_volume():
    assert STAGES["fetch"].last("VOLUME") == STAGES["fetch"].last("WORKDIR") == "/data"


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_tries_its_command_while_it_is_built(name):
    assert STAGES[name].last("RUN").startswith("medimg ")


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_takes_packages_and_sources_from_the_build_and_installs_nothing_itself(name):
    packages = {"fetch": "fetch-packages", "run": "packages", "gpu": "gpu-packages"}[name]
    assert all_of(name, "COPY") == [
        f"--from={packages} /opt/venv /opt/venv",
        "--from=sources /opt/medimg /opt/medimg",
    ]
    assert not [command for command in all_of(name, "RUN") if "install" in command or "apt-get" in command]
    assert all_of(name, "ARG") == []


def test_every_package_comes_from_a_lock_with_hashes():
    installs = [
        command
        for stage in STAGES.values()
        for command in stage.all("RUN")
        if "$INSTALL" in command or "pip install" in command
    ]
    assert len(installs) == 4
    assert [command for command in installs if "--require-hashes" not in command] == [
        "$INSTALL --target /opt/medimg ."
    ]
    assert any("--no-deps --no-build-isolation" in line for line in STAGES["tools"].all("ENV"))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_build_for_each_platform_finds_its_locks(platform):
    text = (
        "\n".join(rest for _, rest in read_instructions())
        .replace("${PLATFORM}", platform)
        .replace("$PLATFORM", platform)
    )
    locks = set(re.findall(r"requirements/[\w-]+\.lock", text.replace("$extra", "volumes")))
    assert locks == {f"requirements/{platform}{part}.lock" for part in ("", "-fetch", "-volumes", "-gpu")}
    assert all((REPOSITORY / lock).is_file() for lock in locks)


def test_no_instruction_names_a_host_or_a_secret():
    for keyword, rest in read_instructions():
        if (keyword, rest) != (
            "ARG",
            "PIP_INDEX_URL",
        ):  # Known to build stages only, and without a value of ours.
            assert not re.search(
                r"://|index|token|password|secret|credential|netrc|pip\.conf|_proxy", rest, re.IGNORECASE
            ), f"{keyword} {rest}"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_the_images_copy_is_in_the_repository_and_in_the_build_context(platform):
    context = {
        line.removeprefix("!")
        for line in (REPOSITORY / ".dockerignore").read_text().split()
        if line.startswith("!")
    }
    for stage in STAGES.values():
        for copied in stage.all("COPY"):
            for source in (
                copied.replace("${PLATFORM}", platform).split()[:-1]
                if not copied.startswith("--from")
                else ()
            ):
                assert list(REPOSITORY.glob(source))
                assert {source, source.partition("/")[0]} & context


# The fetch lock, installed as the image installs it


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an environment that holds what the image holds."""
    if sys.version_info[:2] != tuple(map(int, PYTHON.split("."))):
        pytest.skip(f"the lock is for Python {PYTHON}, this is {sys.version.partition(' ')[0]}")
    folder = tmp_path_factory.mktemp("image")
    (folder / "src").mkdir()
    for name in SOURCES:
        source = REPOSITORY / name
        shutil.copytree(
            source, folder / "src" / name, ignore=shutil.ignore_patterns("__pycache__")
        ) if source.is_dir() else shutil.copy(source, folder / "src" / name)
    arguments = [sys.executable, str(folder / "venv"), str(folder / "src")]
    answer = subprocess.run(
        ["bash", "-c", INSTALL, "install", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return folder / "venv" / "bin"


def run(*command: str | Path, folder: Path) -> str:
    """What a program prints on stdout; it sees neither this repository nor this environment."""
    environment = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ} | {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
    }
    answer = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.slow
def test_the_fetch_lock_is_enough_for_everything_that_fetches(programs, tmp_path):
    assert "--dry-run" in run(programs / "medimg", "fetch", "--help", folder=tmp_path)
    count, *needless = run(programs / "python", "-c", IMPORT_ALL, folder=tmp_path).split()
    # Each module and each package below, but not medimg.archive itself.
    assert int(count) == len(list((REPOSITORY / "medimg/archive").rglob("*.py"))) - 1
    assert needless == []


@pytest.mark.slow
def test_the_fetch_lock_is_enough_to_plan_fetch_and_verify(programs, tmp_path):
    for number in (1, 2):
        path = tmp_path / "stick" / f"{number}.dcm"
        write_picture(path, Picture("P1", "CC", look=number, uid=f"2.25.{number}"))
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = SERIES, "2.25.98"
        dataset.save_as(path)
    run(programs / "medimg", "fetch", "folder", "--from", "stick", "--to", "data", folder=tmp_path)
    assert sorted(path.name for path in (tmp_path / "data" / SERIES).iterdir()) == [
        "2.25.1.dcm",
        "2.25.2.dcm",
    ]
    run(programs / "medimg", "fetch", "folder", "--to", "data", "--verify", folder=tmp_path)
    assert "CC BY 4.0" in run(
        programs / "medimg", "fetch", "cmmd", "--to", "plan", "--patients", "40", "--dry-run", folder=tmp_path
    )
