"""The model that was pushed last is the baseline; with none pushed there is no output at all."""

from __future__ import annotations

from pathlib import Path

import pytest


def fetch(serving: Path, to: Path):
    """What the component hands on of a folder of pushed models."""
    from tfx.types import standard_artifacts

    from components.baseline_model.executor import Executor

    model = standard_artifacts.Model()
    model.uri = str(to)
    outputs = {"model": [model]}
    Executor().Do({}, outputs, {"serving": str(serving), "baseline": "hash", "code": "hash"})
    return outputs["model"]


def test_the_newest_pushed_model_by_number_is_copied_and_named(tmp_path: Path) -> None:
    for version in ("9", "10", "8", "temporary"):
        (tmp_path / "models" / version / "variables").mkdir(parents=True)
        (tmp_path / "models" / version / "variables" / "data").write_text(version)
    (model,) = fetch(tmp_path / "models", tmp_path / "out")
    assert (tmp_path / "out" / "Format-Serving" / "variables" / "data").read_text() == "10"
    assert model.get_string_custom_property("pushed_version") == "10"


@pytest.mark.parametrize("folders", [None, [], ["temporary"]])
def test_with_nothing_pushed_there_is_no_baseline(tmp_path: Path, folders: list[str] | None) -> None:
    for folder in folders or []:
        (tmp_path / "models" / folder).mkdir(parents=True)
    if folders == []:
        (tmp_path / "models").mkdir()
    assert fetch(tmp_path / "models", tmp_path / "out") == []
    assert not (tmp_path / "out").exists()
