"""Images of one constant value: blank ones all have the same pixels, and that makes no two patients one."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from medimg.cases import Header
from medimg.dicom.read import iterate_frames
from medimg.dicom.safety import guarded_map
from medimg.images.raster import read_raster


def find_constant(headers: Sequence[Header], *, root: Path) -> set[str]:
    """Pixel hashes that several files share and whose images hold one constant value.

    Only shared ones are decoded, each once: there are few, and the others can merge nothing.
    """
    sharing: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        sharing[header.pixel_hash].append(header)
    suspects = {
        group[0].path: group[0] for pixel_hash, group in sharing.items() if pixel_hash and len(group) > 1
    }
    if not suspects:
        return set()
    items = [(path, header.kind) for path, header in sorted(suspects.items())]
    results = guarded_map(functools.partial(is_constant, root=str(root)), items, workers=1)
    # A file that cannot be read a second time is not blank as far as we know; reading it for its Record will
    # say what is wrong.
    return {suspects[path].pixel_hash for (path, _), result in results if result is True}


def is_constant(item: tuple[str, str], *, root: str) -> bool:
    """True if every stored value of every frame (and every channel on its own) is the same.

    The item is (path below root, kind of file).
    """
    path, kind = item
    frames: Iterable[np.ndarray] = (
        iterate_frames(Path(root, path)) if kind == "dicom" else [read_raster(Path(root, path))]
    )
    values: set[tuple[int, ...]] = set()
    for frame in frames:
        pixels_NC = frame.reshape(-1, frame.shape[2] if frame.ndim == 3 else 1)
        if (pixels_NC != pixels_NC[0]).any():
            return False
        values.add(tuple(int(value) for value in pixels_NC[0]))
    return len(values) == 1
