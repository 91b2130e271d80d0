"""The Evaluator's configuration: metrics per head, slices, and each gate as a threshold of its own slice."""

from __future__ import annotations

import json

import numpy as np
import pytest

from components.evaluator.eval_config import Measurement, make_eval_config
from medimg.evaluation.gates import Gate

TWO = {"malignancy": ("Benign", "Malignant")}
THREE = {"kind": ("mass", "calcification", "both")}


def read_metrics(config, head=0):
    """Class and settings of each metric of a head."""
    metrics = config.metrics_specs[head].metrics
    return [(metric.class_name, json.loads(metric.config) if metric.config else {}) for metric in metrics]


def make_thresholds(*gates, heads=TWO, slices=("source",)):
    (spec,) = make_eval_config(Measurement(heads=heads, slices=slices), gates=gates).metrics_specs
    return {name: list(found.thresholds) for name, found in spec.per_slice_thresholds.items()}


@pytest.mark.parametrize("change", [-0.01, 0.0, 0.02])
def test_a_gate_on_the_change_holds_the_model_against_its_baseline_zero_included(change):
    gate = Gate(metric="auc", head="malignancy", lower_bound=0.7, change=change)
    ((threshold,),) = make_thresholds(gate).values()
    assert threshold.threshold.value_threshold.lower_bound.value == 0.7
    assert threshold.threshold.HasField("change_threshold")
    assert threshold.threshold.change_threshold.HasField("absolute")
    assert threshold.threshold.change_threshold.absolute.value == change
    assert threshold.threshold.change_threshold.direction == 2  # HIGHER_IS_BETTER


def test_a_gate_without_a_change_has_no_say_on_the_baseline():
    ((threshold,),) = make_thresholds(Gate(metric="auc", head="malignancy", lower_bound=0.0)).values()
    assert not threshold.threshold.HasField("change_threshold")
    assert threshold.threshold.value_threshold.HasField("lower_bound")
    assert not threshold.threshold.value_threshold.HasField("upper_bound")


def test_each_gate_is_a_threshold_of_its_metric_on_its_slice():
    thresholds = make_thresholds(
        Gate(metric="auc", head="malignancy", lower_bound=0.7),
        Gate(metric="auc", head="malignancy", lower_bound=0.6, slice="source=D=1"),
        Gate(metric="accuracy", head="malignancy", lower_bound=0.5),
    )
    found = {
        name: [
            (dict(one.slicing_specs[0].feature_values), one.threshold.value_threshold.lower_bound.value)
            for one in several
        ]
        for name, several in thresholds.items()
    }
    assert found == {
        "cases/auc": [({}, 0.7), ({"clinical_source": "D=1"}, 0.6)],
        "cases/accuracy": [({}, 0.5)],
    }


def test_each_head_has_its_own_gates():
    gates = [
        Gate(metric="auc", head="malignancy", lower_bound=0.7),
        Gate(metric="macro_auc", head="kind", lower_bound=0.4),
    ]
    config = make_eval_config(Measurement(heads={**TWO, **THREE}), gates=gates)
    assert [list(spec.output_names) for spec in config.metrics_specs] == [["malignancy"], ["kind"]]
    assert [list(spec.per_slice_thresholds) for spec in config.metrics_specs] == [
        ["cases/auc"],
        ["cases/macro_auc"],
    ]


def test_one_head_is_labelled_by_no_output_and_several_by_theirs():
    (one,) = make_eval_config(Measurement(heads=TWO)).model_specs
    assert (one.label_key, dict(one.label_keys)) == ("label_malignancy", {})
    (several,) = make_eval_config(Measurement(heads={**TWO, **THREE})).model_specs
    assert several.label_key == ""
    assert dict(several.label_keys) == {"malignancy": "label_malignancy", "kind": "label_kind"}
    for spec in (one, several):
        assert (spec.name, spec.signature_name) == ("", "serving_default")
        assert list(spec.preprocessing_function_names) == ["transform_features"]
    assert not make_eval_config(Measurement(heads=TWO)).metrics_specs[0].output_names


def test_the_whole_split_and_each_value_of_a_column_are_slices():
    config = make_eval_config(Measurement(heads=TWO, slices=("source", "sex")))
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [
        [],
        ["clinical_source"],
        ["clinical_sex"],
    ]


@pytest.mark.parametrize(("heads", "how"), [(TWO, "max"), (THREE, "mean")])
def test_levels_are_rolled_up_by_the_maximum_of_two_classes_and_the_mean_of_more(heads, how):
    measurement = Measurement(heads=heads, levels=("patient", "lesion"), prevalence="balanced")
    metrics = read_metrics(make_eval_config(measurement, code="c"))
    classes = {"classes": list(*heads.values()), "prevalence": "balanced", "code": "c"}
    assert metrics == [
        ("ExampleCount", {}),
        ("CaseMetrics", {"name": "cases", **classes}),
        ("CaseMetrics", {"name": "patient", "group_key": "level_patient", "how": how, **classes}),
        ("CaseMetrics", {"name": "lesion", "group_key": "level_lesion", "how": how, **classes}),
    ]


def test_costs_are_those_of_their_head_at_every_level():
    costs = {"kind": np.array([[0, 1, 2], [3, 0, 4], [5, 6, 0]])}
    config = make_eval_config(Measurement(heads={**TWO, **THREE}, levels=("patient",), costs=costs))
    assert all("costs" not in settings for _, settings in read_metrics(config))
    for name, settings in read_metrics(config, head=1)[1:]:
        assert (name, settings["costs"]) == ("CaseMetrics", [[0, 1, 2], [3, 0, 4], [5, 6, 0]])


def test_only_a_head_of_two_classes_is_held_against_shortcuts_if_there_are_any():
    without = make_eval_config(Measurement(heads={**TWO, **THREE}))
    assert "AboveShortcut" not in dict(read_metrics(without))
    config = make_eval_config(Measurement(heads={**TWO, **THREE}, shortcuts=("source",)), code="c")
    assert dict(read_metrics(config))["AboveShortcut"] == {
        "name": "cases",
        "feature_key": "shortcut_malignancy",
        "code": "c",
    }
    assert "AboveShortcut" not in dict(read_metrics(config, head=1))
