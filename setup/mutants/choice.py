"""Chooses which wrong changes are tried: a sample of the mutants, or the rules written by hand."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setup.mutants.areas import ROOT, find_area, list_files
from setup.mutants.operators import Mutant, flatten, make_mutants

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Wrong:
    """One wrong change of one file, with all that is needed to try it and to tell of it."""

    id: str
    area: str
    path: str
    line: int
    lines: int
    kind: str
    before: str
    after: str
    source: str
    at_import: bool = False


def choose(areas: Iterable[str], arguments: argparse.Namespace) -> list[Wrong]:
    """Draws `sample` mutants of each area without replacement, its operators taking turns."""
    equivalent = read_equivalents()
    chosen = []
    for area in areas:
        kinds: dict[str, list[Wrong]] = defaultdict(list)
        for path in list_files(area, arguments.file):
            source = (ROOT / path).read_bytes()
            changed = list_changed_lines(path, arguments.since) if arguments.since else None
            for mutant in make_mutants(path, source):
                wrong = describe(mutant, source, area=area)
                if (path, wrong.before, wrong.after) in equivalent or (
                    changed is not None and wrong.line not in changed
                ):
                    continue
                kinds[mutant.operator].append(wrong)
        for mutants in kinds.values():
            mutants.sort(key=lambda wrong: hashlib.sha256(f"{arguments.seed} {wrong.id}".encode()).digest())
        turns = itertools.chain.from_iterable(itertools.zip_longest(*(kinds[kind] for kind in sorted(kinds))))
        chosen += [wrong for wrong in turns if wrong is not None][: arguments.sample]
    return chosen


def describe(mutant: Mutant, source: bytes, *, area: str) -> Wrong:
    """Returns a mutant with its name, its lines and the changed source."""
    before, after = mutant.lines(source)
    became = mutant.apply(source).decode()
    lines = source[mutant.start : mutant.end].count(b"\n") + 1
    name = mutant.identify(source)
    what = (mutant.operator, before, after, became, mutant.at_import)
    return Wrong(name, area, mutant.path, mutant.line, lines, *what)


def list_changed_lines(path: str, commit: str) -> set[int]:
    """Lists the numbers of the lines of a file that differ from a commit."""
    command = ["git", "diff", "--unified=0", commit, "--", path]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    changed: set[int] = set()
    for line in said.splitlines():
        if line.startswith("@@"):
            first, _, count = line.split()[2].lstrip("+").partition(",")
            changed.update(range(int(first), int(first) + int(count or 1)))
    return changed


def read_tables(name: str) -> list[dict[str, Any]]:
    """Reads the entries of one of the lists beside this file."""
    path = HERE / name
    tables = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return [entry for entries in tables.values() for entry in entries]


def read_equivalents() -> set[tuple[str, str, str]]:
    """Reads which changes are not wrong: file, line, one thing that it becomes."""
    return {
        (entry["file"], flatten(entry["line"].encode()), flatten(change.encode()))
        for entry in read_tables("equivalent.toml")
        for change in entry["becomes"]
    }


def list_rules(areas: Iterable[str], files: Sequence[str] = ()) -> list[Wrong]:
    """Lists the changes written by hand, of some files or of all.

    An entry whose text is no longer there is an error that names it.
    """
    wanted, rules, stale = set(areas), [], []
    for entry in read_tables("wrong_rules.toml"):
        path, old, new = entry["file"], entry["old"], entry["new"]
        source = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
        if source.count(old) != 1:
            stale.append(
                f"{path}: found {source.count(old)} times, expected once: {flatten(old.encode())[:80]}"
            )
            continue
        if (area := find_area(path)) in wanted and (not files or path in files):
            name = hashlib.sha256("\0".join((path, old, new)).encode()).hexdigest()[:16]
            line = source[: source.index(old)].count("\n") + 1
            before, after = flatten(old.encode()), flatten(new.encode())
            lines = old.count("\n") + 1
            rules.append(
                Wrong(name, area, path, line, lines, entry["wrong"], before, after, source.replace(old, new))
            )
    if stale:
        sys.exit("\n".join(["wrong_rules.toml does not fit the source any more:", *stale]))
    return rules
