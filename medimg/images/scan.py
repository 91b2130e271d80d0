"""What is stored below a folder: files that are images, their headers and the hashes of their pixels."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, cast

import numpy as np

from medimg.cases import Header, Tags
from medimg.dicom.parse import DicomFile, looks_like_dicom, open_dicom, refusing, tags_of
from medimg.dicom.read import frames_of
from medimg.dicom.safety import LIMITS
from medimg.dicom.tags import read_value
from medimg.dicom.windowing import describe_lost_contrast
from medimg.errors import BadImage, UnreadableFile
from medimg.files import WORK_FOLDER, hash_file, walk_once
from medimg.images.formats import ENDINGS, EXPECTED, name_other_picture, sniff_picture
from medimg.images.other_files import NotImage, name_left_behind, name_object_without_pixels
from medimg.images.raster import raster_tags, read_raster

Kind = Literal["dicom", "png", "jpeg", "tiff", "bmp", "webp"]

DISPLAY_FAULT, LOST_CONTRAST = "DisplayFault", "LostContrast"
"""Beside the tags of a header: why its first frame cannot be shown, or what hides its contents."""

LEADS_OUT = "a link that leads out of the data root, read with --follow-links (scan.follow_links of a config)"
"""Why such a link is quarantined; the same for all, so that it is said once."""

HEAD_BYTES = 132
"""What a preamble and "DICM" take; every picture format says in less what it is."""


def list_files(root: str | os.PathLike[str], *, follow_links: bool = False) -> list[str]:
    """All files below root as sorted POSIX paths relative to it.

    A link that leads out of root is listed but refused by `scan_file`, unless links are followed: then the
    files of a folder outside are listed below the link. What `medimg fetch` keeps for itself, the WORK_FOLDER
    in root, is left out: unfinished and condemned files are no data.
    """
    top = Path(root)
    found: list[str] = []
    for folder, names in walk_once(top, follow_links=follow_links, without=[top / WORK_FOLDER]):
        found.extend(Path(folder, name).relative_to(top).as_posix() for name in names)
    return sorted(found)


def sniff(path: str | os.PathLike[str]) -> Kind | None:
    """The kind of image file by its first bytes, never by its name; None for anything else.

    Raises:
        OSError: the file cannot be read.
    """
    return _sniff(_read_head(path))


def _read_head(path: str | os.PathLike[str]) -> bytes:
    with Path(path).open("rb") as stream:
        return stream.read(HEAD_BYTES)


def _sniff(head: bytes) -> Kind | None:
    if head[128:132] != b"DICM" and (picture := sniff_picture(head)):
        return cast("Kind", picture)
    return "dicom" if looks_like_dicom(head) else None


def scan_file(path: str, *, root: str, follow_links: bool = False) -> Header | NotImage | None:
    """Reads what the catalogue needs to know of one file.

    Of several frames the first, the middle and the last are decoded.

    Args:
        path: POSIX path relative to root; errors name it.
        root: the data root.
        follow_links: read what a link that leads out of root points to.

    Returns:
        the header; NotImage for a file that is known to be something else; None for a file that neither is
            nor is called an image.

    Raises:
        UnreadableFile: it is an image, or is called one, and cannot be read completely; or it is a link that
            leads out of root.
    """
    full = Path(root, path)
    if not follow_links and full.is_symlink() and _leaves(full, Path(root)):
        raise UnreadableFile(LEADS_OUT)
    with refusing(path):
        head = _read_head(full)
        kind = _sniff(head)
        if left_behind := name_left_behind(path, is_image=kind is not None):
            return left_behind
        if kind is None:
            if other := name_other_picture(path, head):
                raise BadImage(f"is a picture of the format {other}, expected {EXPECTED}")
            if not path.lower().endswith(ENDINGS):
                return None
            raise BadImage(f"is called an image and is none that can be read, expected {EXPECTED}")
        found = _scan_dicom(full, path) if kind == "dicom" else _scan_raster(full, path)
        if isinstance(found, NotImage):
            return found
        tags, pixel_hash = found
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


def _scan_dicom(full: Path, name: str) -> tuple[Tags, str] | NotImage:
    with open_dicom(full, name=name) as file:
        if other := name_object_without_pixels(file):
            return other
        count = _frame_count(file)
        # Of a tomosynthesis, three frames tell it from any other; decoding all takes minutes.
        frames = frames_of(file, among=sorted({0, count // 2, count - 1}))
        first = next(frames)
        tags = {**tags_of(file), **_describe_display(first, file)}
        return tags, hash_pixels(itertools.chain([first], frames), count=count)


def _describe_display(stored: np.ndarray, file: DicomFile) -> Tags:
    """What is wrong with the way in which a frame is shown: that it cannot be, or that nothing is seen."""
    try:
        lost = describe_lost_contrast(stored, file.dataset)
    except BadImage as error:
        return {DISPLAY_FAULT: str(error)}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return {
            DISPLAY_FAULT: "its lookup tables or window cannot be applied, expected those of the standard"
        }
    return {LOST_CONTRAST: lost} if lost else {}


def _frame_count(file: DicomFile) -> int:
    return int(read_value(file.dataset, "NumberOfFrames") or 1)


def _scan_raster(full: Path, name: str) -> tuple[Tags, str]:
    pixels = read_raster(full, name=name, limits=LIMITS)
    tags = raster_tags(pixels.shape, bits=pixels.dtype.itemsize * 8)
    if pixels.dtype == np.uint16:
        tags["LargestImagePixelValue"] = int(pixels.max())
    return tags, hash_pixels([pixels], count=1)
