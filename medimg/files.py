"""Files written whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from medimg.errors import MedimgError


def replace_file(path: Path, *, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary name beside `path`, brings the bytes to disk, then renames.

    Raises:
        MedimgError: the disk is full or the folder cannot be written; `path` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise MedimgError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        temporary.unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes. Raises OSError if they cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
