"""Tissue tiles in class folders: twelve organs of the Human Protein Atlas, or any other classes.

The Atlas: CC BY-SA 4.0, doi 10.1126/science.1260419.

On disk:  <root>/train/<class>/**, <root>/test/<class>/**   with an official split, both folders with the same
                                                            classes
     or:  <root>/<class>/**                                 without one
          <class>_source_group.csv beside a class folder    columns file (relative to it) and source_group,
                                                            optional

Quirks: the Atlas takes tissue of three donors per organ (six of endometrium and skin), so tiles of one donor
are many and alike: what must not be split is the donor or source, which the tables name. A tile without a row
is a group of its own, and the anomalies say so. skin_1 and skin_2, like endometrium_1 and endometrium_2, are
sample groups of one organ: to tell them apart is to tell donors apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from medimg.cases import Case, DataSet, Header, ImageRef, Listing, Reject
from medimg.datasets.tables import read_table, shown
from medimg.datasets.tissue.phantom import CLASSES, write_phantom
from medimg.errors import UsageError, nearest

HEAD = "tissue"
SPLITS = ("train", "test")
TABLE_ENDING = "_source_group.csv"
SOURCE_COLUMNS = ("file", "source_group")
LEFT_BEHIND = ("Thumbs.db", "desktop.ini")
"""What Windows leaves in folders of pictures; macOS' files start with a dot."""


@dataclass(frozen=True)
class ClassFolder:
    """One folder of tiles: its path relative to the root, its class, and its official split, if any."""

    path: str
    name: str
    official_split: str | None

    @property
    def table(self) -> str:
        """Where the sources of its tiles may stand."""
        return f"{self.path}{TABLE_ENDING}"


def list_tables(root: Path) -> Sequence[Path]:
    """The tables of sources that there are. Raises what `find_class_folders` raises."""
    return [root / folder.table for folder in find_class_folders(root) if (root / folder.table).is_file()]


def list_classes(root: Path) -> Mapping[str, tuple[str, ...]]:
    """The names of the class folders, sorted. Raises what `find_class_folders` raises."""
    return {HEAD: tuple(sorted({folder.name for folder in find_class_folders(root)}))}


def find_class_folders(root: Path) -> list[ClassFolder]:
    """The class folders, sorted by path.

    Raises:
        UsageError: no such folder; fewer than two classes; a class folder that is empty, that the other split
            lacks, or that is none of the Atlas' twelve where others are; a table of sources beside which
            there is no such class folder.
    """
    if not root.is_dir():
        raise UsageError(
            f"{root}: {'not a folder' if root.exists() else 'no such folder'}, expected one with a "
            "folder per class"
        )
    official = [split for split in SPLITS if (root / split).is_dir()]
    folders = [
        ClassFolder(f"{split}/{name}", name, split)
        for split in official
        for name in list_folders(root / split)
    ]
    folders = folders or [ClassFolder(name, name, None) for name in list_folders(root) if name not in SPLITS]
    classes = sorted({folder.name for folder in folders})
    if official and (others := sorted(set(list_folders(root)) - set(SPLITS))):
        raise UsageError(
            f"{root / others[0]}: beside {' and '.join(official)}, expected train and test alone, "
            "with a folder per class in each"
        )
    if len(classes) < 2:
        raise UsageError(
            f"{root}: {len(classes)} class folders ({shown(classes)}), expected two or more, or train "
            "and test with as many in each"
        )
    for folder in folders:
        check_class_folder(root, folder)
    check_same_classes(root, folders)
    check_tables(root, folders)
    return folders


def list_folders(root: Path) -> list[str]:
    """Names of the folders in one, sorted.

    Those that start with a dot or an underscore (`__MACOSX`) are no classes.
    """
    return sorted(
        entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith((".", "_"))
    )


def check_class_folder(root: Path, folder: ClassFolder) -> None:
    """Refuses an empty folder, and a misspelt one where any of the Atlas' twelve is there."""
    others = {*list_folders((root / folder.path).parent)} - {folder.name}
    if folder.name not in CLASSES and others & set(CLASSES):
        raise UsageError(
            f"{root / folder.path}: no class of the Human Protein Atlas' twelve; "
            f"{nearest(folder.name, CLASSES)}"
        )
    if not any(is_content(name) for _, _, files in os.walk(root / folder.path) for name in files):
        near = nearest(folder.name, others)
        raise UsageError(
            f"{root / folder.path}: an empty class folder, expected images of {folder.name}; {near}"
        )


def is_content(name: str) -> bool:
    """Whether a file may be an image, and is not what a desktop leaves behind."""
    return not name.startswith(".") and name not in LEFT_BEHIND


def check_tables(root: Path, folders: Sequence[ClassFolder]) -> None:
    """Refuses a table of sources that belongs to no class folder.

    Its tiles would be dealt one by one, and their donors to several splits.
    """
    known = {folder.table for folder in folders}
    for parent in sorted({(root / folder.path).parent for folder in folders}):
        for path in sorted(parent.glob(f"*{TABLE_ENDING}")):
            if path.relative_to(root).as_posix() not in known:
                near = nearest(path.name, [PurePosixPath(name).name for name in known])
                raise UsageError(f"{path}: sources of no class folder; {near}")


def check_same_classes(root: Path, folders: Iterable[ClassFolder]) -> None:
    """Refuses a class that one side of the official split lacks."""
    names: dict[str, set[str]] = {split: set() for split in SPLITS}
    for folder in folders:
        if folder.official_split:
            names[folder.official_split].add(folder.name)
    for split, other in (SPLITS, SPLITS[::-1]):
        if missing := sorted(names[other] - names[split]):
            raise UsageError(
                f"{root / split}: no class folder {missing[0]!r}, which {other} has; "
                f"{nearest(missing[0], names[split])}"
            )


def list_cases(root: Path, headers: Sequence[Header]) -> Listing:
    """One case per image in a class folder; reads the tables of sources, never a pixel.

    Raises:
        UsageError: as `find_class_folders`, or a table that is unreadable or contradicts itself.
    """
    folders = find_class_folders(root)
    by_path = {folder.path: folder for folder in folders}
    sources = {folder.path: read_sources(root, folder) for folder in folders}
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
    anomalies = [*others, *describe_sources(sources, by_path=by_path, headers=headers)]
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


def read_sources(root: Path, folder: ClassFolder) -> dict[str, str]:
    """Source by file, relative to the class folder; empty without a table.

    Raises:
        UsageError: the table is unreadable, a row has no file or no source, or two rows give one file
            different sources.
    """
    if not (root / folder.table).is_file():
        return {}
    sources: dict[str, str] = {}
    for row in read_table(root / folder.table, required=SOURCE_COLUMNS).rows:
        file, source = (row.values[column] for column in SOURCE_COLUMNS)
        if not file or not source:
            raise UsageError(
                f"{folder.table} row {row.number}: found file {file!r} and source_group {source!r}, "
                "expected both"
            )
        if sources.setdefault(file, source) != source:
            raise UsageError(
                f"{folder.table} row {row.number}: {file} is of {source}, an earlier row says {sources[file]}"
            )
    return sources


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
