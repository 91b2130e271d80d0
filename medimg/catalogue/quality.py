"""Flags on images whose headers contradict themselves or differ from the rest of the data set.

A few of these make a file unusable.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from medimg.cases import Header, Reject, Tags
from medimg.dicom.tags import UNREADABLE
from medimg.errors import quote_code, show_code
from medimg.images.scan import DISPLAY_FAULT, LOST_CONTRAST

OLDEST_YEARS = 110
SMALLEST_PIXELS = 16
NARROW_BITS = (8, 10, 12, 14)
"""What 16-bit pictures hold that were written from detectors of so many bits."""
TEXT_IN_PICTURES = ("US", "SC", "OT")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Modalities, and the SOP classes, of pictures into which devices write who was imaged."""
# Viewing convention: chest wall at the left of a left breast, lateral or head side up (DICOM PS3.3 C.8.11.7,
# IHE Mammography Image profile).
ORIENTATION = {"L": ("A", {"R", "F", "FR", "RF"}), "R": ("P", {"L", "F", "FL", "LF"})}
AGE_UNITS_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


def find_unusable(headers: Sequence[Header], *, shown: bool = True) -> list[Reject]:
    """Files that must not be used, whatever the data set: text burned into the pixels may name the patient.

    No pixels is no image, and neither is what a run could not show.

    Args:
        shown: images are used as they are displayed; False where their modality's values are.
    """
    rejects = []
    for header in headers:
        fault = header.tags.get(DISPLAY_FAULT) if shown else None
        if str(header.tags.get("BurnedInAnnotation", "")).strip().upper() == "YES":
            rejects.append(
                Reject(
                    header.path,
                    "quarantined",
                    "BurnedInAnnotation (0028,0301) is YES: text in the pixels may identify the patient",
                )
            )
        elif fault:
            rejects.append(Reject(header.path, "quarantined", str(fault)))
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
            f"{name} differs: {show_code(header.tags[name])}, mostly {show_code(value)}"
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
    found = "\\".join(map(show_code, orientation))
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
    return f"age: PatientAge {quote_code(age)}, expected 000D to {OLDEST_YEARS}Y"


def flag_lossy(tags: Tags) -> str:
    """Lost detail does not come back, whatever the present transfer syntax (PS3.3 C.7.6.1.1.5)."""
    return (
        "lossy: LossyImageCompression (0028,2110) is 01"
        if str(tags.get("LossyImageCompression", "")) == "01"
        else ""
    )


def flag_burned_in(tags: Tags) -> str:
    """BurnedInAnnotation (0028,0301) must be NO where names are usually written into the picture (R21)."""
    stated = str(tags.get("BurnedInAnnotation") or "").upper()
    kind = str(tags.get("Modality") or "").upper()
    if str(tags.get("SOPClassUID") or "").startswith(SECONDARY_CAPTURE):
        kind = kind if kind in TEXT_IN_PICTURES else "SC"
    if kind not in TEXT_IN_PICTURES or stated in ("YES", "NO"):
        return ""
    return f"burned-in text: {kind} without BurnedInAnnotation (0028,0301), needs review"


def flag_unreadable(tags: Tags) -> str:
    """Attributes whose value is none of their type, and counts as unknown."""
    found = tags.get(UNREADABLE)
    return f"unreadable: {'; '.join(map(str, found))}" if isinstance(found, (list, tuple)) and found else ""


def flag_lost_contrast(tags: Tags) -> str:
    """The display chain makes one grey level of the first frame's many."""
    return f"window: {tags[LOST_CONTRAST]}" if tags.get(LOST_CONTRAST) else ""


CHECKS: tuple[Callable[[Tags], str], ...] = (
    flag_orientation,
    flag_bits,
    flag_spacing,
    flag_size,
    flag_age,
    flag_lossy,
    flag_burned_in,
    flag_unreadable,
    flag_lost_contrast,
)


def describe_narrow_pictures(headers: Sequence[Header]) -> list[str]:
    """One line if all 16-bit pictures together hold fewer bits, so that they would be shown nearly black."""
    deep = {
        header.path: int(header.tags["LargestImagePixelValue"])
        for header in headers
        if header.kind != "dicom" and header.tags.get("LargestImagePixelValue") is not None
    }
    largest = max(deep.values(), default=0)
    bits = next((bits for bits in NARROW_BITS if 0 < largest < 1 << bits), 0)
    if not bits:
        return []
    return [
        f"{len(deep):,} pictures of 16 bits, {min(deep)} for one, hold values of {bits} bits (the largest is "
        f"{largest}) and are shown in 1/{1 << (16 - bits)} of the brightness; set "
        f"ingest.range=0,{(1 << bits) - 1}"
    ]
