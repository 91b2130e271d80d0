"""Excel workbooks, and what else is called so: every file is named as what it is."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.workbook import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from medimg.datasets.cells import cell_text, fold, is_unclean
from medimg.datasets.delimited import HEADER_WITHIN_ROWS, Reading, describe_unclean
from medimg.errors import UsageError

LARGEST_BYTES = 256 * 2**20
WORKBOOK = "an Excel workbook (.xlsx)"
OLD_EXCEL = "an old Excel workbook (.xls)"
STARTS = ((b"%PDF", "a PDF document"), (b"{\\rtf", "an RTF document"), (b"PAR1", "a Parquet table"))
MEMBERS = (
    ("xl/workbook.xml", WORKBOOK),
    ("xl/workbook.bin", "a binary Excel workbook (.xlsb)"),
    ("content.xml", "an OpenDocument spreadsheet (.ods)"),
    ("Index/Document.iwa", "an Apple Numbers document"),
    ("word/document.xml", "a Word document"),
)
"""Of zip files."""


def name_format(path: Path) -> str:
    """What a file is by its content: WORKBOOK, another format by name, or empty for what may be text."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        with path.open("rb") as stream:
            locked = "EncryptedPackage".encode("utf-16-le") in stream.read(LARGEST_BYTES)
        return "an Excel workbook with a password" if locked else OLD_EXCEL
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return name_zip(path)
    for start, name in STARTS:
        if head.startswith(start):
            return name
    text = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if text.startswith(b"<?xml") and b"<workbook" in text:
        return "an XML spreadsheet of Excel 2003"
    if text.startswith((b"<!doctype html", b"<html", b"<table", b"<head", b"<body", b"<?xml", b"<meta")):
        return "an HTML page"
    return ""


def name_zip(path: Path) -> str:
    """What a zip file is by its members."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return "a damaged zip file"
    return next((name for member, name in MEMBERS if member in members), "a zip file")


def read_workbook(path: Path, *, choices: Sequence[Sequence[str]]) -> Reading:
    """The first sheet; each cell of a merged range has the range's value.

    Args:
        choices: columns of which the first sheet should have one choice, near its top.

    Raises:
        UsageError: no readable workbook, one that unpacks to too much, a formula without a value, or one
            whose first sheet lacks the columns while another has them.
    """
    try:
        check_size(path)
        workbook = load(path, data_only=True)
        sheet = workbook.worksheets[0]
        values = [list(row) for row in sheet.iter_rows(values_only=True)]
        unknown = find_formula(path, sheet)
    except UsageError:
        raise
    except Exception as error:  # openpyxl lets KeyError, ValueError, BadZipFile, XML errors and more through.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path.name}: not a readable Excel workbook ({reason}), expected .xlsx") from None
    if unknown:
        raise UsageError(
            f"{path.name} cell {unknown}: a formula without a value; open the workbook in Excel, save it, or "
            "write the value itself"
        )
    fill_merged(sheet, values)
    unclean = [number for number, row in enumerate(values, start=1) if any(map(is_unclean, row))]
    return Reading(
        rows=[(number, list(map(cell_text, row))) for number, row in enumerate(values, start=1)],
        notes=(*describe_sheets(workbook, path.name, choices=choices), *describe_unclean(path.name, unclean)),
    )


def load(path: Path, *, data_only: bool) -> Workbook:
    """Opens a workbook whatever its name ends in; openpyxl itself goes by the ending."""
    with path.open("rb") as stream:
        return openpyxl.load_workbook(stream, data_only=data_only)


def check_size(path: Path) -> None:
    """Refuses a workbook that would unpack to more than LARGEST_BYTES: a clinical table has some 100 kB."""
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > LARGEST_BYTES:
        raise UsageError(
            f"{path.name}: unpacks to {size} bytes, expected a clinical table of at most {LARGEST_BYTES}"
        )


def find_formula(path: Path, sheet: Worksheet) -> str:
    """The first cell of the first sheet with a formula whose value was never computed, or empty.

    Programs that write formulas without computing them leave none.
    """
    empty = {
        cell.coordinate
        for row in sheet.iter_rows()
        for cell in row
        if cell.value is None and cell.data_type == "n"
    }
    if not empty:
        return ""
    written = load(path, data_only=False).worksheets[0]
    for row in written.iter_rows():
        for cell in row:
            if cell.data_type == "f" and cell.coordinate in empty:
                return str(cell.coordinate)
    return ""


def fill_merged(sheet: Worksheet, values: list[list[Any]]) -> None:
    """Writes a merged range's value into all its cells, in place.

    But never across the columns of one row: that is a title.
    """
    for merged in sheet.merged_cells.ranges:
        first = values[merged.min_row - 1][merged.min_col - 1]
        for row in range(merged.min_row - 1, min(merged.max_row, len(values))):
            values[row][merged.min_col - 1] = first


def describe_sheets(workbook: Workbook, table: str, *, choices: Sequence[Sequence[str]]) -> list[str]:
    """One line if there are further sheets with anything in them.

    Raises:
        UsageError: one of them has the columns, and the first has not.
    """
    first, *others = workbook.worksheets
    filled = [sheet for sheet in others if any(map(any, iter_top(sheet)))]
    if not filled:
        return []
    for sheet in filled:
        if has_columns(sheet, choices) and not has_columns(first, choices):
            raise UsageError(
                f"{table}: the first sheet {first.title!r} has no column {', '.join(choices[0])}, sheet "
                f"{sheet.title!r} has; expected the table in the first one"
            )
    names = ", ".join(repr(sheet.title) for sheet in filled)
    kind = "sheets" if len(filled) > 1 else "sheet"
    return [f"{table}: {kind} {names} not read, the first one, {first.title!r}, is"]


def iter_top(sheet: Worksheet) -> Iterator[tuple[Any, ...]]:
    """The values of the rows where a header may be."""
    return sheet.iter_rows(max_row=HEADER_WITHIN_ROWS, values_only=True)


def has_columns(sheet: Worksheet, choices: Sequence[Sequence[str]]) -> bool:
    """Whether a row near the top has all columns of a choice."""
    wanted = [set(map(fold, choice)) for choice in choices]
    for row in iter_top(sheet):
        found = set(map(fold, map(cell_text, row)))
        if any(choice <= found for choice in wanted):
            return True
    return False
