"""Keeps what came of each mutant, across runs, and counts."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from setup.mutants.areas import ROOT
from setup.mutants.choice import HERE, Wrong, read_tables

NOTICED, SURVIVED, UNREACHED = "noticed", "survived", "reached by no test"


class Results:
    """What is known of the mutants that a run is about."""

    def __init__(self, folder: Path, wrong: list[Wrong]) -> None:
        folder.mkdir(exist_ok=True)
        self.file = folder / "results.jsonl"
        self.wrong = wrong
        self.found: dict[str, dict[str, Any]] = {}
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                entry = json.loads(line)
                self.found[entry["id"]] = entry

    def list_waiting(self) -> list[Wrong]:
        """Lists the mutants of which nothing is known that holds for the tests as they are."""
        return [each for each in self.wrong if not self.is_known(each)]

    def is_known(self, wrong: Wrong) -> bool:
        """Tells whether the test files that a result rests on are unchanged."""
        entry = self.found.get(wrong.id)
        return (
            entry is not None and entry["state"] != UNREACHED and hash_tests(entry["files"]) == entry["hash"]
        )

    def keep(self, wrong: Wrong, answer: dict[str, Any], tests: list[str]) -> None:
        """Keeps one answer of a worker, at once."""
        noticed = answer["code"] != 0
        files = sorted({test.partition("::")[0] for test in (answer["failed"] or tests)})
        state = NOTICED if noticed else SURVIVED
        self.add(
            {
                "id": wrong.id,
                "state": state,
                "files": files,
                "hash": hash_tests(files),
                "by": answer["failed"],
            }
        )

    def keep_unreached(self, wrong: Wrong) -> bool:
        """Keeps that there is no test to run."""
        self.add({"id": wrong.id, "state": UNREACHED, "files": [], "hash": "", "by": []})
        return False

    def add(self, entry: dict[str, Any]) -> None:
        """Appends one result to the file."""
        self.found[entry["id"]] = entry
        with self.file.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def state_of(self, wrong: Wrong) -> str:
        """Returns what came of a mutant, "" for one that was not tried."""
        return str(self.found.get(wrong.id, {}).get("state", ""))

    def list_survivors(self) -> list[Wrong]:
        """Lists the mutants that were tried and that no test noticed."""
        return [each for each in self.wrong if self.state_of(each) in (SURVIVED, UNREACHED)]

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
        for area in dict.fromkeys(each.area for each in self.wrong):
            noticed, tried = self.count(area)
            lines.append(f"{area:12} {noticed:5} of {tried:5} noticed  {noticed / max(tried, 1):.1%}")
        noticed, tried = self.count()
        return "\n".join(
            [*lines, f"{'all':12} {noticed:5} of {tried:5} noticed  {noticed / max(tried, 1):.1%}"]
        )


def hash_tests(files: Iterable[str]) -> str:
    """Returns one hash of some test files."""
    digest = hashlib.sha256()
    for name in files:
        path = ROOT / name
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()[:16]


def wilson(noticed: int, tried: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a share."""
    if tried == 0:
        return 0.0, 1.0
    z, share = 1.959964, noticed / tried
    middle = (share + z * z / (2 * tried)) / (1 + z * z / tried)
    half = z * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried)) / (1 + z * z / tried)
    return middle - half, middle + half


def write_scores(path: Path, results: Results, *, today: datetime.date, command: str) -> None:
    """Writes the score by area, the survivors and what was left out, as Markdown."""
    lines = [f"# Mutation score, {today.isoformat()}", "", f"`python -m setup.mutants {command}`", ""]
    lines += ["| area | noticed | tried | share | 95 % interval |", "|---|---|---|---|---|"]
    for area in [*dict.fromkeys(each.area for each in results.wrong), None]:
        noticed, tried = results.count(area)
        low, high = wilson(noticed, tried)
        share = f"{noticed / max(tried, 1):.1%} | {low:.1%} to {high:.1%}"
        lines.append(f"| {area or 'all'} | {noticed} | {tried} | {share} |")
    lines += ["", "## Not noticed", ""]
    for each in results.list_survivors():
        lines.append(f"- `{each.path}:{each.line}` {each.kind}: `{each.before}` => `{each.after}`")
    equivalent = read_tables("equivalent.toml")
    listed = (HERE / "equivalent.toml").relative_to(ROOT)
    equivalent = len(read_tables("equivalent.toml"))
    lines += ["", f"Left out as equivalent: {equivalent}, each with its reason in `{listed}`."]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
