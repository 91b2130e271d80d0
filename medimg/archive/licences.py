"""LICENSE.txt and CITATION.bib beside the data: on which terms they may be used, and whom to cite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medimg.archive.collections import Collection
from medimg.archive.source import Series
from medimg.files import replace_file

LICENCE_FILE = "LICENSE.txt"
CITATION_FILE = "CITATION.bib"


def write_terms(collection: Collection, series: Sequence[Series], *, root: Path) -> None:
    """Writes both files; neither for a user's own data, whose terms nobody here knows."""
    licences = sorted({one.licence for one in series if one.licence} or {collection.licence} - {""})
    dois = sorted({one.doi for one in series if one.doi} or {collection.doi} - {""})
    if licences:
        lines = [collection.title]
        lines += [f"Licence: {licence}" for licence in licences]
        if collection.licence_url:
            lines.append(f"Its text: {collection.licence_url}")
        lines += [f"Source: https://doi.org/{doi}" for doi in dois]
        lines += [
            "",
            "Fetched with medimg; receipts.jsonl lists each file with its address, size and "
            "checksums. Please cite what CITATION.bib names.",
        ]
        write_text(root / LICENCE_FILE, "\n".join(lines) + "\n")
    if collection.citations:
        write_text(root / CITATION_FILE, "\n\n".join(entry.strip() for entry in collection.citations) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a file unless it says so already."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        replace_file(path, write=lambda to: to.write_text(text, encoding="utf-8"))
