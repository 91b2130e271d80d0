"""Clinical tables as people have them: Excel workbooks and delimited text.

They are read into rows of stripped text that know their row number. A cell that says in one of the usual
words that a value is not known is empty, in every column; what was taken so is counted.

Tolerated: byte order marks, UTF-8, UTF-16, GB18030 and cp1252, CRLF, comma, semicolon or tab, a title above
the header, merged cells, extra columns, any order of columns, and headers that differ in case, blanks and
underscores.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medimg.datasets.cells import NumberedCells, fold, is_missing
from medimg.datasets.delimited import HEADER_WITHIN_ROWS, Reading, check_shape, read_text
from medimg.datasets.workbooks import OLD_EXCEL, WORKBOOK, name_format, read_workbook
from medimg.errors import UsageError


@dataclass(frozen=True)
class Row:
    """One row: its 1-based number in the sheet or file, and its cells by column, stripped."""

    number: int
    values: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A table under its file name.

    Attributes:
        columns: the required ones as they were asked for and the others as they are written.
        missing: by column, how many cells hold which word for a missing value; blank cells are not counted.
        notes: one line each on how it was read, for the summary: an encoding, sheets that were not read.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    missing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_table(
    path: Path,
    *,
    required: Sequence[str],
    alternatives: Sequence[Sequence[str]] = (),
    optional: Sequence[str] = (),
    keep: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """Reads an .xlsx workbook's first sheet or delimited text, whatever its name ends in.

    Rows without any cell are left out. Words for a missing value become empty cells.

    Args:
        alternatives: columns that will do instead of the required ones.
        optional: columns that are named so where they are there.
        keep: by required column, words that are values there, whatever their case.

    Raises:
        UsageError: unreadable file, a required column is missing or doubled, no row below the header, or, of
            text, a row with another number of cells.
    """
    choices = (required, *alternatives)
    reading = read_rows(path, choices=choices)
    numbered = reading.rows
    position = find_header(numbered, choices=choices)
    if position is None:
        raise UsageError(explain_header(numbered, choices=choices, table=path.name))
    if reading.separator:
        check_shape(reading, header=position, table=path.name)
    asked = list(dict.fromkeys(name for choice in (*choices, optional) for name in choice))
    columns = name_columns(numbered[position][1], required=asked, table=path.name)
    rows = [
        Row(number, _name_cells(cells, columns)) for number, cells in numbered[position + 1 :] if any(cells)
    ]
    if not rows:
        raise UsageError(f"{path.name}: no row below the header, expected one per labelled case")
    known, words = clear_missing(rows, keep=keep or {})
    return Table(path.name, tuple(columns.values()), known, words, notes=reading.notes)


def read_rows(path: Path, *, choices: Sequence[Sequence[str]]) -> Reading:
    """The rows of a file that is a workbook or text by its content; UsageError names any other format."""
    try:
        kind = name_format(path)
    except OSError as error:
        raise UsageError(f"{path.name}: {error.strerror}") from None
    if kind == WORKBOOK:
        return read_workbook(path, choices=choices)
    if path.suffix.lower() == ".xlsx":
        what = kind or ("plain text" if path.stat().st_size else "an empty file")
        raise UsageError(f"{path.name}: not a readable Excel workbook ({what}), expected .xlsx")
    if kind:
        raise UsageError(f"{path.name}: {kind}, expected delimited text (.csv) or {WORKBOOK}")
    return read_text(path, columns=[name for choice in choices for name in choice])


def explain_header(numbered: Sequence[NumberedCells], *, choices: Sequence[Sequence[str]], table: str) -> str:
    """What to say of a table without a header: the first row, and what is missing in it.

    A row with none of the columns may be a patient's, and is not shown.
    """
    found = next((cells for _, cells in numbered if any(cells)), [])
    known = set(map(fold, found))
    missing = [name for name in choices[0] if fold(name) not in known]
    asked = [name for choice in choices for name in choice]
    is_header = not found or any(fold(name) in known for name in asked)
    says = shown(found) if is_header else f"a first row of {len(found)} cells without any of them"
    return (
        f"{table}: no column {', '.join(missing) or '(one header row)'}; found {says}; expected "
        f"{'; or '.join(', '.join(choice) for choice in choices)}"
    )


def clear_missing(
    rows: Iterable[Row], *, keep: Mapping[str, Sequence[str]]
) -> tuple[tuple[Row, ...], dict[str, Counter[str]]]:
    """The rows with empty cells for missing values, and by column how often which word stood there."""
    kept = {column: set(map(str.casefold, words)) for column, words in keep.items()}
    missing: dict[str, Counter[str]] = defaultdict(Counter)
    cleared = []
    for row in rows:
        values = dict(row.values)
        for column, text in row.values.items():
            if is_missing(text) and text.casefold() not in kept.get(column, ()):
                values[column] = ""
                missing[column].update([text] if text else [])
        cleared.append(Row(row.number, values))
    return tuple(cleared), {column: words for column, words in missing.items() if words}


def describe_missing(table: Table, column: str) -> list[str]:
    """One line if cells of the column were taken as missing for the word that they hold."""
    words = table.missing.get(column)
    if not words:
        return []
    counts = ", ".join(f"{word!r} {count}" for word, count in sorted(words.items()))
    return [f"{table.name} column {column}: {sum(words.values())} cells taken as missing ({counts})"]


def _name_cells(cells: Sequence[str], columns: Mapping[int, str]) -> dict[str, str]:
    return {name: cells[index] if index < len(cells) else "" for index, name in columns.items()}


def find_header(numbered: Sequence[NumberedCells], *, choices: Sequence[Sequence[str]]) -> int | None:
    """Position of the first row with all columns of a choice; a title may stand above it."""
    wanted = [set(map(fold, choice)) for choice in choices]
    for position, (_, cells) in enumerate(numbered[:HEADER_WITHIN_ROWS]):
        found = set(map(fold, cells))
        if any(choice <= found for choice in wanted):
            return position
    return None


def name_columns(header: Sequence[str], *, required: Sequence[str], table: str) -> dict[int, str]:
    """Index to column name; columns without a name are left out."""
    asked = {fold(name): name for name in required}
    columns = {index: asked.get(fold(cell), cell) for index, cell in enumerate(header) if cell}
    doubled = sorted({name for name in columns.values() if list(columns.values()).count(name) > 1})
    if doubled:
        raise UsageError(
            f"{table}: column {', '.join(doubled)} stands there more than once; found {shown(header)}"
        )
    return columns


def find_table(root: Path, names: Sequence[str]) -> Path:
    """The first of the names that exists in the folder, else one that differs in case only.

    Raises:
        UsageError: no such folder, or none of the names in it; the message names the tables that are there,
            and what is wrong with one that is nearly called so.
    """
    if not root.is_dir():
        raise UsageError(
            f"{root}: {'not a folder' if root.exists() else 'no such folder'}, expected one with "
            f"{' or '.join(names)}"
        )
    for name in names:
        if (root / name).is_file():
            return root / name
    files = sorted(path for path in root.iterdir() if path.is_file())
    for name in names:
        for path in files:
            if path.name.casefold() == name.casefold():
                return path
    for path in files:
        if near := describe_near_table(path, names):
            raise UsageError(f"{root}: no clinical table {' or '.join(names)}; found {near}")
    similar = sorted(path.relative_to(root).as_posix() for path in list_tables_near(root))
    raise UsageError(
        f"{root}: no clinical table {' or '.join(names)}; found "
        f"{shown(similar) if similar else 'no table at all'}"
    )


def describe_near_table(path: Path, names: Sequence[str]) -> str:
    """What is wrong with a file that is called nearly like one of the tables; empty where it is not."""
    found = path.name.casefold()
    for name in map(str.casefold, names):
        if Path(name).suffix and found.startswith(f"{name}."):
            return f"{path.name}, whose last ending Windows hides: rename it to {path.name[: len(name)]}"
    stems = {Path(name).stem.casefold() for name in names}
    if Path(found).stem in stems and (kind := name_format(path)):
        return f"{path.name}: {kind}" + (", save it as .xlsx" if kind == OLD_EXCEL else "")
    return ""


def list_unread_copies(root: Path, names: Sequence[str], *, read: Path) -> list[str]:
    """One line for each further table of these names, which is not read."""
    others = [name for name in names if name != read.name and (root / name).is_file()]
    return [f"{name}: not read, {read.name} is" for name in others]


def list_tables_near(root: Path) -> Iterable[Path]:
    """Files in the folder and one below that look like tables."""
    suffixes = {".xlsx", ".xls", ".xlsm", ".ods", ".csv", ".tsv"}
    return [
        path for pattern in ("*", "*/*") for path in root.glob(pattern) if path.suffix.lower() in suffixes
    ]


def shown(names: Iterable[str], *, at_most: int = 12) -> str:
    """Names for an error line, cut short where there are many."""
    names = [name for name in names if name]
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return (", ".join(names[:at_most]) or "nothing") + more
