"""The Evaluator's configuration: what is measured on which slices, and the gates of a model."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow_model_analysis as tfma
from google.protobuf.wrappers_pb2 import DoubleValue
from tensorflow_model_analysis.proto import config_pb2  # TFMA 0.52 no longer gives these at its top.

from medimg.evaluation.gates import Gate, check_gates, split_slice

CASES = "cases"
# TFMA's name for the number of Examples that it has measured.
EXAMPLES = "example_count"
METRICS_MODULE = "components.evaluator.tfma_metrics"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What the Evaluator measures, on which slices and at which levels.

    Attributes:
        heads: output of the model to classes, the positive one last. `transform_features` gives
            `label_<head>`.
        slices: clinical columns; each value is a slice.
        levels: coarser levels ("patient") for which figures are added under that name; two-class heads by
            max, others by mean.
        shortcuts: if there are any, the Examples hold `shortcut_<head>`, and heads of two classes get
            `auc_above_shortcut`.
        costs: head to what its answers cost, where that decides the predicted class.
        prevalence: the class frequencies that the probabilities are meant for: "train" or "balanced".
    """

    heads: Mapping[str, Sequence[str]]
    slices: Sequence[str] = ()
    levels: Sequence[str] = ()
    shortcuts: Sequence[str] = ()
    costs: Mapping[str, np.ndarray] = field(default_factory=dict)
    prevalence: str = "train"


def make_eval_config(
    measurement: Measurement, *, gates: Sequence[Gate] = (), code: str = ""
) -> config_pb2.EvalConfig:
    """Makes the configuration for models with one output per head and raw Examples.

    Checked here, not when the Evaluator runs.

    The model is left without a name: given a baseline, TFX's executor adds it as a second one under that
    condition only, and without one it drops the change thresholds.

    Args:
        measurement: what is measured.
        gates: become thresholds of exactly their own slice. A plain threshold would hold for every slice.
        code: hash of the metrics' source.

    Raises:
        UsageError: a gate names an unknown head, metric or slice.
    """
    heads = measurement.heads
    check_gates(
        gates,
        heads=heads,
        slices=measurement.slices,
        shortcuts=measurement.shortcuts,
        prevalence=measurement.prevalence,
    )
    model = config_pb2.ModelSpec(
        signature_name="serving_default", preprocessing_function_names=["transform_features"]
    )
    if len(heads) == 1:
        # TFMA takes the only output out of its dict, so that neither label nor metrics may name it.
        model.label_key = f"label_{next(iter(heads))}"
    else:
        model.label_keys.update({head: f"label_{head}" for head in heads})
    sliced = [config_pb2.SlicingSpec(feature_keys=[f"clinical_{column}"]) for column in measurement.slices]
    config = config_pb2.EvalConfig(
        model_specs=[model],
        slicing_specs=[config_pb2.SlicingSpec(), *sliced],
        metrics_specs=list(list_metrics_specs(measurement, gates=gates, code=code)),
    )
    tfma.utils.verify_eval_config(config)
    return config


def list_metrics_specs(
    measurement: Measurement, *, gates: Sequence[Gate], code: str
) -> Iterator[config_pb2.MetricsSpec]:
    """Yields the metrics and gates of each head, with the output's name where there are several."""
    for head, classes in measurement.heads.items():
        spec = make_metrics_spec(
            classes,
            gates=[gate for gate in gates if gate.head == head],
            measurement=measurement,
            costs_CC=measurement.costs.get(head),
            code=code,
        )
        if measurement.shortcuts and len(classes) == 2:
            config = json.dumps(
                {"name": CASES, "feature_key": f"shortcut_{head}", "code": code}, sort_keys=True
            )
            spec.metrics.append(
                config_pb2.MetricConfig(class_name="AboveShortcut", module=METRICS_MODULE, config=config)
            )
        if len(measurement.heads) > 1:
            spec.output_names.append(head)
        yield spec


def make_metrics_spec(
    classes: Sequence[str],
    *,
    gates: Iterable[Gate],
    measurement: Measurement,
    costs_CC: np.ndarray | None,
    code: str,
) -> config_pb2.MetricsSpec:
    """Makes the metrics and gates of one head; the output is named by the caller."""
    how = "max" if len(classes) == 2 else "mean"
    rolled_up = [{"name": level, "group_key": f"level_{level}", "how": how} for level in measurement.levels]
    metrics = [config_pb2.MetricConfig(class_name="ExampleCount")]
    costs = {} if costs_CC is None else {"costs": costs_CC.tolist()}
    shared = {**costs, "prevalence": measurement.prevalence, "classes": list(classes), "code": code}
    for setting in ({"name": CASES}, *rolled_up):
        config = json.dumps({**setting, **shared}, sort_keys=True)
        metrics.append(
            config_pb2.MetricConfig(class_name="CaseMetrics", module=METRICS_MODULE, config=config)
        )
    thresholds: dict[str, list[config_pb2.PerSliceMetricThreshold]] = defaultdict(list)
    for gate in gates:
        thresholds[f"{CASES}/{gate.metric}"].append(make_threshold(gate))
    by_metric = {
        name: config_pb2.PerSliceMetricThresholds(thresholds=items) for name, items in thresholds.items()
    }
    return config_pb2.MetricsSpec(metrics=metrics, per_slice_thresholds=by_metric)


def make_threshold(gate: Gate) -> config_pb2.PerSliceMetricThreshold:
    """Makes the gate a threshold of its slice only."""
    slicing = config_pb2.SlicingSpec()
    if found := split_slice(gate.slice):
        column, value = found
        slicing.feature_values[f"clinical_{column}"] = value
    threshold = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound=DoubleValue(value=gate.lower_bound))
    )
    if gate.change is not None:
        change = config_pb2.GenericChangeThreshold(
            direction=config_pb2.MetricDirection.HIGHER_IS_BETTER, absolute=DoubleValue(value=gate.change)
        )
        threshold.change_threshold.CopyFrom(change)
    return config_pb2.PerSliceMetricThreshold(slicing_specs=[slicing], threshold=threshold)
