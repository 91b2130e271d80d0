"""The set-up scripts, the locks and the import rules: each is broken once here and must say so."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("medimg", "components", "pipeline", "kubeflow", "cli")
PLATFORMS = ("py310", "py313")
HERE = f"py{sys.version_info.major}{sys.version_info.minor}"
CODE_ONLY = shutil.ignore_patterns("__pycache__")

# Stands where uv stands: notes what it was asked for and makes a .venv that passes for one. The real one
# takes half a minute and a network.
RECORDING_UV = """#!/bin/sh
echo "$@" >> "{log}"
if [ "$1" = python ]; then exit {without_python}; fi
if [ "$1" = venv ]; then
  mkdir -p .venv/bin && ln -sf "{python}" .venv/bin/python
  echo "VIRTUAL_ENV='$PWD/.venv'" > .venv/bin/activate
fi
"""


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def write_uv(folder: Path, *, without_python: bool = False) -> Path:
    """Puts the recording uv on the folder's PATH; `without_python` makes it find and download none."""
    text = RECORDING_UV.format(
        log=folder / "asked", python=sys.executable, without_python=int(without_python)
    )
    return write_program(folder / "programs/uv", text)


def run(
    *command: str | Path, folder: Path, path: str | None = None, platform: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PLATFORM"}
    environment |= ({"PATH": path} if path else {}) | ({"PLATFORM": platform} if platform else {})
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


# The locks


@pytest.fixture
def check_locks(tmp_path: Path) -> Callable[[], subprocess.CompletedProcess[str]]:
    """Checks the copy of pyproject.toml and requirements/ that lies in tmp_path."""
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    shutil.copytree(REPOSITORY / "requirements", tmp_path / "requirements")
    return lambda: run(sys.executable, REPOSITORY / "setup/locks.py", "--root", tmp_path, folder=tmp_path)


def test_the_locks_hold_what_the_project_asks_for(check_locks):
    answer = check_locks()
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    "line",
    [
        "--extra-index-url https://packages.example/simple",
        "tfx @ https://packages.example/tfx.whl",
        "tfx==1.16.0",
    ],
)
def test_a_lock_with_an_index_an_address_or_no_hash_is_refused(check_locks, tmp_path, line, platform):
    lock = tmp_path / f"requirements/{platform}-dev.lock"
    lock.write_text(f"{line}\n{lock.read_text()}")
    answer = check_locks()
    assert answer.returncode == 1
    assert f"{platform}-dev.lock, line 1: found '{line}'" in answer.stderr


@pytest.mark.parametrize(
    ("new", "complaint"),
    [
        ('"pydicom>=99"', "py310.lock holds pydicom 3.0.2, pyproject.toml asks for >=99"),
        ('"left-pad"', "py310.lock does not hold left-pad"),
    ],
)
def test_a_requirement_that_the_lock_does_not_meet_is_named(check_locks, tmp_path, new, complaint):
    project = tmp_path / "pyproject.toml"
    project.write_text(project.read_text().replace('"pydicom>=3.0.1,<4"', new))
    answer = check_locks()
    assert answer.returncode == 1
    assert complaint in answer.stderr


@pytest.mark.parametrize("name", ["volumes", "fetch"])
def test_a_lock_that_disagrees_with_the_core_is_named(check_locks, tmp_path, name):
    lock = tmp_path / f"requirements/py310-{name}.lock"
    lock.write_text(lock.read_text().replace("pydicom==3.0.2", "pydicom==3.0.1"))
    answer = check_locks()
    assert answer.returncode == 1
    assert f"py310-{name}.lock holds pydicom 3.0.1, py310.lock 3.0.2" in answer.stderr


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("tenacity==", "tenacious==", "py310-fetch.lock does not hold tenacity, which fetch.in asks for"),
        ("mdurl==0.1.2", "left-pad==1.0", "py310-fetch.lock holds left-pad, py310.lock does not"),
    ],
)
def test_a_fetch_lock_that_lacks_or_adds_a_package_is_named(check_locks, tmp_path, old, new, complaint):
    lock = tmp_path / "requirements/py310-fetch.lock"
    assert old in lock.read_text()
    lock.write_text(lock.read_text().replace(old, new))
    answer = check_locks()
    assert answer.returncode == 1
    assert complaint in answer.stderr


@pytest.mark.parametrize("platform", PLATFORMS)
def test_constraints_hold_the_versions_of_all_locks_and_nothing_else(platform):
    requirements = REPOSITORY / "requirements"
    locks = [path for path in requirements.glob(f"{platform}*.lock") if not path.name.endswith("-fetch.lock")]
    pins = {line.split()[0] for lock in locks for line in lock.read_text().splitlines() if "==" in line}
    lines = (requirements / f"constraints-{platform}.txt").read_text().splitlines()
    assert lines[0].startswith("#")
    assert sorted(lines[1:]) == sorted(pins)


def test_constraints_that_differ_from_the_locks_are_named(check_locks, tmp_path):
    constraints = tmp_path / "requirements/constraints-py313.txt"
    constraints.write_text(constraints.read_text().replace("pydicom==3.0.2", "pydicom==3.0.1"))
    answer = check_locks()
    assert answer.returncode == 1
    assert answer.stderr == "locks: constraints-py313.txt differs from the locks: run `make lock`\n"


def test_extras_that_disagree_are_named(check_locks, tmp_path):
    """Each agrees with the core, which holds no such package; no constraint could serve both."""
    for name, version in (("idc", "1.0"), ("share", "2.0")):
        with (tmp_path / f"requirements/py310-{name}.lock").open("a") as lock:
            lock.write(f"left-pad=={version} \\\n    --hash=sha256:{'0' * 64}\n")
    answer = check_locks()
    assert answer.returncode == 1
    assert "py310-share.lock holds left-pad 2.0, py310-idc.lock 1.0" in answer.stderr


# The set-up


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder, with a space in its name, as a clone leaves it.

    `uv` on its PATH only notes what it was asked for.
    """
    folder = tmp_path / "fresh clone"
    shutil.copytree(REPOSITORY / "setup", folder / "setup", ignore=CODE_ONLY)
    for platform in PLATFORMS:
        for name in ("", "-volumes", "-idc", "-dev"):
            write_program(folder / f"requirements/{platform}{name}.lock", f"{platform}{name}")
        shutil.copy(REPOSITORY / f"requirements/{platform}.in", folder / "requirements")
    (folder / "pyproject.toml").write_text("")
    write_uv(folder)
    return folder


def install(folder: Path, *names: str) -> list[str]:
    """Runs the set-up.

    Returns the sets (core, dev, volumes) that uv was asked to install, in the order of their names.
    """
    (folder / "asked").unlink(missing_ok=True)
    answer = run(
        "setup/install.sh", *names, folder=folder, path=f"{folder / 'programs'}:/usr/bin:/bin", platform=HERE
    )
    assert answer.returncode == 0, answer.stderr
    asked = (folder / "asked").read_text() if (folder / "asked").exists() else ""
    locks = [
        word
        for line in asked.splitlines()
        if line.startswith("pip sync")
        for word in line.split()
        if word.endswith(".lock")
    ]
    return sorted(lock.removesuffix(".lock").partition("-")[2] or "core" for lock in locks)


def test_the_demo_installs_the_core_only(fresh):
    assert install(fresh, "core") == ["core"]


def test_what_is_installed_is_not_installed_again(fresh):
    install(fresh, "core")
    write_program(fresh / "programs/uv", "#!/bin/sh\nexit 1\n")
    assert install(fresh, "core") == []


def test_the_demo_after_the_tests_takes_nothing_away(fresh):
    assert install(fresh, "core", "volumes", "dev") == ["core", "dev", "volumes"]
    assert install(fresh, "core") == []


def test_a_new_lock_is_installed_together_with_what_was_there(fresh):
    install(fresh, "core", "dev")
    (fresh / f"requirements/{HERE}.lock").write_text("newer")
    assert install(fresh, "core") == ["core", "dev"]


def test_a_moved_folder_gets_a_new_environment(fresh):
    install(fresh, "core")
    moved = fresh.rename(fresh.with_name("moved clone"))
    write_uv(moved)
    assert install(moved, "core") == ["core"]


def test_an_unknown_set_is_refused_in_one_line(fresh):
    answer = run("setup/install.sh", "gpu", folder=fresh)
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        "setup: there is no lock for 'gpu': expected core, volumes, idc, share or dev"
    ]


# The platform


def choose(folder: Path, *, glibc: str = "2.41", platform: str | None = None) -> str:
    """Runs the set-up on a machine with this glibc.

    Returns the line that names the platform, without the part before the name.
    """
    answer = f"echo 'glibc {glibc}'" if glibc else "exit 1"  # Other C libraries do not know the name.
    write_program(folder / "programs/getconf", f"#!/bin/sh\n{answer}\n")
    lines = run(
        "setup/install.sh",
        "core",
        folder=folder,
        path=f"{folder / 'programs'}:/usr/bin:/bin",
        platform=platform,
    ).stderr.splitlines()
    chosen = [line for line in lines if line.startswith("setup: platform ")]
    assert len(chosen) == 1, lines
    return chosen[0].removeprefix("setup: platform ")


@pytest.mark.parametrize("glibc", ["2.39", "2.41", "3.0"])
def test_the_newer_platform_is_taken_where_glibc_is_new_enough(fresh, glibc):
    assert choose(fresh, glibc=glibc) == f"py313: Python 3.13, TFX 1.21.0 (glibc {glibc})"


@pytest.mark.parametrize(
    ("glibc", "found"), [("2.9", "2.9"), ("2.36", "2.36"), ("2.38", "2.38"), ("", "none")]
)
def test_the_older_platform_is_taken_where_glibc_is_older_or_none(fresh, glibc, found):
    assert (
        choose(fresh, glibc=glibc)
        == f"py310: Python 3.10, TFX 1.16.0 (py313 needs glibc 2.39 or newer, here is {found})"
    )


def test_the_older_platform_is_taken_where_no_newer_python_can_be_had(fresh):
    write_uv(fresh, without_python=True)
    assert (
        choose(fresh) == "py310: Python 3.10, TFX 1.16.0 (no Python 3.13 here, and uv could not download one)"
    )


@pytest.mark.parametrize(("platform", "glibc"), [("py310", "2.41"), ("py313", "2.36")])
def test_platform_overrides_the_choice(fresh, platform, glibc):
    assert choose(fresh, glibc=glibc, platform=platform).startswith(f"{platform}: ")
    assert choose(fresh, glibc=glibc, platform=platform).endswith("(as PLATFORM says)")


def test_an_environment_that_works_keeps_its_platform(fresh):
    write_uv(fresh, without_python=True)
    choose(fresh, platform=HERE)
    write_uv(fresh)
    assert choose(fresh).startswith(f"{HERE}: ")
    assert choose(fresh).endswith("(as .venv is; `make clean` chooses anew)")


def test_the_locks_of_the_chosen_platform_are_installed(fresh):
    choose(fresh, platform=HERE)
    assert f"requirements/{HERE}.lock" in (fresh / "asked").read_text()
    assert all(
        f"requirements/{other}" not in (fresh / "asked").read_text() for other in PLATFORMS if other != HERE
    )


@pytest.mark.parametrize("script", ["setup/install.sh", "setup/lock.sh"])
def test_an_unknown_platform_is_refused_in_one_line(fresh, script):
    answer = run(script, folder=fresh, path=f"{fresh / 'programs'}:/usr/bin:/bin", platform="py39")
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        "setup: there is no platform 'py39': expected PLATFORM=py313 or PLATFORM=py310"
    ]


def test_what_the_trixie_root_needs_and_lacks_is_named_in_one_line(fresh):
    for program in ("bash", "dirname", "uname", "id", "sed"):
        (fresh / "few" / program).parent.mkdir(exist_ok=True)
        (fresh / "few" / program).symlink_to(str(shutil.which(program)))
    answer = run("setup/trixie.sh", "true", folder=fresh, path=str(fresh / "few"))
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith("setup: the trixie root needs what is missing here: ")
    assert answer.stderr.endswith("debootstrap, unshare, flock, git\n")


# The rest


def test_a_uv_that_does_not_run_is_passed_over(fresh):
    """pyenv's shim of a uv that belongs to another Python exists and ends with 127."""
    shim = write_program(fresh / "shims/uv", "#!/bin/sh\necho 'pyenv: uv: command not found' >&2\nexit 127\n")
    private = write_program(fresh / ".uv/bin/uv", "#!/bin/sh\nexit 0\n")
    answer = run(
        "bash",
        "-c",
        '. setup/uv.sh; find_uv; printf %s "$UV"',
        folder=fresh,
        path=f"{shim.parent}:/usr/bin:/bin",
    )
    assert (answer.stdout, answer.stderr) == (str(private), "")


@pytest.mark.parametrize(("told", "compiles"), [({}, ""), ({"PYTHONDONTWRITEBYTECODE": "1"}, "1")])
def test_where_python_keeps_nothing_compiled_it_is_compiled_when_installed(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], compiles: str
) -> None:
    for name in ("PYTHONDONTWRITEBYTECODE", "UV_COMPILE_BYTECODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    shown = 'printf %s "${UV_COMPILE_BYTECODE:-}"'
    answer = run("bash", "-euc", f". setup/uv.sh; bash -c {shlex.quote(shown)}", folder=REPOSITORY)
    assert answer.stdout == compiles


def test_make_help_names_every_target():
    lines = run("make", "help", folder=REPOSITORY).stdout.splitlines()
    assert {line.split()[1] for line in lines} == {
        "help",
        "setup",
        "mutants",
        "demo",
        "test",
        "notebook",
        "wheel",
        "check",
        "bench",
        "lock",
        "clean",
        "test-py313",
        "test-image",
        "test-long",
    }


# The import rules


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, folder / package, ignore=CODE_ONLY)
    for module in ("cli/app.py", "kubeflow/intruder.py", "components/intruder.py"):
        (folder / module).touch()
    return folder


def check_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c(['--no-cache', '--no-logo'])",
        folder=folder,
    )


def test_the_sources_keep_the_import_rules(sources):
    answer = check_imports(sources)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(
    ("module", "line", "rule"),
    [
        ("medimg/intruder.py", "import apache_beam", "medimg knows no orchestrator"),
        ("medimg/intruder.py", "def late():\n    import components", "medimg knows no orchestrator"),
        (
            "medimg/datasets/intruder.py",
            "import keras",
            "data sets, DICOM, images and catalogue import no TensorFlow",
        ),
        (
            "medimg/dicom/intruder.py",
            "import medimg.tasks.classification.intruder",
            "data sets, DICOM, images and catalogue import no TensorFlow",
        ),
        ("medimg/datasets/intruder.py", "import medimg.tasks", "data sets and tasks do not know each other"),
        ("medimg/tasks/intruder.py", "import medimg.datasets", "data sets and tasks do not know each other"),
        (
            "components/intruder.py",
            "import pipeline.config.run_config",
            "kubeflow -> pipeline -> components -> medimg",
        ),
        ("pipeline/intruder.py", "import kubeflow.intruder", "kubeflow -> pipeline -> components -> medimg"),
        (
            "medimg/evaluation/intruder.py",
            "import medimg.reporting",
            "the rooms of medimg follow the data's way",
        ),
        (
            "medimg/datasets/intruder.py",
            "import medimg.catalogue",
            "the rooms of medimg follow the data's way",
        ),
        ("kubeflow/intruder.py", "import cli.app", "cli -> kubeflow -> pipeline -> components -> medimg"),
    ],
)
def test_an_import_against_the_arrows_is_found(sources, module, line, rule):
    task = sources / "medimg/tasks/classification/intruder.py"
    task.write_text("import tensorflow")
    before = (sources / module).read_text() if (sources / module).exists() else None
    (sources / module).write_text(line)
    answer = check_imports(sources)
    task.unlink()
    if before is None:
        (sources / module).unlink()
    else:
        (sources / module).write_text(before)
    assert answer.returncode == 1
    assert f"{rule} BROKEN" in answer.stdout


@pytest.mark.parametrize(
    "package", ["medimg.archive", "medimg.catalogue", "medimg.datasets", "medimg.dicom", "medimg.images"]
)
def test_every_package_that_must_do_without_tensorflow_is_under_the_rule(package):
    if not (REPOSITORY / package.replace(".", "/")).is_dir():
        pytest.skip(f"{package} is not there yet")
    contracts = (REPOSITORY / "pyproject.toml").read_text()
    rule = contracts[contracts.index('id = "data-without-tensorflow"') :].partition("forbidden_modules")[0]
    assert f'"{package}"' in rule
