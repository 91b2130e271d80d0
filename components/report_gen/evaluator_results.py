"""What the Evaluator found: figures by head, metric and slice, and the gates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import metrics_for_slice_pb2, validation_result_pb2

from components.evaluator.eval_config import CASES
from medimg.evaluation.figures import value_text
from medimg.evaluation.gates import OVERALL, Gate


def only_head(heads: Mapping[str, Sequence[str]]) -> str:
    """The head's name if there is just one: TFMA knows the only output of a model by the empty name."""
    return next(iter(heads)) if len(heads) == 1 else ""


def read_evaluation(uri: str, *, only_head: str) -> dict[tuple[str, str, str], float]:
    """The Evaluator's figures of the candidate model by (head, metric, slice)."""
    found: dict[tuple[str, str, str], float] = {}
    result = tfma.load_eval_result(uri, model_name=candidate_name(uri))
    for slice_key, by_output in result.slicing_metrics:
        name = (
            ",".join(f"{column.removeprefix('clinical_')}={show(value)}" for column, value in slice_key)
            or OVERALL
        )
        for head, by_class in by_output.items():
            for metric, value in by_class.get("", {}).items():
                if "doubleValue" in value:
                    found[head or only_head, metric, name] = float(value["doubleValue"])
    return found


def candidate_name(uri: str) -> str:
    """The name that the candidate has beside a baseline; empty without one."""
    config = tfma.load_eval_result(uri).config
    return next((spec.name for spec in config.model_specs if not spec.is_baseline), "")


def show(value: bytes | str | float) -> str:
    """Returns a slice's value as the report's figures name it."""
    return value.decode() if isinstance(value, bytes) else value_text(value)


def list_evaluated(evaluated: Mapping[tuple[str, str, str], float]) -> Iterator[dict[str, Any]]:
    """Those of the Evaluator's figures that count cases, to hold the report's against them."""
    for (head, metric, slice_name), value in evaluated.items():
        if metric.startswith(f"{CASES}/"):
            yield {
                "head": head,
                "metric": metric.removeprefix(f"{CASES}/"),
                "slice": slice_name,
                "value": None if math.isnan(value) else value,
            }


def passes(
    gate: Gate, validation: validation_result_pb2.ValidationResult, *, heads: Mapping[str, Sequence[str]]
) -> bool:
    """Whether the Evaluator let the gate pass: an absent slice and an undefined figure do not."""
    place = output_of(gate.head, heads), f"{CASES}/{gate.metric}", gate.slice
    return gate.slice not in missing_slices(validation) and place not in failed_gates(validation)


def failed_gates(validation: validation_result_pb2.ValidationResult) -> Iterator[tuple[str, str, str]]:
    """(head, metric, slice) of each threshold that was missed on a slice that exists."""
    for by_slice in validation.metric_validations_per_slice:
        name = (
            ",".join(
                f"{one.column.removeprefix('clinical_')}={show_single(one)}"
                for one in by_slice.slice_key.single_slice_keys
            )
            or OVERALL
        )
        for failure in by_slice.failures:
            yield failure.metric_key.output_name, failure.metric_key.name, name


def missing_slices(validation: validation_result_pb2.ValidationResult) -> Iterator[str]:
    """Gated slices without a case: every gate on them fails, though TFMA lists no failure of theirs."""
    for spec in validation.missing_slices:
        yield (
            ",".join(
                f"{column.removeprefix('clinical_')}={value}" for column, value in spec.feature_values.items()
            )
            or OVERALL
        )


def output_of(head: str, heads: Mapping[str, Sequence[str]]) -> str:
    """TFMA's name of a head's output."""
    return "" if only_head(heads) else head


def show_single(key: metrics_for_slice_pb2.SingleSliceKey) -> str:
    """The value of one column of a slice."""
    value = getattr(key, key.WhichOneof("kind"))
    return show(value)
