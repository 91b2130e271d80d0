"""Files beside images that are none: what desktops and file servers leave behind, objects without pixels.

They are counted by kind and never judged as images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from pydicom.uid import UID

from medimg.dicom.parse import DicomFile, survey_stream

LEFT_BEHIND = {
    "thumbs.db": "Windows",
    "ehthumbs.db": "Windows",
    "ehthumbs_vista.db": "Windows",
    "desktop.ini": "Windows",
    ".ds_store": "macOS",
    "icon\r": "macOS",
    ".directory": "Linux",
}
"""File names in lower case, and who writes such files."""

LEFT_BEHIND_FOLDERS = {
    "__macosx": "macOS",
    ".appledouble": "macOS",
    ".fseventsd": "macOS",
    ".spotlight-v100": "macOS",
    ".temporaryitems": "macOS",
    ".trashes": "macOS",
    "$recycle.bin": "Windows",
    "system volume information": "Windows",
    "@eadir": "a file server",
    "@recycle": "a file server",
    "#recycle": "a file server",
    ".@__thumb": "a file server",
    ".thumbnails": "Linux",
}
"""Folders whose files are thumbnails, bins and indices, though some of them can be read as images."""

APPLE_DOUBLE = "._"
"""How macOS names what it knows of a file where the disk has no room for it, in a file beside it."""

PIXEL_KEYWORDS = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")


@dataclass(frozen=True)
class NotImage:
    """A file that no one means as an image; `kind` says what it is, for people."""

    kind: str


def name_left_behind(path: str, *, is_image: bool = False) -> NotImage | None:
    """Names who left a file behind, by its POSIX path; None for any other file.

    Args:
        is_image: its content is an image's: `._a.png` is then the file that it is called.
    """
    *folders, name = PurePosixPath(path).parts
    for folder in folders:
        if writer := LEFT_BEHIND_FOLDERS.get(folder.lower()):
            return NotImage(f"left behind by {writer}")
    writer = LEFT_BEHIND.get(name.lower(), "")
    if name.startswith(APPLE_DOUBLE):
        writer = "macOS"
    return NotImage(f"left behind by {writer}") if writer and not is_image else None


def name_object_without_pixels(file: DicomFile) -> NotImage | None:
    """Names a DICOM object that has no pixels by its nature: a report, a plan, a presentation state.

    None for anything else, an image whose pixels are missing among it. Of a SOP class that the standard does
    not know, the object is an image if it has attributes of pixels.
    """
    if file.pixels_at >= 0:
        return None
    sop_class = UID(
        str(file.dataset.get("SOPClassUID") or file.dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    )
    if not sop_class.is_valid or not sop_class or "Image Storage" in sop_class.name:
        return None
    if any(keyword in file.dataset for keyword in PIXEL_KEYWORDS):
        return None
    known = sop_class.name != str(sop_class)
    if not known and survey_stream(file.stream, file.transfer_syntax)[0]:
        return None  # Damaged, and perhaps in the UID itself.
    name = sop_class.name.removesuffix(" Storage") if known else "a private SOP class"
    return NotImage(f"DICOM without pixels ({name})")
