"""Runs the worker processes: maps which tests reach which lines, and tries mutants."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from setup.mutants.areas import ROOT
from setup.mutants.choice import Wrong
from setup.mutants.results import NOTICED, Results, hash_files, is_unchanged

TESTS_SECONDS = 60.0
Reach = dict[str, dict[str, Any]]
"""By test: its seconds and the lines of files that its fixtures ("setup") and itself ("call") reach."""


def answer_all(
    jobs: Iterable[dict[str, Any]], trees: list[Path], take: Callable[[dict[str, Any]], None]
) -> None:
    """Deals jobs to one worker a tree and takes each answer as it comes; a worker that fails ends it."""
    waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    lock, failures = threading.Lock(), []

    def work(tree: Path) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "setup.mutants.worker", str(tree)]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin
            assert process.stdout
            while not failures:
                try:
                    job = waiting.get_nowait()
                except queue.Empty:
                    return
                process.stdin.write(json.dumps(job) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    failures.append(f"a worker ended at {job.get('map') or job.get('path')}")
                    return
                with lock:
                    take(json.loads(line))

    threads = [threading.Thread(target=work, args=(tree,)) for tree in trees]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        sys.exit(failures[0])


def map_test_files(files: list[str], trees: list[Path]) -> Reach:
    """Returns what each test reaches; maps again what a changed test or product file concerns."""
    folder = ROOT / ".mutants" / "maps"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not is_current(folder, file)]
    if missing:
        print(f"mapping {len(missing)} test files", flush=True)

    def keep(answer: dict[str, Any]) -> None:
        reached = {
            path for test in answer["tests"].values() for phase in ("setup", "call") for path in test[phase]
        }
        entry = {"hashes": hash_files({answer["map"], *reached}), "tests": answer["tests"]}
        name_map(folder, answer["map"]).write_text(json.dumps(entry))
        print(f"  {answer['map']}: {len(answer['tests'])} tests", flush=True)

    answer_all(({"map": file} for file in missing), trees, keep)
    reach: Reach = {}
    for file in files:
        reach |= json.loads(name_map(folder, file).read_text())["tests"]
    return reach


def name_map(folder: Path, file: str) -> Path:
    """Returns where the map of a test file is kept."""
    return folder / f"{file.replace('/', '__')}.json"


def is_current(folder: Path, file: str) -> bool:
    """Tells whether a map fits the files as they are."""
    path = name_map(folder, file)
    return path.exists() and is_unchanged(json.loads(path.read_text())["hashes"])


def try_all(wrong: list[Wrong], reach: Reach, trees: list[Path], results: Results) -> None:
    """Tries each mutant and keeps what came of it, as it comes."""
    tests_of = index_reach(reach)
    jobs: dict[str, dict[str, Any]] = {}
    by_id = {each.id: each for each in wrong}
    for each in wrong:
        if tests := choose_tests(each, reach, tests_of):
            seconds = 30 + 4 * sum(reach[test]["seconds"] for test in tests)
            place = {"id": each.id, "path": each.path, "source": each.source}
            jobs[each.id] = {**place, "tests": tests, "seconds": seconds}
        else:
            results.keep_unreached(each)
    left = len(jobs)

    def keep(answer: dict[str, Any]) -> None:
        nonlocal left
        left -= 1
        each = by_id[answer["id"]]
        results.keep(each, answer, jobs[each.id]["tests"])
        state = results.state_of(each)
        said = each.path if state == NOTICED else f"{each.path}:{each.line} {each.before}  =>  {each.after}"
        print(f"  {left} left, {answer['took']:.0f} s, {state}: {said}", flush=True)

    answer_all(jobs.values(), trees, keep)


def index_reach(reach: Reach) -> dict[str, dict[int, set[str]]]:
    """Returns, by file and line, the tests that reach it; a fixture's line counts for its whole file."""
    tests_of: dict[str, dict[int, set[str]]] = {}
    by_file: dict[str, set[str]] = {}
    for test in reach:
        by_file.setdefault(test.partition("::")[0], set()).add(test)
    for test, found in reach.items():
        for phase, tests in (("call", {test}), ("setup", by_file[test.partition("::")[0]])):
            for path, lines in found[phase].items():
                for line in lines:
                    tests_of.setdefault(path, {}).setdefault(line, set()).update(tests)
    return tests_of


def choose_tests(wrong: Wrong, reach: Reach, tests_of: dict[str, dict[int, set[str]]]) -> list[str]:
    """Lists a module's own tests that reach a change, other tests that do, then its own others: 60 s of them.

    Of each kind the quickest first.

    Coverage sees what runs at import in whichever test came first, and what runs in a child process in none.
    """
    own = name_own_test(wrong.path)
    lines = tests_of.get(wrong.path, {})
    found = set().union(*(lines.get(line, set()) for line in range(wrong.line, wrong.line + wrong.lines)))
    beside = {test for test in reach if own in test.partition("::")[0]}
    near = beside if wrong.at_import else beside & found
    if wrong.at_import or not found | beside:
        found |= set().union(*lines.values())
    chosen, seconds = [], 0.0
    for test in sorted(
        found | beside, key=lambda test: (test not in near, test not in found, reach[test]["seconds"])
    ):
        seconds += reach[test]["seconds"]
        if seconds > TESTS_SECONDS and chosen:
            break
        chosen.append(test)
    return chosen


def name_own_test(path: str) -> str:
    """Returns how the path of a module's own tests begins after tests/unit/ or tests/components/."""
    name = path.removeprefix("medimg/").removeprefix("components/")
    return str(Path(name).with_name(f"test_{Path(name).stem}"))
