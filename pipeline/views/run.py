"""A finished run as a notebook reads it: its report's figures, and where its components have written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from ml_metadata import MetadataStore

from medimg.console.terminal import make_console
from medimg.errors import UsageError
from medimg.evaluation.figures import read_metrics
from medimg.reporting.bundle import METRICS_FILE, PREDICTIONS_FILE
from medimg.reporting.report_data import ReportData
from medimg.reporting.run_facts import read_facts
from pipeline.local.run_directory import (
    RUN_FILE,
    explain_stranger,
    find_store,
    locate_store,
    read_finished_run,
    read_run_file,
    run_lock,
    store_lock,
)
from pipeline.metadata.lineage import Node, latest_nodes, locate_artifact, open_store


@dataclass(frozen=True)
class FinishedRun:
    """What the views need of a run.

    Attributes:
        folder: its directory.
        nodes: the latest successful execution of each component.
        data: the report's predictions and figures; nothing is measured again.
    """

    folder: Path
    nodes: Mapping[str, Node]
    data: ReportData

    def output(self, component: str, channel: str) -> Path:
        """Where a component has written, below the run as it lies now."""
        return locate_artifact(self.folder, self.nodes[component].outputs[channel][0])


def read_run(folder: Path | str) -> FinishedRun:
    """Reads `run.json`, the report and ML Metadata.

    Raises:
        UsageError: not a run, one that has not finished, or a store that does not know it.
    """
    folder = Path(folder).resolve()
    written = read_finished_run(folder)
    with open_metadata(folder) as store:
        nodes = latest_nodes(store, written["pipeline"])
    if "ReportGen" not in nodes:
        raise UsageError(explain_stranger(folder, written["store"]))
    return FinishedRun(folder, nodes, read_figures(folder / "report"))


def read_figures(report: Path) -> ReportData:
    """A report's predictions and figures of the model as they were written.

    The checks of explanations have cases of their own and stay aside.
    """
    facts = read_facts(report)
    figures = [
        figure
        for figure in read_metrics(report / METRICS_FILE)
        if figure.protocol in facts.protocols and figure.split == facts.split
    ]
    return ReportData(facts, pd.read_parquet(report / PREDICTIONS_FILE), figures)


def find_runs(within: Path) -> list[Path]:
    """The finished runs that lie in a folder, by name."""
    folders = sorted(path.parent for path in within.glob(f"*/{RUN_FILE}"))
    return [folder for folder in folders if read_run_file(folder)["state"] == "finished"]


@contextmanager
def open_metadata(folder: Path) -> Iterator[MetadataStore]:
    """The store that a run was run with, while nothing else writes to it."""
    where, console = find_store(folder, read_run_file(folder), None), make_console()
    with run_lock(folder, console), store_lock(folder, where, console):
        yield open_store(locate_store(folder, where))
