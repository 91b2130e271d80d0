"""Options, arguments and exit codes that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medimg.errors import UsageError

EXIT_NOT_BLESSED = 3
EXIT_INTERRUPTED = 130


def expect_folder(path: Path) -> Path:
    """Refuses an output path that is a file or below one, before any work is done."""
    there = next(part for part in (path, *path.absolute().parents) if part.exists())
    if not there.is_dir():
        raise UsageError(f"--to {path}: {there} is a file, expected a folder")
    return path


DataSetName = Annotated[str, typer.Argument(help="Name of a data set: cmmd, folder.", metavar="DATASET")]


DataRoot = Annotated[Path, typer.Option("--data", help="Folder of images and clinical tables; only read.")]


Previous = Annotated[
    Path | None, typer.Option("--previous", help="An earlier catalogue: its groups keep their split.")
]


SplitFile = Annotated[
    Path | None,
    typer.Option(
        "--split-file",
        help="Table with a column split (train, eval or val, test) and one of groups or cases: this split is "
        "kept.",
    ),
]


FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Also look behind links that lead out of the folder, to a NAS.")
]


BeamArguments = Annotated[
    list[str] | None,
    typer.Option("--beam-arg", help="One more flag for Beam, which wins; may be repeated."),
]


Metadata = Annotated[
    str | None,
    typer.Option(
        "--metadata",
        help="Store that runs share: a SQLite file, mysql:// or postgresql://USER@HOST:PORT/DATABASE "
        "with its password in MEDIMG_METADATA_PASSWORD.",
    ),
]
