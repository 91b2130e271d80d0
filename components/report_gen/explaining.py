"""Explains cases of a scored split with the exported network, for the report: pictures of a few, checks on those whose lesions are outlined."""

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
from medimg.reporting.sections.classification.predicted_cases import MISTAKE, PredictedCase, choose_examples
from medimg.tasks import find_task

BATCH = 8
RANDOMISED_NETWORKS = 3
"""One randomised network can be lucky; the mean of three is compared with."""


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
    files: Sequence[str],
    predictions: pd.DataFrame,
    mistakes: Sequence[PredictedCase],
    catalogue: Catalogue,
    split: str,
) -> None:
    """Writes `explanations/` into the report's folder; nothing for a task that has none.

    That is index.json with its pictures, legend.png, and checks.parquet, from which the report's figures are
    derived.

    The first head is explained: for pictures the class that the model names, for checks the positive one. Of
    an ensemble it is the first network.

    Args:
        config: the RunConfig as plain values; of each kind of answer `evaluation.explained_cases` cases are drawn,
            and at most `evaluation.saliency_checked_cases` positives are checked.
        files: the split's Examples.
        predictions: the split's.
        mistakes: those that the report shows; where cases are explained each has a Grad-CAM too.
    """
    task = find_task(config["task"])
    explained, checked = (
        config["evaluation"]["explained_cases"],
        config["evaluation"]["saliency_checked_cases"],
    )
    if task.explain is None or not (explained or checked):
        return
    began = time.monotonic()
    head, classes = config["model"]["heads"][0]["name"], config["model"]["heads"][0]["classes"]
    costs = read_cost_matrices(
        config["evaluation"]["costs"], heads={one["name"]: one["classes"] for one in config["model"]["heads"]}
    )
    answers = [(MISTAKE, mistake) for mistake in mistakes if explained]
    answers += choose_examples(
        predictions, head=head, classes=classes, costs_CC=costs.get(head), split=split, count=explained
    )
    outlined = choose_outlined(
        predictions, catalogue, head=head, positive=classes[-1], split=split, count=checked
    )
    subject = Subject(
        exported=open_exported(model, config=config),
        cut=task.explain,
        examples=read_examples(files, {*outlined, *(answer.case_id for _, answer in answers)}),
        head=head,
        classes=classes,
    )
    (report / EXPLANATIONS_FILE).parent.mkdir(parents=True, exist_ok=True)
    draw_answers(report, answers, subject)
    drawn = time.monotonic()
    if rows := check_outlined(outlined, subject):
        checks = pd.DataFrame(rows).assign(**{"head": head, "class": classes[-1], "split": split})
        checks.to_parquet(report / CHECKS_FILE, index=False)
    told = f"explained {len({answer.case_id for _, answer in answers})} cases in {drawn - began:.1f} s"
    print(
        f"{told}, checked {len(outlined)} with outlined lesions in {time.monotonic() - drawn:.1f} s",
        flush=True,
    )


def choose_outlined(
    predictions: pd.DataFrame, catalogue: Catalogue, *, head: str, positive: str, split: str, count: int
) -> list[str]:
    """At most `count` positive cases with an outlined lesion, sorted; which ones depends on the ids alone."""
    outlined = catalogue.cases.loc[catalogue.cases["annotations"] != "[]", "case_id"]
    rows = predictions[
        (predictions["split"] == split)
        & (predictions[f"label_{head}"] == positive)
        & predictions["case_id"].isin(outlined)
    ]
    return sorted(
        sorted(rows["case_id"], key=lambda case_id: hashlib.sha256(str(case_id).encode()).digest())[:count]
    )


def draw_answers(report: Path, answers: Sequence[tuple[str, PredictedCase]], subject: Subject) -> None:
    """Writes the pictures, their legend and index.json, a row per picture."""
    network = subject.cut(subject.exported.network, subject.head)
    by_case = {answer.case_id: (kind, answer) for kind, answer in answers}
    rows: list[dict[str, Any]] = []
    folder = (report / EXPLANATIONS_FILE).parent
    wanted: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for case_id, (kind, answer) in by_case.items():
        wanted[answer.predicted, kind == MISTAKE].append(case_id)
    for (name, is_mistake), case_ids in wanted.items():
        methods = [GRAD_CAM] if is_mistake else list(METHODS)
        class_index = subject.classes.index(name)
        for records, inputs in read_batches(case_ids, subject):
            batch = Batch(records, inputs, subject.exported.settings.roles)
            for row in draw_batch(
                batch, network=network, class_index=class_index, folder=folder, methods=methods
            ):
                kind, answer = by_case[row["case_id"]]
                about = {
                    "kind": kind,
                    "head": answer.head,
                    "label": answer.label,
                    "class": answer.predicted,
                    "probability": answer.probability,
                }
                rows.append({**row, **about, "file": f"{folder.name}/{row['file']}"})
    if rows:
        (report / LEGEND_FILE).write_bytes(draw_legend())
    chosen = list(by_case)
    rows.sort(key=lambda row: chosen.index(row["case_id"]))
    (report / EXPLANATIONS_FILE).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def check_outlined(case_ids: Sequence[str], subject: Subject) -> list[dict[str, Any]]:
    """A row per outlined view, method and network."""
    if not case_ids:
        return []
    randomised = {
        f"{RANDOMISED}-{seed}": randomise(subject.exported.network, seed=seed)
        for seed in range(RANDOMISED_NETWORKS)
    }
    networks = {
        name: subject.cut(model, subject.head)
        for name, model in {TRAINED: subject.exported.network, **randomised}.items()
    }
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
        yield (
            [examples_to_record([example]) for example in serialized],
            {name: values.numpy() for name, values in inputs.items()},
        )
