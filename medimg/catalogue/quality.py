"""Flags on images whose headers contradict themselves or differ from the rest of the data set.

A few of these make a file unusable.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from medimg.cases import Header, Reject, Tags
from medimg.errors import shown_term

OLDEST_YEARS = 110
SMALLEST_PIXELS = 16
# Viewing convention: chest wall at the left of a left breast, lateral or head side up (DICOM PS3.3 C.8.11.7,
# IHE Mammography Image profile).
ORIENTATION = {"L": ("A", {"R", "F", "FR", "RF"}), "R": ("P", {"L", "F", "FL", "LF"})}
AGE_UNITS_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


def find_unusable(headers: Sequence[Header]) -> list[Reject]:
    """Files that must not be used, whatever the data set: text burned into the pixels may name the patient.

    No pixels is no image.
    """
    rejects = []
    for header in headers:
        if str(header.tags.get("BurnedInAnnotation", "")).strip().upper() == "YES":
            rejects.append(
                Reject(
                    header.path,
                    "quarantined",
                    "BurnedInAnnotation (0028,0301) is YES: text in the pixels may identify the patient",
                )
            )
        elif any(header.tags.get(name) == 0 for name in ("Rows", "Columns")):
            size = f"{header.tags.get('Rows')} rows x {header.tags.get('Columns')} columns"
            rejects.append(Reject(header.path, "quarantined", f"{size}: expected at least 1 x 1"))
    return rejects


def flag_headers(
    headers: Sequence[Header], *, blank: set[str] | frozenset[str] = frozenset()
) -> dict[str, tuple[str, ...]]:
    """Flags by path, for every path, in the form `name: what was found`.

    Args:
        blank: pixel hashes of images that are known to hold one constant value.
    """
    usual = {name: find_usual(headers, name) for name in ("Modality", "BitsStored")}
    flags = {}
    for header in headers:
        found = [flag for check in CHECKS if (flag := check(header.tags))]
        found += [
            f"{name} differs: {shown_term(header.tags[name])}, mostly {shown_term(value)}"
            for name, value in usual.items()
            if header.tags.get(name, value) != value
        ]
        if header.pixel_hash in blank:
            found.append("constant: every pixel has the same value")
        flags[header.path] = tuple(found)
    return flags


def count_flags(flags: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Counts the images with each flag, by its name."""
    counts: Counter[str] = Counter()
    for found in flags.values():
        counts.update(flag.partition(":")[0] for flag in found)
    return dict(sorted(counts.items()))


def find_usual(headers: Sequence[Header], name: str) -> str | int | None:
    """The value that most DICOM headers have; of equals, the smallest."""
    counts = Counter(header.tags[name] for header in headers if header.tags.get(name) is not None)
    return min(counts, key=lambda value: (-counts[value], str(value))) if counts else None


def flag_orientation(tags: Tags) -> str:
    """Mammograms only: PatientOrientation (0020,0020) against ImageLaterality (0020,0062)."""
    laterality = str(tags.get("ImageLaterality") or tags.get("Laterality") or "")
    orientation = tags.get("PatientOrientation")
    if (
        tags.get("Modality") != "MG"
        or laterality not in ORIENTATION
        or not isinstance(orientation, (list, tuple))
        or len(orientation) != 2
    ):
        return ""
    row, columns = ORIENTATION[laterality]
    if str(orientation[0])[:1] == row and str(orientation[1]) in columns:
        return ""
    medial = "R" if laterality == "L" else "L"
    expected = f"{row}\\{medial} or {row}\\F{medial}"
    found = "\\".join(map(shown_term, orientation))
    return f"orientation: {found} of a breast on side {laterality}, expected {expected}"


def flag_bits(tags: Tags) -> str:
    """BitsStored (0028,0101) cannot exceed BitsAllocated (0028,0100)."""
    stored, allocated = tags.get("BitsStored"), tags.get("BitsAllocated")
    return (
        f"bits: {stored} stored of {allocated} allocated"
        if stored and allocated and stored > allocated
        else ""
    )


def flag_spacing(tags: Tags) -> str:
    """Only DICOM can state a spacing."""
    if not tags.get("SOPInstanceUID") or tags.get("PixelSpacing") or tags.get("ImagerPixelSpacing"):
        return ""
    return "spacing: neither PixelSpacing (0028,0030) nor ImagerPixelSpacing (0018,1164)"


def flag_size(tags: Tags) -> str:
    """Too small to show anything."""
    rows, columns = tags.get("Rows"), tags.get("Columns")
    tiny = isinstance(rows, int) and isinstance(columns, int) and min(rows, columns) < SMALLEST_PIXELS
    return f"size: {rows} x {columns} pixels" if tiny else ""


def flag_age(tags: Tags) -> str:
    """PatientAge (0010,1010), an Age String like 044Y (PS3.5 6.2)."""
    age = str(tags.get("PatientAge") or "")
    match = re.fullmatch(r"(\d{1,3})([DWMY])", age.strip())
    if not age or (match and int(match[1]) / AGE_UNITS_PER_YEAR[match[2]] <= OLDEST_YEARS):
        return ""
    return f"age: PatientAge {shown_term(age)}, expected 000D to {OLDEST_YEARS}Y"


def flag_lossy(tags: Tags) -> str:
    """Lost detail does not come back, whatever the present transfer syntax (PS3.3 C.7.6.1.1.5)."""
    return (
        "lossy: LossyImageCompression (0028,2110) is 01"
        if str(tags.get("LossyImageCompression", "")) == "01"
        else ""
    )


CHECKS: tuple[Callable[[Tags], str], ...] = (
    flag_orientation,
    flag_bits,
    flag_spacing,
    flag_size,
    flag_age,
    flag_lossy,
)
