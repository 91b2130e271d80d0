"""The command line. TensorFlow and TFX are imported only inside the commands that need them: `medimg --help` answers at once."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medimg.errors import MedimgError, UsageError, one_line

if TYPE_CHECKING:
    from pipeline.local.run_directory import Outcome

EXIT_NOT_BLESSED = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From an imaging archive to a blessed, explained, shareable model.",
)


def expect_folder(path: Path) -> Path:
    """Refuses an output path that is a file or lies below one, before any work is done."""
    there = next(part for part in (path, *path.absolute().parents) if part.exists())
    if not there.is_dir():
        raise UsageError(f"--to {path}: {there} is a file, expected a folder")
    return path


DataSetName = Annotated[str, typer.Argument(help="Name of a data set: cmmd, folder.", metavar="DATASET")]
DataRoot = Annotated[Path, typer.Option("--data", help="Folder of images and clinical tables; only read.")]
Previous = Annotated[Path | None, typer.Option("--previous", help="An earlier catalogue: its groups keep their split.")]
Metadata = Annotated[
    str | None,
    typer.Option(
        "--metadata",
        help="Store that runs share: a SQLite file, mysql:// or postgresql://USER@HOST:PORT/DATABASE with its password in MEDIMG_METADATA_PASSWORD.",
    ),
]


@app.command()
def demo(
    to: Annotated[Path, typer.Option("--to", callback=expect_folder, help="Where data, run and report go.")] = Path("demo"),
    patients: Annotated[int, typer.Option("--patients", help="Size of the phantom data set.")] = 160,
) -> None:
    """Phantom data, catalogue, run and report in one go.

    Example: medimg demo --to demo
    """
    from cli.demo import run_demo

    finish(run_demo(to, patients=patients))


@app.command()
def phantom(
    data_set: DataSetName,
    to: Annotated[Path, typer.Option("--to", callback=expect_folder, help="Folder to write; must be new or empty.")],
    cases: Annotated[int, typer.Option("--cases", help="Number of groups: patients, lesions, donors.")] = 40,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
) -> None:
    """Writes a small drawn stand-in of a data set's layout, tables included.

    Example: medimg phantom cmmd --to data --cases 40
    """
    from medimg.datasets import find_data_set, write_phantom

    if to.exists() and any(to.iterdir()):
        raise UsageError(f"{to} is not empty; a phantom is written into a new folder")
    drawn = find_data_set(data_set)
    write_phantom(drawn, to, cases=cases, seed=seed)
    typer.echo(f"{data_set} phantom of {cases} {drawn.group_noun}s in {to}")


@app.command()
def fetch(
    data_set: Annotated[str, typer.Argument(help="cmmd, cbis_ddsm, ham10000, upenn_gbm, folder, or a collection id of IDC.", metavar="DATASET")],
    to: Annotated[Path, typer.Option("--to", callback=expect_folder, help="The data root; the same one continues or adds.")],
    patients: Annotated[int | None, typer.Option("--patients", min=1, help="So many patients, sampled over label and source.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sample; more patients with the same seed add to the same ones.")] = 0,
    patient: Annotated[list[str] | None, typer.Option("--patient", help="Id of a patient; may be repeated.")] = None,
    series: Annotated[list[str] | None, typer.Option("--series", help="SeriesInstanceUID; may be repeated.")] = None,
    manifest: Annotated[Path | None, typer.Option("--manifest", help="A .tcia manifest, or a list of SeriesInstanceUIDs.")] = None,
    where: Annotated[
        str | None, typer.Option("--where", help="SQL condition over the list of series: \"Modality = 'MG' AND label = 'Benign'\".")
    ] = None,
    source: Annotated[str, typer.Option("--source", help="idc, nbia, dicomweb, folder, dataverse; several in order of preference.")] = "",
    from_folder: Annotated[Path | None, typer.Option("--from", help="Folder for the source folder.")] = None,
    url: Annotated[str, typer.Option("--url", help="Address of a PACS for the source dicomweb.")] = "",
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Series at a time.")] = 8,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come: counts, bytes, licence, disk.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Only compare what is there with its receipts; no network.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="Another host that an archive may redirect to; may be repeated.")
    ] = None,
) -> None:
    """Downloads a collection or a part of it: verified, resumable, each file with a receipt.

    Example: medimg fetch cmmd --to data --patients 40 --seed 1

    Example: medimg fetch folder --to data --source dicomweb --url https://pacs.example.org/dicom-web --patient 4711
    """
    from cli.fetch import Request, run_fetch, run_verify
    from medimg.archive.collections import find_collection
    from medimg.archive.plan import Selection
    from medimg.archive.sources.registry import read_addresses

    if verify:
        run_verify(to, workers=workers)
        return
    to.mkdir(parents=True, exist_ok=True)
    selection = Selection(
        patients=patients, seed=seed, patient_ids=tuple(patient or ()), series_uids=tuple(series or ()), where=where or "", manifest=manifest
    )
    addresses = read_addresses(os.environ, dicomweb=url, folder=str(from_folder or ""), allowed_hosts=allow_host or ())
    names = [name.strip() for name in source.split(",") if name.strip()]
    run_fetch(Request(find_collection(data_set), selection, to, addresses, names, workers), dry_run=dry_run)


@app.command()
def catalogue(
    data_set: DataSetName,
    data: DataRoot,
    to: Annotated[Path, typer.Option("--to", callback=expect_folder, help="Folder of the catalogue.")],
    split: Annotated[str, typer.Option("--split", help="Shares of train, eval and test.")] = "0.7,0.15,0.15",
    folds: Annotated[int, typer.Option("--folds", help="Also deal the groups to k folds.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Of the split.")] = 0,
    near_duplicates: Annotated[
        Literal["off", "hash", "keypoints"],
        typer.Option("--near-duplicates", help="Search cases with nearly the same image, which then share a split; keypoints finds more than hash."),
    ] = "off",
    previous: Previous = None,
) -> None:
    """Builds the catalogue of a data set and prints counts, exclusions and anomalies.

    Example: medimg catalogue cmmd --data data --to catalogue --folds 5
    """
    from medimg.catalogue.build import build_catalogue
    from medimg.catalogue.split import SplitSettings
    from medimg.catalogue.summary import print_summary
    from medimg.console.terminal import make_console
    from medimg.datasets import find_data_set

    built = build_catalogue(
        find_data_set(data_set),
        data_root=data,
        to=to,
        split=SplitSettings(ratios=parse_ratios(split), folds=folds, seed=seed, near_duplicates=near_duplicates),
        previous=previous,
        index_path=to / "index.parquet",
    )
    print_summary(built.summary, make_console())


@app.command()
def query(
    directory: Annotated[Path, typer.Argument(help="Folder of a catalogue.", metavar="DIR")],
    sql: Annotated[str, typer.Argument(help="SQL over the tables cases, images and pairs.")],
) -> None:
    """Runs SQL over a catalogue's tables `cases`, `images` and `pairs` (near duplicates).

    Example: medimg query catalogue "SELECT split, count(*) FROM cases GROUP BY split"
    """
    from medimg.catalogue.query import run_query

    typer.echo(run_query(directory, sql).to_string(index=False))


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="Name of a file in pipeline/configs/.", metavar="CONFIG")],
    data: DataRoot,
    to: Annotated[Path, typer.Option("--to", callback=expect_folder, help="The run's directory; the same one continues or repeats the run.")],
    previous: Previous = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if anything was quarantined.")] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value or @FILE of them, checked against the config; may be repeated.")
    ] = None,
    beam: Annotated[
        str, typer.Option("--beam", help="local, dataflow, or flink://, spark:// or portable:// with HOST:PORT of Beam's job server.")
    ] = "local",
    beam_args: Annotated[list[str] | None, typer.Option("--beam-arg", help="One more flag for Beam, which wins; may be repeated.")] = None,
    metadata: Metadata = None,
    folds: Annotated[int, typer.Option("--folds", min=0, help="Cross-validate: so many models, each tested on a fold of its own; 3 or more.")] = 0,
) -> None:
    """Runs the pipeline. Exit 0 blessed, 3 not blessed, 1 failed, 2 wrong use.

    Example: medimg run cmmd_classification --data data --to runs/first --set model.image_size=256,208

    Example: medimg run cmmd_classification --data data --to runs/first --beam flink://flink:8099 --beam-arg=--parallelism=4

    Example: medimg run cmmd_classification --data data --to runs/folds --folds 5
    """
    from pipeline.beam.flags import parse_beam
    from pipeline.config.run_config import load_config
    from pipeline.local.run import run_config

    loaded = load_config(config, overrides=overrides or [])
    wanted: dict[str, Any] = {"data_root": data, "to": to, "previous": previous, "beam_args": parse_beam(beam, beam_args or ()), "metadata": metadata}
    if folds:
        from pipeline.experiments.cross_validation import run_folds

        outcome = run_folds(loaded, folds=folds, **wanted)
    else:
        outcome = run_config(loaded, **wanted)
    finish((to, outcome), strict=strict)


@app.command()
def tune(
    config: Annotated[str, typer.Argument(help="Name of a file in pipeline/configs/.", metavar="CONFIG")],
    data: DataRoot,
    to: Annotated[Path, typer.Option("--to", callback=expect_folder, help="The search's directory; the same one continues the search.")],
    trials: Annotated[int, typer.Option("--trials", min=1, help="Different settings to try, at most.")] = 20,
    objective: Annotated[str, typer.Option("--objective", help="Figure of the eval split: METRIC of the first head, or HEAD/METRIC.")] = "auc",
    oracle: Annotated[str, typer.Option("--oracle", help="bayesian or random.")] = "bayesian",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the search.")] = 0,
    previous: Previous = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value as for medimg run; what is set is not searched.")] = None,
    beam: Annotated[str, typer.Option("--beam", help="As for medimg run.")] = "local",
    beam_args: Annotated[list[str] | None, typer.Option("--beam-arg", help="One more flag for Beam, which wins; may be repeated.")] = None,
    metadata: Metadata = None,
) -> None:
    """Searches settings on train and eval; the test split stays closed. Exit 0 with TO/best.json for medimg run --set @FILE, 1 failed, 2 wrong use.

    Example: medimg tune cmmd_demo --data data --to runs/tuned --trials 20

    Example: medimg tune ham10000_small_cnn --data skin --to runs/tuned-skin --objective balanced_accuracy --set training.epochs=10
    """
    from pipeline.beam.flags import parse_beam
    from pipeline.experiments.tuning import plan_search, tune_config

    search = plan_search(config, overrides or [], trials=trials, objective=objective, oracle=oracle, seed=seed)
    tune_config(search, data_root=data, to=to, previous=previous, beam_args=parse_beam(beam, beam_args or ()), metadata=metadata)


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
    runs: Annotated[list[Path], typer.Argument(help="Two or more runs' directories, or folders of medimg share.", metavar="RUN RUN...")],
    to: Annotated[Path | None, typer.Option("--to", help="Also write every row there, .csv or .html.")] = None,
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
    with_images: Annotated[bool, typer.Option("--with-images", help="Take the images of patients along.")] = False,
) -> None:
    """Shares a run's results: predictions, figures, tables, page and papers, with a manifest of hashes.

    Example: medimg share runs/first --to zip:first.zip

    Example: medimg share runs/first --to mlflow:https://mlflow.example.org
    """
    from cli.share import parse_target, share_run

    share_run(directory, parse_target(to), with_images=with_images)


@app.command()
def rescore(bundle: Annotated[Path, typer.Argument(help="Folder or zip of medimg share.", metavar="BUNDLE")]) -> None:
    """Measures every figure of shared results again. Exit 0 if all agree, 1 if not.

    Example: medimg rescore first.zip
    """
    from cli.share import rescore_bundle

    if not rescore_bundle(bundle):
        raise typer.Exit(1)


@app.command()
def lineage(
    directory: Annotated[Path | None, typer.Argument(help="A run's directory.", metavar="RUN")] = None,
    patient: Annotated[str | None, typer.Option("--patient", help="Id of a patient (or other group).")] = None,
    within: Annotated[Path | None, typer.Option("--in", help="Folder of runs to search for the patient.")] = None,
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


@app.command("compile")
def compile_spec(
    config: Annotated[str, typer.Argument(help="Name of a file in pipeline/configs/.", metavar="CONFIG")],
    images: Annotated[
        list[str], typer.Option("--image", help="Of all components; extra=IMAGE where one is needed (gpu), Component=IMAGE of one. May be repeated.")
    ],
    root: Annotated[str, typer.Option("--root", help="URI under which the platform keeps artifacts: minio://, s3:// or gs://.")],
    to: Annotated[Path, typer.Option("--to", help="The file to write, .yaml.")],
    target: Annotated[str, typer.Option("--target", help="kfp or vertex.")] = "kfp",
    parameters: Annotated[list[str] | None, typer.Option("--parameter", help="Default of data_root or previous, name=value.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="The data or a part, if only they tell the classes and columns.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value, checked against the config; may be repeated.")] = None,
    beam: Annotated[str, typer.Option("--beam", help="As for medimg run.")] = "local",
    beam_args: Annotated[list[str] | None, typer.Option("--beam-arg", help="One more flag for Beam, which wins; may be repeated.")] = None,
) -> None:
    """Writes the pipeline as a spec for Kubeflow Pipelines or Vertex AI.

    Example: medimg compile cmmd_classification --image registry/medimg:0.1.0 --root minio://mlpipeline/v2/artifacts --to cmmd.yaml
    """
    from kubeflow.compile import Request, compile_config, find_target, write_spec
    from pipeline.config.run_config import load_config

    loaded = load_config(config, overrides=overrides or [])
    request = Request(tuple(images), root, find_target(target), tuple(parameters or ()), data, beam, tuple(beam_args or ()))
    write_spec(compile_config(loaded, request), to, config=loaded)
    typer.echo(f"{loaded.name} for {target} in {to}")


@app.command("run-spec")
def run_spec(
    file: Annotated[Path, typer.Argument(help="A file of medimg compile.", metavar="FILE")],
    to: Annotated[Path, typer.Option("--to", callback=expect_folder, help="Folder for artifacts and logs.")],
    mode: Annotated[str, typer.Option("--mode", help="subprocess (this Python) or container (the spec's images).")] = "subprocess",
    parameters: Annotated[list[str] | None, typer.Option("--parameter", help="Of the pipeline, name=value; may be repeated.")] = None,
    root: Annotated[str, typer.Option("--root", help="In place of the spec's own pipeline root.")] = "",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Tasks at once.")] = 2,
    engine: Annotated[str, typer.Option("--engine", help="docker or podman.")] = "docker",
    volumes: Annotated[list[str] | None, typer.Option("--volume", help="Folder of a claim, CLAIM=DIR; may be repeated.")] = None,
    engine_args: Annotated[list[str] | None, typer.Option("--engine-arg", help="Passed to the engine's run; may be repeated.")] = None,
) -> None:
    """Executes a compiled spec without a cluster, task by task. Exit 0 blessed, 3 not blessed, 1 failed, 2 wrong use.

    Example: medimg run-spec cmmd.yaml --to spec-run --parameter data_root=/data
    """
    from kubeflow.run_spec import Home, choose_engine, execute_spec
    from kubeflow.spec import parse_parameters, read_spec

    spec, home = read_spec(file), Home(to.resolve())
    chosen = choose_engine(mode, home, spec, program=engine, volumes=volumes or [], more=engine_args or [])
    values = parse_parameters(parameters or [], known=sorted(spec.parameters))
    outcome = execute_spec(spec, engine=chosen, home=home, parameters=values, root=root, workers=workers)
    typer.echo(f"pushed: {outcome.pushed or 'nothing'}\nreport: {outcome.report or 'none'}")
    if outcome.blessed is False:
        typer.echo("NOT BLESSED")
        raise typer.Exit(EXIT_NOT_BLESSED)
    typer.echo("BLESSED" if outcome.blessed else "not gated")


def finish(result: tuple[Path, Outcome], *, strict: bool = False) -> None:
    """Prints the metrics, the blessing and the report's path; ends with the run's exit code."""
    from cli.results import print_outcome

    blessed, quarantined = print_outcome(*result)
    if strict and quarantined:
        raise MedimgError(f"{quarantined} images were quarantined and --strict was given")
    if not blessed:
        raise typer.Exit(EXIT_NOT_BLESSED)


def parse_ratios(text: str) -> tuple[float, float, float]:
    """`0.7,0.15,0.15` as three shares that add up to one."""
    try:
        train, evaluation, test = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--split {text}: expected three numbers such as 0.7,0.15,0.15") from None
    if not (min(train, evaluation, test) > 0 and abs(train + evaluation + test - 1) <= 1e-6):  # Written so that it refuses NaN too.
        raise UsageError(f"--split {text}: the shares must be positive and add up to 1, they add up to {train + evaluation + test:g}")
    return train, evaluation, test


def main() -> None:
    """Entry point: errors that are the user's business become one line and an exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not sys.warnoptions:
        # Libraries' notes to their own callers (Google's on each import under Python 3.10) are not the user's business.
        warnings.simplefilter("ignore")
    try:
        app()
    except UsageError as error:
        sys.stderr.write(f"error: {one_line(str(error))}\n")
        sys.exit(2)
    except MedimgError as error:
        sys.stderr.write(f"error: {one_line(str(error))}\n")
        sys.exit(1)
    except OSError as error:
        sys.stderr.write(f"error: {one_line(str(error))}\n")
        sys.exit(1)
    except SystemExit as leaving:
        # Typer turns Ctrl-C into this code and says nothing.
        if leaving.code == EXIT_INTERRUPTED:
            sys.stderr.write("interrupted; the same command continues where it stopped\n")
        raise


if __name__ == "__main__":
    main()
