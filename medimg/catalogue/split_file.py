"""A split that the user brings: a table of groups or cases and the part each is in, for any data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medimg.cases import Case, DataSet, Listing
from medimg.datasets.identifiers import fold_id, read_forms
from medimg.datasets.split_names import expect_split
from medimg.datasets.tables import read_table
from medimg.errors import UsageError

SPLIT = "split"
FILE = "file"


@dataclass(frozen=True)
class SplitFile:
    """A split by id.

    Attributes:
        name: of the file.
        level: what the ids are of, a level of the data set's cases or FILE.
        splits: "train", "eval" or "test" by id, as `fold_id` writes it.
        rows: the row of each id.
        notes: one line each on how it was read.
    """

    name: str
    level: str
    splits: Mapping[str, str]
    rows: Mapping[str, int]
    notes: tuple[str, ...]


def read_split_file(path: Path, *, data_set: DataSet) -> SplitFile:
    """Reads a table with a column `split` and one of ids: of cases, files, groups or a level between them.

    Raises:
        UsageError: no such file, other columns, a row without an id or with an unknown split, or two rows
            that put one id into two splits.
    """
    levels = name_columns(data_set)
    first, *others = [(column, SPLIT) for column in levels]
    if not path.is_file():
        expected = f"expected a table of {data_set.group_noun} and split"
        raise UsageError(f"--split-file {path}: no such file, {expected}")
    table = read_table(path, required=first, alternatives=others)
    column = next(column for column in levels if column in table.columns)
    splits: dict[str, str] = {}
    rows: dict[str, int] = {}
    what = f"{table.name} column {column}"
    read_forms(((row.number, row.values[column]) for row in table.rows), what=what)
    for row in table.rows:
        if not row.values[column]:
            raise UsageError(f"{table.name} row {row.number}: no {column}, expected one")
        split = expect_split(row.values[SPLIT], where=f"{table.name} row {row.number}")
        key = fold_id(row.values[column])
        if splits.setdefault(key, split) != split:
            raise UsageError(
                f"{table.name} rows {rows[key]} and {row.number}: one {column} in {splits[key]} and {split}, "
                "expected one split"
            )
        rows.setdefault(key, row.number)
    return SplitFile(table.name, levels[column], splits, rows, table.notes)


def name_columns(data_set: DataSet) -> dict[str, str]:
    """What columns of ids may be called, the finest first, each with its level."""
    names: dict[str, str] = {}
    case, group = data_set.levels[0], data_set.levels[-1]
    for name in ("case_id", "case", *named(data_set.levels[:1])):
        names.setdefault(name, case)
    names.setdefault(FILE, FILE)
    for level in data_set.levels[1:-1]:
        names.update(dict.fromkeys(named([level]), level))
    for name in ("group_id", "group", *named(data_set.levels[-1:])):
        names.setdefault(name, group)
    return names


def named(levels: Sequence[str]) -> list[str]:
    """A level's column, with and without its ending."""
    return [name for level in levels for name in (f"{level}_id", level)]


def list_keys(case: Case, level: str) -> list[str]:
    """A case's ids of a level, as `fold_id` writes them."""
    if level == FILE:
        return [fold_id(image.path) for image in case.images]
    return [fold_id(case.levels[level])]


def apply_split_file(listing: Listing, brought: SplitFile) -> Listing:
    """The listing with the brought split as the official one, where it says something of a case.

    Raises:
        UsageError: it says nothing of any case, or parts the images of one.
    """
    cases, used, kept, unnamed = [], set(), 0, 0
    for case in listing.cases:
        keys = [key for key in list_keys(case, brought.level) if key in brought.splits]
        splits = {brought.splits[key] for key in keys}
        if len(splits) > 1:
            rows = " and ".join(str(brought.rows[key]) for key in keys)
            raise UsageError(f"{brought.name} rows {rows}: images of one case in several splits")
        used.update(keys)
        split = next(iter(splits), case.official_split)
        kept += bool(splits) and case.official_split not in (None, split)
        unnamed += split is None
        cases.append(replace(case, official_split=split))
    if not used:
        raise UsageError(
            f"{brought.name}: no row is about one of {len(cases)} cases; expected ids of the level "
            f"{brought.level} in the catalogue, like group_id and case_id in its table"
        )
    notes = [*brought.notes]
    if strange := sorted(brought.rows[key] for key in brought.splits if key not in used):
        notes.append(
            f"{brought.name}: {len(strange)} of {len(brought.splits)} ids are of no case (first: row "
            f"{strange[0]})"
        )
    if unnamed:
        notes.append(f"{brought.name}: no row for {unnamed} of {len(cases)} cases, which are dealt")
    if kept:
        notes.append(f"{brought.name}: {kept} cases leave the official split of the data set for this one")
    return replace(listing, cases=cases, anomalies=[*notes, *listing.anomalies])
