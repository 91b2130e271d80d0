"""A part of CMMD as the archives have it: the real patients and UIDs of the bundled list, drawn pixels."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from medimg.archive.source import Series
from medimg.datasets.cmmd.drawing import PhantomBreast, draw_breast
from medimg.datasets.cmmd.phantom import (
    HEADER,
    SUBTYPES,
    TABLE,
    list_table_rows,
    make_dataset,
    make_uid,
    make_workbook,
    number_views,
    other_breast,
)

SEED = 0


def write_cmmd_series(series: Iterable[Series], to: Path, *, rows: int = 287, columns: int = 240) -> None:
    """Writes the files of some series of the bundled list, and their clinical table beside them.

    The files are <to>/<SeriesInstanceUID>/<SOPInstanceUID>.dcm.

    The labels are those of the list, the number of images, too; sides, ages and abnormalities are made up.
    The same series give the same bytes.
    """
    to.mkdir(parents=True, exist_ok=True)
    breasts = []
    for one in series:
        for breast in plan_breasts(one):
            breasts.append(breast)
            write_breast(breast, one, to=to / one.uid, rows=rows, columns=columns)
    (to / TABLE).write_bytes(make_workbook([HEADER, *list_table_rows(breasts)]))


def plan_breasts(series: Series) -> list[PhantomBreast]:
    """The breasts of a patient: one with the label.

    Of four images two, which have a label each in D1 and where there are two labels.
    """
    rng = np.random.default_rng(zlib.crc32(series.patient_id.encode()))
    labels = series.label.split("+")
    first = PhantomBreast(
        patient=series.patient_id,
        side=str(rng.choice(["L", "R"])),
        seed=(SEED, int(series.patient_id[1]), int(series.patient_id[3:]), 0),
        malignancy=labels[0],
        look=labels[0],
        abnormality=str(rng.choice(["mass", "both", "calcification"])),
        age_years=int(rng.integers(30, 80)),
        subtype=str(rng.choice(SUBTYPES)) if labels == ["Malignant"] and series.origin == "D2" else None,
    )
    if series.instances == 2:
        return [first]
    second = labels[-1] if series.origin == "D1" or len(labels) > 1 else None
    return number_views([first, other_breast(first, malignancy=second)])


def write_breast(breast: PhantomBreast, series: Series, *, to: Path, rows: int, columns: int) -> None:
    """Writes the views of one breast under the UIDs of its series."""
    to.mkdir(exist_ok=True)
    for number, view in breast.views:
        image_HW, _ = draw_breast(breast, view=view, rows=rows, columns=columns)
        dataset = make_dataset(image_HW, breast, seed=SEED, number=number, view=view)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = series.study_uid, series.uid
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = make_uid(
            SEED, series.uid, str(number)
        )
        dataset.save_as(to / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)
