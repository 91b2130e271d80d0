"""Commands that run the pipeline: demo, run, tune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import (
    EXIT_NOT_BLESSED,
    BeamArguments,
    DataRoot,
    Metadata,
    Previous,
    SplitFile,
    expect_folder,
)
from medimg.errors import MedimgError, UsageError

if TYPE_CHECKING:
    from pipeline.local.run_directory import RunOutcome

app = typer.Typer()


@app.command()
def demo(
    to: Annotated[
        Path, typer.Option("--to", callback=expect_folder, help="Where data, run and report go.")
    ] = Path("demo"),
    patients: Annotated[int, typer.Option("--patients", help="Size of the phantom data set.")] = 160,
) -> None:
    """Phantom data, catalogue, run and report in one go.

    Example: medimg demo --to demo
    """
    from cli.demo import run_demo

    finish(run_demo(to, patients=patients))


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="Name of a file in pipeline/configs/.", metavar="CONFIG")],
    data: DataRoot,
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            callback=expect_folder,
            help="The run's directory; the same one continues or repeats the run.",
        ),
    ],
    previous: Previous = None,
    split_file: SplitFile = None,
    catalogue: Annotated[
        Path | None,
        typer.Option("--catalogue", help="One of these data and settings: it is used as it is."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if anything was quarantined.")] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="key=value or @FILE of them, checked against the config; may be repeated."
        ),
    ] = None,
    beam: Annotated[
        str,
        typer.Option(
            "--beam",
            help="local, dataflow, or flink://, spark:// or portable:// with HOST:PORT of Beam's job server.",
        ),
    ] = "local",
    beam_args: BeamArguments = None,
    metadata: Metadata = None,
    folds: Annotated[
        int,
        typer.Option(
            "--folds",
            min=0,
            help="Cross-validate: so many models, each tested on a fold of its own; 3 or more.",
        ),
    ] = 0,
) -> None:
    """Runs the pipeline. Exit 0 blessed, 3 not blessed, 1 failed, 2 wrong use.

    Example: medimg run cmmd_classification --data data --to runs/first --set model.image_size=256,208

    Example: medimg run cmmd_classification --data data --to runs/first --beam flink://flink:8099
    --beam-arg=--parallelism=4

    Example: medimg run cmmd_classification --data data --to runs/folds --folds 5
    """
    from pipeline.beam.flags import parse_beam
    from pipeline.config.overrides import load_config
    from pipeline.config.places import RunRequest
    from pipeline.local.run import run_config

    loaded = load_config(config, overrides=overrides or [])
    request = RunRequest(
        data_root=data,
        to=to,
        previous=previous,
        split_file=split_file,
        catalogue=catalogue,
        beam_args=parse_beam(beam, beam_args or ()),
        metadata=metadata,
    )
    if folds and catalogue:
        raise UsageError("--catalogue beside --folds: each fold has its own split; expected one of the two")
    if folds:
        from pipeline.experiments.cross_validation import run_folds

        outcome = run_folds(loaded, request, folds=folds)
    else:
        outcome = run_config(loaded, request)
    finish((to, outcome), strict=strict)


@app.command()
def tune(
    config: Annotated[str, typer.Argument(help="Name of a file in pipeline/configs/.", metavar="CONFIG")],
    data: DataRoot,
    to: Annotated[
        Path,
        typer.Option(
            "--to", callback=expect_folder, help="The search's directory; the same one continues the search."
        ),
    ],
    trials: Annotated[int, typer.Option("--trials", min=1, help="Different settings to try, at most.")] = 20,
    objective: Annotated[
        str,
        typer.Option(
            "--objective", help="Figure of the eval split: METRIC of the first head, or HEAD/METRIC."
        ),
    ] = "auc",
    oracle: Annotated[str, typer.Option("--oracle", help="bayesian or random.")] = "bayesian",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the search.")] = 0,
    previous: Previous = None,
    split_file: SplitFile = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value as for medimg run; what is set is not searched."),
    ] = None,
    beam: Annotated[str, typer.Option("--beam", help="As for medimg run.")] = "local",
    beam_args: BeamArguments = None,
    metadata: Metadata = None,
) -> None:
    """Searches settings on train and eval; the test split stays closed.

    Exit 0 with TO/best.json for medimg run --set @FILE, 1 failed, 2 wrong use.

    Example: medimg tune cmmd_demo --data data --to runs/tuned --trials 20

    Example: medimg tune ham10000_small_cnn --data skin --to runs/tuned-skin --objective balanced_accuracy
    --set training.epochs=10
    """
    from pipeline.beam.flags import parse_beam
    from pipeline.config.places import RunRequest
    from pipeline.experiments.tuning import SearchSettings, plan_search, tune_config

    settings = SearchSettings(trials=trials, objective=objective, oracle=oracle, seed=seed)
    request = RunRequest(
        data_root=data,
        to=to,
        previous=previous,
        split_file=split_file,
        beam_args=parse_beam(beam, beam_args or ()),
        metadata=metadata,
    )
    tune_config(plan_search(config, overrides or [], settings=settings), request)


def finish(result: tuple[Path, RunOutcome], *, strict: bool = False) -> None:
    """Prints the metrics, the blessing and the report's path; ends with the run's exit code."""
    from cli.results import print_outcome

    blessed, quarantined = print_outcome(*result)
    if strict and quarantined:
        raise MedimgError(f"{quarantined} images were quarantined and --strict was given")
    if not blessed:
        raise typer.Exit(EXIT_NOT_BLESSED)
