"""Measures what makes source hard to read: setup/shape.py [--list] [FOLDER ...].

Ruff holds lines (E501), arguments (PLR0913) and names; this counts what it has no rule for.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LINES_PER_FILE, COLUMNS, ARGUMENTS, COMPREHENSIONS = 350, 110, 5, 1
COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
SKIPPED = ("tests", "benchmarks", "setup")
SEVERAL, UNTYPED = "statements over one comprehension", "dict[str, Any] literals"


def list_files(root: Path, folders: list[str]) -> list[Path]:
    """Returns the tracked Python files of the product, or those below `folders`."""
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.split()
    chosen = tuple(f"{folder.rstrip('/')}/" for folder in folders)
    if chosen:
        return [root / name for name in tracked if name.startswith(chosen)]
    return [root / name for name in tracked if not name.startswith(SKIPPED)]


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


def count_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Counts the arguments of a function, without `self` and `cls`."""
    arguments = function.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def uses_any(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tells whether `Any` occurs in the annotations of a function."""
    arguments = function.args
    each = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    annotations = [function.returns, *(argument.annotation for argument in each if argument)]
    nodes = (node for annotation in annotations if annotation for node in ast.walk(annotation))
    return any(isinstance(node, ast.Name) and node.id == "Any" for node in nodes)


def holds_untyped_arguments(statement: ast.stmt) -> bool:
    """Tells whether a statement is `name: dict[str, Any] = {...}` or a call with `**{...}` of such a name."""
    return (
        isinstance(statement, ast.AnnAssign)
        and ast.unparse(statement.annotation) == "dict[str, Any]"
        and isinstance(statement.value, ast.Dict)
    )


def find(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yields (what, where) for each thing in a file that is counted."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = text.splitlines()
    if len(lines) > LINES_PER_FILE:
        yield f"files over {LINES_PER_FILE} lines", f"{name}: {len(lines)}"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            yield f"lines over {COLUMNS} columns", f"{name}:{number}: {len(line)}"
    for node in ast.walk(tree):
        if isinstance(node, FUNCTION):
            if (count := count_arguments(node)) > ARGUMENTS and not name.endswith("_commands.py"):
                yield f"functions over {ARGUMENTS} arguments", f"{name}:{node.lineno}: {node.name} {count}"
            if uses_any(node):
                yield "functions with Any in the signature", f"{name}:{node.lineno}: {node.name}"
        if isinstance(node, ast.stmt):
            if (count := count_comprehensions(node)) > COMPREHENSIONS:
                yield SEVERAL, f"{name}:{node.lineno}: {count}"
            if holds_untyped_arguments(node):
                yield UNTYPED, f"{name}:{node.lineno}"


def main() -> None:
    """Prints the counts, or with --list each place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    options = parser.parse_args()
    files = list_files(options.root, options.folders)
    found: dict[str, list[str]] = {}
    for path in files:
        for what, where in find(path, path.relative_to(options.root).as_posix()):
            found.setdefault(what, []).append(where)
    if options.check:
        wrong = [f"{place}: {what}" for what in (SEVERAL, UNTYPED) for place in found.get(what, [])]
        print("\n".join(wrong), end="\n" if wrong else "")
        sys.exit(1 if wrong else 0)
    print(f"files: {len(files)}, folders: {len({path.parent for path in files})}")
    for what, places in sorted(found.items()):
        print(f"{what}: {len(places)}")
        if options.list:
            print("".join(f"  {place}\n" for place in places), end="")


if __name__ == "__main__":
    main()
