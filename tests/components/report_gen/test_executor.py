"""What the report is made of: splits, columns and figures, gathered round a stand-in for the scoring."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from components.report_gen import executor
from components.report_gen.evaluator_results import failed_gates, missing_slices, only_head, output_of, passes
from components.report_gen.run_facts import describe_gate
from components.report_gen.scoring import name_outputs
from medimg.evaluation.figures import Figure
from medimg.evaluation.gates import Gate
from tests.components.report_gen.test_evaluator_results import make_validation

TWO_HEADS = {"malignancy": ("Benign", "Malignant"), "kind": ("a", "b")}


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Files by split, each scored as one case of its name."""
    files = {name: [f"{name}.tfrecord"] for name in ("train", "eval", "test", "unlabelled_test")}
    monkeypatch.setattr(executor, "list_records", lambda uri, split: files.get(split, []))
    monkeypatch.setattr(
        executor,
        "score_examples",
        lambda model, names, heads: pd.DataFrame({"case_id": [Path(name).stem for name in names]}),
    )
    return files


def test_unlabelled_cases_are_scored_with_their_split_but_not_those_of_train(
    scored: dict[str, list[str]],
) -> None:
    scored["unlabelled_train"] = ["unlabelled_train.tfrecord"]
    table = executor.score_splits(Path(), "uri", heads=TWO_HEADS, splits=("train", "eval", "test"))
    assert list(table.itertuples(index=False, name=None)) == [
        ("train", "train"),
        ("eval", "eval"),
        ("test", "test"),
        ("unlabelled_test", "test"),
    ]


def test_predictions_have_what_only_the_catalogue_knows() -> None:
    cases = pd.DataFrame(
        {
            "case_id": ["a", "b", "c"],
            "group_id": ["A", "B", "C"],
            "fold": pd.array([2, None, 1], "Int64"),
            "image_count": [4, 2, 9],
        }
    )
    pairs = pd.DataFrame(columns=["case_id", "other_case_id"])
    catalogue = SimpleNamespace(cases=cases, pairs=pairs, summary={"duplicates": [{"cases": ["b", "c"]}]})
    predictions = pd.DataFrame(
        {"case_id": ["c", "a"], "group_id": ["C", "A"], "label_kind": ["x", "y"], "clinical_sex": ["F", "M"]}
    )
    table = executor.complete(predictions, catalogue, heads=TWO_HEADS, columns=["sex", "age_band"])
    assert table["fold"].tolist() == [1, 2]
    assert table["image_count"].tolist() == [9, 4]
    assert table["cluster_id"].tolist() == ["B", "A"]
    assert table["label_kind"].tolist() == ["x", "y"]
    assert table["clinical_sex"].tolist() == ["F", "M"]
    assert table["label_malignancy"].isna().all()
    assert table["clinical_age_band"].isna().all()


class Properties:
    """Stands for an artifact: its folder and what is noted on it."""

    def __init__(self, uri: Path) -> None:
        self.uri, self.noted = str(uri), {}

    def note(self, key: str, value: object) -> None:
        self.noted[key] = value

    set_string_custom_property = set_int_custom_property = set_float_custom_property = note


def test_each_figure_is_a_property_of_the_report_unless_it_is_undefined(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("[the figures]")
    places = {"slice": "source=D1", "protocol": "P1", "level": "breast", "split": "test"}
    figures = [
        Figure(head="m", name="auc", value=0.75, low=0.5, high=1.0, n=12, positives=5, groups=6, **places),
        Figure(
            head="m",
            name="ece",
            value=math.nan,
            low=math.nan,
            high=math.nan,
            n=3,
            positives=3,
            groups=2,
            **places,
        ),
    ]
    artifact = Properties(tmp_path)
    executor.note_figures(artifact, figures)
    assert artifact.noted == {
        "metrics": "[the figures]",
        "m.auc.P1.breast.test.source=D1.value": 0.75,
        "m.auc.P1.breast.test.source=D1.low": 0.5,
        "m.auc.P1.breast.test.source=D1.high": 1.0,
        "m.auc.P1.breast.test.source=D1.n": 12,
        "m.auc.P1.breast.test.source=D1.groups": 6,
        "m.ece.P1.breast.test.source=D1.n": 3,
        "m.ece.P1.breast.test.source=D1.groups": 2,
    }


@pytest.mark.parametrize(
    ("found", "gated", "words"),
    [
        (0.7126, "overall", "found 0.713"),
        (math.nan, "overall", "undefined"),
        (None, "overall", "undefined"),
        (None, "source=D9", "no such slice in the test split"),
        (math.nan, "source=D9", "undefined"),
    ],
)
def test_a_gate_is_told_with_what_was_found(found: float | None, gated: str, words: str) -> None:
    gate = Gate(metric="auc", head="m", lower_bound=0.5, slice=gated)
    evaluated = {} if found is None else {("m", "cases/auc", gated): found}
    others = {("k", "cases/auc", gated): 0.1, ("m", "cases/ece", gated): 0.2, ("m", "auc", gated): 0.3}
    assert describe_gate(gate, {**evaluated, **others}) == f"{gate}: {words}"


def test_the_only_head_has_the_empty_name_of_its_output_and_several_have_theirs() -> None:
    one = {"malignancy": ("Benign", "Malignant")}
    assert (only_head(one), output_of("malignancy", one)) == ("malignancy", "")
    assert (only_head(TWO_HEADS), output_of("kind", TWO_HEADS)) == ("", "kind")


def test_a_gate_of_one_head_does_not_fail_with_that_of_another() -> None:
    validation = make_validation()
    for part in validation.metric_validations_per_slice:
        for failure in part.failures:
            failure.metric_key.output_name = "kind"
    gates = [Gate(metric="auc", head=head, lower_bound=0.5, slice="source=D1") for head in TWO_HEADS]
    assert [passes(gate, validation, heads=TWO_HEADS) for gate in gates] == [True, False]
    assert list(failed_gates(validation)) == [
        ("kind", "cases/auc", "source=D1"),
        ("kind", "cases/auc", "source=D3"),
    ]
    assert list(missing_slices(validation)) == ["source=D9"]


def test_columns_are_named_by_head_class_role_and_sample() -> None:
    import numpy as np

    generator = np.random.default_rng(0)
    whole, alone, samples = (generator.random(shape) for shape in ((5, 2), (5, 3, 2), (5, 4, 2)))
    outputs = {"malignancy": whole, "v/malignancy": alone, "m/malignancy": samples}
    heads = {"malignancy": ("Benign", "Malignant")}
    columns = dict(name_outputs(outputs, heads=heads, roles=("CC", "MLO", "LM")))
    assert len(columns) == 2 * (1 + 3 + 4)
    for index, name in enumerate(heads["malignancy"]):
        np.testing.assert_array_equal(columns[f"p_malignancy_{name}"], whole[:, index])
        for view, role in enumerate(("CC", "MLO", "LM")):
            np.testing.assert_array_equal(columns[f"v_malignancy_{name}_{role}"], alone[:, view, index])
        for member in range(4):
            np.testing.assert_array_equal(columns[f"m{member}_malignancy_{name}"], samples[:, member, index])
    plain = dict(name_outputs({"malignancy": whole}, heads=heads, roles=("CC",)))
    assert list(plain) == ["p_malignancy_Benign", "p_malignancy_Malignant"]


@pytest.mark.parametrize("shortcuts", [(), ("sex",)])
def test_the_table_of_shortcuts_is_there_if_any_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shortcuts: tuple[str, ...]
) -> None:
    asked: dict[str, object] = {}

    def tabulate(catalogue: object, names: object, *, heads: object, clinical: list[str]) -> pd.DataFrame:
        asked.update(names=names, heads=heads, clinical=clinical)
        return pd.DataFrame({"case_id": ["a"]})

    monkeypatch.setattr(executor, "tabulate_shortcuts", tabulate)
    evaluation = {"shortcuts": shortcuts, "slices": ("age_band",), "protocols": ("P1", "P2")}
    executor.write_shortcuts(tmp_path, None, evaluation=evaluation, heads=TWO_HEADS)
    assert [path.name for path in tmp_path.iterdir()] == (["shortcuts.parquet"] if shortcuts else [])
    expected = {"names": ("sex",), "heads": TWO_HEADS, "clinical": ["age_band", "source"]}
    assert json.dumps(asked) == json.dumps(expected if shortcuts else {})
