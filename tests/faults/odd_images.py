"""Odd images of a phantom.

A camera, a scanner or a converter may have written them in another way than the published ones.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from medimg.datasets.ham10000.phantom import LOOKS, draw_lesion, encode_jpeg, photograph

ODD = ("palette", "16 bits", "grey", "EXIF rotation")
"""What `write_odd_images` writes, each of which is to be used as it is meant."""

FOLDERS = {"ham10000": "HAM10000_images_part_1", "tissue": "train/colon"}
QUARTER_TURN = 6
"""EXIF orientation: to be turned a quarter clockwise before it is shown."""


def write_odd_images(root: Path, data_set: str) -> dict[str, str]:
    """Replaces images of a phantom by odd forms of them; the path of each, relative to root."""
    # The first ones lie in two folders.
    palette, deep, grey, turned = sorted((root / FOLDERS[data_set]).glob("*.jpg"))[4:8]
    written = {
        "palette": save(read_rgb(palette).quantize(64), palette, ".png"),
        "grey": save(read_rgb(grey).convert("L"), grey, ".png"),
        "16 bits": write_deep(deep),
        "EXIF rotation": write_turned(turned),
    }
    return {name: path.relative_to(root).as_posix() for name, path in written.items()}


def read_rgb(path: Path) -> Image.Image:
    """The pixels, apart from the file."""
    with Image.open(path) as image:
        return image.convert("RGB")


def save(image: Image.Image, path: Path, suffix: str) -> Path:
    """Puts an image in the place of a file."""
    path.unlink()
    image.save(path.with_suffix(suffix))
    return path.with_suffix(suffix)


def write_cmyk(path: Path) -> Path:
    """Writes the picture in four colours for print.

    It is refused: its colours on a screen depend on the printer's profile.
    """
    return save(read_rgb(path).convert("CMYK"), path, ".jpg")


def write_deep(path: Path) -> Path:
    """The picture as a PNG of 16 bits a colour."""
    rgb_HWC = np.asarray(read_rgb(path)).astype(np.uint16) * 257
    path.unlink()
    cv2.imwrite(str(path.with_suffix(".png")), rgb_HWC[..., ::-1])
    return path.with_suffix(".png")


def write_turned(path: Path) -> Path:
    """The picture lying on its side, with the EXIF tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = QUARTER_TURN
    read_rgb(path).transpose(Image.Transpose.ROTATE_90).resize((160, 120)).save(path, exif=exif, quality=95)
    return path


def write_challenge(root: Path, *, images: int) -> None:
    """Writes the official test set of ISIC 2018, task 3, as Dataverse has it, beside a phantom of HAM10000.

    It has one image a lesion, every class in turn.
    """
    rng = np.random.default_rng(2018)
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"]
    (root / "ISIC2018_Task3_Test_Images").mkdir()
    for number in range(images):
        diagnosis = sorted(LOOKS)[number % len(LOOKS)]
        image_id = f"ISIC_{34524 + number:07d}"
        image_HWC = photograph(draw_lesion(LOOKS[diagnosis], rng=rng), rng=rng)
        (root / "ISIC2018_Task3_Test_Images" / f"{image_id}.jpg").write_bytes(encode_jpeg(image_HWC))
        rows.append(f"HAMTEST_{number:07d},{image_id},{diagnosis},histo,60.0,female,back,rosendahl")
    (root / "ISIC2018_Task3_Test_GroundTruth.csv").write_text("\n".join([*rows, ""]))
