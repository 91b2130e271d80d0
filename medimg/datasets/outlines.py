"""Outlines of lesions beside the images, `<root>/lesions.csv`.

One format for every data set whose images have a SOPInstanceUID.

    sop_instance_uid,label,kind,points
    2.25.1234,mass,polygon,101 55;101 80;130 71
    2.25.1234,calcification,box,40 20;60 44

A row per outline. Points are `y x` in pixels of the stored image, pixel centres at whole numbers, parted by
semicolons: three or more of a polygon, the smallest and the largest corner of a box. The file is optional; an
image without a row has no known lesion.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medimg.cases import Annotation, ImageRef
from medimg.datasets.tables import Row, read_table
from medimg.errors import UsageError

LESIONS_FILE = "lesions.csv"
OUTLINE_COLUMNS = ("sop_instance_uid", "label", "kind", "points")

Outlines = Mapping[str, Sequence[Annotation]]
"""Annotations by SOPInstanceUID. Their role is empty: the file does not know what part an image plays."""


def list_lesion_tables(root: Path) -> list[Path]:
    """The file of outlines, if there is one."""
    return [root / LESIONS_FILE] if (root / LESIONS_FILE).is_file() else []


def read_lesions(root: Path, *, anomalies: list[str] | None = None) -> Outlines:
    """The outlines by image; none where there is no file. Adds how the file was read to `anomalies`.

    Raises:
        UsageError: a column is missing, or a row is no outline; the row is named.
    """
    outlines: dict[str, list[Annotation]] = defaultdict(list)
    for path in list_lesion_tables(root):
        table = read_table(path, required=OUTLINE_COLUMNS)
        if anomalies is not None:
            anomalies += table.notes
        for row in table.rows:
            if not row.values["sop_instance_uid"]:
                raise UsageError(f"{path.name} row {row.number}: no sop_instance_uid, expected the image's")
            outlines[row.values["sop_instance_uid"]].append(read_outline(row, table=path.name))
    return outlines


def read_outline(row: Row, *, table: str) -> Annotation:
    """One row as an annotation without a role."""
    kind, text = row.values["kind"], row.values["points"]
    try:
        pairs = map(str.split, text.split(";"))
        points = tuple((float(y), float(x)) for y, x in pairs)
    except ValueError:
        raise UsageError(f"{table} row {row.number}: points {text[:60]!r}, expected `y x;y x;...`") from None
    if kind == "polygon" and len(points) >= 3:
        return Annotation("", row.values["label"], "polygon", points)
    if kind == "box" and len(points) == 2:
        return Annotation("", row.values["label"], "box", points)
    raise UsageError(
        f"{table} row {row.number}: {kind!r} of {len(points)} points, expected a polygon of 3 or more "
        "or a box of 2"
    )


def write_lesions(root: Path, outlines: Outlines) -> Path:
    """The inverse of `read_lesions`."""
    path = root / LESIONS_FILE
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(OUTLINE_COLUMNS)
        for uid, annotations in outlines.items():
            for item in annotations:
                writer.writerow(
                    (uid, item.label, item.kind, ";".join(f"{y:g} {x:g}" for y, x in item.points))
                )
    return path


def annotate(images: Iterable[ImageRef], outlines: Outlines) -> tuple[Annotation, ...]:
    """The outlines that lie on these images, each with its image's role."""
    return tuple(
        replace(item, role=image.role)
        for image in images
        for item in outlines.get(image.sop_instance_uid, ())
    )


def describe_unknown_images(outlines: Outlines, known: Iterable[str]) -> list[str]:
    """Describes outlines whose images are not here: a partial download, or a wrong UID."""
    unknown = sorted(set(outlines) - set(known))
    if not unknown:
        return []
    return [
        f"{LESIONS_FILE}: {len(unknown)} of {len(outlines)} outlined images are not here, "
        f"{unknown[0]} for one"
    ]
