"""Changes the product in many small wrong ways and counts how many of them a test notices: `make mutants`.

A mutant runs the tests of its area (areas.py) that reach its line, those of its own module before others
and the quickest first, at most 60 s of them; a line that none reaches runs the tests of its module. What
is found stays in .mutants/ and counts again as long as the code around the change and the test files
concerned stay as they are: an interrupted run goes on, and a new test is tried on survivors only. `--rules`
runs the changes of wrong_rules.toml instead: whole rules, written by hand. Mutants that are not wrong are
listed with the reason in equivalent.toml.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import tempfile
from pathlib import Path

from setup.mutants.areas import AREAS, ROOT, list_files, list_test_files
from setup.mutants.choice import Wrong, choose, list_rules
from setup.mutants.results import Results, write_scores
from setup.mutants.run import map_test_files, try_all
from setup.mutants.worker import copy_tree


def main() -> int:
    """Runs what is asked for; 1 where a rule of wrong_rules.toml goes unnoticed."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--area", action="append", choices=AREAS, help="only this one; may be given again")
    parser.add_argument(
        "--file", action="append", default=[], help="only this product file; may be given again"
    )
    parser.add_argument(
        "--sample", type=int, default=150, help="mutants of each area, drawn evenly over operators"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the drawing")
    parser.add_argument("--since", help="only lines that differ from this commit")
    parser.add_argument("--rules", action="store_true", help="the changes of wrong_rules.toml instead")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", type=Path, help="where to write the scores, in Markdown")
    arguments = parser.parse_args()
    areas = arguments.area or [area for area in AREAS if list_files(area, arguments.file)]
    wrong = list_rules(areas, arguments.file) if arguments.rules else choose(areas, arguments)
    results = Results(ROOT / ".mutants", wrong)
    waiting = results.list_waiting()
    print(f"{len(wrong)} mutants, {len(waiting)} to be run", flush=True)
    if waiting:
        run(waiting, areas, results, workers=arguments.workers)
    print(results.describe())
    if arguments.write:
        write_scores(arguments.write, results, today=datetime.date.today(), command=" ".join(sys.argv[1:]))
    return int(arguments.rules and results.count_survivors() > 0)


def run(waiting: list[Wrong], areas: list[str], results: Results, *, workers: int) -> None:
    """Maps the test files of the areas where that is not done yet, then tries every mutant."""
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    try:
        trees = [folder / str(number) for number in range(workers)]
        for tree in trees:
            copy_tree(ROOT, tree)
        reach = map_test_files(list_test_files(areas), trees)
        try_all(waiting, reach, trees, results)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
