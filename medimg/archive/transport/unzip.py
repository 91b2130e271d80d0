"""Zip archives from strangers: whole and harmless, or refused in one line.

Unpacked one member at a time into files that we name.

Checked before anything is unpacked: number of entries, size of the list of entries (before it is read),
names, kinds, encryption, compression, stated sizes and ratios, and that no two entries share bytes (as in
42.zip's successors, https://www.bamsoftware.com/hacks/zipbomb/). Checked while unpacking: that a member gives
exactly the bytes that the list states, with their CRC.
"""

from __future__ import annotations

import copy
import hashlib
import sys
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medimg.archive.transport.zip_checks import (
    ZIP_LIMITS,
    BadZip,
    ZipLimits,
    check_apart,
    check_directory,
    check_entry,
    check_whole,
    reporting_damage,
)
from medimg.files import removed_on_failure

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class ZipMember:
    """A member that was unpacked whole.

    Attributes:
        name: as the archive writes it; for lookup and messages, no name for a file.
        path: of the file; whoever receives it moves or deletes it.
        bytes, md5, sha256: of the file.
    """

    name: str
    path: Path
    bytes: int
    md5: str
    sha256: str


class Zip:
    """An open archive that passed all checks of its list of entries. Not thread-safe.

    Attributes:
        name: for messages.
        names: of all members that are files, in the archive's order; no two are equal.
    """

    def __init__(self, archive: zipfile.ZipFile, *, name: str, directory_at: int, limits: ZipLimits) -> None:
        self.name = name
        self._archive = archive
        infos = archive.infolist()
        for info in infos:
            check_entry(info, name=name, limits=limits)
        check_whole(infos, name=name, limits=limits)
        check_apart(infos, name=name, directory_at=directory_at)
        self._infos = {info.filename: info for info in infos if not info.is_dir()}
        self.names = tuple(self._infos)

    def extract(self, member: str, *, to: Path) -> ZipMember:
        """Unpacks a member into a new file in `to`, hashing it on the way.

        Raises:
            BadZip: its bytes are not what the archive states; no file is left.
            MedimgError: the file cannot be written, DiskFull where that is why.
        """
        path = to / uuid.uuid4().hex
        md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
        with removed_on_failure(path), path.open("xb") as written:
            for block in self._unpack(member):
                md5.update(block)
                sha256.update(block)
                size += len(block)
                written.write(block)
        return ZipMember(member, path, size, md5.hexdigest(), sha256.hexdigest())

    def read(self, member: str, *, limit_bytes: int) -> bytes:
        """A small member, whole.

        Raises:
            BadZip: it is damaged or larger than `limit_bytes`.
        """
        stated = self._infos[member].file_size
        if stated > limit_bytes:
            raise BadZip(
                f"{self.name}: member {member!r} has {stated:,} bytes, expected {limit_bytes:,} at most"
            )
        return b"".join(self._unpack(member))

    def _unpack(self, member: str) -> Iterator[bytes]:
        stated = self._infos[member].file_size
        info = copy.copy(self._infos[member])
        # zipfile would stop at the stated size. Unpack what there really is, and see that both agree.
        info.file_size = sys.maxsize
        size = 0
        with reporting_damage(f"{self.name}: member {member!r}"), self._archive.open(info) as opened:
            while block := opened.read(BLOCK_BYTES):
                size += len(block)
                if size > stated:
                    raise BadZip(
                        f"{self.name}: member {member!r} unpacks to more than the {stated:,} bytes "
                        "that the archive states"
                    )
                yield block
        if size != stated:
            raise BadZip(
                f"{self.name}: member {member!r} unpacks to {size:,} bytes, expected {stated:,} as "
                "the archive states"
            )


@contextmanager
def open_zip(path: Path, *, limits: ZipLimits = ZIP_LIMITS, name: str = "") -> Iterator[Zip]:
    """Opens an archive for unpacking.

    Args:
        name: for messages, where the path means nothing to the reader.

    Raises:
        BadZip: no zip, truncated, damaged, beyond the limits, or with an entry that may not be unpacked.
    """
    name = name or str(path)
    try:
        opened = path.open("rb")
    except OSError as error:
        raise BadZip(f"{name}: cannot be read ({error.strerror or error})") from None
    with opened:
        directory_at = check_directory(opened, name=name, limits=limits)
        opened.seek(0)
        with reporting_damage(name):
            archive = zipfile.ZipFile(opened)
        with archive:
            yield Zip(archive, name=name, directory_at=directory_at, limits=limits)


def extract(path: Path, *, to: Path, limits: ZipLimits = ZIP_LIMITS, name: str = "") -> Iterator[ZipMember]:
    """Unpacks all members one after the other into new files in `to`, the next one only when it is asked for.

    Raises as `open_zip`, `Zip.extract`.
    """
    with open_zip(path, limits=limits, name=name) as archive:
        for member in archive.names:
            yield archive.extract(member, to=to)
