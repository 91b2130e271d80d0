"""A bundle: what a report's folder holds, made ready to leave the machine, as a folder or as a zip."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from medimg.archive.transport.unzip import open_zip
from medimg.archive.transport.zip_checks import ZipLimits
from medimg.errors import UsageError
from medimg.reporting.bundle import (
    CHECKS_FILE,
    EMBEDDINGS_FILE,
    EXPLANATIONS_FILE,
    GALLERY_FILE,
    LEGEND_FILE,
    PREDICTIONS_FILE,
    SHORTCUTS_FILE,
    derive,
)
from medimg.reporting.run_facts import FACTS_FILE, read_facts
from medimg.sharing.manifest import MANIFEST_FILE, Manifest, list_files, write_manifest

TABLES_OF_SOURCES = (
    FACTS_FILE,
    PREDICTIONS_FILE,
    SHORTCUTS_FILE,
    EMBEDDINGS_FILE,
    GALLERY_FILE,
    EXPLANATIONS_FILE,
    CHECKS_FILE,
    LEGEND_FILE,
)
FOLDERS_OF_IMAGES = ("gallery", "explanations")
LIMITS = ZipLimits(
    members=20_000, directory_bytes=8_000_000, member_bytes=2_000_000_000, total_bytes=8_000_000_000
)
"""Of a bundle: a hundred times what the report of 5,000 cases has."""
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can state, for all members, so that the same files make the same bytes."""


def pack(report: Path, *, to: Path, with_images: bool = False) -> Manifest:
    """Writes the bundle of a report's folder into a new folder.

    Everything that is derived is derived again: the pages embed the images, which stay behind unless asked
    for.

    Raises:
        UsageError: `report` is no report of a finished run.
    """
    copy_sources(report, to=to, with_images=with_images)
    derive(to)
    return write_manifest(
        to, facts=read_facts(to), predictions=pd.read_parquet(to / PREDICTIONS_FILE), images=with_images
    )


def copy_sources(folder: Path, *, to: Path, with_images: bool) -> None:
    """Copies the sources of figures and pages into a new folder, with or without images of patients."""
    images = (
        [path for name in FOLDERS_OF_IMAGES for path in (folder / name).rglob("*.png")] if with_images else []
    )
    tables = [path for name in TABLES_OF_SOURCES if (path := folder / name).exists()]
    to.mkdir(parents=True)
    for path in [*tables, *images]:
        copied = to / path.relative_to(folder)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)


def write_zip(folder: Path, to: Path) -> None:
    """Writes all files of a bundle's folder into a zip; the same files give the same bytes."""
    with zipfile.ZipFile(to, "w") as archive:
        for name in (MANIFEST_FILE, *list_files(folder)):
            member = zipfile.ZipInfo(name, EARLIEST)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3  # Unix, on every machine.
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, (folder / name).read_bytes())


@contextmanager
def open_bundle(path: Path) -> Iterator[Path]:
    """A bundle's folder; of a zip, one that goes again.

    Raises:
        UsageError: there is neither.
        BadZip: the zip is damaged or hostile; see medimg.archive.transport.unzip.
    """
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise UsageError(f"{path}: no such file or folder, expected a bundle of medimg share")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        unpack(path, to=folder)
        yield folder


def unpack(path: Path, *, to: Path) -> None:
    """Unpacks a stranger's zip. `open_zip` lets no name pass that leads out of the folder."""
    with open_zip(path, limits=LIMITS) as archive:
        for name in archive.names:
            named = to / name
            named.parent.mkdir(parents=True, exist_ok=True)
            archive.extract(name, to=to).path.replace(named)
