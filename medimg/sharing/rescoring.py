"""Scoring again: every figure of a bundle measured from its predictions and compared with the stated one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

# A stranger's Parquet file could make pyarrow 10 run code (CVE-2023-47248); importing this closes that.
import pyarrow_hotfix  # noqa: F401

from medimg.errors import UsageError
from medimg.evaluation.figures import Figure, read_metrics
from medimg.reporting.bundle import METRICS_FILE, TABLES, derive
from medimg.reporting.run_facts import read_facts
from medimg.sharing.manifest import Manifest, find_faults, read_manifest
from medimg.sharing.packing import copy_sources, open_bundle

TOLERANCE = 1e-9
"""Largest difference of equal figures: sums differ in the last digits between machines."""
COUNTS, NUMBERS = ("n", "positives", "groups"), ("value", "low", "high")


@dataclass(frozen=True)
class Rescored:
    """What scoring again has found.

    Attributes:
        manifest: of the bundle.
        figures, tables: how many are stated or measured.
        faults: one line for each file that is not what the manifest says.
        differing_figures, differing_tables: one line for each that differs.
        renamed: config keys that were read by their present names (medimg.reporting.run_facts).
    """

    manifest: Manifest
    figures: int
    tables: int
    faults: Sequence[str]
    differing_figures: Sequence[str]
    differing_tables: Sequence[str]
    renamed: Sequence[str] = ()

    @property
    def agrees(self) -> bool:
        """Whether every figure is confirmed and every file is what the manifest says."""
        return not (self.faults or self.differing_figures or self.differing_tables)


def rescore(bundle: Path) -> Rescored:
    """Measures a bundle's figures again.

    Args:
        bundle: folder or zip of `medimg share`.

    Raises:
        UsageError: it is none, or a source is missing.
        BadZip: the zip is damaged or hostile.
    """
    with open_bundle(bundle) as folder, TemporaryDirectory() as scratch:
        manifest = read_manifest(folder)
        faults = find_faults(folder, manifest)
        again = Path(scratch) / "again"
        copy_sources(folder, to=again, with_images=True)
        measured, stated = derive(again), read_metrics(folder / METRICS_FILE)
        tables = sorted({path.name for side in (folder, again) for path in (side / TABLES).glob("*.csv")})
        differing_tables = [
            f"{TABLES}/{name}"
            for name in tables
            if not same_table(folder / TABLES / name, again / TABLES / name)
        ]
        return Rescored(
            manifest,
            figures=len({figure.key for figure in [*stated, *measured]}),
            tables=len(tables),
            faults=faults,
            differing_figures=list(compare_figures(stated, measured)),
            differing_tables=differing_tables,
            renamed=read_facts(folder).renamed,
        )


def compare_figures(stated: Sequence[Figure], measured: Sequence[Figure]) -> Iterator[str]:
    """One line for each figure that is on one side only or differs."""
    first = {figure.key: figure for figure in stated}
    second = {figure.key: figure for figure in measured}
    for key in first | second:
        one, two = first.get(key), second.get(key)
        if one is None:
            yield f"{name_figure(key)}: measured, but not stated"
        elif two is None:
            yield f"{name_figure(key)}: stated, but not measured"
        elif differences := list(compare_numbers(one, two)):
            yield f"{name_figure(key)}: {', '.join(differences)}"


def compare_numbers(stated: Figure, measured: Figure) -> Iterator[str]:
    """`n 301, measured 300` for each number of a figure that differs."""
    for name in (*COUNTS, *NUMBERS):
        one, two = getattr(stated, name), getattr(measured, name)
        if not same(one, two):
            yield f"{name} {one!r}, measured {two!r}"


def name_figure(key: Sequence[str]) -> str:
    """`auc of malignancy, overall, P1, breast, test`."""
    head, name, *where = key
    return f"{name} of {head}, {', '.join(where)}"


def same(one: float | None, two: float | None) -> bool:
    """Whether two numbers are equal but for the last digits; both may be absent or undefined."""
    if one is None or two is None:
        return one is two
    return (math.isnan(one) and math.isnan(two)) or math.isclose(one, two, rel_tol=0, abs_tol=TOLERANCE)


def same_table(one: Path, two: Path) -> bool:
    """Whether two CSV files hold the same but for the last digits."""
    if not (one.exists() and two.exists()):
        return False
    try:
        first, second = (pd.read_csv(path) for path in (one, two))
    except ValueError as error:
        raise UsageError(f"{one}: {error}, expected a table of a report") from None
    try:
        pd.testing.assert_frame_equal(first, second, rtol=0, atol=TOLERANCE)
    except AssertionError:
        return False
    return True
