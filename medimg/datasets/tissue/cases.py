"""Tissue tiles in class folders: twelve organs of the Human Protein Atlas, or any other classes.

The Atlas: CC BY-SA 4.0, doi 10.1126/science.1260419.

On disk:  <root>/train/<class>/**, <root>/test/<class>/**   with an official split, all folders with the same
                                                            classes; and <root>/val/<class>/**, which is eval
     or:  <root>/<class>/**                                 without one
          <class>_source_group.csv beside a class folder    columns file (relative to it) and source_group,
                                                            optional

The parts of a split may be called Train, training, train_set, valid and the like; folds (fold0 ...) are no
classes either, but are not kept.

Quirks: the Atlas takes tissue of three donors per organ (six of endometrium and skin), so tiles of one donor
are many and alike: what must not be split is the donor or source, which the tables name. A tile without a row
is a group of its own, and the anomalies say so. skin_1 and skin_2, like endometrium_1 and endometrium_2, are
sample groups of one organ: to tell them apart is to tell donors apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from medimg.cases import Case, DataSet, Header, ImageRef, Listing, Reject
from medimg.datasets.identifiers import Forms, fold_id, read_forms
from medimg.datasets.tables import read_table, shown
from medimg.datasets.tissue.class_folders import ClassFolder, describe_folds, find_class_folders
from medimg.datasets.tissue.phantom import CLASSES, write_phantom
from medimg.errors import UsageError

HEAD = "tissue"
SOURCE_COLUMNS = ("file", "source_group")


def list_tables(root: Path) -> Sequence[Path]:
    """The tables of sources that there are. Raises what `find_class_folders` raises."""
    return [root / folder.table for folder in find_class_folders(root) if (root / folder.table).is_file()]


def list_classes(root: Path) -> Mapping[str, tuple[str, ...]]:
    """The names of the class folders, sorted. Raises what `find_class_folders` raises."""
    return {HEAD: tuple(sorted({folder.name for folder in find_class_folders(root)}))}


def list_cases(root: Path, headers: Sequence[Header]) -> Listing:
    """One case per image in a class folder; reads the tables of sources, never a pixel.

    Raises:
        UsageError: as `find_class_folders`, or a table that is unreadable or contradicts itself.
    """
    folders = find_class_folders(root)
    by_path = {folder.path: folder for folder in folders}
    notes: list[str] = []
    sources = {folder.path: read_sources(root, folder, anomalies=notes) for folder in folders}
    merge_sources(sources, folders=by_path, anomalies=notes)
    cases: list[Case] = []
    rejects: list[Reject] = []
    for header in sorted(headers, key=lambda header: header.path):
        folder = next(
            (
                by_path[parent.as_posix()]
                for parent in PurePosixPath(header.path).parents
                if parent.as_posix() in by_path
            ),
            None,
        )
        if folder is None:
            rejects.append(Reject(header.path, "excluded", "in no class folder"))
        else:
            cases.append(
                make_case(
                    header, folder=folder, source=sources[folder.path].get(name_in(folder, header.path), "")
                )
            )
    others = describe_classes(folders)
    notes += describe_sources(sources, by_path=by_path, headers=headers)
    anomalies = [*others, *describe_folds(folders), *notes]
    return Listing(cases, rejects, anomalies, is_published=not others)


def make_case(header: Header, *, folder: ClassFolder, source: str) -> Case:
    """The tile as a case; without a source it is a group of its own."""
    case_id = quote(header.path, safe="/~", errors="surrogateescape")
    return Case(
        case_id=case_id,
        group_id=source or case_id,
        images=(
            ImageRef(
                header.path,
                "image",
                sop_instance_uid=str(header.tags.get("SOPInstanceUID", "")),
                sha256=header.sha256,
            ),
        ),
        levels={"tile": case_id, "source": source or case_id},
        labels={HEAD: folder.name},
        official_split=folder.official_split,
    )


def read_sources(root: Path, folder: ClassFolder, *, anomalies: list[str] | None = None) -> dict[str, str]:
    """Source by file, relative to the class folder; empty without a table.

    Adds how the table was read to `anomalies`.

    Raises:
        UsageError: the table is unreadable, a row has no file or no source, or two rows give one file
            different sources.
    """
    if not (root / folder.table).is_file():
        return {}
    sources: dict[str, str] = {}
    table = read_table(root / folder.table, required=SOURCE_COLUMNS)
    if anomalies is not None:
        anomalies += table.notes
    read_forms(
        ((row.number, row.values["source_group"]) for row in table.rows),
        what=f"{folder.table} column source_group",
    )
    for row in table.rows:
        file, source = (row.values[column] for column in SOURCE_COLUMNS)
        if not file or not source:
            raise UsageError(
                f"{folder.table} row {row.number}: found file {file!r} and source_group {source!r}, "
                "expected both"
            )
        if fold_id(sources.setdefault(file, source)) != fold_id(source):
            raise UsageError(
                f"{folder.table} row {row.number}: {file} is of {source}, an earlier row says {sources[file]}"
            )
    return sources


def merge_sources(
    sources: Mapping[str, dict[str, str]], *, folders: Mapping[str, ClassFolder], anomalies: list[str]
) -> None:
    """Gives each source one form, in place, over all tables: one donor may be in several."""
    forms = Forms()
    for path, rows in sources.items():
        for file, source in rows.items():
            forms.add(source, place=f"{file} in {folders[path].table}")
    for rows in sources.values():
        rows.update({file: forms.choose(source) for file, source in rows.items()})
    anomalies += forms.describe("column source_group")


def name_in(folder: ClassFolder, path: str) -> str:
    """A file's path relative to its class folder."""
    return PurePosixPath(path).relative_to(folder.path).as_posix()


def describe_classes(folders: Iterable[ClassFolder]) -> list[str]:
    """One line if the classes are not the Atlas'."""
    names = sorted({folder.name for folder in folders} - set(CLASSES))
    meaning = "licence and data sheet of this data set do not speak of these images"
    return [f"classes {shown(names)}: none of the Human Protein Atlas' twelve; {meaning}"] if names else []


def describe_sources(
    sources: Mapping[str, Mapping[str, str]], *, by_path: Mapping[str, ClassFolder], headers: Iterable[Header]
) -> list[str]:
    """Describes each class folder with tiles of unknown source or with rows whose file is not there."""
    known = {header.path for header in headers}
    lines = []
    for path, rows in sources.items():
        tiles = {name_in(by_path[path], name) for name in known if name.startswith(f"{path}/")}
        if missing := sorted(tiles - set(rows)):
            lines.append(
                f"{path}: no source of {len(missing)} of {len(tiles)} tiles (first: {missing[0]}); "
                "each is a group of its own"
            )
        if absent := sorted(set(rows) - tiles):
            lines.append(
                f"{by_path[path].table}: {len(absent)} of {len(rows)} rows name no image of {path} "
                f"(first: {absent[0]})"
            )
    return lines


DATA_SET = DataSet(
    name="tissue",
    title="Tissue tiles by organ (Human Protein Atlas)",
    task="classification",
    licence="CC BY-SA 4.0",
    doi="10.1126/science.1260419",
    levels=("tile", "source"),
    roles=("image",),
    targets={HEAD: ()},
    list_cases=list_cases,
    list_tables=list_tables,
    write_phantom=write_phantom,
    list_classes=list_classes,
)
