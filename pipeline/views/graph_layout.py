"""Places for the nodes of a directed graph without cycles: layers from top to bottom with few crossings (after Sugiyama, Tagawa and Toda 1981)."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

import numpy as np
from sklearn.isotonic import isotonic_regression

Edge = tuple[str, str]
Stop = tuple[str, int]
"""A node on its layer, or on a layer below it the place where its long edges pass between others."""
SWEEPS = 12
PASSING = 0.3
"""Width that a passing edge takes, in that of a node."""


@dataclass(frozen=True)
class Layout:
    """Where nodes stand: x in widths of a node, layer 0 on top.

    Attributes:
        nodes: (x, layer) of each node.
        routes: per edge the (x, layer) of its two ends and of every layer between them.
    """

    nodes: Mapping[str, tuple[float, int]]
    routes: Mapping[Edge, Sequence[tuple[float, int]]]


def arrange(edges: Sequence[Edge]) -> Layout:
    """Lays a graph out.

    Every edge leads downwards, and the edges of a node share a way for as long as they are long.

    Raises:
        graphlib.CycleError: the graph has a cycle.
    """
    layers = assign_layers(edges)
    routes = {
        (start, end): [(start, layer) for layer in range(layers[start], layers[end])] + [(end, layers[end])]
        for start, end in edges
    }
    links = {link for route in routes.values() for link in itertools.pairwise(route)}
    rows = order_rows({stop for link in links for stop in link}, links)
    x = spread_rows(rows, links, layers)
    return Layout(
        {name: (x[name, layer], layer) for name, layer in layers.items()},
        {edge: [(x[stop], stop[1]) for stop in route] for edge, route in routes.items()},
    )


def assign_layers(edges: Sequence[Edge]) -> dict[str, int]:
    """Layer of each node: as low as what was made from it allows, so that edges are short."""
    followers: dict[str, set[str]] = defaultdict(set)
    for start, end in edges:
        followers[start].add(end)
    height: dict[str, int] = {}
    for node in TopologicalSorter(followers).static_order():
        height[node] = 1 + max((height[one] for one in followers.get(node, ())), default=-1)
    top = max(height.values(), default=0)
    return {node: top - value for node, value in height.items()}


def neighbours_of(links: set[tuple[Stop, Stop]]) -> dict[Stop, list[Stop]]:
    """Stops above and below each stop."""
    neighbours: dict[Stop, list[Stop]] = defaultdict(list)
    for upper, lower in sorted(links):
        neighbours[upper].append(lower)
        neighbours[lower].append(upper)
    return neighbours


def order_rows(stops: set[Stop], links: set[tuple[Stop, Stop]]) -> list[list[Stop]]:
    """Stops of each layer from left to right: swept down and up, each time in the order of the mean place of those in the row before."""
    neighbours = neighbours_of(links)
    rows = [
        sorted(row)
        for _, row in itertools.groupby(sorted(stops, key=lambda stop: stop[1]), key=lambda stop: stop[1])
    ]
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for above, row in itertools.pairwise(rows if down else reversed(rows)):
            place = {stop: index / len(above) for index, stop in enumerate(above)}
            mean = {
                stop: np.mean([place[one] for one in neighbours[stop] if one in place] or [0.5])
                for stop in row
            }
            row.sort(key=lambda stop: mean[stop])
    return rows


def spread_rows(
    rows: Sequence[Sequence[Stop]], links: set[tuple[Stop, Stop]], layers: Mapping[str, int]
) -> dict[Stop, float]:
    """Where each stop stands: near its neighbours in the rows beside it, in the row's order and without touching."""
    neighbours = neighbours_of(links)
    x: dict[Stop, float] = {}
    for row in rows:
        x |= dict(zip(row, fit_row(np.zeros(len(row)), row, layers), strict=True))
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            wanted = np.array([np.mean([x[one] for one in neighbours[stop]]) for stop in row])
            x |= dict(zip(row, fit_row(wanted, row, layers), strict=True))
    return x


def fit_row(wanted: np.ndarray, row: Sequence[Stop], layers: Mapping[str, int]) -> list[float]:
    """The x nearest to the wanted ones, by least squares, at which no two stops of a row touch."""
    widths = np.array([1.0 if layers[name] == layer else PASSING for name, layer in row])
    offsets = np.cumsum(widths) - widths / 2
    return [float(value) for value in isotonic_regression(wanted - offsets) + offsets]
