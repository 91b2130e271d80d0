"""What a cell of a table says: clean text, a missing value, a number."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import date

MISSING_WORDS = frozenset(
    (
        *("", "-", "--", "?", ".", "na", "n/a", "n.a.", "n.a", "nan", "nat", "none", "null"),
        *("#n/a", "#na", "<na>", "#null!", "#div/0!", "#value!", "#ref!", "#name?", "#num!"),
    )
)
"""People's, those of Excel's errors, and those of pandas and R."""
DASHES = dict.fromkeys(map(ord, "\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"), "-")
SPREADSHEET_DIGITS = 15
"""Of a number in a spreadsheet; a longer one has lost the others."""
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
NUMBER_LIKE = re.compile(r"[<>=~\N{ALMOST EQUAL TO}\N{LESS-THAN OR EQUAL TO}\N{GREATER-THAN OR EQUAL TO}]*"
                         r"\s?[+-]?\d{1,6}([.,]\d{1,6})?\s?[+%A-Za-z]{0,3}")  # fmt: skip
"""A number with a mark or a unit: 90+, >89, 044Y, 12 mm. Short, so that an error may show it."""

NumberedCells = tuple[int, list[str]]
"""A row's number and its cells."""


def cell_text(value: object) -> str:
    """Returns a cell as stripped text, empty where there is nothing.

    Whole numbers have no decimal point, dates are in ISO 8601, a number of more digits than a spreadsheet
    keeps is in scientific notation. Letters are composed (NFC), a no-break blank is a blank, and characters
    that cannot be seen are left out.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**SPREADSHEET_DIGITS:
        value = int(value)
    if isinstance(value, float) and abs(value) >= 10**SPREADSHEET_DIGITS:
        return f"{value:.14e}"
    if isinstance(value, date):
        return value.isoformat()
    if value is None:
        return ""
    text = str(value)
    return text.strip() if text.isascii() else clean_text(text)


def clean_text(text: str) -> str:
    """Composed letters, blanks for no-break blanks, and nothing that cannot be seen."""
    seen = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFC", seen).replace("\N{NO-BREAK SPACE}", " ").strip()


def is_unclean(text: object) -> bool:
    """Whether `cell_text` changes more of a text than the blanks around it."""
    return isinstance(text, str) and not text.isascii() and clean_text(text) != text.strip()


def is_missing(text: str) -> bool:
    """Whether a cell says that the value is not known, in one of the usual words (pandas writes "nan").

    Full-width and other dashes count as people mean them.
    """
    return unicodedata.normalize("NFKC", text.translate(DASHES)).strip().lower() in MISSING_WORDS


def parse_number(text: str) -> float | None:
    """A finite decimal number, or None; a decimal comma will do.

    Python's own underscores ("1_000") are text.
    """
    try:
        number = float(text.replace(",", ".") if DECIMAL_COMMA.fullmatch(text) else text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def is_number_like(text: str) -> bool:
    """Whether a text is a number, or one with a mark or a unit as people write it."""
    return parse_number(text) is not None or NUMBER_LIKE.fullmatch(text) is not None


def fold(name: str) -> str:
    """A column name without case, blanks and underscores."""
    return "".join(name.casefold().replace("_", " ").split())
