"""The notebook: executed on a finished run, exported, and opened in a browser."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup, Tag
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from pipeline.metadata.lineage import latest_nodes, open_store
from pipeline.views.run import read_run
from pipeline.views.statistics import tabulate_statistics
from tests.browser import show_page

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOK = NOTEBOOKS / "evaluate.ipynb"


@pytest.fixture(scope="module")
def executed(tiny_run) -> nbformat.NotebookNode:
    """The notebook with the outputs that the shared run gives."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDIMG_RUN", str(tiny_run.run))
        NotebookClient(
            notebook,
            timeout=None,
            startup_timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": str(NOTEBOOKS)}},
        ).execute()
    return notebook


@pytest.fixture(scope="module")
def page(executed, tmp_path_factory) -> Path:
    """The page that `make notebook` writes."""
    exporter = HTMLExporter(extra_template_basedirs=[str(NOTEBOOKS / "templates")], template_name="offline")
    path = tmp_path_factory.mktemp("notebook") / "evaluate.html"
    path.write_text(exporter.from_notebook_node(executed)[0], encoding="utf-8")
    return path


def outputs_of(notebook: nbformat.NotebookNode, source: str = "") -> Iterator[Any]:
    """Outputs of the cells whose source ends in the given line."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.endswith(source):
            yield from cell.outputs


def html_of(notebook: nbformat.NotebookNode, source: str) -> str:
    """What such a cell shows."""
    return "".join(output.data["text/html"] for output in outputs_of(notebook, source) if "data" in output)


def read_row(row: Tag) -> list[str]:
    return [cell.text.strip() for cell in row.find_all(["th", "td"])]


def read_table(html: str) -> list[dict[str, str]]:
    """Rows of a table of pandas by its columns."""
    head, *rows = [read_row(row) for row in BeautifulSoup(html, "html.parser").find_all("tr")]
    # A second row of the head names the index alone.
    return [dict(zip(head, row, strict=True)) for row in rows if any(row[1:])]


def load_figures(run: Path) -> list[dict[str, Any]]:
    return [
        figure
        for figure in json.loads((run / "report" / "metrics.json").read_text())
        if figure["split"] == "test"
    ]


def test_no_output_is_kept_in_the_repository():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert not cell.get("execution_count")


def test_every_cell_runs_without_an_error_or_after_the_imports_a_warning(executed):
    # On the newer platform TensorFlow's C++ writes what it is about to do while it is imported, and lets
    # nobody hinder it.
    imports = list(outputs_of(executed, "tabulate_statistics"))
    assert [output for output in outputs_of(executed) if output.output_type == "error"] == []
    assert [
        output for output in outputs_of(executed) if output.get("name") == "stderr" and output not in imports
    ] == []


def test_the_slices_are_those_of_the_report_with_its_figures(executed, tiny_run):
    figures = {
        (figure["name"], figure["slice"]): figure
        for figure in load_figures(tiny_run.run)
        if figure["protocol"] == "P1"
    }
    rows = {
        row["slice"]: row
        for row in read_table(html_of(executed, 'slices.T.style.format("{:.3g}", na_rep="-")'))
    }
    slices = [slice_name for metric, slice_name in figures if metric == "auc"]
    assert list(rows["auc"])[1:] == slices
    for slice_name, metric in itertools.product(slices, ("auc", "average_precision", "brier", "ece")):
        figure = figures[metric, slice_name]
        shown = math.nan if rows[metric][slice_name] == "-" else float(rows[metric][slice_name])
        assert shown == pytest.approx(
            math.nan if figure["value"] is None else figure["value"], abs=6e-4, nan_ok=True
        )
        assert (int(rows["n"][slice_name]), int(rows["positives"][slice_name])) == (
            figure["n"],
            figure["positives"],
        )


def test_the_history_has_a_row_for_each_report_and_ends_with_this_one(executed, tiny_run):
    rows = read_table(html_of(executed, "history.round(3)"))
    store = open_store(tiny_run.run / "metadata.sqlite")
    reports = [
        artifact
        for artifact in store.get_artifacts_by_type("components.Report")
        if artifact.custom_properties
    ]
    assert sorted(int(row["report"]) for row in rows) == sorted(artifact.id for artifact in reports)
    mine = latest_nodes(store, "cmmd-demo")["ReportGen"].outputs["report"][0]
    auc = next(figure for figure in load_figures(tiny_run.run) if figure["name"] == "auc")
    row = next(row for row in rows if int(row["report"]) == mine.id)
    assert [float(row[name]) for name in ("value", "low", "high")] == pytest.approx(
        [auc[name] for name in ("value", "low", "high")], abs=6e-4
    )


def test_the_statistics_count_the_cases_of_each_split_that_have_a_value(executed, tiny_run):
    cases = pd.read_parquet(tiny_run.run / tiny_run.outcome.catalogue / "cases.parquet")
    used = cases[cases.status == "used"]
    statistics = tabulate_statistics(read_run(tiny_run.run))
    for feature, split in itertools.product(("label_malignancy", "label_subtype"), ("train", "eval", "test")):
        assert (
            statistics.loc[(feature, split), "cases"] == used.loc[used.split == split, feature].notna().sum()
        )
    assert "label_subtype" in html_of(
        executed, 'tabulate_statistics(run).style.format(precision=2, na_rep="")'
    )


def test_no_patient_is_named(executed, tiny_run):
    cases = pd.read_parquet(tiny_run.run / tiny_run.outcome.catalogue / "cases.parquet")
    shown = json.dumps(executed)
    assert [group for group in cases.group_id.unique() if group in shown] == []


def test_the_lineage_leads_from_the_catalogue_to_the_pushed_model_and_the_report(executed, tiny_run):
    drawn = BeautifulSoup(html_of(executed, "draw_lineage(lineage)"), "html.parser")
    nodes = latest_nodes(open_store(tiny_run.run / "metadata.sqlite"), "cmmd-demo")
    shown = {text.text.strip() for text in drawn.find_all("text")}
    for component, channel in (
        ("CatalogueGen", "catalogue"),
        ("Trainer", "model"),
        ("Pusher", "pushed_model"),
        ("ReportGen", "report"),
    ):
        artifact = nodes[component].outputs[channel][0]
        assert f"{artifact.type.rsplit('.', 1)[-1]} #{artifact.id}" in shown
        assert any(name.startswith(f"{component} #") for name in shown)


def test_the_exported_page_asks_for_nothing_from_the_network(page):
    markup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    asked = [
        one.get("src") or one.get("href") for one in markup.find_all(["script", "img", "iframe", "link"])
    ]
    assert [address for address in asked if address and not address.startswith("data:")] == []


def test_a_browser_shows_the_exported_page_without_an_error_and_every_chart_in_full_size(
    page, executed, tmp_path
):
    charts = json.dumps(executed).count("<svg role")
    shown = show_page(page, measured=".drawing svg", folder=tmp_path)
    assert shown.console == []
    assert len(shown.sizes) == charts > 10
    assert all(width > 200 and height > 100 for width, height in shown.sizes)


def test_the_browser_would_have_told_of_an_error(tmp_path):
    (tmp_path / "broken.html").write_text("<p>here</p><script>missing()</script>")
    shown = show_page(tmp_path / "broken.html", measured="p", folder=tmp_path)
    assert "missing is not defined" in shown.console[0]
    assert len(shown.sizes) == 1
