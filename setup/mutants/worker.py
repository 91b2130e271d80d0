"""Runs tests of a copy of the tree, each in a fork of a process that has imported what is slow to import.

It reads jobs as lines of JSON on its standard input and answers each by one line: `{"map": FILE}` runs a
test file and answers which lines each test reaches, `{"path": ..., "source": ..., "tests": ...}` puts a
changed file in its place, runs the tests until the first fails, and answers whether one did.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from setup.shape import PRODUCT

THIRD_PARTY = (
    *(
        "numpy",
        "pandas",
        "pyarrow",
        "scipy.stats",
        "sklearn.linear_model",
        "sklearn.metrics",
        "cv2",
        "pydicom",
        "jinja2",
    ),
    *(
        "highdicom",
        "nibabel",
        "matplotlib.figure",
        "requests",
        "urllib3",
        "duckdb",
        "openpyxl",
        "typer",
        "rich.console",
    ),
    *(
        "pytest",
        "_pytest.assertion.rewrite",
        "xdist",
        "pytest_timeout",
        "hypothesis",
        "coverage",
        "moto.server",
        "boto3",
    ),
    *(
        "tensorflow",
        "keras",
        "apache_beam",
        "tfx.v1",
        "tensorflow_model_analysis",
        "tensorflow_data_validation",
    ),
)
NO_SUCH_TEST = 4  # pytest.ExitCode.USAGE_ERROR
FLAGS = [
    "-x",
    "-q",
    "--no-header",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "--hypothesis-seed=0",
    "-m",
    "not long",
]


class TracePhases:
    """Tells coverage which test runs, and whether it is being set up; keeps how long each takes."""

    def __init__(self, coverage: Any) -> None:
        self.coverage = coverage
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Enters a test, beginning with its fixtures."""
        self.coverage.switch_context(f"{nodeid}|setup")

    def pytest_runtest_call(self, item: Any) -> None:
        """Leaves the fixtures."""
        self.coverage.switch_context(f"{item.nodeid}|call")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Adds the time of a phase up."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed or report.skipped:
            self.failed.add(report.nodeid)


def main(tree: str) -> None:
    """Answers jobs until there are no more."""
    os.chdir(tree)
    sys.path.insert(0, tree)
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": tree, "PYTHONDONTWRITEBYTECODE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for name in THIRD_PARTY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        print(
            json.dumps(map_tests(job) if "map" in job else try_mutant(job)),
            file=answers,
            flush=True,
        )


def map_tests(job: dict[str, Any]) -> dict[str, Any]:
    """Answers, for each test of a file, its seconds and the lines that its fixtures and itself reach."""
    found = Path(f"map-{os.getpid()}.json")
    found.unlink(missing_ok=True)
    run_forked(lambda: trace(job["map"], found), seconds=900)
    answer = json.loads(found.read_text()) if found.exists() else {"tests": {}}
    found.unlink(missing_ok=True)
    return {"map": job["map"], **answer}


def trace(file: str, found: Path) -> int:
    """Runs a test file under coverage and writes what its tests reach."""
    import coverage
    import pytest

    measured = coverage.Coverage(data_file=None, config_file=False, source=PRODUCT)
    phases = TracePhases(measured)
    measured.start()
    code = pytest.main([*FLAGS[1:], file], plugins=[phases])
    measured.stop()
    data = measured.get_data()
    tests: dict[str, Any] = {
        nodeid: {"seconds": seconds, "setup": {}, "call": {}}
        for nodeid, seconds in phases.seconds.items()
        if nodeid not in phases.failed
    }
    root = f"{Path.cwd()}/"
    for path in data.measured_files():
        for line, contexts in data.contexts_by_lineno(path).items():
            for context in contexts:
                nodeid, _, phase = context.rpartition("|")
                if nodeid in tests:
                    tests[nodeid][phase].setdefault(path.removeprefix(root), []).append(line)
    found.write_text(json.dumps({"tests": tests}))
    return int(code)


def try_mutant(job: dict[str, Any]) -> dict[str, Any]:
    """Answers whether a test fails with a changed file: the first that does, and how many seconds it took."""
    path, output = Path(job["path"]), Path(f"output-{os.getpid()}.txt")
    original = path.read_bytes()
    path.write_text(job["source"])
    began = time.monotonic()
    try:
        code = run_forked(lambda: run_tests(job["tests"]), seconds=job["seconds"], output=output)
        if code == NO_SUCH_TEST:
            # A case is gone because the product's own table made it: that alone is not noticed by a test.
            files = sorted({test.partition("::")[0] for test in job["tests"]})
            code = run_forked(lambda: run_tests(files), seconds=job["seconds"] + 60, output=output)
    finally:
        path.write_bytes(original)
    said = output.read_text(errors="replace") if output.exists() else ""
    failed = [line.split()[1] for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return {
        "id": job["id"],
        "code": code,
        "failed": failed[:1],
        "took": time.monotonic() - began,
    }


def run_tests(tests: list[str]) -> int:
    """Runs tests by their node ids until the first fails."""
    import pytest

    return int(pytest.main([*FLAGS, *tests]))


def run_forked(work: Any, *, seconds: float, output: Path | None = None) -> int:
    """Returns what `work` returns in a fork; -1 where it took more processor time than that, or hung."""
    child = os.fork()
    if child == 0:
        code = 70
        with contextlib.suppress(BaseException):
            os.setsid()
            sink = os.open(output or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
            code = work()
            sys.stdout.flush()
        os._exit(code)
    until = time.monotonic() + 6 * seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done or time.monotonic() > until:
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not done:
        os.waitpid(child, 0)
        return -1
    return os.waitstatus_to_exitcode(status)


def copy_tree(root: Path, tree: Path) -> None:
    """Copies what git knows of or would add, compiled so that a changed source is always read again."""
    tree.mkdir(parents=True, exist_ok=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True).stdout
    existing = "\0".join(name for name in names.split("\0") if name and os.path.lexists(root / name))
    packed = subprocess.run(
        ["tar", "-c", "--null", "-T", "-"], cwd=root, input=existing.encode(), capture_output=True, check=True
    )
    subprocess.run(["tar", "-x"], cwd=tree, input=packed.stdout, check=True)
    (tree / ".venv").symlink_to(sys.prefix)
    quiet = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
    subprocess.run([*quiet, *PRODUCT], cwd=tree, check=True)


if __name__ == "__main__":
    main(sys.argv[1])
