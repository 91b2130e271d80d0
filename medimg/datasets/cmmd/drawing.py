"""Drawn breasts with lesions and their truth, for the CMMD phantom.

Coordinates are fractions: y of the rows from the top, x of the columns from the chest wall.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

BRIGHTEST = 255


@dataclass(frozen=True)
class PhantomBreast:
    """One breast of a phantom tree.

    Attributes:
        patient: "D1-0001".
        side: "L" or "R".
        seed: what is drawn depends on it, the side, the look, the abnormality and the image size, on nothing
            else.
        malignancy, abnormality, subtype: as in the table; None where it has no row or an empty cell.
        look: the malignancy that is drawn. The same as the label, but for a copy of another breast's pixels.
        age_years: of the patient.
        bits: 8 or 16.
        views: InstanceNumber and role, in order of acquisition.
    """

    patient: str
    side: str
    seed: tuple[int, ...]
    malignancy: str | None
    abnormality: str | None
    look: str | None
    age_years: int
    subtype: str | None = None
    bits: int = 8
    views: tuple[tuple[int, str], ...] = ((1, "CC"), (2, "MLO"))

    @property
    def case_id(self) -> str:
        """As the data set names the case."""
        return f"{self.patient}-{self.side}"


@dataclass(frozen=True)
class Outline:
    """Where breast tissue ends.

    It reaches `reach` of the columns from the chest wall and `height` of the rows up and down from the
    middle.
    """

    reach: float
    height: float


@dataclass(frozen=True)
class Lesion:
    """One lesion as both views show it: the same depth, radius, brightness, spicules and specks.

    Only its height differs.

    Attributes:
        centre: (y, x) fractions.
        radius: of a mass, fraction of the rows.
        contrast: grey values above the tissue.
        spicules: phases and weights (2, n) of a mass's rays; a weight of 1 is a ray as long as the radius.
        specks: (n, 3) y and x offsets as fractions of the rows, and grey values; empty without
            calcifications.
    """

    centre: tuple[float, float]
    radius: float
    contrast: float
    spicules: np.ndarray
    specks: np.ndarray
    has_mass: bool


def draw_breast(
    breast: PhantomBreast, *, view: str, rows: int, columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one view, "CC" or "MLO", as it is stored.

    The chest wall is on the left for a left breast, on the right for a right one.

    Returns:
        uint8 image_HW, 0 outside the breast, and the bool mask_HW of the lesion, empty where the breast has
        none.
    """
    shared, own = (
        np.random.default_rng([*breast.seed, 0]),
        np.random.default_rng([*breast.seed, 1 + ("CC", "MLO").index(view)]),
    )
    outline = Outline(reach=shared.uniform(0.60, 0.85), height=shared.uniform(0.38, 0.46))
    density = shared.uniform(0, 14)
    image_HW, inside_HW = draw_tissue(outline, rows=rows, columns=columns, rng=own)
    image_HW += density
    if view == "MLO":
        image_HW += draw_pectoral(rows, columns)
    mask_HW = np.zeros((rows, columns), bool)
    if breast.look:
        lesion = plan_lesion(breast, outline=outline, shared=shared, own=own)
        add_lesion(image_HW, mask_HW, lesion=lesion)
    image_HW = np.where(inside_HW, image_HW, 0).clip(0, BRIGHTEST).astype(np.uint8)
    mask_HW = mask_HW & inside_HW
    step = -1 if breast.side == "R" else 1
    return np.ascontiguousarray(image_HW[:, ::step]), np.ascontiguousarray(mask_HW[:, ::step])


def lesion_box(mask_HW: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The smallest and the largest (y, x) of a mask, both within it; None for an empty one."""
    points = np.argwhere(mask_HW)
    if not len(points):
        return None
    (top, left), (bottom, right) = points.min(axis=0), points.max(axis=0)
    return (int(top), int(left)), (int(bottom), int(right))


def lesion_outline(mask_HW: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Returns the convex hull of a lesion as (y, x) of pixel centres; empty for an empty mask.

    With spicules and all specks within, as a reader outlines it.
    """
    points_N2 = np.argwhere(mask_HW)
    if len(points_N2) < 3:
        return ()
    return tuple((float(y), float(x)) for y, x in cv2.convexHull(points_N2.astype(np.int32))[:, 0])


def draw_tissue(
    outline: Outline, *, rows: int, columns: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Tissue without a lesion, float32 image_HW, and the breast's bool mask_HW."""
    y_H1, x_1W = fractions(rows, columns)
    distance_HW = (x_1W / outline.reach) ** 2 + ((y_H1 - 0.5) / outline.height) ** 2
    inside_HW = distance_HW < 1
    image_HW: np.ndarray = 62 + 34 * np.sqrt(np.clip(1 - distance_HW, 0, 1))
    for cells, strength in (
        ((7, 5), 7),
        ((20, 9), 4),
        ((60, 50), 3),
    ):  # Lobes, strands towards the nipple, grain.
        grid = rng.standard_normal(cells, dtype=np.float32)
        image_HW += strength * cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return image_HW + 4 * rng.standard_normal((rows, columns), dtype=np.float32), inside_HW


def draw_pectoral(rows: int, columns: int) -> np.ndarray:
    """The pectoral muscle in the upper corner at the chest wall, which an MLO view shows."""
    y_H1, x_1W = fractions(rows, columns)
    return 38 * np.clip((0.42 - y_H1 - 1.5 * x_1W) * 25, 0, 1)


def fractions(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres as float32 fractions, of shapes (rows, 1) and (1, columns)."""
    y_H1 = ((np.arange(rows) + 0.5) / rows).astype(np.float32)[:, None]
    x_1W = ((np.arange(columns) + 0.5) / columns).astype(np.float32)[None, :]
    return y_H1, x_1W


def plan_lesion(
    breast: PhantomBreast, *, outline: Outline, shared: np.random.Generator, own: np.random.Generator
) -> Lesion:
    """The breast's lesion as `shared` says, at the height in this view that `own` says."""
    suspicion = plan_suspicion(malignant=breast.look == "Malignant", rng=shared)
    depth = shared.uniform(0.3, 0.65) * outline.reach
    room = 0.55 * outline.height * float(np.sqrt(1 - (depth / outline.reach) ** 2))
    return Lesion(
        centre=(0.5 + own.uniform(-room, room), depth),
        radius=shared.uniform(0.036, 0.056) + 0.010 * suspicion,
        contrast=float(np.clip(shared.normal(50, 12) + 40 * suspicion, 20, 150)),
        spicules=shared.uniform([[0.0], [0.3 * suspicion]], [[2 * np.pi], [suspicion]], (2, 11)),
        specks=plan_specks(suspicion, rng=shared) if breast.abnormality != "mass" else np.zeros((0, 3)),
        has_mass=breast.abnormality != "calcification",
    )


def plan_suspicion(*, malignant: bool, rng: np.random.Generator) -> float:
    """How malignant a lesion looks, from 0 to 1.

    Looks overlap: with a distance of 3.2 standard deviations an ideal reader has an AUC near 0.99.
    """
    return float(np.clip(rng.normal(0.84 if malignant else 0.16, 0.17), 0, 1))


def plan_specks(suspicion: float, *, rng: np.random.Generator) -> np.ndarray:
    """Calcifications, from few and scattered to many in a cluster; (n, 3) of offsets y, x and grey values."""
    count = int(rng.integers(4, 9)) + round(28 * suspicion)
    offsets = rng.normal(scale=0.07 - 0.042 * suspicion, size=(count, 2))
    return np.column_stack([offsets, rng.uniform(75, 135, count)])


def add_lesion(image_HW: np.ndarray, mask_HW: np.ndarray, *, lesion: Lesion) -> None:
    """Adds the lesion to the image and marks it in the mask, both in place."""
    rows, columns = image_HW.shape
    y, x = lesion.centre[0] * rows, lesion.centre[1] * columns
    if lesion.has_mass:
        add_mass(image_HW, mask_HW, lesion=lesion, centre=(y, x))
    radius = max(1.0, 0.0055 * rows)
    for offset_y, offset_x, grey in lesion.specks:
        window, distance_HW, _ = around(
            image_HW.shape, centre=(y + offset_y * rows, x + offset_x * rows), reach=4 * radius
        )
        image_HW[window] += grey * np.exp(-((distance_HW / radius) ** 2))
        mask_HW[window] |= distance_HW <= 1.5 * radius


def add_mass(
    image_HW: np.ndarray, mask_HW: np.ndarray, *, lesion: Lesion, centre: tuple[float, float]
) -> None:
    """A disc with a soft edge and rays that reach up to twice as far."""
    radius = lesion.radius * image_HW.shape[0]
    window, distance_HW, angle_HW = around(image_HW.shape, centre=centre, reach=3.5 * radius)
    phases_1N, weights_1N = lesion.spicules[:, None, :]
    angles_A1 = np.linspace(-np.pi, np.pi, 721)[
        :, None
    ]  # Half a degree: finer than a pixel at any radius that occurs.
    edge_A = radius * (1 + (weights_1N * np.clip(np.cos(angles_A1 - phases_1N), 0, 1) ** 48).sum(axis=1))
    edge_HW = edge_A[np.rint((angle_HW + np.pi) * (720 / (2 * np.pi))).astype(int)]
    profile_HW = np.clip((edge_HW - distance_HW) / (0.35 * radius) + 0.5, 0, 1)
    image_HW[window] += lesion.contrast * profile_HW
    mask_HW[window] |= profile_HW >= 0.5


def around(
    shape: tuple[int, ...], *, centre: tuple[float, float], reach: float
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Returns the part of an image within `reach` pixels of a point, clipped to the image.

    With the distance in pixels and the angle in radians there.
    """
    spans = [
        (max(0, int(middle - reach)), max(0, min(size, int(middle + reach) + 2)))
        for middle, size in zip(centre, shape, strict=True)
    ]
    (top, bottom), (left, right) = spans
    y_H1, x_1W = np.arange(top, bottom)[:, None] - centre[0], np.arange(left, right)[None, :] - centre[1]
    return (slice(top, bottom), slice(left, right)), np.hypot(y_H1, x_1W), np.arctan2(y_H1, x_1W)
