"""TOMPEI-CMMD: outlines of lesions on CMMD's MLO views, published beside it (TCIA result, 2025).

On disk:  <root>/**/<patient>_MLO_<L or R>_AnnotationFile.json   a list of lesions, each with `label` and
                                                                 `cgPoints`, a list of {x, y} in pixels of the
                                                                 stored image

Quirks: there is no UID, so the file's name says which image is meant; a label may end with a blank ("calc ");
macOS has left copies of its own under __MACOSX. For a few patients the side in the name is not the side in
the image's header (TOMPEI corrects some): their outlines then lie on the image that the header calls so.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from medimg.cases import Annotation
from medimg.errors import UsageError

FILE_NAME = re.compile(
    r"(?P<patient>D[12]-\d{4})_(?P<view>CC|MLO)_(?P<side>[LR])_AnnotationFile\.json", re.IGNORECASE
)

View = tuple[str, str, str]
"""Patient, side and view: ("D1-0001", "R", "MLO")."""


def list_outline_files(root: Path) -> list[Path]:
    """The collection's files below the root, sorted."""
    return sorted(
        path
        for path in root.rglob("*.[jJ][sS][oO][nN]")
        if FILE_NAME.fullmatch(path.name) and "__MACOSX" not in path.parts
    )


def read_outlines(root: Path) -> dict[View, list[Annotation]]:
    """Outlines by view; none where there are no files.

    Raises:
        UsageError: a file is no list of lesions, or there are two of one view; the file is named.
    """
    outlines: dict[View, list[Annotation]] = {}
    for path in list_outline_files(root):
        view = parse_name(path)
        if view in outlines:
            raise UsageError(f"{path.relative_to(root)}: a second file of {' '.join(view)}, expected one")
        outlines[view] = read_outline_file(path, role=view[2])
    return outlines


def parse_name(path: Path) -> View:
    """The view that a file's name stands for."""
    found = FILE_NAME.fullmatch(path.name)
    if found is None:
        raise UsageError(f"{path.name}: expected <patient>_MLO_<L or R>_AnnotationFile.json")
    return found["patient"].upper(), found["side"].upper(), found["view"].upper()


def read_outline_file(path: Path, *, role: str) -> list[Annotation]:
    """The lesions of one file as polygons."""
    try:
        lesions: Any = json.loads(path.read_text(encoding="utf-8-sig"))
        return [make_polygon(lesion, role=role) for lesion in lesions]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{path.name}: found {str(error).splitlines()[0]}, expected a list of lesions with label "
            "and cgPoints of 3 or more"
        ) from None


def make_polygon(lesion: dict[str, Any], *, role: str) -> Annotation:
    """One lesion."""
    points = tuple((float(point["y"]), float(point["x"])) for point in lesion["cgPoints"])
    if len(points) < 3:
        raise ValueError(f"{len(points)} points")
    return Annotation(role, str(lesion["label"]).strip(), "polygon", points)
