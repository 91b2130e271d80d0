"""Explains cases of a scored split with the exported network, for the report.

It draws pictures of a few, and checks the maps of those whose lesions are outlined.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf

from components.report_gen.scoring import read_examples
from components.trainer.exported_model import Exported, open_exported
from medimg.cases import Record
from medimg.catalogue.tables import Catalogue
from medimg.evaluation.classification.costs import read_cost_matrices
from medimg.examples.encoding import examples_to_record
from medimg.explain.batch import Batch, check_batch, draw_batch
from medimg.explain.measured_checks import GRAD_CAM, RANDOMISED, TRAINED
from medimg.explain.methods import METHODS
from medimg.explain.network import Inputs, Network, randomise
from medimg.explain.overlay import draw_legend
from medimg.reporting.bundle import CHECKS_FILE, EXPLANATIONS_FILE, LEGEND_FILE
from medimg.reporting.sections.classification.predicted_cases import (
    MISCLASSIFIED,
    PredictedCase,
    choose_examples,
    tabulate_predicted_cases,
)
from medimg.tasks import find_task

BATCH = 8
RANDOMISED_NETWORKS = 3
"""One randomised network can be lucky; the mean of three is compared with."""


@dataclass(frozen=True)
class ScoredSplit:
    """A split with what the model said of it.

    Attributes:
        name: of the split.
        files: its Examples.
        predictions: the table of `components.report_gen.scoring`; other splits may be in it.
        misclassified: the cases that the report shows.
    """

    name: str
    files: Sequence[str]
    predictions: pd.DataFrame
    misclassified: Sequence[PredictedCase]


@dataclass(frozen=True)
class Subject:
    """What is explained: the exported network, the cases' Examples by id, and the head that is asked.

    Attributes:
        cut: (network, head) to what explanations work on.
        examples: serialized, by case_id.
        classes: of the head, the positive one last.
    """

    exported: Exported
    cut: Callable[..., Network]
    examples: Mapping[str, bytes]
    head: str
    classes: Sequence[str]


def explain_split(
    report: Path,
    *,
    config: Mapping[str, Any],
    model: Path,
    catalogue: Catalogue,
    scored: ScoredSplit,
) -> None:
    """Writes `explanations/` into the report's folder; nothing for a task that has none.

    That is index.json with its pictures, legend.png, and checks.parquet, from which the report's figures are
    derived.

    The first head is explained: for pictures the class that the model names, for checks the positive one. Of
    an ensemble it is the first network.

    Args:
        config: the RunConfig as plain values; of each kind of prediction `evaluation.explained_cases` cases
            are drawn, and at most `evaluation.saliency_checked_cases` positives are checked.
        scored: the split; where cases are explained each misclassified one has a Grad-CAM too.
    """
    task, evaluation = find_task(config["task"]), config["evaluation"]
    explained, checked = evaluation["explained_cases"], evaluation["saliency_checked_cases"]
    if task.explain is None or not (explained or checked):
        return
    began = time.monotonic()
    heads = {head["name"]: head["classes"] for head in config["model"]["heads"]}
    head, classes = next(iter(heads.items()))
    costs = read_cost_matrices(evaluation["costs"], heads=heads)
    cases = [(MISCLASSIFIED, case) for case in scored.misclassified if explained]
    table = tabulate_predicted_cases(
        scored.predictions, head=head, classes=classes, costs_CC=costs.get(head), split=scored.name
    )
    cases += choose_examples(table, count=explained)
    drawn_ids = {case.case_id for _, case in cases}
    of_split = scored.predictions[scored.predictions["split"] == scored.name]
    positives = of_split.loc[of_split[f"label_{head}"] == classes[-1], "case_id"]
    outlined = choose_outlined(positives, catalogue, count=checked)
    subject = Subject(
        exported=open_exported(model, config=config),
        cut=task.explain,
        examples=read_examples(scored.files, {*outlined, *drawn_ids}),
        head=head,
        classes=classes,
    )
    (report / EXPLANATIONS_FILE).parent.mkdir(parents=True, exist_ok=True)
    draw_cases(report, cases, subject)
    drawn = time.monotonic()
    if rows := check_outlined(outlined, subject):
        checks = pd.DataFrame(rows).assign(**{"head": head, "class": classes[-1], "split": scored.name})
        checks.to_parquet(report / CHECKS_FILE, index=False)
    checking_seconds = time.monotonic() - drawn
    print(
        f"explained {len(drawn_ids)} cases in {drawn - began:.1f} s, "
        f"checked {len(outlined)} with outlined lesions in {checking_seconds:.1f} s",
        flush=True,
    )


def choose_outlined(positives: pd.Series, catalogue: Catalogue, *, count: int) -> list[str]:
    """Returns at most `count` of the positive cases with an outlined lesion, sorted.

    Which ones depends on the ids alone.

    Args:
        positives: case ids.
    """
    outlined = catalogue.cases.loc[catalogue.cases["annotations"] != "[]", "case_id"]
    case_ids = positives[positives.isin(outlined)]
    return sorted(
        sorted(case_ids, key=lambda case_id: hashlib.sha256(str(case_id).encode()).digest())[:count]
    )


def draw_cases(report: Path, cases: Sequence[tuple[str, PredictedCase]], subject: Subject) -> None:
    """Writes the pictures, their legend and index.json, a row per picture."""
    network = subject.cut(subject.exported.network, subject.head)
    by_case = {case.case_id: (kind, case) for kind, case in cases}
    rows: list[dict[str, str | float]] = []
    folder = (report / EXPLANATIONS_FILE).parent
    groups: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for case_id, (kind, case) in by_case.items():
        groups[case.predicted, kind == MISCLASSIFIED].append(case_id)
    for (name, is_misclassified), case_ids in groups.items():
        for records, inputs in read_batches(case_ids, subject):
            pictures = draw_batch(
                Batch(records, inputs, subject.exported.settings.roles),
                network=network,
                class_index=subject.classes.index(name),
                folder=folder,
                methods=[GRAD_CAM] if is_misclassified else list(METHODS),
            )
            for picture in pictures:
                kind, case = by_case[picture["case_id"]]
                rows.append(
                    {
                        **picture,
                        "kind": kind,
                        "head": case.head,
                        "label": case.label,
                        "class": case.predicted,
                        "probability": case.probability,
                        "file": f"{folder.name}/{picture['file']}",
                    }
                )
    if rows:
        (report / LEGEND_FILE).write_bytes(draw_legend())
    chosen = list(by_case)
    rows.sort(key=lambda row: chosen.index(str(row["case_id"])))
    (report / EXPLANATIONS_FILE).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def check_outlined(case_ids: Sequence[str], subject: Subject) -> list[dict[str, Any]]:
    """Returns a row per outlined view, method and network."""
    if not case_ids:
        return []
    networks = {TRAINED: subject.cut(subject.exported.network, subject.head)}
    for seed in range(RANDOMISED_NETWORKS):
        randomised = randomise(subject.exported.network, seed=seed)
        networks[f"{RANDOMISED}-{seed}"] = subject.cut(randomised, subject.head)
    rows: list[dict[str, Any]] = []
    for records, inputs in read_batches(case_ids, subject):
        batch = Batch(records, inputs, subject.exported.settings.roles)
        rows += check_batch(batch, networks=networks, class_index=len(subject.classes) - 1)
    return rows


def read_batches(case_ids: Sequence[str], subject: Subject) -> Iterator[tuple[list[Record], Inputs]]:
    """The cases as stored and as the network takes them, a few at a time."""
    for start in range(0, len(case_ids), BATCH):
        serialized = [subject.examples[case_id] for case_id in case_ids[start : start + BATCH]]
        inputs = subject.exported.read(tf.constant(serialized))
        records = [examples_to_record([example]) for example in serialized]
        yield records, {name: values.numpy() for name, values in inputs.items()}
