"""Clinical tables as people have them: Excel workbooks and delimited text.

They are read into rows of stripped text that know their row number.

A cell that says in one of the usual words that a value is not known is empty, in every column; what was
taken so is counted.

Tolerated: byte order marks, UTF-8, UTF-16 and GB18030, CRLF, comma, semicolon or tab, a title above the
header, merged cells, extra columns, any order of columns, and headers that differ in case, blanks and
underscores.
"""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.worksheet.worksheet import Worksheet

from medimg.errors import UsageError

LARGEST_BYTES = 256 * 2**20
HEADER_WITHIN_ROWS = 10
MISSING_WORDS = frozenset(
    (
        *("", "-", "--", "?", ".", "na", "n/a", "n.a.", "n.a", "nan", "nat", "none", "null"),
        *("#n/a", "#na", "<na>", "#null!", "#div/0!", "#value!", "#ref!", "#name?", "#num!"),
    )
)
"""People's, those of Excel's errors, and those of pandas and R."""
DASHES = dict.fromkeys(map(ord, "\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"), "-")

NumberedCells = tuple[int, list[str]]


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
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    missing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def read_table(
    path: Path, *, required: Sequence[str], keep: Mapping[str, Sequence[str]] | None = None
) -> Table:
    """Reads an .xlsx workbook's first sheet or delimited text (any other suffix).

    Rows without any cell are left out. Words for a missing value become empty cells.

    Args:
        keep: by required column, words that are values there, whatever their case.

    Raises:
        UsageError: unreadable file, a required column is missing or doubled, or no row below the header.
    """
    numbered = read_workbook(path) if path.suffix.lower() == ".xlsx" else read_text(path, required=required)
    position = find_header(numbered, required=required)
    if position is None:
        found = next((cells for _, cells in numbered if any(cells)), [])
        missing = [name for name in required if fold(name) not in map(fold, found)]
        raise UsageError(
            f"{path.name}: no column {', '.join(missing) or '(one header row)'}; found "
            f"{shown(found)}; expected {', '.join(required)}"
        )
    columns = name_columns(numbered[position][1], required=required, table=path.name)
    rows = [
        Row(number, _name_cells(cells, columns)) for number, cells in numbered[position + 1 :] if any(cells)
    ]
    if not rows:
        raise UsageError(f"{path.name}: no row below the header, expected one per labelled case")
    known, words = clear_missing(rows, keep=keep or {})
    return Table(path.name, tuple(columns.values()), known, words)


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


def find_header(numbered: Sequence[NumberedCells], *, required: Sequence[str]) -> int | None:
    """Position of the first row that has every required column; a title may stand above it."""
    wanted = {fold(name) for name in required}
    return next(
        (
            position
            for position, (_, cells) in enumerate(numbered[:HEADER_WITHIN_ROWS])
            if wanted <= set(map(fold, cells))
        ),
        None,
    )


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


def read_workbook(path: Path) -> list[NumberedCells]:
    """Numbered rows of the first sheet; each cell of a merged range has the range's value."""
    try:
        check_size(path)
        workbook = openpyxl.load_workbook(path, data_only=True)
        sheet = workbook.worksheets[0]
        values = [list(row) for row in sheet.iter_rows(values_only=True)]
    except UsageError:
        raise
    except Exception as error:  # openpyxl lets KeyError, ValueError, BadZipFile, XML errors and more through.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path.name}: not a readable Excel workbook ({reason}), expected .xlsx") from None
    fill_merged(sheet, values)
    return [(number, list(map(cell_text, row))) for number, row in enumerate(values, start=1)]


def check_size(path: Path) -> None:
    """Refuses a workbook that would unpack to more than LARGEST_BYTES: a clinical table has some 100 kB."""
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > LARGEST_BYTES:
        raise UsageError(
            f"{path.name}: unpacks to {size} bytes, expected a clinical table of at most {LARGEST_BYTES}"
        )


def fill_merged(sheet: Worksheet, values: list[list[Any]]) -> None:
    """Writes a merged range's value into all its cells, in place.

    But never across the columns of one row: that is a title.
    """
    for merged in sheet.merged_cells.ranges:
        first = values[merged.min_row - 1][merged.min_col - 1]
        for row in range(merged.min_row - 1, min(merged.max_row, len(values))):
            values[row][merged.min_col - 1] = first


def read_text(path: Path, *, required: Sequence[str]) -> list[NumberedCells]:
    """Numbered rows of a delimited text file.

    The separator is the one under which the header shows most of the required columns.
    """
    try:
        text = decode_text(path.read_bytes(), table=path.name)
    except OSError as error:
        raise UsageError(f"{path.name}: {error.strerror}") from None
    try:
        readings = [list(split_rows(text, separator)) for separator in ",;\t"]
    except csv.Error as error:
        raise UsageError(f"{path.name}: not a readable table ({error})") from None
    wanted = {fold(name) for name in required}
    return max(
        readings,
        key=lambda rows: max(
            (len(wanted & set(map(fold, cells))) for _, cells in rows[:HEADER_WITHIN_ROWS]), default=0
        ),
    )


def split_rows(text: str, separator: str) -> Iterator[NumberedCells]:
    """Rows with the number of the line on which each starts."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    number = 1
    for cells in reader:
        yield number, [cell_text(cell) for cell in cells]
        number = reader.line_num + 1


def decode_text(content: bytes, *, table: str) -> str:
    """Decodes a byte string by its byte order mark, else as UTF-16, UTF-8 or GB18030.

    UTF-16 where every other byte is zero; GB18030 (Excel in China) where it is not UTF-8.
    """
    encodings = ["utf-8-sig", "gb18030"]
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    elif b"\0" in content[:200]:
        # Of ASCII's letters the zero comes first in the one and second in the other.
        zeros = [content[first:200:2].count(0) for first in (0, 1)]
        encodings = ["utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"]
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UsageError(f"{table}: text in an unknown encoding, expected UTF-8, UTF-16 or GB18030")


def cell_text(value: object) -> str:
    """Returns a cell as stripped text, empty where there is nothing.

    Whole numbers have no decimal point, dates are in ISO 8601.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, date):
        return value.isoformat()
    return "" if value is None else str(value).replace("\N{NO-BREAK SPACE}", " ").strip()


def is_missing(text: str) -> bool:
    """Whether a cell says that the value is not known, in one of the usual words (pandas writes "nan").

    Full-width and other dashes, and characters that cannot be seen, count as people mean them.
    """
    seen = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFKC", seen.translate(DASHES)).strip().lower() in MISSING_WORDS


def fold(name: str) -> str:
    """A column name without case, blanks and underscores."""
    return "".join(name.casefold().replace("_", " ").split())


def find_table(root: Path, names: Sequence[str]) -> Path:
    """The first of the names that exists in the folder.

    Raises:
        UsageError: no such folder, or none of the names in it; the message names the tables that are there.
    """
    if not root.is_dir():
        raise UsageError(
            f"{root}: {'not a folder' if root.exists() else 'no such folder'}, expected one with "
            f"{' or '.join(names)}"
        )
    for name in names:
        if (root / name).is_file():
            return root / name
    similar = sorted(path.relative_to(root).as_posix() for path in list_tables_near(root))
    raise UsageError(
        f"{root}: no clinical table {' or '.join(names)}; found "
        f"{shown(similar) if similar else 'no table at all'}"
    )


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
