"""Files written whole or not at all, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from medimg.errors import DiskFull, MedimgError

WORK_FOLDER = ".medimg"
"""Below a data root: what `medimg fetch` keeps for itself (unfinished files, quarantine, lock).

No input of anything.
"""


def walk_once(
    top: Path, *, follow_links: bool = False, without: Collection[Path] = ()
) -> Iterator[tuple[Path, list[str]]]:
    """Walks a folder's tree, each folder once, in a fixed order.

    A link to a folder within the tree is never followed: its files are found where they are. One that leads
    out is followed on request, so that loops of links end; otherwise it is listed as if it were a file.

    Args:
        without: folders that are left out with all below them.

    Yields:
        a folder and the names of its files.
    """
    home = Path(os.path.realpath(top))
    seen, real = {home}, {top: home}
    for path, folders, names in os.walk(top, followlinks=True):
        folder = Path(path)
        here, kept, listed = real.pop(folder), [], []
        for name in sorted(folders):
            below = folder / name
            is_link = below.is_symlink()
            target = Path(os.path.realpath(below)) if is_link else here / name
            if below in without or (is_link and target.is_relative_to(home)):
                continue
            if is_link and not follow_links:
                listed.append(name)
            elif target not in seen:
                seen.add(target)
                real[below] = target
                kept.append(name)
        folders[:] = kept
        yield folder, [*names, *listed]


def replace_file(path: Path, *, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary name beside `path`, brings the bytes to disk, then renames.

    Raises:
        MedimgError: the folder cannot be written, DiskFull where that is why; `path` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        bring_to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def bring_to_disk(path: Path) -> None:
    """Returns once the file's bytes would survive a power cut. Raises OSError."""
    with path.open("rb") as written:
        os.fsync(written.fileno())


@contextmanager
def removed_on_failure(path: Path) -> Iterator[None]:
    """Removes `path`, which the block writes, if the block fails in any way.

    Raises:
        MedimgError: as `cannot_write`, for an OSError of the block; any other exception stays as it is.
    """
    try:
        yield
    except OSError as error:
        path.unlink(missing_ok=True)
        raise cannot_write(path, error) from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def cannot_write(path: Path, error: OSError) -> MedimgError:
    """The error of a write that failed, for raising; DiskFull where there is no room."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return MedimgError(f"{path}: cannot be written ({error.strerror or error})")
    folder = next(part for part in path.absolute().parents if part.is_dir())
    return DiskFull(
        f"{path}: the disk is full ({shutil.disk_usage(folder).free / 1e6:,.0f} MB free); free some "
        "space and start again, it continues"
    )


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes. Raises OSError if they cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
