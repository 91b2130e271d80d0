"""Lists what makes source hard to read and ruff has no rule for: setup/shape.py [--check] [FOLDER ...].

`--check` fails on several comprehensions in a statement and on arguments gathered in a dictionary of Any.
Long files are for people to watch.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

LINES_PER_FILE, COMPREHENSIONS = 350, 1
COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
PRODUCT = ("cli", "kubeflow", "pipeline", "components", "medimg")
SEVERAL, UNTYPED = "statements over one comprehension", "dict[str, Any] literals"


def count_comprehensions(statement: ast.stmt) -> int:
    """Counts comprehensions in a statement, without those of the statements inside it."""
    count, waiting = 0, list(ast.iter_child_nodes(statement))
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.stmt, ast.excepthandler, ast.match_case)):
            continue
        count += isinstance(node, COMPREHENSION)
        waiting += ast.iter_child_nodes(node)
    return count


def holds_untyped_arguments(statement: ast.stmt) -> bool:
    """Tells whether a statement is `name: dict[str, Any] = {...}`."""
    return (
        isinstance(statement, ast.AnnAssign)
        and ast.unparse(statement.annotation) == "dict[str, Any]"
        and isinstance(statement.value, ast.Dict)
    )


def find(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yields (what, where) for each thing in a file that is counted."""
    text = path.read_text(encoding="utf-8")
    if (lines := len(text.splitlines())) > LINES_PER_FILE:
        yield f"files over {LINES_PER_FILE} lines", f"{name}: {lines}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt):
            if (count := count_comprehensions(node)) > COMPREHENSIONS:
                yield SEVERAL, f"{name}:{node.lineno}: {count}"
            if holds_untyped_arguments(node):
                yield UNTYPED, f"{name}:{node.lineno}"


def main() -> None:
    """Prints the number and places of each kind; with --check only those that fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", default=PRODUCT)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    options = parser.parse_args()
    found: dict[str, list[str]] = {}
    for path in sorted(path for folder in options.folders for path in (options.root / folder).rglob("*.py")):
        for what, where in find(path, path.relative_to(options.root).as_posix()):
            found.setdefault(what, []).append(where)
    failing = [what for what in (SEVERAL, UNTYPED) if what in found]
    for what in failing if options.check else sorted(found):
        print(f"{what}: {len(found[what])}", *found[what], sep="\n  ")
    sys.exit(1 if options.check and failing else 0)


if __name__ == "__main__":
    main()
