"""`medimg share` and `medimg rescore`: a run's results for others, and a check that they hold there.

Imports no TFX.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

from rich.console import Console

from medimg.console.terminal import make_console, say
from medimg.errors import UsageError
from medimg.files import replace_file

Kind = Literal["mlflow", "folder", "zip"]


@dataclass(frozen=True)
class Target:
    """Where results go: an MLflow store by its URI, a new or empty folder, or a zip, which is replaced."""

    kind: Kind
    where: str

    @property
    def path(self) -> Path:
        """Of a folder or zip."""
        return Path(self.where)


def parse_target(text: str) -> Target:
    """`mlflow:URI`, `folder:PATH` or `zip:FILE.zip`; refuses what cannot be written before any work is done.

    Raises:
        UsageError: none of them, or the place is taken.
    """
    kind, _, where = text.partition(":")
    if kind not in get_args(Kind) or not where:
        raise UsageError(f"--to {text}: expected mlflow:URI, folder:PATH or zip:FILE.zip")
    target = Target(kind, where)  # type: ignore[arg-type]
    if (
        kind == "folder"
        and target.path.exists()
        and not (target.path.is_dir() and not any(target.path.iterdir()))
    ):
        raise UsageError(f"--to {text}: {where} is there, expected a new or empty folder")
    if kind == "zip" and (
        target.path.suffix != ".zip" or target.path.is_dir() or not target.path.absolute().parent.is_dir()
    ):
        raise UsageError(f"--to {text}: expected a file FILE.zip in a folder that is there")
    return target


def share_run(
    run: Path, target: Target, *, with_images: bool = False, console: Console | None = None
) -> None:
    """Packs the results of a finished run and brings them to the target.

    Raises:
        UsageError: `run` is none, or has not finished; the extra for MLflow is missing.
        MedimgError: the target cannot be written.
    """
    from medimg.console.plurals import count
    from medimg.evaluation.figures import read_metrics
    from medimg.reporting.bundle import METRICS_FILE
    from medimg.reporting.run_facts import read_facts, say_renamed
    from medimg.sharing.packing import pack, write_zip
    from medimg.sharing.rescoring import compare_figures
    from medimg.sharing.tracking import import_mlflow, track
    from pipeline.local.run_directory import read_finished_run

    console = console or make_console()
    read_finished_run(run)
    say_renamed(console, read_facts(run / "report").renamed)
    if target.kind == "mlflow":
        import_mlflow()  # Before any work is done.
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        manifest = pack(run / "report", to=folder, with_images=with_images)
        older = list(
            compare_figures(read_metrics(run / "report" / METRICS_FILE), read_metrics(folder / METRICS_FILE))
        )
        if older:
            say(
                console,
                f"measured anew: {count(len(older), 'figure')} not as in the run's report; "
                f"medimg report {run} writes that anew too",
            )
        if target.kind == "mlflow":
            tracked = track(folder, uri=target.where, name=run.resolve().name)
            say(
                console,
                f"run {tracked.run_id} in experiment {tracked.experiment}: "
                f"{tracked.metrics} metrics, {len(manifest.config)} params",
            )
            if tracked.undefined:
                say(
                    console,
                    f"{tracked.undefined} figures without a value are not among its metrics; "
                    f"{METRICS_FILE} says why",
                )
        elif target.kind == "zip":
            replace_file(target.path, write=lambda temporary: write_zip(folder, temporary))
        else:
            shutil.copytree(folder, target.path, dirs_exist_ok=True)
    if target.kind != "mlflow":
        say(console, f"{len(manifest.files)} files and their manifest in {target.where}")
    if not with_images:
        say(console, "images of patients stay here; --with-images takes them along")
    say(console, "ids of cases and patients are in it, as they are in the data")


def rescore_bundle(bundle: Path, *, console: Console | None = None) -> bool:
    """Measures a bundle's figures again and prints what differs. Returns whether nothing does."""
    from medimg.console.plurals import count
    from medimg.reporting.run_facts import say_renamed
    from medimg.sharing.rescoring import rescore

    console = console or make_console()
    found = rescore(bundle)
    say_renamed(console, found.renamed)
    for line in (*found.faults, *found.differing_figures):
        say(console, line)
    for name in found.differing_tables:
        say(console, f"{name}: differs from what was measured")
    agreeing = found.figures - len(found.differing_figures), found.tables - len(found.differing_tables)
    say(
        console,
        f"{agreeing[0]} of {found.figures} figures and {agreeing[1]} of {found.tables} tables "
        "agree with what was measured again",
    )
    say(
        console,
        f"{len(found.manifest.files)} files, {count(len(found.faults), 'difference')} from the manifest",
    )
    return found.agrees
