"""Phantom of the twelve tissue classes, made from a seed.

With train and test folders, heavy imbalance and copies across folders.

Organs differ in size and number of the blue nuclei and in how the brown stain lies; the two sample groups of
skin, and those of endometrium, by a shade only.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from medimg.errors import UsageError

SIDE = 96
TEST_EVERY = 4  # Each fourth donor is of the official test split.
COPY_EVERY = 5  # Each fifth donor of train has one tile in test too, as the same bytes.
WHITE, BLUE, BROWN = (244, 242, 240), (118, 118, 168), (146, 98, 58)


@dataclass(frozen=True)
class Look:
    """How a class is drawn.

    Attributes:
        tiles: of each donor; the largest class has twelve times as many as the smallest.
        nuclei, radius: number and size in pixels of the blue nuclei.
        stain: how the brown lies.
        shade: added to the brown's lightness.
    """

    tiles: int
    nuclei: int
    radius: int
    stain: Literal["bands", "rings", "cloud"]
    shade: int = 0


LOOKS = {
    "colon": Look(12, 30, 3, "rings"),
    "endometrium_1": Look(8, 80, 2, "rings"),
    "endometrium_2": Look(1, 80, 2, "rings", shade=40),
    "kidney": Look(6, 12, 7, "rings"),
    "liver": Look(4, 12, 7, "cloud"),
    "lung": Look(3, 12, 3, "bands"),
    "lymph_node": Look(2, 160, 2, "cloud"),
    "pancreas": Look(2, 40, 4, "cloud"),
    "skin_1": Look(2, 30, 4, "bands"),
    "skin_2": Look(1, 30, 4, "bands", shade=40),
    "small_intestine": Look(1, 80, 2, "bands"),
    "spleen": Look(1, 160, 2, "rings"),
}
CLASSES = tuple(LOOKS)


def write_phantom(to: Path, *, cases: int, seed: int) -> None:
    """Writes the tiles of `cases` donors, each of every class, and the tables of sources.

    The same arguments give the same bytes.

    Raises:
        UsageError: fewer than eight donors, which cannot fill train, eval and test.
    """
    if cases < 2 * TEST_EVERY:
        raise UsageError(f"phantom of {cases} donors, expected at least {2 * TEST_EVERY}")
    rows: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for number in range(cases):
        rng = np.random.default_rng([seed, number])
        donor, split = f"donor-{number + 1:03d}", "test" if number % TEST_EVERY == TEST_EVERY - 1 else "train"
        for name, look in LOOKS.items():
            for tile_number in range(look.tiles):
                file, tile = f"{donor}-{tile_number + 1:02d}.jpg", encode_tile(draw_tile(look, rng=rng))
                splits = (
                    [split, "test"]
                    if split == "train" and name == CLASSES[0] and not tile_number and not number % COPY_EVERY
                    else [split]
                )
                for folder in splits:
                    write_file(to / folder / name / file, tile)
                    rows[folder, name].append((file, donor))
    for (folder, name), found in rows.items():
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([("file", "source_group"), *found])
        write_file(to / folder / f"{name}_source_group.csv", table.getvalue().encode())


def draw_tile(look: Look, *, rng: np.random.Generator) -> np.ndarray:
    """One tile, uint8 RGB image_HWC: brown stain first, nuclei over it."""
    image_HWC = np.full((SIDE, SIDE, 3), WHITE, dtype=np.uint8)
    brown = tuple(int(level + look.shade + rng.integers(-12, 13)) for level in BROWN)
    if look.stain == "bands":
        for start in range(int(rng.integers(16)), SIDE, 16):
            cv2.line(image_HWC, (0, start), (SIDE, start + int(rng.integers(-8, 9))), brown, 5)
    elif look.stain == "rings":
        for y, x in rng.integers(0, SIDE, (8, 2)).tolist():
            cv2.circle(image_HWC, (x, y), int(rng.integers(9, 14)), brown, 4)
    else:
        cloud_HW = cv2.resize(
            rng.standard_normal((6, 6), dtype=np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
        )
        image_HWC[cloud_HW > 0] = brown
    for y, x in rng.integers(0, SIDE, (look.nuclei, 2)).tolist():
        cv2.circle(image_HWC, (x, y), look.radius, BLUE, -1, cv2.LINE_AA)
    noisy_HWC = image_HWC + rng.normal(0, 6, image_HWC.shape)
    return noisy_HWC.clip(0, 255).astype(np.uint8)


def encode_tile(image_HWC: np.ndarray) -> bytes:
    """The tile as a JPEG file."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def write_file(path: Path, content: bytes) -> None:
    """Writes a file into a folder that need not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
