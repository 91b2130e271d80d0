"""Executor of ReportGen."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.utils import path_utils

from components.artifacts import Rejects
from components.case_example_gen.outcome import WrittenExamples, expect_cases, lost_examples, read_outcome
from components.evaluator.eval_config import EXAMPLES
from components.report_gen.embedding import embed_splits
from components.report_gen.evaluator_results import only_head, read_evaluation
from components.report_gen.explaining import ScoredSplit, explain_split
from components.report_gen.run_facts import gather_facts
from components.report_gen.scoring import list_records, read_images, score_examples
from components.trainer.facts import CALIBRATION_FILE
from medimg.catalogue.split import SPLITS, TEST, TRAIN
from medimg.catalogue.tables import Catalogue, find_clusters, read_catalogue
from medimg.errors import MedimgError
from medimg.evaluation.classification.held_out import add_held_out
from medimg.evaluation.classification.merging import Merge, merge_heads, merge_predictions
from medimg.evaluation.classification.shortcuts import tabulate_shortcuts
from medimg.evaluation.figures import Figure
from medimg.evaluation.gates import OVERALL
from medimg.evaluation.protocols import find_protocols
from medimg.reporting.bundle import METRICS_FILE, SHORTCUTS_FILE, derive, write_bundle
from medimg.reporting.sections.classification.misclassifications import list_misclassifications
from medimg.reporting.sections.classification.predicted_cases import PredictedCase
from medimg.reporting.sections.classification.training_neighbours import find_training_neighbours


class Executor(BaseExecutor):
    """Scores the splits, gathers what is known of the run, and writes the report's folder."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, str],
    ) -> None:
        config = json.loads(exec_properties["config"])
        artifact = artifact_utils.get_single_instance(output_dict["report"])
        catalogue = read_catalogue(Path(artifact_utils.get_single_uri(input_dict["catalogue"])))
        heads = {head["name"]: tuple(head["classes"]) for head in config["model"]["heads"]}
        examples = artifact_utils.get_single_uri(input_dict["examples"])
        model = Path(path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"])))
        merges = [Merge(**values) for values in config["evaluation"]["merge"]]
        scored = SPLITS if config["evaluation"]["score_train"] else SPLITS[1:]
        outcome = read_outcome(Path(artifact_utils.get_single_uri(input_dict["rejects"]), Rejects.FILE))
        evaluated = read_evaluation(
            artifact_utils.get_single_uri(input_dict["evaluation"]), only_head=only_head(heads)
        )
        expect_evaluated(evaluated, outcome, heads=heads)
        predictions = score_splits(model, examples, heads=heads, splits=scored)
        expect_scored(predictions, outcome, splits=scored)
        model_run = artifact_utils.get_single_uri(input_dict["model_run"])
        predictions = add_held_out(predictions, pd.read_parquet(Path(model_run, CALIBRATION_FILE)))
        predictions = complete(predictions, catalogue, heads=heads, columns=config["evaluation"]["slices"])
        predictions = merge_predictions(predictions, merges, heads=heads)
        facts = gather_facts(
            input_dict, exec_properties, catalogue=catalogue, evaluated=evaluated, model=model
        )
        facts = dataclasses.replace(
            facts, heads=merge_heads(heads, merges), merges=config["evaluation"]["merge"]
        )
        folder, misclassified = Path(artifact.uri), list_misclassifications(predictions, facts)
        embedded = embed_splits(folder, config=config, model=model, examples=examples, catalogue=catalogue)
        images = read_gallery(examples, misclassified, neighbours=find_training_neighbours(embedded, facts))
        write_bundle(folder, predictions=predictions, facts=facts, gallery=images)
        write_shortcuts(folder, catalogue, evaluation=config["evaluation"], heads=heads)
        scored_split = ScoredSplit(TEST, list_records(examples, TEST), predictions, misclassified)
        explain_split(folder, config=config, model=model, catalogue=catalogue, scored=scored_split)
        note_figures(artifact, derive(folder))


def score_splits(
    model: Path, examples: str, *, heads: Mapping[str, Sequence[str]], splits: Sequence[str]
) -> pd.DataFrame:
    """Returns the predictions of the splits.

    But for train, those of their unlabelled cases are among them where these were written.
    """
    tables = []
    for split in splits:
        for name in (split, f"unlabelled_{split}") if split != TRAIN else (split,):
            if files := list_records(examples, name):
                tables.append(score_examples(model, files, heads=heads).assign(split=split))
    return pd.concat(tables, ignore_index=True)


def expect_scored(predictions: pd.DataFrame, outcome: WrittenExamples, *, splits: Sequence[str]) -> None:
    """Raises MedimgError unless each written case is scored, unlabelled ones too except train's."""
    for split in splits:
        names = (split, f"unlabelled_{split}") if split != TRAIN else (split,)
        found = predictions.loc[predictions["split"] == split, "case_id"].nunique()
        expect_cases("ReportGen", found, outcome, splits=names)


def expect_evaluated(
    evaluated: Mapping[tuple[str, str, str], float], outcome: WrittenExamples, *, heads: Iterable[str]
) -> None:
    """Raises MedimgError unless the Evaluator has seen each Example of the test split for each head."""
    for head in heads:
        found = {TEST: evaluated.get((head, EXAMPLES, OVERALL), 0)}
        for line in lost_examples("Evaluator", found, outcome):
            raise MedimgError(line)


def read_gallery(
    examples: str, misclassified: Sequence[PredictedCase], *, neighbours: pd.DataFrame
) -> dict[str, dict[str, bytes]]:
    """Returns images by role of misclassified cases and of their nearest training cases, by case."""
    shown = {case.case_id for case in misclassified}
    near = set(neighbours.loc[neighbours["case_id"].isin(shown), "neighbour"])
    return read_images(list_records(examples, TEST), shown) | read_images(list_records(examples, TRAIN), near)


def write_shortcuts(
    to: Path, catalogue: Catalogue, *, evaluation: Mapping[str, Any], heads: Mapping[str, Sequence[str]]
) -> None:
    """Writes the table of shortcuts, if the config names any.

    It has the columns too that protocols and slices select by.
    """
    if evaluation["shortcuts"]:
        selecting = list(evaluation["slices"])
        for protocol in find_protocols(evaluation["protocols"]):
            selecting += protocol.where
        table = tabulate_shortcuts(catalogue, evaluation["shortcuts"], heads=heads, clinical=selecting)
        table.to_parquet(to / SHORTCUTS_FILE, index=False)


def complete(
    predictions: pd.DataFrame,
    catalogue: Catalogue,
    *,
    heads: Mapping[str, Sequence[str]],
    columns: Sequence[str],
) -> pd.DataFrame:
    """Adds fold, number of images, cluster, and the columns that no Example of these splits has."""
    cases = catalogue.cases.set_index("case_id")
    predictions = predictions.assign(
        fold=predictions.case_id.map(cases["fold"]).astype("Int64"),
        image_count=predictions.case_id.map(cases["image_count"]).astype("Int64"),
        cluster_id=predictions.group_id.map(find_clusters(catalogue)),
    )
    labels = [f"label_{head}" for head in heads]
    for column in (*labels, *(f"clinical_{column}" for column in columns)):
        if column not in predictions:
            predictions[column] = None
    return predictions


def note_figures(artifact: Artifact, figures: Sequence[Figure]) -> None:
    """Puts every figure into ML Metadata as custom properties of the report.

    Each number is one, `<head>.<metric>.<protocol>.<level>.<split>.<slice>.<what>`, to look up and compare;
    `metrics` is the whole of metrics.json, because the store keeps six decimals of a number.
    """
    artifact.set_string_custom_property("metrics", Path(artifact.uri, METRICS_FILE).read_text())
    for figure in figures:
        key = ".".join((figure.head, figure.name, figure.protocol, figure.level, figure.split, figure.slice))
        artifact.set_int_custom_property(f"{key}.n", figure.n)
        artifact.set_int_custom_property(f"{key}.groups", figure.groups)
        for what, value in (("value", figure.value), ("low", figure.low), ("high", figure.high)):
            if not math.isnan(value):
                artifact.set_float_custom_property(f"{key}.{what}", value)
