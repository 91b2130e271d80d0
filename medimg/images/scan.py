"""What is stored below a folder: files that are images, their headers and the hashes of their pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from medimg.cases import Header, Tags
from medimg.dicom.parse import DicomFile, looks_like_dicom, open_dicom, refusing, tags_of
from medimg.dicom.read import frames_of
from medimg.dicom.safety import LIMITS
from medimg.errors import BadImage
from medimg.files import WORK_FOLDER, hash_file
from medimg.images.raster import JPEG_START, raster_tags, read_raster

Kind = Literal["dicom", "png", "jpeg"]


IMAGE_ENDINGS = (".dcm", ".dicom", ".dic", ".ima", ".png", ".jpg", ".jpeg")
"""A file that is called so must be readable as an image; any other file may be something else."""


def list_files(root: str | os.PathLike[str]) -> list[str]:
    """All files below root as sorted POSIX paths relative to it.

    A link to a folder is not followed, and a link that leads out of root is listed but refused by
    `scan_file`. What `medimg fetch` keeps for itself, the WORK_FOLDER in root, is left out: unfinished and
    condemned files are no data.
    """
    top = Path(root)
    found: list[str] = []
    for folder, folders, names in os.walk(top, followlinks=False):
        if Path(folder) == top and WORK_FOLDER in folders:
            folders.remove(WORK_FOLDER)
        links = [
            name for name in folders if Path(folder, name).is_symlink() and _leaves(Path(folder, name), top)
        ]
        found.extend(Path(folder, name).relative_to(top).as_posix() for name in (*names, *links))
    return sorted(found)


def sniff(path: str | os.PathLike[str]) -> Kind | None:
    """The kind of image file by its first bytes, never by its name; None for anything else.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as stream:
        head = stream.read(132)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(JPEG_START):
        return "jpeg"
    return "dicom" if looks_like_dicom(head) else None


def scan_file(path: str, *, root: str) -> Header | None:
    """Reads what the catalogue needs to know of one file.

    Of several frames the first, the middle and the last are decoded.

    Args:
        path: POSIX path relative to root; errors name it.
        root: the data root.

    Returns:
        the header; None for a file that neither is nor is called an image.

    Raises:
        UnreadableFile: it is an image, or is called one, and cannot be read completely; or it is a link that
            leads out of root.
    """
    full = Path(root, path)
    with refusing(path):
        if full.is_symlink() and _leaves(full, Path(root)):
            raise BadImage("is a link that leads out of the data root, expected a file within it")
        kind = sniff(full)
        if kind is None:
            if not path.lower().endswith(IMAGE_ENDINGS):
                return None
            raise BadImage("is no DICOM, PNG or JPEG file, expected one as its name says")
        tags, pixel_hash = _scan_dicom(full, path) if kind == "dicom" else _scan_raster(full, path)
        return Header(
            path=path,
            kind=kind,
            size=full.stat().st_size,
            sha256=hash_file(full),
            pixel_hash=pixel_hash,
            tags=tags,
        )


def hash_pixels(frames: Iterable[np.ndarray], *, count: int) -> str:
    """sha256 over the number of frames, their shape and type, and their values in little-endian order.

    The same stored values give the same hash in any lossless transfer syntax, byte order or file format.
    """
    digest = hashlib.sha256()
    for index, frame in enumerate(frames):
        if index == 0:
            digest.update(f"{count} {frame.shape} {frame.dtype.kind}{frame.dtype.itemsize}".encode())
        digest.update(np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def _leaves(path: Path, root: Path) -> bool:
    return not path.resolve().is_relative_to(root.resolve())


def _scan_dicom(full: Path, name: str) -> tuple[Tags, str]:
    with open_dicom(full, name=name) as file:
        count = _frame_count(file)
        # Of a tomosynthesis, three frames tell it from any other; decoding all takes minutes.
        among = sorted({0, count // 2, count - 1})
        return tags_of(file), hash_pixels(frames_of(file, among=among), count=count)


def _frame_count(file: DicomFile) -> int:
    return int(file.dataset.get("NumberOfFrames") or 1)


def _scan_raster(full: Path, name: str) -> tuple[Tags, str]:
    pixels = read_raster(full, name=name, limits=LIMITS)
    return raster_tags(pixels.shape, bits=pixels.dtype.itemsize * 8), hash_pixels([pixels], count=1)
