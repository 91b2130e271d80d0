"""Checks the locks in requirements/ against pyproject.toml, without a network.

Each platform, py310 and py313, has its own. A lock has a hash for every package and names no index host; it
holds a version of everything that pyproject.toml asks for; the lock of an extra and the core's name the same
version of a package that both hold. The lock of the small image that only fetches holds a part of the core's.
For those who install the wheel, requirements/constraints-<platform>.txt holds the versions of the locks of
the core and of all extras without the hashes.
The PyPI package `kubeflow`, which would hide ours, is not installed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYTHON_VERSIONS = {"py310": "3.10", "py313": "3.13"}
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)(?: ;[^\\]*)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def read_lock(path: Path) -> dict[str, str]:
    """Returns the locked version by canonical name.

    Raises ValueError for a line that is neither a pinned version nor a sha256.
    """
    pins: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if pin := PIN.match(line):
            pins[canonicalize_name(pin[1])] = pin[2]
        elif not HASH.match(line) and line.strip():
            raise ValueError(
                f"{path.name}, line {number}: found {line.strip()!r}, "
                "expected a pinned version and its hashes, and no index or address"
            )
    return pins


def list_unmet(requirements: list[str], *, pins: dict[str, str], lock: str, python: str) -> Iterator[str]:
    """Yields one line for each requirement that the pins do not meet on this version of Python."""
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate(
            {"python_version": python, "python_full_version": f"{python}.0"}
        ):
            continue
        version = pins.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"{lock} does not hold {requirement.name}, which pyproject.toml asks for: run `make lock`"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield (
                f"{lock} holds {requirement.name} {version}, "
                f"pyproject.toml asks for {requirement.specifier}: run `make lock`"
            )


def list_problems(root: Path) -> Iterator[str]:
    """Yields one line for each thing wrong with the locks below `root`."""
    project = read_project(root)
    for platform, python in PYTHON_VERSIONS.items():
        try:
            locks = read_locks(root, platform=platform)
            fetch, wanted = (
                read_lock(root / f"requirements/{platform}-fetch.lock"),
                read_names(root / "requirements/fetch.in"),
            )
        except (OSError, ValueError) as error:
            yield str(error)
            continue
        core = locks[f"{platform}.lock"]
        yield from list_unmet(project["dependencies"], pins=core, lock=f"{platform}.lock", python=python)
        for name, requirements in project["optional-dependencies"].items():
            lock = f"{platform}-{name}.lock"
            yield from list_unmet(requirements, pins=core | locks[lock], lock=lock, python=python)
            yield from list_differing(locks[lock], core=core, lock=lock, of=f"{platform}.lock")
        yield from (
            f"{platform}-fetch.lock does not hold {name}, which fetch.in asks for: run `make lock`"
            for name in wanted
            if name not in fetch
        )
        yield from (
            f"{platform}-fetch.lock holds {name}, {platform}.lock does not: run `make lock`"
            for name in sorted(fetch.keys() - core.keys())
        )
        yield from list_differing(fetch, core=core, lock=f"{platform}-fetch.lock", of=f"{platform}.lock")
        yield from list_stale_constraints(root, locks=locks, platform=platform)


def read_locks(root: Path, *, platform: str) -> dict[str, dict[str, str]]:
    """Returns the locked versions of the platform's core and of each extra, by name of the lock.

    Raises OSError and what `read_lock` raises.
    """
    extras = read_project(root)["optional-dependencies"]
    names = (f"{platform}.lock", *(f"{platform}-{extra}.lock" for extra in extras))
    return {name: read_lock(root / "requirements" / name) for name in names}


def list_stale_constraints(root: Path, *, locks: dict[str, dict[str, str]], platform: str) -> Iterator[str]:
    """Yields one line if the platform's constraints are not those that its locks give."""
    path = root / f"requirements/constraints-{platform}.txt"
    try:
        if path.read_text() != make_constraints(locks, platform=platform):
            yield f"{path.name} differs from the locks: run `make lock`"
    except (OSError, ValueError) as error:
        yield str(error)


def make_constraints(locks: dict[str, dict[str, str]], *, platform: str) -> str:
    """Returns the versions of the platform's locks as text for `pip install --constraint`.

    Raises:
        ValueError: two locks hold different versions of a package; an installation can obey only one.
    """
    versions: dict[str, str] = {}
    holders: dict[str, str] = {}
    for lock, found in locks.items():
        for package, version in found.items():
            holder = holders.setdefault(package, lock)
            if versions.setdefault(package, version) != version:
                raise ValueError(
                    f"{lock} holds {package} {version}, {holder} {versions[package]}: run `make lock`"
                )
    pins = "".join(f"{package}=={version}\n" for package, version in sorted(versions.items()))
    python = PYTHON_VERSIONS[platform]
    return f"# Made by setup/lock.sh from {platform}*.lock: the versions alone, for Python {python}.\n{pins}"


def list_differing(pins: dict[str, str], *, core: dict[str, str], lock: str, of: str) -> Iterator[str]:
    """Yields one line for each package that the lock and the core's hold in different versions."""
    for package in sorted(pins.keys() & core.keys()):
        if pins[package] != core[package]:
            yield f"{lock} holds {package} {pins[package]}, {of} {core[package]}: run `make lock`"


def read_names(path: Path) -> list[str]:
    """Returns the canonical names in a file with one requirement a line."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [canonicalize_name(Requirement(line).name) for line in lines if line]


def read_project(root: Path) -> dict[str, Any]:
    """Returns the [project] table of pyproject.toml."""
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return project


def list_intruders() -> Iterator[str]:
    """Yields one line if the PyPI package `kubeflow` is installed."""
    try:
        version = importlib.metadata.version("kubeflow")
    except importlib.metadata.PackageNotFoundError:
        return
    yield (
        f"the PyPI package kubeflow {version} is installed and hides ours: "
        "remove it (setup/install.sh makes .venv what the locks name)"
    )


def main() -> int:
    """Prints the problems, or what an extra asks for, or a platform's constraints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--list", metavar="EXTRA", help="print what this extra asks for and stop")
    parser.add_argument(
        "--constraints",
        choices=PYTHON_VERSIONS,
        help="print requirements/constraints-<platform>.txt as the locks give it and stop",
    )
    arguments = parser.parse_args()
    if arguments.constraints:
        locks = read_locks(arguments.root, platform=arguments.constraints)
        print(make_constraints(locks, platform=arguments.constraints), end="")
        return 0
    if arguments.list:
        print(*read_project(arguments.root)["optional-dependencies"][arguments.list], sep="\n")
        return 0
    problems = [*list_problems(arguments.root), *list_intruders()]
    for problem in problems:
        print(f"locks: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
