"""Slices as the Evaluator has measured them, and a figure over time, as a notebook shows them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.artifacts import Report
from medimg.evaluation.figures import Figure
from pipeline.views import history, slices
from pipeline.views.history import COLOURS, draw_history, list_reports, tabulate_history
from pipeline.views.slices import tabulate_slices
from tests.unit.pipeline.metadata.memory_store import Store

HEADLINE = Figure("auc", "malignancy", "overall", "p1", "breast", "test", 9, 4, 8, 0.5, 0.4, 0.6)


def as_row(**changes: object) -> dict[str, object]:
    """A figure as ML Metadata keeps it."""
    kept = {"name": "auc", "head": "malignancy", "slice": "overall", "protocol": "p1", "level": "breast"}
    return {**kept, "split": "test", "n": 9, "groups": 8, "value": 0.7, "low": 0.6, "high": 0.8, **changes}


def write_run(folder: Path) -> Path:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"state": "finished", "pipeline": folder.name}))
    return folder


def make_report(store: Store, pipeline: str, rows: list[dict[str, object]]) -> int:
    """A report with these figures."""
    number = store.make(Report.TYPE_NAME, metrics=json.dumps(rows))
    store.run("ReportGen", made=(number,), pipeline=pipeline)
    return number


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    known = Store()
    monkeypatch.setattr(history, "open_metadata", known.opened)
    return known


@pytest.mark.parametrize(
    "other",
    [
        {"name": "accuracy"},
        {"head": "subtype"},
        {"slice": "source=D1"},
        {"protocol": "p2"},
        {"level": "patient"},
        {"split": "eval"},
    ],
)
def test_only_the_very_figure_counts_and_a_report_without_it_has_none(
    tmp_path: Path, store: Store, other: dict[str, str]
) -> None:
    run = write_run(tmp_path / "demo")
    make_report(store, "demo", [as_row(**other, value=0.9), as_row()])
    make_report(store, "demo", [as_row(**other)])
    make_report(store, "another", [as_row()])
    first, second = list_reports(store.store, run, HEADLINE)
    assert (first["value"], first["low"], first["high"], first["n"], first["groups"]) == (0.7, 0.6, 0.8, 9, 8)
    assert (second["value"], second["n"]) == (None, None)
    assert (first["run"], second["run"]) == ("demo", "demo")
    assert first["report"] < second["report"]


def test_reports_of_all_runs_stand_in_the_order_in_which_they_were_made(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [write_run(tmp_path / name) for name in ("b", "a")]
    made = {"b": [1_700_000_100_900, 1_700_000_300_000], "a": [1_700_000_200_000, 1_700_000_100_100]}

    def live(opened: object, kind: str, *, pipeline: str) -> list[mlmd.Artifact]:
        assert kind == Report.TYPE_NAME
        artifacts = []
        for number, milliseconds in enumerate(made[pipeline]):
            artifact = mlmd.Artifact(id=number, create_time_since_epoch=milliseconds)
            artifact.custom_properties["metrics"].string_value = json.dumps([as_row(value=number)])
            artifacts.append(artifact)
        return artifacts

    monkeypatch.setattr(history, "live_artifacts", live)
    table = tabulate_history(runs, HEADLINE)
    assert table[["run", "report"]].to_numpy().tolist() == [["a", 1], ["b", 0], ["a", 0], ["b", 1]]
    assert list(table.index) == [0, 1, 2, 3]
    assert str(table.made[0]) == "2023-11-14 22:15:00"


def test_each_run_over_time_has_its_colour_and_marker_and_unknown_figures_are_left_out() -> None:
    days = pd.date_range("2026-01-01", periods=8, freq="D")
    names = ["a", "b", "c", "d", "e", "f", "a", "b"]
    values = [0.5, 0.6, 0.7, 0.8, 0.9, 0.4, math.nan, 0.65]
    table = pd.DataFrame({"made": days, "run": names, "report": range(8), "value": values})
    table = table.assign(low=table.value - 0.1, high=table.value + 0.1)
    drawing = draw_history(table, HEADLINE)
    chart = drawing.charts["malignancy, overall, breasts of the test split"]
    [axes] = chart.canvas.axes
    lines = axes.get_lines()
    assert [line.get_label() for line in lines] == list("abcdef")
    assert [line.get_color() for line in lines] == [*COLOURS, *COLOURS]
    assert [line.get_marker() for line in lines] == ["o", "s", "D", "^", "v", "o"]
    assert [len(line.get_xdata()) for line in lines] == [1, 2, 1, 1, 1, 1]
    for line, bars in zip(lines, axes.collections, strict=True):
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends.mean(axis=1), line.get_ydata())
        np.testing.assert_allclose(ends[:, 1] - ends[:, 0], 0.2)
        assert to_hex(bars.get_color()[0]) == line.get_color()
    assert axes.get_ylabel().endswith("(p1)")
    assert chart.title.count("; ") == 6
    assert "a at 2026-01-01 00:00:00: 0.500; b at" in chart.title
    assert axes.get_legend() is not None


def tabulate(
    monkeypatch: pytest.MonkeyPatch, found: dict[tuple[str, str, str], float], *, heads: dict[str, list[str]]
) -> pd.DataFrame:
    def read(uri: str, *, only_head: str) -> dict[tuple[str, str, str], float]:
        assert uri == "Evaluator/evaluation"
        assert only_head == ("" if len(heads) > 1 else next(iter(heads)))
        return found

    monkeypatch.setattr(slices, "read_evaluation", read)
    facts = SimpleNamespace(heads=heads, slices=("source", "age"))
    run = SimpleNamespace(data=SimpleNamespace(facts=facts), output=lambda *names: "/".join(names))
    return tabulate_slices(run, "malignancy")


def test_slices_stand_in_the_reports_order_with_counts_first_and_nothing_of_another_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: dict[tuple[str, str, str], float] = {}
    for name, auc in (("age=50", math.nan), ("source=D2", 0.6), ("overall", 0.7), ("source=D1", 0.8)):
        found["malignancy", "cases/auc", name] = auc
        found["malignancy", "cases/n", name] = 9.0
        found["malignancy", "cases/positives", name] = 4.0
        found["malignancy", "cases/unheard_of", name] = 1.0
        found["malignancy", "accuracy", name] = 0.1
        found["subtype", "cases/auc", name] = 0.2
    heads = {"malignancy": ["Benign", "Malignant"], "subtype": ["A", "B", "C"]}
    table = tabulate(monkeypatch, found, heads=heads)
    assert list(table.index) == ["overall", "source=D1", "source=D2", "age=50"]
    assert list(table.columns) == ["n", "positives", "auc"]
    assert table.columns.name is None
    assert table.loc["overall"].tolist() == [9, 4, 0.7]
    assert math.isnan(table.auc["age=50"])
    assert table.n.dtype.kind == "i"


def test_of_more_than_two_classes_there_is_no_count_of_positives(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {("malignancy", f"cases/{name}", "overall"): 3.0 for name in ("balanced_accuracy", "n", "auc_B")}
    table = tabulate(monkeypatch, found, heads={"malignancy": ["A", "B", "C"]})
    assert next(iter(table.columns)) == "n"
    assert set(table.columns) == {"n", "balanced_accuracy", "auc_B"}
