"""The demo: a phantom CMMD tree, its catalogue, a run and a report under one directory."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from medimg.catalogue.build import BuildOptions, build_catalogue
from medimg.catalogue.summary import print_summary
from medimg.console.terminal import make_console
from medimg.datasets import find_data_set, write_phantom
from medimg.errors import UsageError
from medimg.hashing import hash_code
from pipeline.config.overrides import load_config
from pipeline.config.places import RunRequest
from pipeline.local.run import run_config
from pipeline.local.run_directory import RunOutcome

CONFIG = "cmmd_demo"
STAMP = "phantom.txt"


def run_demo(to: Path, *, patients: int, console: Console | None = None) -> tuple[Path, RunOutcome]:
    """Writes or keeps the phantom data, then runs; a second call is mostly cached."""
    console = console or make_console()
    config = load_config(CONFIG)
    data = to / "data"
    write_data(data, to / STAMP, patients=patients, console=console)
    console.print("cataloguing")
    catalogue = build_catalogue(
        find_data_set(config.data_set),
        data_root=data,
        to=to / "catalogue",
        options=BuildOptions(config.split, index_path=to / "catalogue" / "index.parquet"),
    )
    print_summary(catalogue.summary, console)
    run = to / "run"
    return run, run_config(config, RunRequest(data_root=data, to=run), console=console)


def write_data(data: Path, stamp: Path, *, patients: int, console: Console) -> None:
    """Draws the phantom tree, unless the same code has drawn the same tree before."""
    want = f"{patients} patients, code {hash_code(['medimg.datasets.cmmd.phantom'])}\n"
    if stamp.exists() and stamp.read_text() == want:
        return
    if data.exists():
        if not stamp.exists():
            raise UsageError(f"{data} exists and was not written by the demo; choose another --to")
        shutil.rmtree(data)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text("being written\n")
    console.print(f"drawing {patients} patients")
    write_phantom(find_data_set("cmmd"), data, cases=patients, seed=0)
    stamp.write_text(want)
