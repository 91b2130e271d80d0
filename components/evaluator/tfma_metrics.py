"""CaseMetrics: our exact metrics inside TensorFlow Model Analysis, equal to the report's figures.

They are per case or rolled up to a level.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2

from medimg.evaluation.classification.metrics import FOR_GATES, auc, metrics_of
from medimg.evaluation.classification.weighted_sample import make_sample
from medimg.evaluation.gates import ABOVE_SHORTCUT

COUNTS = ("n", "positives")


class CaseRow(NamedTuple):
    """One case on its way into the figures: its group ("" for none), class index and probabilities [C]."""

    group: str
    label: int
    probabilities: tuple[float, ...]


class CaseMetrics(tfma.metrics.Metric):
    """Emits `<name>/<metric>` for every metric of a head, with `<name>/n` and `<name>/positives`.

    The metrics are those of `medimg.evaluation.classification.metrics.metrics_of(classes)`.

    Labels are class indices, below 0 for a case without one, which does not count. A metric that is undefined
    (one class) is NaN, and NaN fails every threshold.
    """

    def __init__(  # noqa: PLR0913 - TFMA's config of a metric is its keyword arguments.
        self,
        classes: Sequence[str],
        name: str = "cases",
        group_key: str | None = None,
        how: str = "max",
        costs: Sequence[Sequence[float]] | None = None,
        prevalence: str = "train",
        code: str = "",
    ) -> None:
        """Stores the configuration.

        Args:
            classes: of the head, the positive one last.
            name: prefix of the keys.
            group_key: raw feature that cases are rolled up by ("level_patient"); None counts each case.
            how: "max" (two classes: the highest positive probability, positive if any case is) or "mean".
            costs: true class by answered class, where that decides the predicted class.
            prevalence: the class frequencies that the probabilities are meant for: "train" or "balanced".
            code: hash of the metrics' source; part of the configuration so that changed code evaluates again.
        """
        super().__init__(
            create_computations,
            classes=list(classes),
            name=name,
            group_key=group_key,
            how=how,
            costs=costs,
            prevalence=prevalence,
            code=code,
        )


metric_types.register_metric(CaseMetrics)


def create_computations(  # noqa: PLR0913 - TFMA calls it with these.
    classes: Sequence[str],
    name: str = "cases",
    group_key: str | None = None,
    how: str = "max",
    costs: Sequence[Sequence[float]] | None = None,
    prevalence: str = "train",
    code: str = "",
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> list[metric_types.MetricComputation]:
    """Makes one computation per model and output.

    TFMA calls this with the arguments that it finds by name.
    """
    del code  # Only there to be part of the configuration.
    features = (
        [metric_types.FeaturePreprocessor(feature_keys=[group_key], include_default_inputs=True)]
        if group_key
        else None
    )
    counts = COUNTS if len(classes) == 2 else COUNTS[:1]
    metrics = [*metrics_of(classes, with_costs=costs is not None, prevalence=prevalence), *FOR_GATES, *counts]
    computations = []
    for output in list_outputs(eval_config, model_names, output_names):
        keys = {metric: output.make_key(f"{name}/{metric}") for metric in metrics}
        combiner = CaseCombiner(classes, output=output, keys=keys, roll_up=(group_key, how), costs=costs)
        computations.append(
            metric_types.MetricComputation(
                keys=list(combiner.keys.values()), preprocessors=features, combiner=combiner
            )
        )
    return computations


@dataclass(frozen=True)
class ModelOutput:
    """One output of one model, as TFMA names them: the only one of either by the empty name."""

    eval_config: config_pb2.EvalConfig | None
    model_name: str
    output_name: str

    def make_key(self, name: str) -> metric_types.MetricKey:
        """Returns TFMA's key of a metric.

        The weighting is None, not its default False: thresholds by name look for None, and would never be
        found.
        """
        return metric_types.MetricKey(
            name=name, example_weighted=None, model_name=self.model_name, output_name=self.output_name
        )

    def read(self, element: metric_types.StandardMetricInputs) -> Iterator[tuple[int, np.ndarray]]:
        """Yields class index, below 0 without a label, and probabilities [C] of each case of an element."""
        triples = metric_util.to_label_prediction_example_weight(
            element,
            eval_config=self.eval_config,
            model_name=self.model_name,
            output_name=self.output_name,
            flatten=False,
            squeeze=False,
        )
        for label, prediction, _ in triples:
            yield int(np.asarray(label).reshape(-1)[0]), np.asarray(prediction, dtype=np.float64).reshape(-1)


def list_outputs(
    eval_config: config_pb2.EvalConfig | None,
    model_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
) -> list[ModelOutput]:
    """Returns each model with each output."""
    return [
        ModelOutput(eval_config, model, output)
        for model in model_names or [""]
        for output in output_names or [""]
    ]


class CaseCombiner(beam.CombineFn):
    """Keeps label and probabilities of every case; exact metrics need them all (some 100 bytes per case)."""

    def __init__(
        self,
        classes: Sequence[str],
        *,
        output: ModelOutput,
        keys: Mapping[str, metric_types.MetricKey],
        roll_up: tuple[str | None, str],
        costs: Sequence[Sequence[float]] | None,
    ) -> None:
        self.classes, self.output, self.keys = list(classes), output, keys
        self.costs_CC = None if costs is None else np.array(costs, dtype=np.float64)
        self.group_key, self.how = roll_up
        if self.group_key and self.how == "max" and len(self.classes) != 2:
            raise ValueError(
                f"CaseMetrics: how='max' is defined for two classes, found {len(self.classes)}; use 'mean'"
            )

    def create_accumulator(self) -> list[CaseRow]:
        return []

    def add_input(
        self, accumulator: list[CaseRow], element: metric_types.StandardMetricInputs
    ) -> list[CaseRow]:
        for index, probabilities_C in self.output.read(element):
            if index >= 0:
                accumulator.append(CaseRow(self.read_group(element), index, tuple(probabilities_C.tolist())))
        return accumulator

    def read_group(self, element: metric_types.StandardMetricInputs) -> str:
        """Returns the case's id at the level that is rolled up to."""
        if not self.group_key:
            return ""
        value = np.asarray(element.features[self.group_key]).reshape(-1)
        if not len(value):
            raise ValueError(f"CaseMetrics: a case without {self.group_key}, which its roll-up needs")
        return value[0].decode() if isinstance(value[0], bytes) else str(value[0])

    def merge_accumulators(self, accumulators: Iterable[list[CaseRow]]) -> list[CaseRow]:
        return [row for accumulator in accumulators for row in accumulator]

    def extract_output(self, accumulator: list[CaseRow]) -> dict[metric_types.MetricKey, float]:
        rows = (
            roll_up_rows(accumulator, how=self.how, classes=len(self.classes))
            if self.group_key
            else accumulator
        )
        labels_N = np.array([row.label for row in rows], dtype=np.int64)
        probabilities_NC = np.array([row.probabilities for row in rows], dtype=np.float64).reshape(
            len(rows), -1 if rows else len(self.classes)
        )
        if probabilities_NC.shape[1] != len(self.classes):
            raise ValueError(
                f"CaseMetrics: the model's output has {probabilities_NC.shape[1]} values per case, "
                f"expected {len(self.classes)}"
            )
        counts = {"n": float(len(rows)), "positives": float((labels_N == 1).sum())}
        sample = make_sample(labels_N, probabilities_NC, costs_CC=self.costs_CC)
        known = {**metrics_of(self.classes, with_costs=self.costs_CC is not None), **FOR_GATES}
        return {
            key: counts[name] if name in counts else float(known[name](sample)[0])
            for name, key in self.keys.items()
        }


def roll_up_rows(rows: Sequence[CaseRow], *, how: str, classes: int) -> list[CaseRow]:
    """Returns one row per group, by the same rule as `medimg.evaluation.protocols.roll_up`."""
    groups: dict[str, list[CaseRow]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    rolled = []
    for group, members in sorted(groups.items()):
        labels = {row.label for row in members}
        if classes > 2 and len(labels) > 1:
            continue
        probabilities_MC = np.array([row.probabilities for row in members])
        highest = probabilities_MC[:, -1].max()
        probabilities = (1 - highest, highest) if how == "max" else tuple(probabilities_MC.mean(axis=0))
        rolled.append(CaseRow(group, max(labels), probabilities))
    return rolled


class AboveShortcut(tfma.metrics.Metric):
    """Emits `<name>/auc_above_shortcut` of a head with two classes.

    That is the AUC of the model minus the AUC of the shortcuts on the same cases.

    Cases without a label do not count. NaN on one class, which fails every threshold.
    """

    def __init__(self, feature_key: str, name: str = "cases", code: str = "") -> None:
        """Stores the configuration.

        Args:
            feature_key: raw feature with the shortcuts' probability of the positive class
                ("shortcut_malignancy").
            name: prefix of the key.
            code: hash of the metrics' source; part of the configuration so that changed code evaluates again.
        """
        super().__init__(create_shortcut_computations, feature_key=feature_key, name=name, code=code)


metric_types.register_metric(AboveShortcut)


def create_shortcut_computations(  # noqa: PLR0913 - TFMA calls it with these.
    feature_key: str,
    name: str = "cases",
    code: str = "",
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> list[metric_types.MetricComputation]:
    """Makes one computation per model and output.

    TFMA calls this with the arguments that it finds by name.
    """
    del code  # Only there to be part of the configuration.
    preprocessor = metric_types.FeaturePreprocessor(feature_keys=[feature_key], include_default_inputs=True)
    computations = []
    for output in list_outputs(eval_config, model_names, output_names):
        key = output.make_key(f"{name}/{ABOVE_SHORTCUT}")
        combiner = ShortcutCombiner(key, output=output, feature_key=feature_key)
        computations.append(
            metric_types.MetricComputation(keys=[key], preprocessors=[preprocessor], combiner=combiner)
        )
    return computations


class ShortcutCombiner(beam.CombineFn):
    """Keeps label, the model's probability and the shortcuts' of every labelled case."""

    def __init__(self, key: metric_types.MetricKey, *, output: ModelOutput, feature_key: str) -> None:
        self.key, self.output, self.feature_key = key, output, feature_key

    def create_accumulator(self) -> list[tuple[int, float, float]]:
        return []

    def add_input(
        self, accumulator: list[tuple[int, float, float]], element: metric_types.StandardMetricInputs
    ) -> list[tuple[int, float, float]]:
        shortcut = np.asarray(element.features[self.feature_key], dtype=np.float64).reshape(-1)
        for index, probabilities_C in self.output.read(element):
            if index < 0:
                continue
            if not len(shortcut):
                raise ValueError(
                    f"AboveShortcut: a case without {self.feature_key}, expected one in every Example"
                )
            accumulator.append((index, float(probabilities_C[-1]), float(shortcut[0])))
        return accumulator

    def merge_accumulators(
        self, accumulators: Iterable[list[tuple[int, float, float]]]
    ) -> list[tuple[int, float, float]]:
        return [row for accumulator in accumulators for row in accumulator]

    def extract_output(
        self, accumulator: list[tuple[int, float, float]]
    ) -> dict[metric_types.MetricKey, float]:
        labels_N, model_N, shortcut_N = np.array(accumulator, dtype=np.float64).reshape(-1, 3).T
        return {self.key: auc(labels_N, model_N) - auc(labels_N, shortcut_N)}
