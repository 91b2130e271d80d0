"""What `medimg query` prints: a table as wide as the terminal, and one line per row in a log."""

from __future__ import annotations

from collections.abc import Hashable

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medimg.catalogue.rows import is_absent
from medimg.errors import one_line

NARROWEST = 10
"""Letters of a column that can still be read."""


def print_rows(frame: pd.DataFrame, console: Console) -> None:
    """Prints the rows of a query; cells fold, and of more columns than fit each row becomes a block."""
    if not console.is_terminal:
        shown = frame.apply(lambda column: column.map(escape_text))
        console.file.write(f"{shown.to_string(index=False)}\n")
    elif len(frame.columns) * (NARROWEST + 2) <= console.width:
        console.print(make_table(frame))
    else:
        print_blocks(frame, console)


def make_table(frame: pd.DataFrame) -> Table:
    """A table that folds its cells where the terminal is narrow."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, kind in frame.dtypes.items():
        justify = "right" if pd.api.types.is_numeric_dtype(kind) else "left"
        table.add_column(Text(show_cell(name)), justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in frame.itertuples(index=False, name=None):
        table.add_row(*(Text(show_cell(value)) for value in row))
    return table


def print_blocks(frame: pd.DataFrame, console: Console) -> None:
    """Each row as a block of lines, one per column."""
    names = [show_cell(name) for name in frame.columns]
    for row in frame.itertuples(index=False, name=None):
        block = Table.grid(padding=(0, 2, 0, 0))
        block.add_column(no_wrap=True)
        block.add_column(overflow="fold")
        for name, value in zip(names, row, strict=True):
            block.add_row(Text(name, style="bold"), Text(show_cell(value)))
        console.print(block)
        console.print()


def show_cell(value: Hashable) -> str:
    """A value as text on one line; SQL's NULL for an absent one."""
    return "NULL" if is_absent(value) else one_line(str(value))


def escape_text(value: object) -> object:
    """The value, on one line if it is text."""
    return one_line(value) if isinstance(value, str) else value
