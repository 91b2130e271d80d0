"""The class folders of tissue tiles: where they are, of which split, and whether they can be meant so."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medimg.datasets.split_names import is_fold, parse_split
from medimg.datasets.tables import shown
from medimg.datasets.tissue.phantom import CLASSES
from medimg.errors import UsageError, nearest
from medimg.images.other_files import name_left_behind

TABLE_ENDING = "_source_group.csv"


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


def find_class_folders(root: Path) -> list[ClassFolder]:
    """The class folders, sorted by path.

    Raises:
        UsageError: no such folder; fewer than two classes; a class folder that is empty, that another split
            lacks, that holds nothing but folders that all class folders have, or that is none of the Atlas'
            twelve where others are; a table of sources beside which there is no such class folder.
    """
    if not root.is_dir():
        raise UsageError(
            f"{root}: {'not a folder' if root.exists() else 'no such folder'}, expected one with a "
            "folder per class"
        )
    containers = find_containers(root)
    found = []
    for container, split in containers.items():
        found += [ClassFolder(f"{container}/{name}", name, split) for name in list_folders(root / container)]
    folders = found if containers else [ClassFolder(name, name, None) for name in list_folders(root)]
    classes = sorted({folder.name for folder in folders})
    for folder in folders:
        check_splits_above(root, folder)
    if len(classes) < 2:
        raise UsageError(
            f"{root}: {len(classes)} class folders ({shown(classes)}), expected two or more, or train "
            "and test with as many in each"
        )
    for folder in folders:
        check_class_folder(root, folder)
    check_subfolders(root, folders)
    if any(containers.values()):
        check_same_classes(root, folders)
    check_tables(root, folders)
    return folders


def find_containers(root: Path) -> dict[str, str | None]:
    """The folders that are parts of a split, each with its split; folds have none.

    Raises:
        UsageError: other folders beside them, or folds beside train and test.
    """
    names = list_folders(root)
    splits = {name: split for name in names if (split := parse_split(name))}
    folds = [name for name in names if is_fold(name)]
    if len(folds) < 2 and not splits:
        return {}
    parts = [*splits, *folds]
    if others := [name for name in names if name not in parts] or (folds if splits else []):
        raise UsageError(
            f"{root / others[0]}: beside {' and '.join(parts if splits == {} else splits)}, expected train, "
            "val and test alone, with a folder per class in each"
        )
    return {**splits, **dict.fromkeys(folds)}


def check_splits_above(root: Path, folder: ClassFolder) -> None:
    """Refuses a split inside a split or a fold: its classes are further down."""
    if "/" in folder.path and (parse_split(folder.name) or is_fold(folder.name)):
        raise UsageError(
            f"{root / folder.path}: a split inside another, expected train, val and test with a folder per "
            "class in each"
        )


def describe_folds(folders: Iterable[ClassFolder]) -> list[str]:
    """One line if the tiles are in folds: only train, val and test are kept."""
    folds = sorted({PurePosixPath(folder.path).parts[0] for folder in folders if "/" in folder.path})
    if not folds or not all(map(is_fold, folds)):
        return []
    return [f"folders {shown(folds)}: folds of another split, which are not kept; tiles are dealt anew"]


def list_folders(root: Path) -> list[str]:
    """Names of the folders in one, sorted.

    Those that start with a dot or an underscore are no classes, and neither is what desktops and file servers
    leave behind (`@eaDir`).
    """
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and is_class_name(entry.name))


def is_class_name(name: str) -> bool:
    """Whether a folder's name may be that of a class."""
    return not name.startswith((".", "_")) and name_left_behind(f"{name}/file") is None


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
    return not name.startswith(".") and name_left_behind(name) is None


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
    """Refuses a class that one part of the official split lacks; there must be train and another part."""
    names: dict[str, set[str]] = {split: set() for split in ("train", "eval", "test")}
    places: dict[str, Path] = {}
    for folder in folders:
        split = str(folder.official_split)
        names[split].add(folder.name)
        places.setdefault(split, (root / folder.path).parent)
    needed = ("train",) if names["eval"] else ("train", "test")
    names = {split: found for split, found in names.items() if found or split in needed}
    classes = set().union(*names.values())
    for split, found in names.items():
        if missing := sorted(classes - found):
            other = next(name for name, known in names.items() if missing[0] in known)
            raise UsageError(
                f"{places.get(split, root / split)}: no class folder {missing[0]!r}, which {other} has; "
                f"{nearest(missing[0], found)}"
            )


def check_subfolders(root: Path, folders: Sequence[ClassFolder]) -> None:
    """Refuses a class folder of folders alone that every other class folder beside it has too.

    The classes are then more likely one level further down, or the splits are.
    """
    beside: dict[Path, dict[str, set[str]]] = defaultdict(dict)
    for folder in folders:
        path = root / folder.path
        beside[path.parent][folder.name] = set(list_folders(path))
    for parent, inside in beside.items():
        for name, below in inside.items():
            alone = not any(is_content(file.name) for file in (parent / name).iterdir() if file.is_file())
            others = [known for other, known in inside.items() if other != name]
            if below and alone and others and all(below <= known for known in others):
                splits = [one for one in sorted(below) if parse_split(one) or is_fold(one)]
                expected = f"{splits[0]}/{name}" if splits else "a folder of images per class"
                raise UsageError(
                    f"{parent / name}: holds only {shown(sorted(below))}, as every other class folder does; "
                    f"expected {expected}"
                )
