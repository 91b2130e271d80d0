"""Commands on finished runs: report, compare, share, rescore, lineage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Metadata
from medimg.errors import UsageError

app = typer.Typer()


@app.command()
def report(directory: Annotated[Path, typer.Argument(help="A run's directory.", metavar="RUN")]) -> None:
    """Writes a run's report again and prints its metrics.

    Example: medimg report runs/first
    """
    from cli.results import print_metrics, rewrite_report

    rewrite_report(directory)
    print_metrics(directory)
    typer.echo(f"report: {directory / 'report' / 'report.html'}")


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more runs' directories, or folders of medimg share.", metavar="RUN RUN..."
        ),
    ],
    to: Annotated[
        Path | None, typer.Option("--to", help="Also write every row there, .csv or .html.")
    ] = None,
) -> None:
    """Runs side by side, with paired tests where all were scored on the same cases.

    Only figures of equal protocol, level, split and slice share a row.

    Example: medimg compare runs/first runs/second --to comparison.html
    """
    from cli.compare import compare_runs

    compare_runs(runs, to=to)


@app.command()
def share(
    directory: Annotated[Path, typer.Argument(help="A run's directory.", metavar="RUN")],
    to: Annotated[str, typer.Option("--to", help="mlflow:URI, folder:PATH or zip:FILE.zip.")],
    with_images: Annotated[
        bool, typer.Option("--with-images", help="Take the images of patients along.")
    ] = False,
) -> None:
    """Shares a run's results: predictions, figures, tables, page and documents, with a manifest of hashes.

    Example: medimg share runs/first --to zip:first.zip

    Example: medimg share runs/first --to mlflow:https://mlflow.example.org
    """
    from cli.share import parse_target, share_run

    share_run(directory, parse_target(to), with_images=with_images)


@app.command()
def rescore(
    bundle: Annotated[Path, typer.Argument(help="Folder or zip of medimg share.", metavar="BUNDLE")],
) -> None:
    """Measures every figure of shared results again. Exit 0 if all agree, 1 if not.

    Example: medimg rescore first.zip
    """
    from cli.share import rescore_bundle

    if not rescore_bundle(bundle):
        raise typer.Exit(1)


@app.command()
def lineage(
    directory: Annotated[Path | None, typer.Argument(help="A run's directory.", metavar="RUN")] = None,
    patient: Annotated[
        str | None, typer.Option("--patient", help="Id of a patient (or other group).")
    ] = None,
    within: Annotated[
        Path | None, typer.Option("--in", help="Folder of runs to search for the patient.")
    ] = None,
    metadata: Metadata = None,
) -> None:
    """What made a run's model, or which runs and models saw a patient.

    Example: medimg lineage runs/first

    Example: medimg lineage --patient D1-0001 --in runs
    """
    from cli.results import print_lineage, print_patient

    if patient and within:
        print_patient(patient, within, metadata=metadata)
    elif directory and not patient:
        print_lineage(directory, metadata=metadata)
    else:
        raise UsageError("give a run's directory, or --patient ID together with --in DIR")
