"""Mistakes by confused pair: images, maps and nearest training cases of the most confident ones, and what the tables say of all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from medimg.catalogue.split import TRAIN
from medimg.evaluation.classification.merging import Merge, merge_classes
from medimg.explain.measured_checks import GRAD_CAM
from medimg.reporting.report_data import ReportData, Section
from medimg.reporting.run_facts import RunFacts
from medimg.reporting.sections.classification.error_analysis import Tables, observe_all, observe_pair
from medimg.reporting.sections.classification.predicted_cases import (
    PAIRS,
    Confusion,
    PredictedCase,
    embed_images,
    list_confusions,
    tabulate_answers,
)
from medimg.reporting.sections.classification.training_neighbours import find_training_neighbours

TITLE = "Mistakes by confused pair"
SMALL_SIDE = 128
"""Pixels of a neighbour's longer side on the page."""


@dataclass(frozen=True)
class Neighbour:
    """A training case beside a mistake; `images` are role and data URI."""

    case_id: str
    label: str
    distance: float
    images: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Shown:
    """A mistake on the page: its images and the maps over them as role and data URI, and its neighbours, nearest first."""

    mistake: PredictedCase
    images: Sequence[tuple[str, str]]
    maps: Sequence[tuple[str, str]]
    neighbours: Sequence[Neighbour]


def describe_mistakes(data: ReportData) -> Section:
    """The first head's confused pairs, most frequent first."""
    neighbours = find_training_neighbours(data.embedded, data.facts)
    tables = gather_tables(data, neighbours)
    confusions = list_confusions(tables.answers)
    if not confusions:
        return Section(
            TITLE, "misclassifications", absent="No labelled case of the split was called wrongly."
        )
    shown = confusions[:PAIRS]
    values = {
        "errors": confusions[0].errors,
        "cases": len(tables.answers),
        "split": data.facts.split,
        "pairs": [
            (
                pair,
                observe_pair(tables, pair.label, pair.predicted),
                [show(one, data, neighbours) for one in pair.mistakes],
            )
            for pair in shown
        ],
        "in_pairs": sum(pair.count for pair in shown),
        "further": len(confusions) - len(shown),
        "observations": observe_all(tables)
        if len(confusions) > 1
        else [],  # Of a single pair it would be said twice.
        "embedded": not neighbours.empty,
    }
    mistakes = pd.DataFrame([dataclasses.asdict(mistake) for pair in shown for mistake in pair.mistakes])
    pairs = pd.DataFrame(
        [dataclasses.asdict(dataclasses.replace(pair, mistakes=())) for pair in confusions]
    ).drop(columns="mistakes")
    near = (
        {"neighbours": neighbours[neighbours["case_id"].isin(mistakes["case_id"])]} if len(neighbours) else {}
    )
    return Section(
        TITLE, "misclassifications", values, tables={"confusions": pairs, "mistakes": mistakes, **near}
    )


def confusions_of(predictions: pd.DataFrame, facts: RunFacts) -> list[Confusion]:
    """The confused pairs that the page shows: of the first head on the measured split."""
    return list_confusions(answers_of(predictions, facts, split=facts.split))[:PAIRS]


def answers_of(predictions: pd.DataFrame, facts: RunFacts, *, split: str) -> pd.DataFrame:
    """The first head's answers on a split."""
    head = facts.headline
    return tabulate_answers(
        predictions, head=head, classes=facts.heads[head], costs_CC=facts.cost_matrices.get(head), split=split
    )


def list_misclassifications(predictions: pd.DataFrame, facts: RunFacts) -> list[PredictedCase]:
    """The mistakes that the page shows."""
    return [mistake for pair in confusions_of(predictions, facts) for mistake in pair.mistakes]


def gather_tables(data: ReportData, neighbours: pd.DataFrame) -> Tables:
    """What the observations are made from."""
    facts, predictions = data.facts, data.predictions
    answers = answers_of(predictions, facts, split=facts.split)
    if len(neighbours):
        nearest = neighbours[neighbours["rank"] == 0].rename(columns={"label": "nearest"})
        answers = answers.merge(nearest[["case_id", "nearest", "distance"]], on="case_id", how="left")
    train = answers_of(predictions, facts, split=TRAIN)
    return Tables(
        answers,
        train,
        facts.heads[facts.headline],
        unions=find_unions(facts),
        slices=facts.slices,
        group_noun=facts.group_noun,
    )


def find_unions(facts: RunFacts) -> dict[str, dict[str, str]]:
    """By head that is derived from the first one: class to union, for the classes that are merged with others."""
    merges = [Merge(**values) for values in facts.merges if values["head"] == facts.headline]
    by_head = {merge.name: merge_classes(merge, facts.heads[facts.headline]) for merge in merges}
    return {
        head: {name: union for union, names in merged.items() if len(names) > 1 for name in names}
        for head, merged in by_head.items()
    }


def show(mistake: PredictedCase, data: ReportData, neighbours: pd.DataFrame) -> Shown:
    """A mistake with all that there is to see of it; in a folder without images no image."""
    nearest = neighbours[neighbours["case_id"] == mistake.case_id].sort_values("rank")
    maps = {
        row["role"]: row["file"].read_bytes()
        for row in data.explanations
        if (row["case_id"], row["method"]) == (mistake.case_id, GRAD_CAM)
    }
    return Shown(
        mistake,
        embed_images(read_images(data, mistake.case_id)),
        embed_images(maps),
        [
            Neighbour(
                row["neighbour"],
                row["label"],
                row["distance"],
                embed_images(read_images(data, row["neighbour"]), side=SMALL_SIDE),
            )
            for row in nearest.to_dict("records")
        ],
    )


def read_images(data: ReportData, case_id: str) -> Mapping[str, bytes]:
    """The images of a case by role."""
    return {role: path.read_bytes() for role, path in data.gallery.get(case_id, {}).items()}
