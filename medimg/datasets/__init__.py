"""The data sets, one folder each; to add one is to add a line to DATA_SETS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medimg.cases import PHANTOM_FILE, DataSet, LabelSettings, ScanSettings
from medimg.datasets.cmmd import cases as cmmd
from medimg.datasets.folder import cases as folder
from medimg.datasets.ham10000 import cases as ham10000
from medimg.datasets.tissue import cases as tissue
from medimg.errors import UsageError, nearest

DATA_SETS: tuple[DataSet, ...] = (cmmd.DATA_SET, folder.DATA_SET, ham10000.DATA_SET, tissue.DATA_SET)


def write_phantom(data_set: DataSet, to: Path, *, cases: int, seed: int) -> None:
    """Writes the data set's stand-in and the file that says that it is one."""
    data_set.write_phantom(to, cases=cases, seed=seed)
    (to / PHANTOM_FILE).write_text(
        f"Drawn stand-in of {data_set.name}: {cases} patients, seed {seed}. No patient's data; its "
        "figures say nothing about medicine.\n"
    )


def find_data_set(
    name: str, *, labels: LabelSettings | None = None, scan: ScanSettings | None = None
) -> DataSet:
    """The data set of that name, which looks for its images and reads its labels as the settings say.

    Raises:
        UsageError: there is none, the message names the nearest, or all where none is near; or settings for
            a data set whose classes are fixed.
    """
    known = {data_set.name: data_set for data_set in DATA_SETS}
    if name not in known:
        raise UsageError(f"no data set {name!r}; {nearest(name.lower(), known)}")
    data_set = replace(known[name], scan=scan) if scan else known[name]
    if labels is None or labels == LabelSettings():
        return data_set
    if data_set.with_labels is None:
        raise UsageError(
            f"labels.keep: found {', '.join(labels.keep)}, expected nothing: the classes of {name} are fixed"
        )
    return replace(data_set.with_labels(labels), labels=labels, scan=data_set.scan)
