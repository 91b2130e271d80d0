"""The layout of drawn graphs."""

from __future__ import annotations

import itertools
from graphlib import CycleError

import pytest

from pipeline.views.graph_layout import arrange

EDGES = [
    ("archive", "catalogue"),
    ("catalogue", "examples"),
    ("catalogue", "gate"),
    ("examples", "statistics"),
    ("schema", "statistics"),
    ("statistics", "gate"),
    ("examples", "trainer"),
    ("trainer", "report"),
    ("gate", "report"),
    ("catalogue", "report"),
]


def test_every_edge_leads_downwards_layer_by_layer_from_node_to_node():
    layout = arrange(EDGES)
    for (start, end), route in layout.routes.items():
        assert (route[0], route[-1]) == (layout.nodes[start], layout.nodes[end])
        assert [layer for _, layer in route] == list(range(layout.nodes[start][1], layout.nodes[end][1] + 1))


def test_nodes_of_a_layer_and_edges_that_pass_it_keep_apart():
    layout = arrange(EDGES)
    passing = {(x, layer) for route in layout.routes.values() for x, layer in route[1:-1]}
    nodes = set(layout.nodes.values())
    assert len(nodes) == len(layout.nodes)
    for layer in {layer for _, layer in nodes}:
        wide = [(x, 1.0) for x, y in nodes if y == layer]
        narrow = [(x, 0.3) for x, y in passing if y == layer]
        row = sorted(wide + narrow)
        for (left, left_width), (right, right_width) in itertools.pairwise(row):
            assert right - left >= (left_width + right_width) / 2 - 1e-9


def test_a_source_stands_right_above_what_it_feeds():
    layout = arrange(EDGES)
    assert layout.nodes["schema"][1] == layout.nodes["statistics"][1] - 1


def test_a_tree_is_drawn_without_a_crossing():
    layout = arrange(
        [("root", "right"), ("root", "left"), ("left", "b"), ("right", "c"), ("left", "a"), ("right", "d")]
    )
    lines = [
        (layout.nodes[start][0], layout.nodes[end][0]) for start, end in layout.routes if start != "root"
    ]
    assert all(
        (one[0] - other[0]) * (one[1] - other[1]) >= 0 for one, other in itertools.combinations(lines, 2)
    )


def test_the_layout_does_not_depend_on_the_order_of_the_edges():
    assert arrange(EDGES).nodes == arrange(EDGES[::-1]).nodes


def test_a_circle_of_edges_is_refused():
    with pytest.raises(CycleError):
        arrange([("one", "two"), ("two", "one")])
