"""What Trainer reads, written once for each module of tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.components.examples import MODEL, make_case, write_split, write_transform_graph


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 cases for train, 30 for eval, and the Transform graph of train."""
    folder = tmp_path_factory.mktemp("trainer")
    train = [make_case(number) for number in range(60)]
    write_split(folder / "train", train)
    write_split(folder / "eval", [make_case(number) for number in range(60, 90)])
    write_transform_graph(folder / "transform", train, {"task": "classification", "model": MODEL})
    return folder
