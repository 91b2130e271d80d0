"""Explains a batch of cases: checks each map against the outlined lesions, or lays it over its image."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from medimg.cases import Annotation, Record
from medimg.explain.measured_checks import CHANCE, TRAINED
from medimg.explain.methods import METHODS
from medimg.explain.network import Inputs, Network
from medimg.explain.overlay import draw_outlines, lay_over, to_rgb
from medimg.explain.reference_masks import draw_mask
from medimg.explain.saliency_checks import (
    chance,
    energy_inside,
    points_at,
    rank_correlation,
    structural_similarity,
)

LARGEST_SIDE = 384
"""Of a drawn image: enough to see where a map lies, and a report with some dozens of them stays small."""


@dataclass(frozen=True)
class Batch:
    """Some cases, as they are stored and as the network takes them.

    Attributes:
        records: the cases, images as the network's input was made from, outlines in their pixels.
        inputs: the same cases, in the same order.
        roles: views in the order of `inputs`.
    """

    records: Sequence[Record]
    inputs: Inputs
    roles: Sequence[str]


@dataclass(frozen=True)
class OutlinedView:
    """One view of a batch whose lesions are outlined.

    Attributes:
        number, place: of the case in the batch, and of the view in the network's input.
        image_HW: as stored; HWC if RGB.
        mask_HW: bool, the lesions.
    """

    record: Record
    role: str
    number: int
    place: int
    image_HW: np.ndarray
    mask_HW: np.ndarray


def check_batch(
    batch: Batch, *, networks: Mapping[str, Network], class_index: int
) -> Iterator[dict[str, str | float]]:
    """Yields rows of the table that `medimg.explain.measured_checks.measure_checks` reads.

    There is one for each outlined view, method and network.

    Args:
        networks: "trained" first, then those with randomised weights, by name.
    """
    views = list(list_outlined_views(batch))
    for view in views:
        grey_HW = cv2.cvtColor(to_rgb(view.image_HW), cv2.COLOR_RGB2GRAY)
        pointing, energy = chance(view.mask_HW, image_HW=grey_HW)
        yield {
            **name_view(view.record, view.role),
            "method": "",
            "subject": CHANCE,
            "pointing": pointing,
            "energy": energy,
        }
    for method, explain in METHODS.items():
        maps = {
            name: explain(network, batch.inputs, class_index=class_index)
            for name, network in networks.items()
        }
        for view in views:
            trained_HW = maps[TRAINED][view.number, view.place]
            for name, maps_BVHW in maps.items():
                map_HW = maps_BVHW[view.number, view.place]
                enlarged_HW = stretch(map_HW, view.mask_HW.shape)
                yield {
                    **name_view(view.record, view.role),
                    "method": method,
                    "subject": name,
                    "pointing": points_at(enlarged_HW, view.mask_HW),
                    "energy": energy_inside(enlarged_HW, view.mask_HW),
                    "rank_correlation": math.nan if name == TRAINED else rank_correlation(trained_HW, map_HW),
                    "ssim": math.nan if name == TRAINED else structural_similarity(trained_HW, map_HW),
                }


def list_outlined_views(batch: Batch) -> Iterator[OutlinedView]:
    """Yields the views with outlined lesions, case by case."""
    for number, record in enumerate(batch.records):
        for place, role in enumerate(batch.roles):
            if outlines := outlines_of(record, role):
                image_HW = image_of(record, role)
                mask_HW = draw_mask(outlines, shape=(image_HW.shape[0], image_HW.shape[1]))
                yield OutlinedView(record, role, number, place, image_HW, mask_HW)


def draw_batch(
    batch: Batch,
    *,
    network: Network,
    class_index: int,
    folder: Path,
    methods: Collection[str] = tuple(METHODS),
) -> Iterator[dict[str, str]]:
    """Writes each view as it is ("original") and under the map of each of `methods`.

    Yields case_id, role, method and the file's name.

    A map's strongest colour is its highest value in the case, so that the case's views can be compared with
    each other.
    """
    maps = {method: METHODS[method](network, batch.inputs, class_index=class_index) for method in methods}
    for number, record in enumerate(batch.records):
        for place, role in enumerate(batch.roles):
            if role not in record.images:
                continue
            image = to_rgb(image_of(record, role))
            drawn = {"original": image}
            for method, maps_BVHW in maps.items():
                overlaid = lay_over(image, maps_BVHW[number, place], highest=float(maps_BVHW[number].max()))
                drawn[method] = draw_outlines(overlaid, outlines_of(record, role))
            for method, picture in drawn.items():
                name = f"{name_file(record.case.case_id)}-{name_file(role)}-{method}.png"
                write_png(folder / name, picture)
                yield {"case_id": record.case.case_id, "role": role, "method": method, "file": name}


def name_view(record: Record, role: str) -> dict[str, str]:
    """What says which image a row is of."""
    return {"case_id": record.case.case_id, "group_id": record.case.group_id, "role": role}


def image_of(record: Record, role: str) -> np.ndarray:
    """The one image of a view, as it is stored in the Example."""
    image: np.ndarray = next(iter(record.images[role].slices))
    return image


def outlines_of(record: Record, role: str) -> list[Annotation]:
    """The outlines on a view that is there."""
    return [item for item in record.case.annotations if item.role == role and role in record.images]


def stretch(map_HW: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the map at the size of the stored image.

    The network's input was stretched from that image in the same way.
    """
    enlarged: np.ndarray = cv2.resize(map_HW, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return enlarged


def name_file(text: str) -> str:
    """A case's id or a role as a part of a file's name.

    What a file system might not take is written as its code.
    """
    return "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-._") else f"~{ord(letter):x}"
        for letter in text
    )


def write_png(path: Path, image_HWC: np.ndarray) -> None:
    """Writes RGB, its longer side at most LARGEST_SIDE."""
    scale = LARGEST_SIDE / max(image_HWC.shape[:2])
    if scale < 1:
        image_HWC = cv2.resize(image_HWC, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR))[1].tobytes())
