"""Keeps what came of each mutant, across runs, and counts."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medimg.evaluation.classification.calibration import wilson_interval
from medimg.files import hash_file
from setup.mutants.areas import ROOT
from setup.mutants.choice import HERE, Wrong, read_tables

NOTICED, SURVIVED = "noticed", "survived"
UNREACHED, NOT_RUN = "reached by no test", "tests could not be run"
FAILED_CODES = (1, 2)
"""What pytest ends with where a test fails, or a module of tests cannot be imported."""

FIRST_LOOK = (
    "At first look: before a test was written for a mutant of this draw. Only this column and its interval "
    "speak for changes that nobody has seen; the last two columns are of the draw that the newest tests were "
    "written for."
)


class Results:
    """What is known of the mutants that a run is about."""

    def __init__(self, folder: Path, wrong: list[Wrong]) -> None:
        folder.mkdir(exist_ok=True)
        self.file = folder / "results.jsonl"
        self.wrong = wrong
        self.found: dict[str, dict[str, Any]] = {}
        self.first: dict[str, str] = {}
        """What came of each mutant when first tried, before any test was written for it."""
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                self.hold(json.loads(line))

    def list_waiting(self) -> list[Wrong]:
        """Lists the mutants of which nothing is known that holds for the tests as they are."""
        return [each for each in self.wrong if not self.is_known(each)]

    def is_known(self, wrong: Wrong) -> bool:
        """Tells whether the test files that a result rests on are unchanged."""
        entry = self.found.get(wrong.id)
        return entry is not None and entry["state"] in (NOTICED, SURVIVED) and is_unchanged(entry["hashes"])

    def keep(self, wrong: Wrong, answer: dict[str, Any], tests: list[str]) -> None:
        """Keeps one answer of a worker, at once."""
        files = {test.partition("::")[0] for test in (answer["failed"] or tests)}
        state = judge(answer["code"])
        self.add({"id": wrong.id, "state": state, "hashes": hash_files(files), "by": answer["failed"]})

    def keep_unreached(self, wrong: Wrong) -> None:
        """Keeps that there is no test to run."""
        self.add({"id": wrong.id, "state": UNREACHED, "hashes": {}, "by": []})

    def add(self, entry: dict[str, Any]) -> None:
        """Appends one result to the file."""
        self.hold(entry)
        with self.file.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def hold(self, entry: dict[str, Any]) -> None:
        """Takes one result as the last that is known of its mutant."""
        self.found[entry["id"]] = entry
        self.first.setdefault(entry["id"], entry["state"])

    def state_of(self, wrong: Wrong) -> str:
        """Returns what came of a mutant, "" for one that was not tried."""
        return str(self.found.get(wrong.id, {}).get("state", ""))

    def list_survivors(self) -> list[Wrong]:
        """Lists the mutants that were tried and that no test noticed."""
        return [each for each in self.wrong if self.state_of(each) not in ("", NOTICED)]

    def count_survivors(self) -> int:
        """Counts the mutants that no test noticed."""
        return len(self.list_survivors())

    def count(self, area: str | None = None) -> tuple[int, int]:
        """Returns (noticed, tried) of an area, or of all."""
        tried = [each for each in self.wrong if self.state_of(each) and area in (None, each.area)]
        return sum(self.state_of(each) == NOTICED for each in tried), len(tried)

    def describe(self) -> str:
        """Returns a table for the terminal: survivors first, then the score by area."""
        lines = []
        for each in self.list_survivors():
            lines += [
                f"{self.state_of(each)}: {each.path}:{each.line} [{each.kind}]",
                f"    {each.before}",
                f"    {each.after}",
            ]
        for area, noticed, tried in self.list_scores():
            lines.append(f"{area:12} {noticed:5} of {tried:5} noticed  {noticed / max(tried, 1):.1%}")
        return "\n".join(lines)

    def count_first(self, area: str) -> int:
        """Counts the mutants of an area, or of "all", that were noticed when first tried."""
        tried = [each for each in self.wrong if self.state_of(each) and area in ("all", each.area)]
        return sum(self.first[each.id] == NOTICED for each in tried)

    def list_scores(self) -> list[tuple[str, int, int]]:
        """Lists (area, noticed, tried), the last one for all areas."""
        areas = dict.fromkeys(each.area for each in self.wrong)
        return [*((area, *self.count(area)) for area in areas), ("all", *self.count())]


def judge(code: int) -> str:
    """Returns what the end of pytest says of a mutant; below 0 a signal ended it, or the time."""
    if code == 0:
        return SURVIVED
    return NOTICED if code < 0 or code in FAILED_CODES else NOT_RUN


def hash_files(names: Iterable[str]) -> dict[str, str]:
    """Returns hashes of files of the tree by name, "" for one that is not there."""
    return {name: hash_file(ROOT / name) if (ROOT / name).exists() else "" for name in sorted(names)}


def is_unchanged(hashes: dict[str, str]) -> bool:
    """Tells whether files are as they were hashed."""
    return hash_files(hashes) == hashes


def write_scores(path: Path, results: Results, *, today: datetime.date, command: str) -> None:
    """Writes the score by area, the survivors and what was left out, as Markdown."""
    lines = [f"# Mutation score, {today.isoformat()}", "", f"`python -m setup.mutants {command}`", ""]
    lines += [
        "| area | tried | noticed at first look | share | 95 % interval | noticed now | share |",
        "|---|---|---|---|---|---|---|",
    ]
    for area, noticed, tried in results.list_scores():
        if tried:
            first = results.count_first(area)
            low, high = wilson_interval(first, tried)
            look = f"{first} | {first / tried:.1%} | {low:.1%} to {high:.1%}"
            lines.append(f"| {area} | {tried} | {look} | {noticed} | {noticed / tried:.1%} |")
    lines += ["", FIRST_LOOK]
    lines += ["", "## Not noticed", ""]
    for each in results.list_survivors():
        lines.append(f"- `{each.path}:{each.line}` {each.kind}: `{each.before}` => `{each.after}`")
    listed = (HERE / "equivalent.toml").relative_to(ROOT)
    equivalent = sum(len(entry["becomes"]) for entry in read_tables("equivalent.toml"))
    lines += ["", f"Left out as equivalent: {equivalent}, each with its reason in `{listed}`."]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
