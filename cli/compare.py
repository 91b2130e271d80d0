"""`medimg compare`: runs side by side on the terminal and in a file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from cli.results import PRINTED
from medimg.console.terminal import make_console, say
from medimg.errors import UsageError
from medimg.evaluation.gates import OVERALL
from medimg.files import replace_file
from medimg.reporting.bundle import METRICS_FILE
from medimg.reporting.comparison import Comparison, ComparisonRow, compare, read_side, tabulate
from medimg.reporting.comparison_sheets import Sheet, make_overview, make_sheets, render_comparison
from medimg.reporting.run_facts import say_renamed


def compare_runs(runs: Sequence[Path], *, to: Path | None = None, console: Console | None = None) -> None:
    """Prints a few metrics of each protocol on the whole split and the headline on every slice.

    Writes all of it to a file.

    Args:
        runs: directories of runs, or folders of `medimg share`; the later ones are tested against the first.
        to: .csv or .html.

    Raises:
        UsageError: fewer than two or too many runs, one that is none, or another kind of file.
    """
    if not 2 <= len(runs) <= 26:
        raise UsageError(f"{len(runs)} runs: expected 2 to 26")
    if to and to.suffix not in (".csv", ".html"):
        raise UsageError(f"--to {to}: expected a file .csv or .html")
    console = console or make_console()
    sides = [read_side(str(run), find_report(run)) for run in runs]
    say_renamed(console, chain.from_iterable(side.facts.renamed for side in sides))
    comparison = compare(sides)
    print_comparison(comparison, console=console, written=to is not None)
    if to:
        text = (
            tabulate(comparison).to_csv(index=False, lineterminator="\n")
            if to.suffix == ".csv"
            else render_comparison(comparison)
        )
        replace_file(to, write=lambda temporary: temporary.write_text(text, encoding="utf-8"))
        say(console, f"{len(comparison.rows)} rows in {to}")


def find_report(run: Path) -> Path:
    """The report's folder of a run; of a bundle, the folder itself. Raises UsageError for what is neither."""
    for folder in (run / "report", run):
        if (folder / METRICS_FILE).is_file():
            return folder
    raise UsageError(f"{run} has no report/{METRICS_FILE}: it is not a run, or one that has not finished")


def print_comparison(comparison: Comparison, *, console: Console, written: bool) -> None:
    """The comparison in short; `written` if the whole of it goes to a file."""
    for letter, side in zip(comparison.letters, comparison.sides, strict=True):
        say(console, f"{letter}: {side.name}")
    print_sheet(make_overview(comparison), console=console)
    first = next(iter(comparison.rows)).key
    gated = {gate for side in comparison.sides for gate in side.facts.gated}

    def is_printed(row: ComparisonRow) -> bool:
        head, name, slice_name, protocol, *_ = row.key
        return (name in PRINTED or (head, name) in gated) and (
            slice_name == OVERALL or (head, name, protocol) == (first[0], first[1], first[3])
        )

    for sheet in make_sheets(comparison, wanted=is_printed):
        print_sheet(sheet, console=console)
    for note in comparison.notes:
        say(console, note)
    more = sum(not is_printed(row) for row in comparison.rows)
    if more and not written:
        say(console, f"{more} more rows: --to FILE.csv or FILE.html")


def print_sheet(sheet: Sheet, *, console: Console) -> None:
    """One table."""
    table = Table(
        title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for column in sheet.columns:
        table.add_column(column.replace(": ", "\n", 1), overflow="fold")
    for row in sheet.rows:
        table.add_row(*row)
    console.print(table)
