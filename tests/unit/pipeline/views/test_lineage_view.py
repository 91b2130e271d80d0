"""The lineage of a pushed model and its report, as a table and as a drawn graph."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch
from ml_metadata import MetadataStore

from pipeline.metadata.lineage import latest_nodes
from pipeline.views import lineage
from pipeline.views.graph_layout import arrange
from pipeline.views.lineage import (
    BOX,
    COLUMN,
    ROW,
    draw_lineage,
    draw_route,
    list_edges,
    read_lineage,
    tabulate_lineage,
)
from tests.unit.pipeline.metadata.memory_store import Store


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[lineage.LineageStep]:
    """A catalogue, a model of it that is pushed, a report of both, and statistics that nobody has read."""
    store = Store()
    cases = store.make("medimg.Catalogue", counts='{"cases": 7}', content_hash="c0ffee")
    unread, model, pushed, report, strange = (
        store.make(kind) for kind in ("Notes", "Model", "PushedModel", "Report", "Strange")
    )
    store.run("CatalogueGen", made=(cases, unread))
    store.run("Strange", read=(cases,), made=(strange,))
    store.run("tfx.components.trainer.Trainer", read=(cases,), made=(model,))
    store.run("Pusher", read=(model,), made=(pushed,))
    store.run("ReportGen", read=(cases, model), made=(report,))

    def opened(folder: Path) -> AbstractContextManager[MetadataStore]:
        assert folder == tmp_path
        return store.opened(folder)

    monkeypatch.setattr(lineage, "open_metadata", opened)
    monkeypatch.setattr(lineage, "ENDS", (("Pusher", "made"), ("ReportGen", "made")))
    nodes = latest_nodes(store.store, "demo")
    return read_lineage(SimpleNamespace(folder=tmp_path, nodes=nodes))


def test_each_execution_on_the_way_is_there_once_in_its_order_with_what_it_read_and_made(steps) -> None:
    told = [(step.name, [one.type for one in step.inputs], [one.type for one in step.made]) for step in steps]
    assert told == [
        ("CatalogueGen #1", [], ["medimg.Catalogue", "Notes"]),
        ("Trainer #3", ["medimg.Catalogue"], ["Model"]),
        ("Pusher #4", ["Model"], ["PushedModel"]),
        ("ReportGen #5", ["medimg.Catalogue", "Model"], ["Report"]),
    ]


def test_the_table_has_a_row_for_each_artifact_with_its_maker_and_the_time(steps) -> None:
    table = tabulate_lineage(steps)
    assert table[["artifact", "made by"]].to_numpy().tolist() == [
        ["Catalogue #1", "CatalogueGen #1"],
        ["Notes #2", "CatalogueGen #1"],
        ["Model #3", "Trainer #3"],
        ["PushedModel #4", "Pusher #4"],
        ["Report #5", "ReportGen #5"],
    ]
    made = steps[0].made[0].create_time_since_epoch
    assert table["made"][0].timestamp() == made // 1000
    assert table["what is known of it"][1] == ""
    assert table["what is known of it"][0] == "content_hash c0ffee"


def test_edges_lead_through_what_was_read_and_to_what_ends_the_way(steps) -> None:
    assert list_edges(steps) == [
        ("Catalogue #1", "Trainer #3"),
        ("Model #3", "Pusher #4"),
        ("Catalogue #1", "ReportGen #5"),
        ("Model #3", "ReportGen #5"),
        ("CatalogueGen #1", "Catalogue #1"),
        ("Trainer #3", "Model #3"),
        ("Pusher #4", "PushedModel #4"),
        ("ReportGen #5", "Report #5"),
    ]


def test_the_drawing_holds_every_node_and_executions_are_boxed(steps) -> None:
    chart = draw_lineage(steps).charts["lineage"]
    [axes] = chart.canvas.axes
    layout = arrange(list_edges(steps))
    drawn = {text.get_text(): text for text in axes.texts}
    assert {name: text.get_position() for name, text in drawn.items()} == layout.nodes
    executions = {step.name for step in steps}
    for name, text in drawn.items():
        assert (text.get_bbox_patch().get_edgecolor()[3] > 0) == (name in executions)
        assert text.get_bbox_patch().get_facecolor() == (1, 1, 1, 1)
    colours = {name in executions: text.get_color() for name, text in drawn.items()}
    assert len(set(colours.values())) == 2
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == len(layout.routes)
    assert chart.title.startswith("What led to the pushed model and the report: Catalogue #1 to Trainer #3; ")
    assert not axes.axison


def test_the_drawing_is_as_large_as_its_graph_and_the_first_layer_is_on_top(steps) -> None:
    chart = draw_lineage(steps).charts["lineage"]
    [axes] = chart.canvas.axes
    stops = [stop for route in arrange(list_edges(steps)).routes.values() for stop in route]
    left, right = min(x for x, _ in stops), max(x for x, _ in stops)
    lowest = max(layer for _, layer in stops)
    np.testing.assert_allclose(axes.get_xlim(), (left - 0.6, right + 0.6))
    np.testing.assert_allclose(axes.get_ylim(), (lowest + 0.5, -0.5))
    np.testing.assert_allclose(
        chart.canvas.get_size_inches(), (COLUMN * (right - left + 1.2), ROW * (lowest + 1))
    )


def test_an_edge_leaves_a_node_at_its_foot_and_ends_at_the_head_of_the_next() -> None:
    curve = draw_route([(0.0, 0), (2.0, 1), (1.0, 3)])
    head, foot = 3 - BOX, BOX
    expected = [
        (0, foot),
        *((0, (foot + 1) / 2), (2, (foot + 1) / 2), (2, 1)),
        *((2, (1 + head) / 2), (1, (1 + head) / 2), (1, head)),
    ]
    np.testing.assert_allclose(curve.vertices, expected)
    assert list(curve.codes) == [curve.MOVETO, *[curve.CURVE4] * 6]
