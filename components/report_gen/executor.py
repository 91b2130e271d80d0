"""Executor of ReportGen."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow_model_analysis as tfma
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.artifacts import GateReport, Rejects
from components.evaluator.eval_config import CASES
from components.report_gen.embedding import embed_splits
from components.report_gen.explaining import explain_split
from components.report_gen.scoring import list_records, read_images, score_examples
from components.trainer.serving import FACTS_FILE
from medimg.catalogue.split import SPLITS, TEST, TRAIN
from medimg.catalogue.tables import Catalogue, find_clusters, read_catalogue
from medimg.evaluation.classification.costs import read_cost_matrices
from medimg.evaluation.classification.merging import Merge, merge_heads, merge_predictions
from medimg.evaluation.classification.shortcuts import tabulate_shortcuts
from medimg.evaluation.figures import Figure, value_text
from medimg.evaluation.gates import OVERALL, Gate, split_slice
from medimg.evaluation.protocols import find_protocols
from medimg.hashing import hash_tree
from medimg.reporting.bundle import METRICS_FILE, SHORTCUTS_FILE, derive, write_bundle
from medimg.reporting.run_facts import RunFacts
from medimg.reporting.sections.classification.misclassifications import mistakes_of
from medimg.reporting.sections.classification.predicted_cases import Answer
from medimg.reporting.sections.classification.training_neighbours import find_training_neighbours

PACKAGES = ("tfx", "tensorflow", "keras", "apache-beam", "tensorflow-model-analysis", "tensorflow-data-validation", "ml-metadata", "pydicom", "numpy")


class Executor(BaseExecutor):
    """Scores the splits, gathers what is known of the run, and writes the report's folder."""

    def Do(self, input_dict: dict[str, list[Any]], output_dict: dict[str, list[Any]], exec_properties: dict[str, Any]) -> None:
        config = json.loads(exec_properties["config"])
        artifact = artifact_utils.get_single_instance(output_dict["report"])
        catalogue = read_catalogue(Path(artifact_utils.get_single_uri(input_dict["catalogue"])))
        heads = {head["name"]: tuple(head["classes"]) for head in config["model"]["heads"]}
        examples = artifact_utils.get_single_uri(input_dict["examples"])
        model = Path(path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"])))
        merges = [Merge(**values) for values in config["evaluation"]["merge"]]
        scored = SPLITS if config["evaluation"]["score_train"] else SPLITS[1:]
        predictions = score_splits(model, examples, heads=heads, splits=scored)
        predictions = complete(predictions, catalogue, heads=heads, columns=config["evaluation"]["slices"])
        predictions = merge_predictions(predictions, merges, heads=heads)
        evaluated = read_evaluation(artifact_utils.get_single_uri(input_dict["evaluation"]), only_head=only_head(heads))
        facts = gather_facts(input_dict, exec_properties, catalogue=catalogue, evaluated=evaluated, model=model)
        facts = dataclasses.replace(facts, heads=merge_heads(heads, merges), merges=config["evaluation"]["merge"])
        folder, files, mistakes = Path(artifact.uri), list_records(examples, TEST), mistakes_of(predictions, facts)
        embedded = embed_splits(folder, config=config, model=model, examples=examples, catalogue=catalogue)
        images = read_gallery(examples, mistakes, neighbours=find_training_neighbours(embedded, facts))
        write_bundle(folder, predictions=predictions, facts=facts, gallery=images)
        write_shortcuts(folder, catalogue, evaluation=config["evaluation"], heads=heads)
        explained: dict[str, Any] = {"predictions": predictions, "mistakes": mistakes, "files": files, "split": TEST}
        explain_split(folder, config=config, model=model, catalogue=catalogue, **explained)
        note_figures(artifact, derive(folder))


def score_splits(model: Path, examples: str, *, heads: Mapping[str, Sequence[str]], splits: Sequence[str]) -> pd.DataFrame:
    """The predictions of the splits, and but for train those of their unlabelled cases where these were written."""
    tables = []
    for split in splits:
        for name in (split, f"unlabelled_{split}") if split != TRAIN else (split,):
            if files := list_records(examples, name):
                tables.append(score_examples(model, files, heads=heads).assign(split=split))
    return pd.concat(tables, ignore_index=True)


def read_gallery(examples: str, mistakes: Sequence[Answer], *, neighbours: pd.DataFrame) -> dict[str, dict[str, bytes]]:
    """Images by role of mistakes and of their nearest training cases, by case."""
    shown = {mistake.case_id for mistake in mistakes}
    near = set(neighbours.loc[neighbours["case_id"].isin(shown), "neighbour"])
    return read_images(list_records(examples, TEST), shown) | read_images(list_records(examples, TRAIN), near)


def write_shortcuts(to: Path, catalogue: Catalogue, *, evaluation: Mapping[str, Any], heads: Mapping[str, Sequence[str]]) -> None:
    """Writes the table of shortcuts with the columns that protocols and slices select by, if the config names any shortcut."""
    if evaluation["shortcuts"]:
        selecting = [*evaluation["slices"], *(column for protocol in find_protocols(evaluation["protocols"]) for column in protocol.where)]
        table = tabulate_shortcuts(catalogue, evaluation["shortcuts"], heads=heads, clinical=selecting)
        table.to_parquet(to / SHORTCUTS_FILE, index=False)


def complete(predictions: pd.DataFrame, catalogue: Catalogue, *, heads: Mapping[str, Sequence[str]], columns: Sequence[str]) -> pd.DataFrame:
    """Adds fold, number of images, cluster and the columns that no Example of these splits happens to carry."""
    cases = catalogue.cases.set_index("case_id")
    predictions = predictions.assign(
        fold=predictions.case_id.map(cases["fold"]).astype("Int64"),
        image_count=predictions.case_id.map(cases["image_count"]).astype("Int64"),
        cluster_id=predictions.group_id.map(find_clusters(catalogue)),
    )
    for column in (*(f"label_{head}" for head in heads), *(f"clinical_{column}" for column in columns)):
        if column not in predictions:
            predictions[column] = None
    return predictions


def only_head(heads: Mapping[str, Sequence[str]]) -> str:
    """The head's name if there is just one: TFMA knows the only output of a model by the empty name."""
    return next(iter(heads)) if len(heads) == 1 else ""


def read_evaluation(uri: str, *, only_head: str) -> dict[tuple[str, str, str], float]:
    """The Evaluator's figures of the candidate model by (head, metric, slice)."""
    found: dict[tuple[str, str, str], float] = {}
    result = tfma.load_eval_result(uri, model_name=candidate_name(uri))
    for slice_key, by_output in result.slicing_metrics:
        name = ",".join(f"{column.removeprefix('clinical_')}={show(value)}" for column, value in slice_key) or OVERALL
        for head, by_class in by_output.items():
            for metric, value in by_class.get("", {}).items():
                if "doubleValue" in value:
                    found[head or only_head, metric, name] = float(value["doubleValue"])
    return found


def candidate_name(uri: str) -> str:
    """The name that the candidate has beside a baseline; empty without one."""
    config = tfma.load_eval_result(uri).config
    return next((spec.name for spec in config.model_specs if not spec.is_baseline), "")


def show(value: Any) -> str:
    """A slice's value as the report's figures name it."""
    return value.decode() if isinstance(value, bytes) else value_text(value)


def gather_facts(
    input_dict: Mapping[str, list[Any]],
    exec_properties: Mapping[str, Any],
    *,
    catalogue: Catalogue,
    evaluated: Mapping[tuple[str, str, str], float],
    model: Path,
) -> RunFacts:
    """What the report says of the run: blessing, counts, versions, hashes, warnings. No path and no clock."""
    config = json.loads(exec_properties["config"])
    summary = catalogue.summary
    gate = json.loads(Path(artifact_utils.get_single_uri(input_dict["gate"]), GateReport.FILE).read_text())
    rejects = json.loads(Path(artifact_utils.get_single_uri(input_dict["rejects"]), Rejects.FILE).read_text())["rejects"]
    gates = [Gate(**values) for values in config["evaluation"]["gates"]]
    validation = tfma.load_validation_result(artifact_utils.get_single_uri(input_dict["evaluation"])) if gates else None
    heads = {head["name"]: list(head["classes"]) for head in config["model"]["heads"]}
    return RunFacts(
        title=f"{summary['title'] or config['data_set']}: {config['model']['heads'][0]['name']}",
        config_name=config["name"],
        data_set=config["data_set"],
        heads=heads,
        licence=summary["licence"],
        doi=summary["doi"],
        blessed=bool(validation.validation_ok) if validation else None,
        gates=[(describe_gate(one, evaluated), passes(one, validation, heads=heads)) for one in gates],
        summary=summary,
        config=dict(flatten(without_folders(config))),
        versions={name: version(name) for name in PACKAGES},
        hashes={"catalogue": summary["content_hash"], **json.loads(exec_properties["facts"]), "model": hash_tree(model)},
        warnings=[f"{reject['case_id']} could not be read while writing Examples: {reject['reason']}" for reject in rejects] + gate["warnings"],
        synthetic=bool(summary.get("synthetic")),
        split=TEST,
        protocols=config["evaluation"]["protocols"],
        slices=config["evaluation"]["slices"],
        resamples=config["evaluation"]["resamples"],
        shortcuts=config["evaluation"]["shortcuts"],
        costs={head: costs_CC.tolist() for head, costs_CC in read_cost_matrices(config["evaluation"]["costs"], heads=heads).items()},
        prevalence=json.loads((model / FACTS_FILE).read_text(encoding="utf-8"))["prevalence"],
        evaluated=list(list_evaluated(evaluated)),
    )


def list_evaluated(evaluated: Mapping[tuple[str, str, str], float]) -> Iterator[dict[str, Any]]:
    """Those of the Evaluator's figures that count cases, to hold the report's against them."""
    for (head, metric, slice_name), value in evaluated.items():
        if metric.startswith(f"{CASES}/"):
            yield {"head": head, "metric": metric.removeprefix(f"{CASES}/"), "slice": slice_name, "value": None if math.isnan(value) else value}


def passes(gate: Gate, validation: Any, *, heads: Mapping[str, Sequence[str]]) -> bool:
    """Whether the Evaluator let the gate pass: an absent slice and an undefined figure do not."""
    place = output_of(gate.head, heads), f"{CASES}/{gate.metric}", gate.slice
    return gate.slice not in missing_slices(validation) and place not in failed_gates(validation)


def failed_gates(validation: Any) -> Iterator[tuple[str, str, str]]:
    """(head, metric, slice) of each threshold that was missed on a slice that exists."""
    for by_slice in validation.metric_validations_per_slice:
        name = ",".join(f"{one.column.removeprefix('clinical_')}={show_single(one)}" for one in by_slice.slice_key.single_slice_keys) or OVERALL
        for failure in by_slice.failures:
            yield failure.metric_key.output_name, failure.metric_key.name, name


def missing_slices(validation: Any) -> Iterator[str]:
    """Gated slices without a case: every gate on them fails, though TFMA lists no failure of theirs."""
    for spec in validation.missing_slices:
        yield ",".join(f"{column.removeprefix('clinical_')}={value}" for column, value in spec.feature_values.items()) or OVERALL


def output_of(head: str, heads: Mapping[str, Sequence[str]]) -> str:
    """TFMA's name of a head's output."""
    return "" if only_head(heads) else head


def show_single(key: Any) -> str:
    """The value of one column of a slice."""
    value = getattr(key, key.WhichOneof("kind"))
    return show(value)


def describe_gate(gate: Gate, evaluated: Mapping[tuple[str, str, str], float]) -> str:
    """The gate in words, with what was found."""
    found = evaluated.get((gate.head, f"{CASES}/{gate.metric}", gate.slice))
    if found is None and split_slice(gate.slice):
        return f"{gate}: no such slice in the {TEST} split"
    return f"{gate}: found {found:.3f}" if found is not None and not math.isnan(found) else f"{gate}: undefined"


def without_folders(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with a file of weights by its name alone: where it lies is this machine's business, and its hash stands beside."""
    weights = config["model"]["weights"]
    return {**config, "model": {**config["model"], "weights": weights and Path(weights).name}}


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and value of nested settings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value) if isinstance(value, list) else str(value)


def note_figures(artifact: Any, figures: Sequence[Figure]) -> None:
    """Puts every figure into ML Metadata as custom properties of the report.

    Each number is one, `<head>.<metric>.<protocol>.<level>.<split>.<slice>.<what>`, to look up and compare; `metrics` is the whole of
    metrics.json, because the store keeps six decimals of a number.
    """
    artifact.set_string_custom_property("metrics", Path(artifact.uri, METRICS_FILE).read_text())
    for figure in figures:
        key = ".".join((figure.head, figure.name, figure.protocol, figure.level, figure.split, figure.slice))
        artifact.set_int_custom_property(f"{key}.n", figure.n)
        artifact.set_int_custom_property(f"{key}.groups", figure.groups)
        for what, value in (("value", figure.value), ("low", figure.low), ("high", figure.high)):
            if not math.isnan(value):
                artifact.set_float_custom_property(f"{key}.{what}", value)
