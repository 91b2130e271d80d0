"""A data root while something is fetched into it: its one writer, its room, and the names of its files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from medimg.archive.receipts import Receipt, Receipts, repair
from medimg.archive.source import Arrived, InvalidFile, Series
from medimg.errors import DiskFull
from medimg.files import WORK_FOLDER, bring_to_disk, cannot_write

RESERVE_BYTES = 256_000_000
"""Kept free on the disk of the data root."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def work_folder(root: Path, name: str) -> Path:
    """Returns a working folder of the fetch below the data root, made if need be."""
    folder = root / WORK_FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def hold_root(root: Path, say: Callable[[str], None]) -> Iterator[Receipts]:
    """Holds the data root for one writer and yields its receipts; a second fetch says so and waits."""
    lock = FileLock(work_folder(root, ".") / "fetch.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another fetch is writing to {root}; waiting for it to end")
        lock.acquire()
    try:
        repair(root)
        yield Receipts(root)
    finally:
        lock.release()


def is_there(series: Series, *, root: Path, receipts: Receipts) -> bool:
    """Checks that the series was finished with this very content and its files still have their size.

    Reads no content.
    """
    note = receipts.finished(series.uid)
    if note is None or note.key != series.key:
        return False
    present = present_files(series.uid, root=root, receipts=receipts)
    return len(present) == note.files


def present_files(uid: str, *, root: Path, receipts: Receipts) -> list[Receipt]:
    """Returns the receipts of a series whose file is there with its size."""
    return [receipt for receipt in receipts.of_series(uid) if _has_size(root / receipt.path, receipt.bytes)]


def check_room(root: Path, *, need_bytes: int) -> None:
    """Raises DiskFull unless the disk of the root has room for so much and a reserve."""
    free = shutil.disk_usage(root).free
    if free < need_bytes + RESERVE_BYTES:
        need = f"{need_bytes / 1e6:,.0f} MB for what is to come and {RESERVE_BYTES / 1e6:.0f} MB spare"
        raise DiskFull(f"{root}: the disk has {free / 1e6:,.0f} MB free, expected {need}")


def clear_parts(root: Path) -> None:
    """Removes the partial files that are left after a fetch that brought everything."""
    shutil.rmtree(work_folder(root, "parts"))
    work_folder(root, "parts")


def place(arrived: Arrived, final: Path) -> None:
    """Brings a verified file to disk and gives it its final name; replaces what is there."""
    sync(arrived)
    give_name(arrived, final)


def sync(arrived: Arrived) -> None:
    """Brings a file to disk, still under its working name."""
    try:
        bring_to_disk(arrived.path)
    except OSError as error:
        raise cannot_write(arrived.path, error) from None


def give_name(arrived: Arrived, final: Path) -> None:
    """Gives a verified file, which is on the disk, its final name; replaces what is there."""
    try:
        final.parent.mkdir(exist_ok=True)
        arrived.path.replace(final)
    except OSError as error:
        raise cannot_write(final, error) from None


def safe_name(name: str) -> str:
    """Returns the name if it is a plain relative path of plain characters.

    Raises:
        InvalidFile: it is not; nothing an archive says may lead out of the data root or hide in it.
    """
    parts = PurePosixPath(name).parts
    if not parts or len(parts) > 4 or not all(_NAME.fullmatch(part) for part in parts):
        raise InvalidFile(f"file name {name!r}, expected letters, digits, dot, dash and underscore")
    return "/".join(parts)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
