"""Small folders with one thing odd, and what `medimg catalogue folder` makes of them."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from PIL import Image

from cli.app import main
from medimg.console import progress

LABELS = "file,patient_id,label"


@dataclass(frozen=True)
class Catalogued:
    """Exit code, what was printed, and the tables; empty where there are none."""

    code: int
    out: str
    error: str
    summary: dict[str, Any]
    cases: pd.DataFrame
    images: pd.DataFrame

    def status(self, path: str) -> tuple[str, str]:
        """Status and reason of a file, from images.parquet."""
        row = self.images.loc[path]
        return row["status"], row["reason"]

    def flags(self, path: str) -> list[str]:
        return json.loads(self.images.loc[path, "flags"])


def run_medimg(*arguments: object) -> tuple[int, str, str]:
    """Runs `medimg` as its entry point does: exit code, and both outputs with single blanks."""
    out, error = io.StringIO(), io.StringIO()
    with (
        # The line that a log gets now and then of how far it is comes only on a busy machine.
        mock.patch.object(progress, "LINE_EVERY_SECONDS", math.inf),
        mock.patch.object(sys, "argv", ["medimg", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        try:
            main()
            code: Any = 0
        except SystemExit as left:
            code = left.code or 0
    return code, " ".join(out.getvalue().split()), " ".join(error.getvalue().split())


def catalogue(data: Path, *options: object, data_set: str = "folder") -> Catalogued:
    """Runs `medimg catalogue`; the catalogue is beside the data."""
    to = data.with_name(f"{data.name}.cat")
    code, out, error = run_medimg("catalogue", data_set, "--data", data, "--to", to, *options)
    if code:
        return Catalogued(code, out, error, {}, pd.DataFrame(), pd.DataFrame())
    return Catalogued(
        code,
        out,
        error,
        json.loads((to / "summary.json").read_text()),
        pd.read_parquet(to / "cases.parquet").set_index("case_id"),
        pd.read_parquet(to / "images.parquet").set_index("path"),
    )


def noise(seed: int, *, bits: int = 8, size: int = 64) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 1 << bits, (size, size))
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


def write_folder(folder: Path, *, named: Iterable[str] = (), pictures: int = 12, bits: int = 8) -> Path:
    """Writes PNG files of two classes with labels.csv, which also names further files, a patient each."""
    folder.mkdir(parents=True)
    names = [f"{index:02d}.png" for index in range(pictures)]
    for index, name in enumerate(names):
        Image.fromarray(noise(index, bits=bits)).save(folder / name)
    lines = [f"{name},P{index:02d},{'ab'[index % 2]}" for index, name in enumerate([*names, *named])]
    (folder / "labels.csv").write_text("\n".join([LABELS, *lines]) + "\n", encoding="utf-8")
    return folder
