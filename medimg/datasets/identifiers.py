"""Ids and labels as people and programs write them: which forms mean the same, and which have lost digits."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from medimg.datasets.cells import clean_text
from medimg.errors import UsageError
from medimg.hashing import hash_patient

NUMBER = re.compile(r"([+-]?)0*(\d+)(?:[.,](\d*?)0*)?")
SCIENTIFIC = re.compile(r"\d+([.,]\d+)?e\+\d+|\d+[.,]\d+e\d+", re.IGNORECASE)


def fold_id(text: str) -> str:
    """What ids are compared by: letters without case, width and parts, numbers without zeros around them.

    0012, 12 and 12.0 are equal, and so are P1 and p1.
    """
    seen = unicodedata.normalize("NFKC", clean_text(text)).casefold()
    key = " ".join(seen.split())
    if not (number := NUMBER.fullmatch(key)):
        return key
    sign, whole, part = number.groups()
    return ("-" if sign == "-" else "") + whole + (f".{part}" if part else "")


def name_patient(patient_id: str) -> str:
    """Names a patient without the id, whatever form it is written in; "" for none."""
    return hash_patient(fold_id(patient_id))


class Forms:
    """The forms in which ids are written, and the one form that stands for each.

    That is the one without a decimal point, then the longest (zeros in front were there before a spreadsheet
    took them), then the first by letters: the same whatever the order of rows.
    """

    def __init__(self) -> None:
        self._places: dict[str, dict[str, str]] = defaultdict(dict)

    def add(self, text: str, *, place: str) -> None:
        """Takes note of an id; `place` is "row 2" or a file, for reports."""
        if text:
            self._places[fold_id(text)].setdefault(text, place)

    def choose(self, text: str) -> str:
        """The form that stands for an id; the id itself where it was never added."""
        forms = self._places.get(fold_id(text), {})
        return min(forms, key=_rank, default=text)

    def list_merged(self) -> list[dict[str, str]]:
        """Form to place, of each id that has several forms."""
        return [dict(sorted(forms.items())) for forms in self._places.values() if len(forms) > 1]

    def describe(self, what: str) -> list[str]:
        """One line if ids have several forms; shows where, never the id: it may be a patient's."""
        merged = self.list_merged()
        if not merged:
            return []
        places = " and ".join(sorted(merged[0].values(), key=_order))
        noun = "1 id is" if len(merged) == 1 else f"{len(merged)} ids are"
        return [f"{what}: {noun} written in several forms (first: {places}); each counts as one"]


def _rank(form: str) -> tuple[bool, int, str]:
    return (NUMBER.fullmatch(form) is not None and not form.lstrip("+-").isdecimal(), -len(form), form)


def _order(place: str) -> tuple[int, str]:
    return int(re.sub(r"\D", "", place.partition(" ")[2]) or 0) if place.startswith("row ") else 10**9, place


def read_forms(cells: Iterable[tuple[int, str]], *, what: str) -> Forms:
    """The forms in a table's column of ids, by row.

    Raises:
        UsageError: an id in scientific notation, as spreadsheets write long numbers: its digits are lost.
    """
    forms = Forms()
    for number, text in cells:
        if SCIENTIFIC.fullmatch(text):
            table, _, column = what.partition(" column ")
            raise UsageError(
                f"{table} row {number}: {column} in scientific notation, whose digits are lost; expected all "
                "of them, in a column of text"
            )
        forms.add(text, place=f"row {number}")
    return forms
