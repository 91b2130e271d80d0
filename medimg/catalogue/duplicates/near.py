"""Near duplicates: cases whose images look alike, found by content, whatever tables and names say of them."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medimg.cases import Case
from medimg.catalogue.duplicates.exact import ACTIVE
from medimg.catalogue.duplicates.keypoints import Keypoints, find_keypoints
from medimg.catalogue.duplicates.perceptual_hash import find_close_hashes, hash_image
from medimg.catalogue.rows import NearPair
from medimg.catalogue.split import Search
from medimg.console.progress import show_progress
from medimg.dicom.safety import guarded_map
from medimg.errors import MedimgError
from medimg.images.prepare import Ingest, prepare_image

HASH_DISTANCE = 31
"""Bits of 255 that two near duplicates may differ in: PDQ's threshold.

Half of what the nearest different images measured here differ in.
"""
GREY = Ingest(image_size=None, channels=1)


@dataclass(frozen=True)
class Signature:
    """What is kept of an image to compare it: 256 bytes, and about 14 kB where its keypoints are."""

    hash_UV: np.ndarray
    keypoints: Keypoints | None


@dataclass(frozen=True)
class NearDuplicates:
    """What a search found.

    Attributes:
        pairs: each pair of cases once, sorted.
        compared: number of images.
        without_contrast: how many of them show too little to be near to anything by their hash.
        anomalies: one line for each image that could not be compared.
    """

    search: Search = "off"
    pairs: Sequence[NearPair] = ()
    compared: int = 0
    without_contrast: int = 0
    anomalies: Sequence[str] = ()


def find_near_duplicates(
    cases: Iterable[Case], *, search: Search, data_root: Path, workers: int | None = None
) -> NearDuplicates:
    """Compares every image of the used and unlabelled cases with every other; images of one case are no pair.

    Args:
        workers: child processes that read; None for one per core.
    """
    if search == "off":
        return NearDuplicates()
    owners: dict[tuple[str, int], set[str]] = {}
    for case in cases:
        if case.status in ACTIVE:
            for image in case.images:
                owners.setdefault((image.path, image.frame), set()).add(case.case_id)
    signatures: list[Signature] = []
    owned: list[set[str]] = []
    anomalies = []
    read = functools.partial(read_signature, root=str(data_root), keypoints=search == "keypoints")
    results = guarded_map(read, sorted(owners), workers=workers or os.cpu_count() or 1)
    for place, result in show_progress(results, total=len(owners), title="Comparing images"):
        if isinstance(result, MedimgError):
            anomalies.append(f"not compared with other images: {result}")
        else:
            signatures.append(result)
            owned.append(owners[place])
    return NearDuplicates(
        search,
        pairs=pair_cases(signatures, owned=owned),
        compared=len(signatures),
        without_contrast=sum(not one.hash_UV.any() for one in signatures),
        anomalies=anomalies,
    )


def read_signature(item: tuple[str, int], *, root: str, keypoints: bool) -> Signature:
    """Decodes one image as ingest does, in grey. The item is (path below root, frame).

    Raises UnreadableFile.
    """
    path, frame = item
    grey_HW = prepare_image(Path(root, path), frame=frame, ingest=GREY, name=path).pixels
    return Signature(hash_image(grey_HW), find_keypoints(grey_HW) if keypoints else None)


def pair_cases(signatures: Sequence[Signature], *, owned: Sequence[Collection[str]]) -> list[NearPair]:
    """Finds the pairs of different cases that own near-duplicate images.

    Each with its closest hashes and its most keypoints.

    Args:
        owned: case ids by image; an image can belong to several cases.
    """
    if not signatures:
        return []
    hashes_NUV = np.stack([one.hash_UV for one in signatures])
    close = choose_by_cases(*find_close_hashes(hashes_NUV, distance=HASH_DISTANCE), owned=owned, choose=min)
    agreeing: dict[tuple[str, str], int] = {}
    keypoints = [one.keypoints for one in signatures if one.keypoints is not None]
    if keypoints:
        from medimg.catalogue.duplicates.visual_words import (
            find_same_spots,  # scikit-learn takes a second to load, which a search by hash does not need.
        )

        agreeing = choose_by_cases(
            *find_same_spots(keypoints, cases=[min(ids) for ids in owned]), owned=owned, choose=max
        )
    return [
        NearPair(cases, close.get(cases), agreeing.get(cases))
        for cases in sorted(close.keys() | agreeing.keys())
    ]


def choose_by_cases(
    pairs_P2: np.ndarray,
    values_P: np.ndarray,
    *,
    owned: Sequence[Collection[str]],
    choose: Callable[[int, int], int],
) -> dict[tuple[str, str], int]:
    """From values by pair of images to one value by pair of different cases, in the order of case ids."""
    chosen: dict[tuple[str, str], int] = {}
    for (first, second), value in zip(pairs_P2.tolist(), values_P.tolist(), strict=True):
        for one, other in itertools.product(owned[first], owned[second]):
            if one != other:
                cases = (min(one, other), max(one, other))
                chosen[cases] = choose(value, chosen.get(cases, value))
    return chosen
