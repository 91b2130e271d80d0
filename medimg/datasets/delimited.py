"""Delimited text as people have it: which encoding, which separator, and whether its rows are whole."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from medimg.datasets.cells import NumberedCells, cell_text, fold, is_unclean
from medimg.errors import UsageError

SEPARATORS = ",;\t"
HEADER_WITHIN_ROWS = 10
GB2312_SIGNS, GB2312_COMMON = range(0xA1, 0xA4), range(0xB0, 0xD8)
"""First bytes of GB 2312's punctuation and of its 3755 most common characters; second bytes begin at 0xA1."""


@dataclass(frozen=True)
class Reading:
    """The rows of a file.

    Attributes:
        rows: with their numbers, as `cell_text` cleans them.
        notes: one line each on how the file was read, where that may surprise.
        lines: of the file as written; none of a workbook.
        separator: of the cells; empty for a workbook.
    """

    rows: Sequence[NumberedCells]
    notes: tuple[str, ...] = ()
    lines: Sequence[str] = ()
    separator: str = ""


def read_text(path: Path, *, columns: Sequence[str]) -> Reading:
    """Reads a delimited text file.

    The separator is the one under which a row near the top shows most of the columns.

    Raises:
        UsageError: the file cannot be read or decoded, or has a quote that never closes.
    """
    try:
        text, encoding = decode_text(path.read_bytes(), table=path.name)
    except OSError as error:
        raise UsageError(f"{path.name}: {error.strerror}") from None
    lines = list(io.StringIO(text, newline=""))
    wanted = set(map(fold, columns))
    separator = max(SEPARATORS, key=lambda one: count_columns(lines, one, wanted=wanted))
    rows = list(split_rows(lines, separator, table=path.name))
    unclean = [number for number, cells in rows if any(map(is_unclean, cells))]
    notes = [f"{path.name}: read as {encoding}, for it is not UTF-8"] if encoding != "UTF-8" else []
    return Reading(
        rows=[(number, list(map(cell_text, cells))) for number, cells in rows],
        notes=(*notes, *describe_unclean(path.name, unclean)),
        lines=lines,
        separator=separator,
    )


def describe_unclean(table: str, rows: Sequence[int]) -> list[str]:
    """One line if rows have letters that were cleaned."""
    if not rows:
        return []
    return [
        f"{table}: {len(rows)} rows (first: {rows[0]}) have characters that cannot be seen, no-break blanks "
        "or letters in two parts; read without them"
    ]


def count_columns(lines: Sequence[str], separator: str, *, wanted: set[str]) -> int:
    """How many of the wanted columns the best row near the top has under this separator."""
    try:
        rows = list(islice(csv.reader(lines, delimiter=separator), HEADER_WITHIN_ROWS))
    except csv.Error:
        return -1
    return max((len(wanted.intersection(map(fold, map(cell_text, cells)))) for cells in rows), default=0)


def split_rows(lines: Sequence[str], separator: str, *, table: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line on which each starts.

    Raises:
        UsageError: a quoted cell that never closes, or goes on after its closing quote.
    """
    reader = csv.reader(lines, delimiter=separator, strict=True)
    number = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "NUL" in str(error):
                raise UsageError(f"{table} row {number}: a zero byte, expected text") from None
            long = f", or a cell of over {csv.field_size_limit():,} letters" if "larger" in str(error) else ""
            raise UsageError(
                f"{table} row {number}: a quote that never closes, or text after it{long}; expected quotes "
                "around whole cells, and doubled inside them"
            ) from None
        yield number, cells
        number = reader.line_num + 1


def check_shape(reading: Reading, *, header: int, table: str) -> None:
    """Refuses rows with another number of cells than the header, which shift values under other columns.

    Columns at the end that neither have a name nor a value do not count, if all rows have them. Nor may a
    quote have made one row of several.
    """
    head, body = reading.rows[header][1], reading.rows[header + 1 :]
    width = len(head)
    named = max(index for index, cell in enumerate(head, start=1) if cell)
    filled = [(number, cells) for number, cells in body if any(cells)]
    lengths = {len(cells) for _, cells in filled}
    uniform = len(lengths) == 1 and not any(any(cells[width:]) for _, cells in filled)
    for number, cells in filled:
        if not (named <= len(cells) <= width or (uniform and len(cells) > width)):
            raise UsageError(
                f"{table} row {number}: {len(cells)} cells, expected {width} as in the header; a cell that "
                f"holds {reading.separator!r} needs quotes"
            )
    check_quotes(reading, body, table=table)


def check_quotes(reading: Reading, body: Sequence[NumberedCells], *, table: str) -> None:
    """Refuses a row of several lines each of which is a whole row: a quote opens in one and not the last."""
    ends = [*(number for number, _ in body), len(reading.lines) + 1][1:]
    for (number, cells), end in zip(body, ends, strict=True):
        parts = [line.count(reading.separator) + 1 for line in reading.lines[number - 1 : end - 1]]
        if len(parts) > 1 and set(parts) == {len(cells)}:
            raise UsageError(
                f"{table} row {number}: a quote that closes in row {number + len(parts) - 1} only, expected "
                "one that closes in its own row"
            )


def decode_text(content: bytes, *, table: str) -> tuple[str, str]:
    """Decodes a byte string and returns what it was decoded as.

    By its byte order mark; else as UTF-16 where zeros part the letters, as UTF-8, as GB18030 (Excel in
    China) where that gives plausible Chinese, and as cp1252 (Excel in Western Europe).
    """
    encodings = ["utf-8-sig", "gb18030", "cp1252"]
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    elif b"\0" in content[:200]:
        # Of ASCII's letters the zero comes first in the one and second in the other.
        zeros = [content[first:200:2].count(0) for first in (0, 1)]
        encodings = ["utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding in ("gb18030", "cp1252"):
            refuse_mixture(content, table=table, likely=encoding == "cp1252")
        if encoding == "gb18030" and not is_plausible_chinese(text):
            continue
        name = {"utf-8-sig": "UTF-8", "gb18030": "GB18030", "cp1252": "cp1252"}
        return text, name.get(encoding, "UTF-16")
    raise UsageError(f"{table}: text in an unknown encoding, expected UTF-8, UTF-16, GB18030 or cp1252")


def is_plausible_chinese(text: str) -> bool:
    """Whether most letters beyond ASCII are common in Chinese, and not single ones inside a Latin word.

    Western letters that are read as GB18030 are rare characters, for theirs are the bytes from 0xDF on, or
    take an ASCII letter's byte along.
    """
    foreign = [index for index, letter in enumerate(text) if not letter.isascii() and not letter.isspace()]
    likely = 0
    for index in foreign:
        code = text[index].encode("gb18030")
        common = len(code) == 2 and code[1] >= 0xA1 and code[0] in (*GB2312_SIGNS, *GB2312_COMMON)
        around = text[index - 1 : index] + text[index + 1 : index + 2]
        likely += common and not (len(around) == 2 and around.isascii() and around.isalpha())
    return likely * 2 > len(foreign)


def refuse_mixture(content: bytes, *, table: str, likely: bool) -> None:
    """Refuses text of which some rows are UTF-8 and others are not: no one encoding reads it.

    Unless it is `likely` that a row is UTF-8 on purpose, as in GB18030, at least half of the rows must be.
    """
    utf8, other = [], []
    for number, line in enumerate(content.splitlines(), start=1):
        if line.isascii():
            continue
        try:
            line.decode("utf-8-sig")
            utf8.append(number)
        except UnicodeDecodeError:
            other.append(number)
    if utf8 and other and (likely or len(utf8) >= len(other)):
        raise UsageError(
            f"{table}: row {utf8[0]} is UTF-8 and row {other[0]} is not, expected one encoding in all rows"
        )
