"""Picture formats by their first bytes: those that are read, and those that are refused by name."""

from __future__ import annotations

from pathlib import PurePosixPath

READ = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpeg": (b"\xff\xd8\xff",),
    "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "bmp": (b"BM",),
    "webp": (b"RIFF",),
}
"""Kinds of picture that Pillow reads here, with the beginnings of such a file."""

EXPECTED = "DICOM, PNG, JPEG, TIFF, BMP or WebP"

ENDINGS = (
    *(".dcm", ".dicom", ".dic", ".ima"),
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".webp"),
)
"""A file that is called so must be readable as an image; any other file may be something else."""

OTHER_BEGINNINGS = {
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"II\xbc\x01": "JPEG XR",
    b"8BPS": "Photoshop",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"ZISRAWFILE": "Zeiss CZI",
    b"DDS ": "DDS",
    b"#?RADIANCE": "Radiance",
}

OTHER_ENDINGS = {
    ".gif": "GIF",
    ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000",
    ".jpx": "JPEG 2000",
    ".jpf": "JPEG 2000",
    ".jxl": "JPEG XL",
    ".jxr": "JPEG XR",
    ".psd": "Photoshop",
    ".exr": "OpenEXR",
    ".czi": "Zeiss CZI",
    ".dds": "DDS",
    ".hdr": "Radiance",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".avif": "AVIF",
    ".pgm": "portable anymap",
    ".ppm": "portable anymap",
    ".pbm": "portable anymap",
    ".pnm": "portable anymap",
    ".tga": "Targa",
    ".pcx": "PCX",
    ".svg": "SVG",
    ".ico": "icon",
}
"""Formats of which the beginning says too little, and names of the others."""

BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIF",
    b"heix": "HEIF",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
}
"""What stands behind "ftyp" in pictures of the ISO base media file format."""


def sniff_picture(head: bytes) -> str | None:
    """The kind of READ that a file with these first bytes, 18 or more, is; None for any other."""
    for kind, beginnings in READ.items():
        if head.startswith(beginnings) and _is_whole_beginning(kind, head):
            return kind
    return None


def name_other_picture(path: str, head: bytes) -> str | None:
    """Names the picture format of a file that is none of READ, by its first bytes, then by its name."""
    for beginning, name in OTHER_BEGINNINGS.items():
        if head.startswith(beginning):
            return name
    if head[4:8] == b"ftyp" and head[8:12] in BRANDS:
        return BRANDS[head[8:12]]
    return OTHER_ENDINGS.get(PurePosixPath(path).suffix.lower())


def _is_whole_beginning(kind: str, head: bytes) -> bool:
    """Whether the bytes behind a short beginning fit too; "BM" and "RIFF" alone begin much else."""
    if kind == "webp":
        return head[8:12] == b"WEBP"
    if kind == "bmp":  # The size of the header that follows the file's own 14 bytes, from 12 to 124.
        return head[14:18] in [bytes((size, 0, 0, 0)) for size in (12, 40, 52, 56, 64, 108, 124)]
    return True
