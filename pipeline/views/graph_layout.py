"""Places for the nodes of a directed graph without cycles: layers from top to bottom with few crossings.

After Sugiyama, Tagawa and Toda 1981.
"""

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
    routes: dict[Edge, list[Stop]] = {}
    for start, end in edges:
        passed = [(start, layer) for layer in range(layers[start], layers[end])]
        routes[start, end] = [*passed, (end, layers[end])]
    links = {link for route in routes.values() for link in itertools.pairwise(route)}
    rows = order_rows({stop for link in links for stop in link}, links)
    x = spread_rows(rows, links, layers)
    nodes = {name: (x[name, layer], layer) for name, layer in layers.items()}
    places = {stop: (x[stop], stop[1]) for stop in x}
    placed: dict[Edge, list[tuple[float, int]]] = {}
    for edge, route in routes.items():
        placed[edge] = [places[stop] for stop in route]
    return Layout(nodes, placed)


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
    """Orders the stops of each layer from left to right.

    Swept down and up, each time in the order of the mean place of those in the row before.
    """
    neighbours = neighbours_of(links)
    rows = [
        sorted(row)
        for _, row in itertools.groupby(sorted(stops, key=lambda stop: stop[1]), key=lambda stop: stop[1])
    ]
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for above, row in itertools.pairwise(rows if down else reversed(rows)):
            place = {stop: index / len(above) for index, stop in enumerate(above)}
            mean: dict[Stop, float] = {}
            for stop in row:
                beside = [place[one] for one in neighbours[stop] if one in place]
                mean[stop] = float(np.mean(beside or [0.5]))
            row.sort(key=mean.__getitem__)
    return rows


def spread_rows(
    rows: Sequence[Sequence[Stop]], links: set[tuple[Stop, Stop]], layers: Mapping[str, int]
) -> dict[Stop, float]:
    """Places each stop near its neighbours in the rows beside it, in the row's order and without touching."""
    neighbours = neighbours_of(links)
    x: dict[Stop, float] = {}
    for row in rows:
        x |= dict(zip(row, fit_row(np.zeros(len(row)), row, layers), strict=True))
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            wanted = np.zeros(len(row))
            for index, stop in enumerate(row):
                wanted[index] = np.mean([x[one] for one in neighbours[stop]])
            x |= dict(zip(row, fit_row(wanted, row, layers), strict=True))
    return x


def fit_row(wanted: np.ndarray, row: Sequence[Stop], layers: Mapping[str, int]) -> list[float]:
    """The x nearest to the wanted ones, by least squares, at which no two stops of a row touch."""
    widths = np.array([1.0 if layers[name] == layer else PASSING for name, layer in row])
    offsets = np.cumsum(widths) - widths / 2
    return [float(value) for value in isotonic_regression(wanted - offsets) + offsets]
