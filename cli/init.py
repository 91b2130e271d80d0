"""A table and settings to start from, for a folder of images."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer

from medimg.catalogue.index import Reading, scan
from medimg.console.plurals import count
from medimg.datasets import DATA_SETS, find_data_set
from medimg.datasets.folder.template import SETTINGS_FILE
from medimg.errors import UsageError

CONFIGS = {"folder": "folder_classification"}
"""The config to start from, by data set."""


def init_folder(data_set: str, folder: Path, *, follow_links: bool = False) -> None:
    """Finds the images below the folder, writes the data set's table and settings, and says what to do next.

    Raises:
        UsageError: no such folder, no image in it, a data set whose tables its publisher writes, or files
            that are there already.
    """
    found = find_data_set(data_set)
    if found.write_template is None:
        ours = ", ".join(one.name for one in DATA_SETS if one.write_template)
        raise UsageError(f"{data_set} comes with its table; medimg init is for {ours}")
    # No index is written, and the table is for the one who has the files.
    scanned = scan(folder, reading=Reading(published_ids=".*", follow_links=follow_links))
    for line in found.write_template(folder, scanned.headers):
        typer.echo(line)
    if scanned.quarantined:
        first = scanned.quarantined[0]
        typer.echo(
            f"left out: {count(len(scanned.quarantined), 'file')} that cannot be read, first {first.path}"
        )
    config, made, settings = CONFIGS[data_set], f"{folder}.catalogue", f"@{folder / SETTINGS_FILE}"
    more = ["--set", settings, *(["--set", "scan.follow_links=true"] if follow_links else [])]
    look = ["--config", config, "--data", str(folder), "--to", made, *more]
    typer.echo(f"then: medimg catalogue {shlex.join(look)}")
    run = [config, "--data", str(folder), "--catalogue", made, "--to", f"{folder}.run", *more]
    typer.echo(f"and: medimg run {shlex.join(run)}")
