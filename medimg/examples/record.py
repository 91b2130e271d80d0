"""From a case's metadata to its Record: the pixels of every view, prepared as the run's Ingest says.

One code path for ExampleGen and for prediction. Files are checked against the catalogue's sha256, so what is
trained on is what was catalogued.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medimg.cases import Annotation, Case, ImageRef, Record, Stack
from medimg.errors import UnreadableFile
from medimg.files import hash_file
from medimg.images.encoding import EncodedSlices
from medimg.images.prepare import Ingest, keep_image, prepare_image


def read_record(case: Case, *, data_root: Path, ingest: Ingest) -> tuple[Record, list[str]]:
    """Decodes and prepares the case's images.

    Returns:
        the record, and a reason for each view that could not be read (the others are kept). The reason counts
            the findings outlined on that view, which are lost with it.

    Raises:
        UnreadableFile: no view is left.
    """
    stacks: dict[str, Stack] = {}
    transforms: dict[str, np.ndarray] = {}
    unreadable: list[str] = []
    flags: list[str] = []
    for image in case.images:
        try:
            prepared = read_image(image, data_root=data_root, ingest=ingest)
            stacks[image.role], transforms[image.role], flag = prepared
            flags += [f"{image.path}: {flag}"] if flag else []
        except UnreadableFile as error:
            outlined = sum(item.role == image.role for item in case.annotations)
            unreadable.append(f"{error}{describe_lost(outlined)}")
    if not stacks:
        raise UnreadableFile("; ".join(unreadable) or f"case {case.case_id} has no image")
    annotations = tuple(
        move_annotation(item, transforms) for item in case.annotations if item.role in transforms
    )
    moved = dataclasses.replace(case, annotations=annotations)
    return Record(moved, stacks, flags=tuple(flags)), unreadable


def describe_lost(outlined: int) -> str:
    """Returns the words on findings outlined on a view that could not be read; empty for none."""
    return f"; outlined findings on it that are left out: {outlined}" if outlined else ""


def read_image(image: ImageRef, *, data_root: Path, ingest: Ingest) -> tuple[Stack, np.ndarray, str]:
    """One image as a stack of one slice, the 3x3 map from the stored to the prepared image, and a flag or "".

    A JPEG that needs nothing is kept as it is.

    Raises:
        UnreadableFile: it cannot be read, or is not what was catalogued.
    """
    path = data_root / image.path
    kept = keep_image(path, ingest=ingest, name=image.path) if image.frame == 0 else None
    check_unchanged(path, name=image.path, sha256=image.sha256, content=kept)
    if kept is not None:
        return Stack(slices=EncodedSlices((kept,)), count=1), np.eye(3), ""
    prepared = prepare_image(path, frame=image.frame, ingest=ingest, name=image.path)
    return Stack(slices=(prepared.pixels,), count=1), prepared.stored_to_prepared, prepared.flag


def check_unchanged(path: Path, *, name: str, sha256: str, content: bytes | None = None) -> None:
    """Raises UnreadableFile if the file is gone or is not what was catalogued.

    Where it was read already, its `content` is checked.
    """
    try:
        found = hash_file(path) if content is None else hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise UnreadableFile(f"{name}: {error.strerror}, expected the file that was catalogued") from None
    if sha256 and found != sha256:
        raise UnreadableFile(
            f"{name}: sha256 {found[:12]}, expected {sha256[:12]} as catalogued; build the catalogue again"
        )


def move_annotation(annotation: Annotation, transforms: Mapping[str, np.ndarray]) -> Annotation:
    """Moves an annotation's points from the stored to the prepared image.

    A box keeps its smallest corner first.
    """
    points = np.array([(y, x, 1.0) for y, x in annotation.points]) @ transforms[annotation.role].T
    if annotation.kind == "box":
        points = np.array([points.min(axis=0), points.max(axis=0)])
    return dataclasses.replace(annotation, points=tuple((float(y), float(x)) for y, x, _ in points))
