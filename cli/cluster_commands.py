"""Commands for a cluster, and for trying its spec without one: compile, run-spec."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cli.kubeflow_package import check_kubeflow
from cli.options import EXIT_NOT_BLESSED, BeamArguments, expect_folder

app = typer.Typer()


@app.command("compile")
def compile_spec(
    config: Annotated[str, typer.Argument(help="Name of a file in pipeline/configs/.", metavar="CONFIG")],
    images: Annotated[
        list[str],
        typer.Option(
            "--image",
            help="Of all components; extra=IMAGE where one is needed (gpu), Component=IMAGE of one. "
            "May be repeated.",
        ),
    ],
    root: Annotated[
        str,
        typer.Option(
            "--root", help="URI under which the platform keeps artifacts: minio://, s3:// or gs://."
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="The file to write, .yaml.")],
    target: Annotated[str, typer.Option("--target", help="kfp or vertex.")] = "kfp",
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", help="Default of data_root, previous or split_file, name=value."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="The data or a part, if only they tell the classes and columns."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, checked against the config; may be repeated."),
    ] = None,
    beam: Annotated[str, typer.Option("--beam", help="As for medimg run.")] = "local",
    beam_args: BeamArguments = None,
) -> None:
    """Writes the pipeline as a spec for Kubeflow Pipelines or Vertex AI.

    Example: medimg compile cmmd_demo --image registry/medimg:0.1.0 --root minio://mlpipeline --to cmmd.yaml
    """
    check_kubeflow()
    from kubeflow.compile import compile_config, write_spec
    from kubeflow.request import CompileRequest, find_target
    from pipeline.config.overrides import load_config

    loaded = load_config(config, overrides=overrides or [])
    request = CompileRequest(
        tuple(images), root, find_target(target), tuple(parameters or ()), data, beam, tuple(beam_args or ())
    )
    write_spec(compile_config(loaded, request), to, config=loaded)
    typer.echo(f"{loaded.name} for {target} in {to}")


@app.command("run-spec")
def run_spec(
    file: Annotated[Path, typer.Argument(help="A file of medimg compile.", metavar="FILE")],
    to: Annotated[Path, typer.Option("--to", callback=expect_folder, help="Folder for artifacts and logs.")],
    mode: Annotated[
        str, typer.Option("--mode", help="subprocess (this Python) or container (the spec's images).")
    ] = "subprocess",
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", help="Of the pipeline, name=value; may be repeated.")
    ] = None,
    root: Annotated[str, typer.Option("--root", help="In place of the spec's own pipeline root.")] = "",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Tasks at once.")] = 2,
    engine: Annotated[str, typer.Option("--engine", help="docker or podman.")] = "docker",
    volumes: Annotated[
        list[str] | None, typer.Option("--volume", help="Folder of a claim, CLAIM=DIR; may be repeated.")
    ] = None,
    engine_args: Annotated[
        list[str] | None, typer.Option("--engine-arg", help="Passed to the engine's run; may be repeated.")
    ] = None,
) -> None:
    """Executes a compiled spec without a cluster, task by task.

    Exit 0 blessed, 3 not blessed, 1 failed, 2 wrong use.

    Example: medimg run-spec cmmd.yaml --to spec-run --parameter data_root=/data
    """
    check_kubeflow()
    from kubeflow.engines import ContainerOptions, Home, choose_engine
    from kubeflow.run_spec import execute_spec
    from kubeflow.spec import parse_parameters, read_spec

    spec = read_spec(file)
    if root:
        spec = replace(spec, root=root)
    options = ContainerOptions(engine, tuple(volumes or ()), tuple(engine_args or ()))
    chosen = choose_engine(mode, Home(to.resolve()), spec, options=options)
    values = parse_parameters(parameters or [], known=sorted(spec.parameters))
    outcome = execute_spec(spec, engine=chosen, parameters=values, workers=workers)
    typer.echo(f"pushed: {outcome.pushed or 'nothing'}\nreport: {outcome.report or 'none'}")
    if outcome.blessed is False:
        typer.echo("NOT BLESSED")
        raise typer.Exit(EXIT_NOT_BLESSED)
    typer.echo("BLESSED" if outcome.blessed else "not gated")
