"""Which cases of a split are explained, for which class, and what is written of them.

The network and what is drawn of its maps are stood in for; test_explaining.py has the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.report_gen import explaining
from components.report_gen.explaining import ScoredSplit, explain_split
from medimg.explain.batch import Batch
from medimg.explain.methods import METHODS
from medimg.reporting.sections.classification.predicted_cases import PredictedCase

CLASSES = ["Benign", "Malignant"]
# Probability of Malignant and label, of each case of test; the first two are wrong.
TEST = {
    "w0": (0.9, "Benign"), "w1": (0.2, "Malignant"), "r0": (0.95, "Malignant"), "r1": (0.05, "Benign"),
    "r2": (0.85, "Malignant"), "u0": (0.55, "Malignant"), "u1": (0.45, "Benign"), "no": (0.5, None),
}  # fmt: skip
MISTAKE = PredictedCase("w1", "malignancy", "Malignant", "Benign", 0.8)


class Stand:
    """In the place of the exported network: notes what is drawn and checked of which cases."""

    def __init__(self) -> None:
        self.drawn: list[dict[str, Any]] = []
        self.checked: list[dict[str, Any]] = []
        self.read_ids: set[str] = set()

    def read_examples(self, files: list[str], case_ids: set[str]) -> dict[str, str]:
        assert files == ["test.tfrecord"]
        self.read_ids = set(case_ids)
        return {case_id: f"example of {case_id}" for case_id in case_ids}

    def open_exported(self, model: Path, *, config: dict[str, Any]) -> SimpleNamespace:
        assert (model, config["task"]) == (Path("model"), "classification")
        return SimpleNamespace(
            network="trained",
            settings=SimpleNamespace(roles=("CC", "MLO")),
            read=lambda examples: {"images": examples},
        )

    def expect_same_cases(self, batch: Batch) -> list[str]:
        """Records and inputs of a batch are of the same cases; returns their ids."""
        names = [record.removeprefix("example of ") for record in batch.records]
        assert [one.decode() for one in batch.inputs["images"]] == list(batch.records)
        assert isinstance(batch.inputs["images"], np.ndarray)
        assert batch.roles == ("CC", "MLO")
        return names

    def draw_batch(self, batch: Batch, **given: Any) -> Iterator[dict[str, str]]:
        names = self.expect_same_cases(batch)
        self.drawn.append({"cases": names, **given})
        for name in names:
            for method in ("original", *given["methods"]):
                yield {"case_id": name, "role": "CC", "method": method, "file": f"{name}-{method}.png"}

    def check_batch(self, batch: Batch, **given: Any) -> Iterator[dict[str, object]]:
        names = self.expect_same_cases(batch)
        self.checked.append({"cases": names, **given})
        for name in names:
            yield {"case_id": name, "energy": 0.5}


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    made = Stand()
    for name in ("read_examples", "open_exported", "draw_batch", "check_batch"):
        monkeypatch.setattr(explaining, name, getattr(made, name))
    monkeypatch.setattr(explaining, "examples_to_record", lambda examples: "".join(examples))
    monkeypatch.setattr(explaining, "randomise", lambda network, *, seed: f"{network} at random {seed}")
    task = SimpleNamespace(explain=lambda network, head: f"{network}, {head}")
    monkeypatch.setattr(explaining, "find_task", lambda name: task)
    return made


def explain(
    to: Path, *, misclassified: tuple[PredictedCase, ...] = (MISTAKE,), outlined: str = "", **evaluation: Any
) -> list[dict[str, Any]]:
    """Explains the cases above; returns the rows of the index, if there is one."""
    rows = [
        {
            "case_id": name, "split": "test", "label_malignancy": label,
            "p_malignancy_Benign": 1 - score, "p_malignancy_Malignant": score,
        }
        for name, (score, label) in TEST.items()
    ]  # fmt: skip
    other = {**rows[2], "case_id": "e0", "split": "eval"}
    predictions = pd.DataFrame([*rows, other])
    annotations = ["[{}]" if name in outlined.split() else "[]" for name in predictions["case_id"]]
    cases = pd.DataFrame({"case_id": predictions["case_id"], "annotations": annotations})
    heads = [{"name": "malignancy", "classes": CLASSES}, {"name": "kind", "classes": ["a", "b"]}]
    config = {
        "task": "classification",
        "model": {"heads": heads},
        "evaluation": {"explained_cases": 0, "saliency_checked_cases": 0, "costs": [], **evaluation},
    }
    scored = ScoredSplit("test", ["test.tfrecord"], predictions, misclassified)
    explain_split(
        to, config=config, model=Path("model"), catalogue=SimpleNamespace(cases=cases), scored=scored
    )
    index = to / "explanations" / "index.json"
    return json.loads(index.read_text()) if index.exists() else []


def test_examples_of_each_kind_are_drawn_and_every_mistake_of_the_gallery(
    stand: Stand, tmp_path: Path
) -> None:
    rows = explain(tmp_path, explained_cases=2)
    kinds = {row["case_id"]: row["kind"] for row in rows}
    # A mistake that is an example of a wrong answer, too, has all maps.
    assert kinds == {
        "w1": "wrong", "w0": "wrong", "r0": "right", "r1": "right", "u1": "uncertain", "u0": "uncertain"
    }  # fmt: skip
    assert list(kinds) == ["w1", "w0", "r0", "r1", "u1", "u0"]
    assert stand.read_ids == set(kinds)
    drawn = [(one["cases"], one["class_index"], one["methods"]) for one in stand.drawn]
    assert sorted(drawn, key=lambda one: one[1]) == [
        (["w1", "r1", "u1"], 0, list(METHODS)),
        (["w0", "r0", "u0"], 1, list(METHODS)),
    ]
    assert {one["network"] for one in stand.drawn} == {"trained, malignancy"}
    assert {one["folder"] for one in stand.drawn} == {tmp_path / "explanations"}
    assert (tmp_path / "explanations" / "legend.png").stat().st_size > 0
    assert stand.checked == []
    assert not (tmp_path / "explanations" / "checks.parquet").exists()


def test_a_mistake_that_is_no_example_has_a_grad_cam_alone(stand: Stand, tmp_path: Path) -> None:
    mistakes = (MISTAKE, PredictedCase("r2", "malignancy", "Benign", "Malignant", 0.85))
    rows = explain(tmp_path, misclassified=mistakes, explained_cases=1)
    methods = {one["cases"][0]: one["methods"] for one in stand.drawn if len(one["cases"]) == 1}
    assert methods["w1"] == methods["r2"] == ["grad_cam"]
    assert {row["case_id"]: row["kind"] for row in rows} == {
        "w1": "mistake", "r2": "mistake", "w0": "wrong", "r0": "right", "u1": "uncertain"
    }  # fmt: skip
    expected = {
        "case_id": "w1", "role": "CC", "method": "grad_cam", "file": "explanations/w1-grad_cam.png",
        "kind": "mistake", "head": "malignancy", "label": "Malignant", "class": "Benign", "probability": 0.8,
    }  # fmt: skip
    assert expected in rows


def test_costs_decide_what_is_right_and_which_class_is_explained(stand: Stand, tmp_path: Path) -> None:
    costs = [{"head": "malignancy", "matrix": {"Malignant": {"Benign": 9}}}]
    rows = explain(tmp_path, misclassified=(), explained_cases=9, costs=costs)
    found = {row["case_id"]: (row["kind"], row["class"]) for row in rows}
    assert found["w1"] == ("right", "Malignant")
    assert found["u1"] == ("wrong", "Malignant")
    assert found["r1"] == ("right", "Benign")


@pytest.mark.parametrize(("count", "checked"), [(0, 0), (1, 1), (2, 2), (9, 3)])
def test_the_maps_of_outlined_positives_of_the_split_are_checked_for_the_positive_class(
    stand: Stand, tmp_path: Path, count: int, checked: int
) -> None:
    rows = explain(tmp_path, outlined="r0 r2 u0 r1 e0 no", saliency_checked_cases=count)
    assert (rows, stand.drawn) == ([], [])
    assert not (tmp_path / "explanations" / "legend.png").exists()
    found = [name for one in stand.checked for name in one["cases"]]
    assert len(found) == checked
    assert set(found) <= {"r0", "r2", "u0"}
    assert stand.read_ids == set(found)
    if count:
        table = pd.read_parquet(tmp_path / "explanations" / "checks.parquet")
        assert table["case_id"].tolist() == found
        for column, value in (("head", "malignancy"), ("class", "Malignant"), ("split", "test")):
            assert set(table[column]) == {value}
        (given,) = stand.checked
        assert given["class_index"] == 1
        assert given["networks"] == {
            "trained": "trained, malignancy",
            **{f"randomised-{seed}": f"trained at random {seed}, malignancy" for seed in range(3)},
        }


def test_many_cases_are_read_a_few_at_a_time_and_none_twice(stand: Stand, tmp_path: Path) -> None:
    many = tuple(
        PredictedCase(f"w{number}", "malignancy", "Malignant", "Benign", 0.8) for number in range(17)
    )
    explain(tmp_path, misclassified=many, explained_cases=1)
    sizes = [len(one["cases"]) for one in stand.drawn if one["methods"] == ["grad_cam"]]
    assert sizes == [8, 8]
    shown = [name for one in stand.drawn for name in one["cases"]]
    assert len(shown) == len(set(shown))


@pytest.mark.parametrize("explains", [True, False])
def test_nothing_is_written_where_nothing_is_asked_for_or_the_task_explains_nothing(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, explains: bool
) -> None:
    if not explains:
        monkeypatch.setattr(explaining, "find_task", lambda name: SimpleNamespace(explain=None))
    explain(tmp_path, explained_cases=0 if explains else 2, saliency_checked_cases=0 if explains else 2)
    assert list(tmp_path.iterdir()) == []
