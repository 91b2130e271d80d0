"""Small folders as hospitals hand them over, and `medimg catalogue` of them as a user sees it."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import pandas as pd

from cli.app import main
from medimg.catalogue import index
from medimg.catalogue.tables import read_catalogue
from medimg.errors import MedimgError

COUNT = 12
HEADER = "file,patient_id,label"


@dataclass(frozen=True)
class Seen:
    """What a command left: its exit code, what the terminal shows, and the catalogue if there is one."""

    code: int
    out: str
    error: str
    summary: dict[str, Any]
    cases: pd.DataFrame

    @property
    def anomalies(self) -> str:
        return "\n".join(self.summary["anomalies"])

    def counts(self) -> dict[str, int]:
        return {status: count for status, count in self.summary["cases"].items() if count}


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image_HW = np.random.default_rng(seed).integers(0, 256, (40, 40)).astype(np.uint8)
    assert cv2.imwrite(str(path), image_HW)


def write_folder(
    root: Path, *, lines: Sequence[str] = (), count: int = COUNT, encoding: str = "utf-8"
) -> Path:
    """Writes `count` images, `00.png` and so on, and labels.csv unless there are no lines for it."""
    for number in range(count):
        write_image(root / f"{number:02}.png", number)
    if lines:
        (root / "labels.csv").write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return root


def rows(
    *,
    labels: Sequence[str] = ("a", "b"),
    patients: Sequence[str] = (),
    more: Sequence[str] = (),
    separator: str = ",",
) -> list[str]:
    """One line per image: labels in turns, patients and further cells by image where they are given."""
    lines = []
    for number in range(COUNT):
        patient = patients[number] if patients else f"P{number:02}"
        cells = [f"{number:02}.png", patient, labels[number % len(labels)]]
        lines.append(separator.join([*cells, more[number]] if more else cells))
    return lines


def read_here(read: Callable[[str], Any], paths: Sequence[str], *, workers: int) -> Iterator[tuple[str, Any]]:
    """Reads in this process what the scan gives to guarded children: these files are our own."""
    for path in paths:
        try:
            yield path, read(path)
        except MedimgError as error:
            yield path, error


def run(*arguments: object) -> tuple[int, str, str]:
    """Runs the command as its entry point does, in this process: exit code, stdout and stderr."""
    out, error = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["medimg", *map(str, arguments)]),
        patch.object(index, "guarded_map", read_here),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        try:
            main()
            code = 0
        except SystemExit as left:
            code = int(left.code or 0)
    return code, out.getvalue(), error.getvalue()


def catalogue(root: Path, *options: object, data_set: str = "folder") -> Seen:
    """Runs `medimg catalogue` over the folder, into one beside it."""
    to = root.parent / f"{root.name}.cat"
    code, out, error = run("catalogue", data_set, "--data", root, "--to", to, *options)
    if code:
        return Seen(code, out, error, {}, pd.DataFrame())
    made = read_catalogue(to)
    return Seen(code, out, error, made.summary, made.cases)
