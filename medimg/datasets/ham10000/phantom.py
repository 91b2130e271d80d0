"""Phantom of HAM10000, made from a seed: seven diagnoses in HAM10000's proportions.

With lesions of several images, two folders and CRLF metadata.

The classes differ in colour and outline so that a small network learns them; nothing about the drawings is
medicine.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from medimg.errors import UsageError

IMAGE_ROWS, IMAGE_COLUMNS = 120, 160
JPEG_QUALITY = 95
SKIN = (225, 180, 160)
WAVES = (2, 3, 4, 5, 7)
"""Numbers of bulges around a lesion; how large each is makes an outline that no other lesion has."""
LEAST_PER_CLASS = 7
"""Lesions of each class where there are enough: one for a split of 15 %."""
FOLDERS = ("HAM10000_images_part_1", "HAM10000_images_part_2")
PLACES = ("back", "trunk", "face", "lower extremity", "unknown")
WAYS = {
    "nv": ("histo", "follow_up", "consensus"),
    "bkl": ("histo", "consensus"),
    "vasc": ("histo", "consensus"),
    "df": ("histo", "consensus"),
}
"""How diagnoses were made, as in HAM10000: the others by histology alone."""
SOURCES = ("vidir_modern", "vidir_molemax", "rosendahl", "vienna_dias")


@dataclass(frozen=True)
class Look:
    """How a diagnosis is drawn.

    Attributes:
        weight: share of HAM10000's images, of 10,015.
        edge, centre: RGB of the lesion's rim and middle.
        wobble: depth of the outline's waves, as a share of the radius.
        dots: RGB of speckles, or None.
    """

    weight: int
    edge: tuple[int, int, int]
    centre: tuple[int, int, int]
    wobble: float
    dots: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Lesion:
    """A drawn lesion: RGB in grey levels, and 1 where it is, 0 beside it."""

    colours_HWC: np.ndarray
    mask_HW: np.ndarray


LOOKS: Mapping[str, Look] = {
    "nv": Look(6705, (150, 95, 60), (120, 70, 45), 0.04),
    "mel": Look(1113, (70, 45, 40), (25, 20, 35), 0.35, (60, 70, 130)),
    "bkl": Look(1099, (190, 150, 85), (165, 120, 60), 0.12, (240, 220, 130)),
    "bcc": Look(514, (230, 160, 165), (215, 175, 185), 0.15, (90, 90, 150)),
    "akiec": Look(327, (215, 95, 85), (205, 120, 100), 0.25, (245, 235, 225)),
    "vasc": Look(142, (150, 20, 60), (110, 10, 70), 0.08),
    "df": Look(115, (135, 90, 65), (240, 230, 220), 0.05),
}


def write_phantom(to: Path, *, cases: int, seed: int) -> None:
    """Writes the images of `cases` lesions, one to three each, and HAM10000_metadata.csv.

    The same arguments give the same bytes.

    The last nevus is the first one's picture under a new id, and the first image lies in both folders.

    Raises:
        UsageError: fewer lesions than classes.
    """
    rng = np.random.default_rng([seed, 0])
    rows = [["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset"]]
    diagnoses = [name for name, count in share_lesions(cases).items() for _ in range(count)]
    nevi = diagnoses.count("nv")
    files: list[tuple[str, bytes]] = []
    for number, diagnosis in enumerate(diagnoses):
        patient = describe_patient(diagnosis, rng=rng)
        repeated = diagnosis == "nv" and 1 < nevi == number + 1
        lesion = draw_lesion(LOOKS[diagnosis], rng=rng)
        for _ in range(1 if repeated else 1 + int(rng.integers(3))):
            image_id = f"ISIC_{24306 + len(files):07d}"
            content = files[0][1] if repeated else encode_jpeg(photograph(lesion, rng=rng))
            files.append((image_id, content))
            rows.append([f"HAM_{number:07d}", image_id, diagnosis, *patient])
    for folder in FOLDERS:
        (to / folder).mkdir(parents=True, exist_ok=True)
    for index, (image_id, content) in enumerate(files):
        (to / FOLDERS[2 * index // len(files)] / f"{image_id}.jpg").write_bytes(content)
    (to / FOLDERS[1] / f"{files[0][0]}.jpg").write_bytes(files[0][1])
    table = io.StringIO()
    csv.writer(table, lineterminator="\r\n").writerows(rows)
    (to / "HAM10000_metadata.csv").write_bytes(table.getvalue().encode())


def share_lesions(lesions: int) -> dict[str, int]:
    """Returns the number of lesions of each class, in HAM10000's proportions.

    But at least LEAST_PER_CLASS of each where there are enough lesions for that.
    """
    least = min(LEAST_PER_CLASS, lesions // len(LOOKS))
    if not least:
        raise UsageError(f"phantom of {lesions} lesions, expected at least {len(LOOKS)}, one of each class")
    total = sum(look.weight for look in LOOKS.values())
    counts = {name: max(least, lesions * look.weight // total) for name, look in LOOKS.items()}
    counts["nv"] += lesions - sum(counts.values())
    return counts


def describe_patient(diagnosis: str, *, rng: np.random.Generator) -> list[str]:
    """dx_type, age, sex, localization and dataset as the table has them."""
    dx_type = str(rng.choice(WAYS.get(diagnosis, ("histo",))))
    age = "" if rng.random() < 0.05 else f"{5.0 * rng.integers(4, 18)}"
    return [
        dx_type,
        age,
        str(rng.choice(["male", "female"])),
        str(rng.choice(PLACES)),
        str(rng.choice(SOURCES)),
    ]


def draw_lesion(look: Look, *, rng: np.random.Generator) -> Lesion:
    """A lesion in the middle of nothing."""
    cloud_HW1 = draw_cloud(rng)[..., None]
    y_HW, x_HW = np.mgrid[:IMAGE_ROWS, :IMAGE_COLUMNS]
    y_HW, x_HW = y_HW - IMAGE_ROWS / 2, x_HW - IMAGE_COLUMNS / 2
    angle_HW = np.arctan2(y_HW, x_HW)
    shares = rng.dirichlet(np.ones(len(WAVES)))
    waves_HW = sum(
        share * np.sin(count * angle_HW + rng.uniform(0, 2 * np.pi))
        for share, count in zip(shares, WAVES, strict=True)
    )
    distance_HW = np.hypot(y_HW, x_HW) / (rng.uniform(22, 36) * (1 + look.wobble * waves_HW))
    mix_HW1 = np.clip(distance_HW, 0, 1)[..., None]
    colours_HWC = mix_HW1 * np.array(look.edge) + (1 - mix_HW1) * np.array(look.centre) + 8 * cloud_HW1
    if look.dots:
        colours_HWC[
            cv2.GaussianBlur(rng.standard_normal((IMAGE_ROWS, IMAGE_COLUMNS), dtype=np.float32), (0, 0), 2)
            > 0.2
        ] = look.dots
    return Lesion(colours_HWC.astype(np.float32), (distance_HW < 1).astype(np.float32))


def photograph(lesion: Lesion, *, rng: np.random.Generator) -> np.ndarray:
    """One image of a lesion on skin, uint8 RGB image_HWC.

    The next one has it elsewhere, turned a little, larger or smaller.
    """
    turned = cv2.getRotationMatrix2D(
        (IMAGE_COLUMNS / 2, IMAGE_ROWS / 2), rng.uniform(-20, 20), rng.uniform(0.85, 1.2)
    )
    view = turned + np.array([[0, 0, rng.uniform(-20, 20)], [0, 0, rng.uniform(-12, 12)]])
    colours_HWC = cv2.warpAffine(
        lesion.colours_HWC, view, (IMAGE_COLUMNS, IMAGE_ROWS), borderMode=cv2.BORDER_REPLICATE
    )
    mask_HW1 = cv2.warpAffine(lesion.mask_HW, view, (IMAGE_COLUMNS, IMAGE_ROWS))[..., None]
    skin_HWC = (
        np.array(SKIN)
        + 6 * draw_cloud(rng)[..., None]
        + 4 * rng.standard_normal((IMAGE_ROWS, IMAGE_COLUMNS, 1))
    )
    return (mask_HW1 * colours_HWC + (1 - mask_HW1) * skin_HWC).clip(0, 255).astype(np.uint8)


def draw_cloud(rng: np.random.Generator) -> np.ndarray:
    """Soft light and shade, float32 HW, about 0 with a deviation of 1."""
    return cv2.resize(
        rng.standard_normal((4, 5), dtype=np.float32),
        (IMAGE_COLUMNS, IMAGE_ROWS),
        interpolation=cv2.INTER_CUBIC,
    )


def encode_jpeg(image_HWC: np.ndarray) -> bytes:
    """RGB as JPEG."""
    _, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    return encoded.tobytes()
