"""Runs a config on this machine with TFX's LocalDagRunner: places, lock, fingerprints, run, outcome."""

from __future__ import annotations

import errno
import functools
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from medimg.catalogue.division import read_previous
from medimg.catalogue.settings import check_made, check_same_data
from medimg.catalogue.split_file import read_split_file
from medimg.catalogue.tables import SUMMARY, read_catalogue
from medimg.console.terminal import make_console
from medimg.datasets import find_data_set
from medimg.errors import DiskFull, MedimgError, UsageError, name_speaker
from medimg.files import replace_file
from pipeline.beam.flags import explain_engine, parse_beam, read_flag
from pipeline.cache_keys import Fingerprints, find_weights, take_fingerprints
from pipeline.config.places import Places, RunRequest
from pipeline.config.resolve import resolve_config
from pipeline.config.run_config import RunConfig
from pipeline.local.run_directory import (
    RunOutcome,
    claim_directory,
    locate_store,
    make_directory,
    relative,
    run_lock,
    store_lock,
    write_run_file,
)
from pipeline.local.run_schema import write_schema
from pipeline.metadata.store import PASSWORD, open_store, parse_database

INDEX_FILE = "index.parquet"
ANOMALIES_SHOWN = 5
# As the C library and SQLite say it, where the error has no errno.
DISK_FULL = ("No space left on device", "database or disk is full")


def local_places(run: Path, request: RunRequest, *, schema: Path, store: str, pipeline: str) -> Places:
    """Returns the places of a run: all under one directory, but for what runs share.

    Args:
        schema: of the run (pipeline.local.run_schema).
        store, pipeline: the store as `run.json` names it, and the run's name there.
    """
    return Places(
        data_root=str(request.data_root.resolve()),
        pipeline_root=str(run / "artifacts"),
        metadata=locate_store(run, store),
        metadata_password=os.environ.get(PASSWORD, ""),
        pipeline=pipeline,
        serving=str(run / "models"),
        checkpoints=str(run / "checkpoints"),
        index=str((request.parent or run) / INDEX_FILE),
        schema=str(schema),
        previous=str(request.previous.resolve()) if request.previous else "",
        split_file=str(request.split_file.resolve()) if request.split_file else "",
        catalogue=str(request.catalogue.resolve()) if request.catalogue else "",
        beam_args=request.beam_args or parse_beam(),
    )


@dataclass(frozen=True)
class OpenRun:
    """A run's directory that this process holds the lock of, with what is to be done there.

    `facts` are its `run.json`.
    """

    folder: Path
    config: RunConfig
    places: Places
    facts: Mapping[str, Any]


def run_config(config: RunConfig, request: RunRequest, *, console: Console | None = None) -> RunOutcome:
    """Runs the pipeline and writes `run.json` into the run's directory.

    Raises:
        UsageError: what `open_run` raises.
        MedimgError: a component failed; the message names it.
    """
    console = console or make_console()
    with open_run(config, request, console=console) as run:
        execute(run, console=console)
        outcome = collect_outcome(run)
        facts = {**run.facts, "log": "run.log"}
        write_run_file(run.folder, run.config, request, outcome=outcome, facts=facts)
    return outcome


@contextmanager
def open_run(config: RunConfig, request: RunRequest, *, console: Console) -> Iterator[OpenRun]:
    """Makes the run's directory this config's, and checks what can be checked before any work.

    Waits until no other process works there.

    Raises:
        UsageError: the data root is missing, or the directory belongs to another config or keeps its metadata
            elsewhere.
    """
    config = check_inputs(config, request)
    run = make_directory(request.to)
    with run_lock(run, console), ExitStack() as stack:
        facts = claim_directory(run, config, request.metadata, parent=request.parent)
        stack.enter_context(store_lock(run, facts["store"], console))
        schema = write_schema(config, data_root=request.data_root, to=run / "schema")
        places = local_places(run, request, schema=schema, store=facts["store"], pipeline=facts["pipeline"])
        if parse_database(places.metadata):
            open_store(places.metadata)  # Before any work is done.
        if read_flag(places.beam_args, "job_endpoint"):
            ask_engine(places, run=run, console=console)
        yield OpenRun(run, config, places, facts)


def check_inputs(config: RunConfig, request: RunRequest) -> RunConfig:
    """Refuses data, an earlier catalogue or a config that no run could work with.

    Returns the config with all classes.
    """
    data_root, previous = request.data_root, request.previous
    if not data_root.is_dir():
        found = "not a folder" if data_root.exists() else "no such folder"
        raise UsageError(f"{data_root}: {found}, expected images and tables of {config.data_set}")
    if previous and not (previous / "cases.parquet").is_file():
        raise UsageError(f"{previous}: no cases.parquet, expected an earlier catalogue")
    if previous:
        read_previous(previous, data_set=find_data_set(config.data_set), settings=config.split)
    if request.split_file:
        read_split_file(request.split_file, data_set=find_data_set(config.data_set))
    if request.catalogue and previous:
        raise UsageError("--previous beside --catalogue: a catalogue has its split; expected one of the two")
    if request.catalogue:
        data_set = find_data_set(config.data_set, labels=config.labels)
        check_made(request.catalogue, data_set=data_set, settings=config.catalogue)
    resolved = resolve_config(config, data_root)
    find_weights(config.model.weights)
    return resolved


def ask_engine(places: Places, *, run: Path, console: Console) -> None:
    """Raises MedimgError before any work is done, if the engine cannot do it."""
    console.print("asking Beam's workers for their versions", highlight=False)
    # Beam takes seconds to import, which the local runner need not pay here.
    from pipeline.beam.probe import check_engine
    from pipeline.local.component_progress import following

    with following(console, count=0, log=run / "run.log"):
        check_engine(places.beam_args, run=run, data_root=Path(places.data_root))


def execute(run: OpenRun, *, console: Console) -> None:
    """Takes the fingerprints, then builds and runs the DAG.

    Raises:
        UsageError: a catalogue that is to be used as it is, of other data than these.
    """
    console.print("reading the data root", highlight=False)
    places = run.places
    if places.catalogue:
        adopt_index(Path(places.catalogue, INDEX_FILE), Path(places.index))
    fingerprints = take_fingerprints(run.config, places)
    if places.catalogue:
        check_same_data(
            Path(places.catalogue),
            data=fingerprints.data,
            data_root=Path(places.data_root),
            brought=bool(places.split_file),
        )
    console.print("starting TFX", highlight=False)
    run_components(run, fingerprints, console=console)


def adopt_index(index: Path, own: Path) -> None:
    """Takes what `medimg catalogue` has read of the data, where the run has not read them itself."""
    if index.is_file() and not own.exists():
        replace_file(own, write=functools.partial(shutil.copyfile, index))


def run_components(
    run: OpenRun, fingerprints: Fingerprints, *, console: Console, last: str | None = None
) -> None:
    """Builds the DAG and runs it, or only the component `last` and those before it.

    Raises:
        MedimgError: a component failed; its message is the one line that the user reads. DiskFull where there
            is no room left.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import RunOptions

    from pipeline.local.component_progress import following
    from pipeline.pipeline import create_pipeline

    places = run.places
    dag = create_pipeline(run.config, places, fingerprints)
    names = [component.id for component in dag.components]
    count = names.index(last) + 1 if last else len(names)
    log, secret = run.folder / "run.log", places.metadata_password
    with following(console, count=count, log=log, secret=secret) as progress:
        try:
            LocalDagRunner().run(dag, run_options=RunOptions(to_nodes=[last]) if last else None)
        except Exception as error:
            kind = DiskFull if any(is_disk_full(cause) for cause in causes_of(error)) else MedimgError
            line = explain(error, component=progress.current, run=run.folder, flags=places.beam_args)
            raise kind(line) from error
        finally:
            progress.stop()
            if any(step.name == "CatalogueGen" and step.state != "running" for step in progress.steps):
                report_anomalies(run, console)


def report_anomalies(run: OpenRun, console: Console) -> None:
    """Prints the first anomalies of the run's catalogue."""
    from medimg.catalogue.summary import print_anomalies
    from pipeline.metadata.lineage import latest_nodes

    nodes = latest_nodes(open_store(run.places.metadata), run.places.pipeline or run.config.name)
    folder = Path(nodes["CatalogueGen"].outputs["catalogue"][0].uri)
    anomalies = read_catalogue(folder).summary["anomalies"]
    print_anomalies(anomalies, console, most=ANOMALIES_SHOWN, where=str(folder / SUMMARY))


def explain(error: BaseException, *, component: str, run: Path, flags: Sequence[str] = ()) -> str:
    """One line for a failure inside the pipeline: which component, what happened."""
    for cause in causes_of(error):
        if isinstance(cause, MedimgError):
            return name_speaker(component, str(cause))
        if is_disk_full(cause):
            free = shutil.disk_usage(run).free
            return (
                f"{component}: the disk of {run} is full ({free / 1e6:.0f} MB free); "
                "free some space and run again, it continues where it stopped"
            )
    if read_flag(flags, "job_endpoint") and "failed in state" in str(error):
        return (
            f"{component}: {explain_engine(str(error), flags)} (the whole of it is in {run / 'run.log'}); "
            "run again, it continues where it stopped"
        )
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [""]
    # Beam puts the worker's whole traceback into the message; what went wrong is its last line.
    told = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return f"{component}: {type(error).__name__}: {told[:300]} (the whole of it is in {run / 'run.log'})"


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came of, back to the first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def is_disk_full(error: BaseException) -> bool:
    """Whether this error, by itself, says that there is no room left."""
    full = isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno == errno.ENOSPC)
    return full or any(words in str(error) for words in DISK_FULL)


def collect_outcome(opened: OpenRun) -> RunOutcome:
    """Reads blessing, gates and paths back from the store and puts the report where people look for it."""
    from medimg.catalogue.summary import count_quarantined
    from medimg.reporting.run_facts import read_facts
    from pipeline.metadata.lineage import latest_nodes, properties_of

    run, places = opened.folder, opened.places
    nodes = latest_nodes(open_store(places.metadata), places.pipeline or opened.config.name)
    report = Path(nodes["ReportGen"].outputs["report"][0].uri)
    shutil.rmtree(run / "report", ignore_errors=True)
    shutil.copytree(report, run / "report")
    blessing = properties_of(nodes["Evaluator"].outputs["blessing"][0]).get("blessed")
    facts = read_facts(run / "report")
    # Not the newest folder: a cached push may be an older one than what another setting has pushed since.
    version = properties_of(nodes["Pusher"].outputs["pushed_model"][0]).get("pushed_version")
    return RunOutcome(
        blessed=None if blessing is None else bool(blessing),
        failed_gates=tuple(text for text, passed in facts.gates if not passed),
        quarantined=count_quarantined(facts.summary)
        + nodes["CaseExampleGen"].outputs["rejects"][0].custom_properties["count"].int_value,
        catalogue=relative(nodes["CatalogueGen"].outputs["catalogue"][0].uri, run),
        model=relative(nodes["Trainer"].outputs["model"][0].uri, run),
        pushed=f"models/{version}" if version else "",
        report="report/report.html",
    )
