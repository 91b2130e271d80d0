"""What a person reads at the end: metrics, blessing, comparison, lineage."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

from medimg.console.plurals import count, make_plural
from medimg.console.terminal import make_console, say
from medimg.errors import UsageError
from medimg.evaluation.figures import Figure, describe_multiplicity, format_figure, read_metrics
from medimg.evaluation.gates import ABOVE_SHORTCUT, OVERALL
from medimg.reporting.metric_names import describe_split
from medimg.reporting.run_facts import read_facts, rename_keys, say_renamed
from pipeline.local.run_directory import (
    RUN_FILE,
    SEARCHED,
    RunOutcome,
    explain_stranger,
    find_store,
    locate_store,
    read_finished_run,
    read_run_file,
    run_lock,
    store_lock,
)
from pipeline.metadata.lineage import list_counts, name_origin

if TYPE_CHECKING:
    import pandas as pd
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd

NEAR_IDS = 3
PRINTED = (
    "auc",
    "macro_auc",
    "average_precision",
    "sensitivity_at_specificity_90",
    "specificity_at_sensitivity_90",
    "balanced_accuracy",
    "accuracy",
    "macro_f1",
    "mean_cost",
    "brier",
    "ece",
    ABOVE_SHORTCUT,
)
"""Metrics for the terminal."""


def print_outcome(run: Path, outcome: RunOutcome, *, console: Console | None = None) -> tuple[bool, int]:
    """The metrics table, the blessing and the report's path. Returns (blessed, images quarantined)."""
    console = console or make_console()
    print_metrics(run, console=console)
    if outcome.quarantined:
        counted = "1 image was" if outcome.quarantined == 1 else f"{outcome.quarantined} images were"
        console.print(f"{counted} quarantined; the report says which and why")
    if outcome.blessed:
        console.print("BLESSED", style="bold green")
    else:
        console.print(
            "NOT BLESSED" if outcome.blessed is False else "not gated: the config has no gate",
            style="bold red",
        )
        for gate in outcome.failed_gates:
            say(console, f"  failed: {gate}")
    say(console, f"report: {run / outcome.report}")
    return outcome.blessed is not False, outcome.quarantined


def load_metrics(run: Path) -> list[Figure]:
    """The figures of a run's metrics.json."""
    path = run / "report" / "metrics.json"
    if not path.exists():
        raise UsageError(f"{run} has no report/metrics.json: it is not a run, or one that has not finished")
    return read_metrics(path)


def print_metrics(run: Path, *, console: Console | None = None) -> None:
    """Prints a few metrics of each head on the whole test split, and the headline on every slice.

    One column per protocol; the rest is in the report. Where none of the usual metrics was measured, all that
    were are printed.
    """
    console = console or make_console()
    facts = read_facts(run / "report")
    measured = [figure for figure in load_metrics(run) if figure.split == facts.split]
    figures = [figure for figure in measured if figure.name in PRINTED] or measured
    if not figures:
        say(console, f"no figure was measured on the {facts.split} split")
        return
    for head in dict.fromkeys(figure.head for figure in figures):
        whole = [figure for figure in figures if figure.head == head and figure.slice == OVERALL]
        console.print(make_metrics_table(head, whole, noun=facts.group_noun))
    first = figures[0]
    sliced = [
        one
        for one in figures
        if one.slice != OVERALL
        and (one.head, one.name, one.protocol) == (first.head, first.name, first.protocol)
    ]
    if sliced:
        console.print(make_slices_table(sliced, noun=facts.group_noun))


def make_metrics_table(head: str, figures: Sequence[Figure], *, noun: str) -> Table:
    """Returns metrics of one head by protocol; the column's head says of how many."""
    # A protocol without a unit has no meaning for this head; the report says why.
    figures = [figure for figure in figures if figure.n]
    protocols = {figure.protocol: figure for figure in reversed(figures)}
    order = list(dict.fromkeys(figure.protocol for figure in figures))
    splits = " and ".join(dict.fromkeys(describe_split(figure.split) for figure in figures))
    table = Table(
        Column(head, no_wrap=True),
        title=f"{splits}, 95 % intervals over {make_plural(noun)}; more in the report",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for protocol in order:
        one = protocols[protocol]
        lines = [
            f"{protocol}: {count(one.n, one.level)}",
            *([] if one.positives is None else [f"{one.positives} positive"]),
        ]
        table.add_column("\n".join([*lines, *([] if one.level == noun else [count(one.groups, noun)])]))
    cells = {(figure.name, figure.protocol): format_figure(figure) for figure in figures}
    for name in dict.fromkeys(figure.name for figure in figures):
        table.add_row(name, *(cells.get((name, protocol), "") for protocol in order))
    return table


def make_slices_table(figures: Sequence[Figure], *, noun: str) -> Table:
    """One metric of one protocol on every slice."""
    first = figures[0]
    heads = (
        Column("slice", no_wrap=True),
        "n",
        "positive",
        make_plural(noun),
        Column(f"{first.name} ({first.protocol})", no_wrap=True),
    )
    table = Table(
        *heads,
        title=f"{first.head}, {make_plural(first.level)}",
        title_justify="left",
        caption=describe_multiplicity(figures) or None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for figure in figures:
        positive = "" if figure.positives is None else str(figure.positives)
        table.add_row(figure.slice, str(figure.n), positive, str(figure.groups), format_figure(figure))
    return table


def rewrite_report(run: Path, *, console: Console | None = None) -> None:
    """Measures the run's own predictions again and writes report and documents again."""
    from medimg.reporting.bundle import derive

    read_run_file(run)
    say_renamed(console or make_console(), read_facts(run / "report").renamed)
    derive(run / "report")


def print_lineage(run: Path, *, metadata: str | None = None, console: Console | None = None) -> None:
    """Prints the steps from the pushed model back to the catalogue, with counts and hashes.

    Where no model was pushed it is the trained one, of a search the best one.

    `metadata` is where the run's store is now, if not where `run.json` says.
    """
    console = console or make_console()
    facts = read_finished_run(run, searched=True)
    say_renamed(console, rename_keys(facts.get("config", {}))[1])
    folds = facts.get("folds", ())
    for fold in folds:
        console.print(f"\n{fold}", style="bold underline", highlight=False)
        print_model_lineage(
            run / fold, read_finished_run(run / fold, searched=True), metadata=metadata, console=console
        )
    if not folds:
        print_model_lineage(run, facts, metadata=metadata, console=console)


def print_model_lineage(
    run: Path, facts: Mapping[str, Any], *, metadata: str | None, console: Console
) -> None:
    """The lineage of the one model of a run that has no folds; `facts` are of its `run.json`."""
    from pipeline.metadata.lineage import properties_of, walk_up
    from pipeline.metadata.store import open_store

    where = find_store(run, facts, metadata)
    with run_lock(run, console), store_lock(run, where, console):
        store = open_store(locate_store(run, where))
        model = find_searched(store, run, facts) if facts["state"] == SEARCHED else find_pushed(store, facts)
        if model is None:
            raise UsageError(explain_stranger(run, where))
        steps = list(walk_up(store, model.id))
        names = {kind.id: kind.name.rsplit(".", 1)[-1] for kind in store.get_execution_types()}
    if facts["state"] == SEARCHED:
        say(console, f"best model of a search, not yet measured on test: {facts['model']}")
    else:
        unpushed = (
            "none, the model was not gated" if facts["blessed"] is None else "none, the model was not blessed"
        )
        say(console, f"pushed model: {facts['pushed'] or unpushed}")
    for execution, made in steps:
        values = properties_of(execution)
        hashes = {name: values[name] for name in ("data", "code", "baseline") if values.get(name)}
        console.print(f"\n{names[execution.type_id]}", style="bold")
        for name, value in {**hash_values(values), **hashes}.items():
            say(console, f"  {name}: {value}")
        for artifact in made:
            say(console, f"  -> {artifact.type} #{artifact.id} {list_counts(properties_of(artifact))}")
            if origin := name_origin(properties_of(artifact)):
                say(console, f"     data: {origin}")


def find_pushed(store: MetadataStore, facts: Mapping[str, Any]) -> mlmd.Artifact | None:
    """Returns what the Pusher of a finished run has left; None in a store that does not know the run."""
    from pipeline.metadata.lineage import latest_nodes

    pusher = latest_nodes(store, facts["pipeline"]).get("Pusher")
    return pusher.outputs["pushed_model"][0] if pusher else None


def find_searched(store: MetadataStore, run: Path, facts: Mapping[str, Any]) -> mlmd.Artifact | None:
    """Returns the best model of a finished search; None in a store that does not know the search."""
    from pipeline.metadata.lineage import live_artifacts, locate_artifact

    models = live_artifacts(store, "Model", pipeline=facts["pipeline"])
    return next((model for model in models if locate_artifact(run, model) == run / facts["model"]), None)


def hash_values(values: Mapping[str, object]) -> dict[str, str]:
    """Returns the code hashes inside a component's custom config."""
    try:
        config = json.loads(str(values.get("custom_config", "{}")))
    except json.JSONDecodeError:
        return {}
    return {"code": config["code"]} if isinstance(config, dict) and "code" in config else {}


def find_patient(cases: pd.DataFrame, patient: str) -> pd.DataFrame:
    """The rows of a catalogue's cases that are of one patient, however the id is written."""
    from medimg.datasets.identifiers import fold_id, name_patient

    keys = cases["group_id"].map(fold_id)
    return cases[keys.isin([fold_id(patient), name_patient(patient)])]


def find_near_ids(patient: str, known: Collection[str]) -> str:
    """The known ids that are most like one, as people mistype them; empty where none is."""
    from medimg.datasets.identifiers import fold_id

    by_key = {fold_id(group): group for group in sorted(known)}
    close = difflib.get_close_matches(fold_id(patient), by_key, n=NEAR_IDS, cutoff=0.8)
    return ", ".join(by_key[key] for key in close)


def print_patient(
    patient: str, within: Path, *, metadata: str | None = None, console: Console | None = None
) -> None:
    """Prints every run below a folder whose catalogue holds the patient: the split, and the models from it.

    Ids are compared as the catalogue compares them: 0012, 12 and 12.0 are one. Names the nearest where no run
    has seen the patient. `metadata` is the store that the runs share now, if not where each `run.json` says.
    """
    from medimg.catalogue.tables import read_catalogue
    from pipeline.metadata.lineage import live_artifacts, locate_artifact, walk_down
    from pipeline.metadata.store import open_store

    console = console or make_console()
    runs = sorted(path.parent for path in within.rglob(RUN_FILE)) if within.is_dir() else []
    if not runs:
        raise UsageError(f"{within}: no {RUN_FILE} below it, expected the folder of one or more runs")
    known: set[str] = set()
    table = Table()
    for column in ("run", "catalogue", "split", "status", "cases", "models made from it"):
        table.add_column(column, overflow="fold")
    for run in runs:
        facts = read_run_file(run)
        if facts.get("folds"):
            continue  # Has no catalogue and no model but those of its folds, each a run below it.
        finished = facts["state"] == "finished"
        if not finished and not (run / "artifacts" / "CatalogueGen").exists():
            continue
        where = find_store(run, facts, metadata)
        with run_lock(run, console), store_lock(run, where, console):
            store = open_store(locate_store(run, where))
            catalogues = live_artifacts(store, "components.Catalogue", pipeline=facts["pipeline"])
            if finished and not catalogues:
                raise UsageError(explain_stranger(run, where))
            models = {model.id for model in live_artifacts(store, "Model", pipeline=facts["pipeline"])}
            models_of = {one.id: sorted(walk_down(store, [one.id]) & models) for one in catalogues}
        for artifact in catalogues:
            cases = read_catalogue(locate_artifact(run, artifact)).cases
            known.update(cases.group_id)
            mine = find_patient(cases, patient)
            if mine.empty:
                continue
            numbers = ", ".join(f"Model #{number}" for number in models_of[artifact.id])
            splits = ", ".join(sorted(set(mine.split.dropna())))
            table.add_row(
                str(run),
                f"#{artifact.id}",
                splits,
                ", ".join(sorted(set(mine.status))),
                ", ".join(mine.case_id),
                numbers,
            )
    if not table.rows:
        near = find_near_ids(patient, known)
        say(console, f"no run below {within} has seen {patient}{f'; near: {near}' if near else ''}")
        return
    console.print(table)
