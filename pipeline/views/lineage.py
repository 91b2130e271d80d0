"""ML Metadata's lineage of the pushed model and the report: as a drawn graph, and as a table."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path as Curve
from ml_metadata.proto import metadata_store_pb2 as mlmd

from medimg.reporting.charts.base import GUIDE, NEGATIVE, POSITIVE, draw
from pipeline.metadata.lineage import INPUT_EVENTS, list_counts, properties_of, walk_up
from pipeline.views.drawing import Drawing
from pipeline.views.graph_layout import Edge, arrange
from pipeline.views.run import FinishedRun, open_metadata

ENDS = (("Pusher", "pushed_model"), ("ReportGen", "report"))
COLUMN, ROW = 1.7, 0.62
"""Inches from node to node, and from layer to layer."""
BOX = 0.22
"""Half the height of a node, in layers."""


@dataclass(frozen=True)
class LineageStep:
    """An execution by name and number, the artifacts that it read, and those that it made."""

    name: str
    inputs: Sequence[mlmd.Artifact]
    made: Sequence[mlmd.Artifact]


def read_lineage(run: FinishedRun) -> list[LineageStep]:
    """All that was done on the way to the pushed model and the report, in the order in which it was done."""
    with open_metadata(run.folder) as store:
        kinds = {kind.id: kind.name.rsplit(".", 1)[-1] for kind in store.get_execution_types()}
        ends = [run.nodes[component].outputs[channel][0].id for component, channel in ENDS]
        steps = {}
        for execution, made in itertools.chain.from_iterable(walk_up(store, end) for end in ends):
            read = [
                event.artifact_id
                for event in store.get_events_by_execution_ids([execution.id])
                if event.type in INPUT_EVENTS
            ]
            inputs = store.get_artifacts_by_id(read) if read else []
            steps[execution.id] = LineageStep(f"{kinds[execution.type_id]} #{execution.id}", inputs, made)
    return [step for _, step in sorted(steps.items())]


def tabulate_lineage(steps: Iterable[LineageStep]) -> pd.DataFrame:
    """Each artifact: by which execution it was made, when (UTC), with its counts and hashes."""
    rows = [
        {
            "artifact": name_artifact(artifact),
            "made by": step.name,
            "made": pd.to_datetime(artifact.create_time_since_epoch, unit="ms").floor("s"),
            "what is known of it": list_counts(properties_of(artifact)),
        }
        for step in steps
        for artifact in step.made
    ]
    return pd.DataFrame(rows)


def draw_lineage(steps: Sequence[LineageStep]) -> Drawing:
    """The graph from the catalogue down to the pushed model and the report; executions are boxed."""
    edges = list_edges(steps)
    layout = arrange(edges)
    boxed = {step.name for step in steps}
    stops = [stop for route in layout.routes.values() for stop in route]
    places = np.array(stops)
    left, right, lowest = places[:, 0].min() - 0.6, places[:, 0].max() + 0.6, places[:, 1].max()

    def paint(axes: Axes) -> None:
        for route in layout.routes.values():
            axes.add_patch(
                FancyArrowPatch(
                    path=draw_route(route), arrowstyle="-|>", mutation_scale=8, color=GUIDE, linewidth=0.8
                )
            )
        for name, (x, layer) in layout.nodes.items():
            colour, edge = (NEGATIVE, NEGATIVE) if name in boxed else (POSITIVE, "none")
            box = {"boxstyle": "square", "facecolor": "white", "edgecolor": edge}
            axes.text(x, layer, name, ha="center", va="center", fontsize=10, color=colour, bbox=box)
        axes.set(xlim=(left, right), ylim=(lowest + 0.5, -0.5))
        axes.axis("off")

    title = "What led to the pushed model and the report: " + "; ".join(
        f"{start} to {end}" for start, end in edges
    )
    return Drawing(
        {
            "lineage": draw(
                "lineage", title=title, size=(COLUMN * (right - left), ROW * (lowest + 1)), paint=paint
            )
        }
    )


def list_edges(steps: Sequence[LineageStep]) -> list[Edge]:
    """Lists edges from artifacts to their readers, and from executions to what they made and led on."""
    used = {artifact.id for step in steps for artifact in step.inputs}
    ends = {component for component, _ in ENDS}
    read = [(name_artifact(artifact), step.name) for step in steps for artifact in step.inputs]
    made = [(step, artifact) for step in steps for artifact in step.made]
    return read + [
        (step.name, name_artifact(artifact))
        for step, artifact in made
        if artifact.id in used or step.name.split()[0] in ends
    ]


def draw_route(route: Sequence[tuple[float, int]]) -> Curve:
    """From the foot of a node to the head of another, upright where it passes a layer."""
    stops = [(x, float(layer)) for x, layer in route]
    stops[0] = (stops[0][0], stops[0][1] + BOX)
    stops[-1] = (stops[-1][0], stops[-1][1] - BOX)
    points, codes = [stops[0]], [Curve.MOVETO]
    for (x, y), (next_x, next_y) in itertools.pairwise(stops):
        middle = (y + next_y) / 2
        points += [(x, middle), (next_x, middle), (next_x, next_y)]
        codes += [Curve.CURVE4] * 3
    return Curve(points, codes)


def name_artifact(artifact: mlmd.Artifact) -> str:
    """`Model #19`."""
    return f"{artifact.type.rsplit('.', 1)[-1]} #{artifact.id}"
