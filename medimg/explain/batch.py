"""Explains a batch of cases: checks each map against the outlined lesions, or lays it over its image."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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


def check_batch(
    records: Sequence[Record],
    inputs: Inputs,
    *,
    roles: Sequence[str],
    networks: Mapping[str, Network],
    class_index: int,
) -> Iterator[dict[str, Any]]:
    """Rows of the table that `medimg.explain.measured_checks.measure_checks` reads, one per outlined view, method and network.

    Args:
        records: the cases, images as the network's input was made from, outlines in their pixels.
        inputs: the same cases, in the same order.
        roles: views in the order of `inputs`.
        networks: "trained" first, then those with randomised weights, by name.
    """
    views = [
        (number, place, role)
        for number, record in enumerate(records)
        for place, role in enumerate(roles)
        if outlines_of(record, role)
    ]
    truths = {
        (number, place): (image_of(records[number], role), outlines_of(records[number], role))
        for number, place, role in views
    }
    masks = {
        key: draw_mask(outlines, shape=(image_HW.shape[0], image_HW.shape[1]))
        for key, (image_HW, outlines) in truths.items()
    }
    for number, place, role in views:
        image_HW, mask_HW = truths[number, place][0], masks[number, place]
        pointing, energy = chance(mask_HW, image_HW=cv2.cvtColor(to_rgb(image_HW), cv2.COLOR_RGB2GRAY))
        yield {
            **name_view(records[number], role),
            "method": "",
            "subject": CHANCE,
            "pointing": pointing,
            "energy": energy,
        }
    for method, explain in METHODS.items():
        maps = {name: explain(network, inputs, class_index=class_index) for name, network in networks.items()}
        for number, place, role in views:
            mask_HW, trained_HW = masks[number, place], maps[TRAINED][number, place]
            for name, maps_BVHW in maps.items():
                map_HW = maps_BVHW[number, place]
                enlarged_HW = stretch(map_HW, mask_HW.shape)
                yield {
                    **name_view(records[number], role),
                    "method": method,
                    "subject": name,
                    "pointing": points_at(enlarged_HW, mask_HW),
                    "energy": energy_inside(enlarged_HW, mask_HW),
                    "rank_correlation": math.nan if name == TRAINED else rank_correlation(trained_HW, map_HW),
                    "ssim": math.nan if name == TRAINED else structural_similarity(trained_HW, map_HW),
                }


def draw_batch(
    records: Sequence[Record],
    inputs: Inputs,
    *,
    roles: Sequence[str],
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
    maps = {method: METHODS[method](network, inputs, class_index=class_index) for method in methods}
    for number, record in enumerate(records):
        for place, role in enumerate(roles):
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
    """The map at the size of the stored image, from which the network's input was stretched in the same way."""
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
