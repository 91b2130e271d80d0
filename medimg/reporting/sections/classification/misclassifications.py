"""Misclassifications by confused pair.

Images, maps and nearest training cases of the most confident ones, and what the tables say of all.
"""

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
    tabulate_predicted_cases,
)
from medimg.reporting.sections.classification.training_neighbours import find_training_neighbours

TITLE = "Mistakes by confused pair"
SMALL_SIDE = 128
"""Pixels of a neighbour's longer side on the page."""


@dataclass(frozen=True)
class Neighbour:
    """A training case beside a misclassified one; `images` are role and data URI."""

    case_id: str
    label: str
    distance: float
    images: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Card:
    """A misclassified case on the page.

    Attributes:
        case: which one.
        images, maps: its images and the maps over them, as role and data URI.
        neighbours: nearest first.
    """

    case: PredictedCase
    images: Sequence[tuple[str, str]]
    maps: Sequence[tuple[str, str]]
    neighbours: Sequence[Neighbour]


def describe_misclassifications(data: ReportData) -> Section:
    """The first head's confused pairs, most frequent first."""
    neighbours = find_training_neighbours(data.embedded, data.facts)
    tables = gather_tables(data, neighbours)
    confusions = list_confusions(tables.answers)
    if not confusions:
        return Section(
            TITLE, "misclassifications", absent="No labelled case of the split was called wrongly."
        )
    shown = confusions[:PAIRS]
    pairs = []
    for pair in shown:
        cards = [make_card(case, data, neighbours) for case in pair.examples]
        pairs.append((pair, observe_pair(tables, pair.label, pair.predicted), cards))
    values = {
        "errors": confusions[0].errors,
        "cases": len(tables.answers),
        "split": data.facts.split,
        "pairs": pairs,
        "in_pairs": sum(pair.count for pair in shown),
        "further": len(confusions) - len(shown),
        # Of a single pair it would be said twice.
        "observations": observe_all(tables) if len(confusions) > 1 else [],
        "embedded": not neighbours.empty,
    }
    return Section(TITLE, "misclassifications", values, tables=tabulate_confusions(confusions, neighbours))


def tabulate_confusions(confusions: Sequence[Confusion], neighbours: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All confused pairs, the cases that the page shows, and their neighbours where there are any."""
    shown = list_examples(confusions[:PAIRS])
    mistakes = pd.DataFrame([dataclasses.asdict(case) for case in shown])
    pairs = [dataclasses.asdict(dataclasses.replace(pair, examples=())) for pair in confusions]
    tables = {"confusions": pd.DataFrame(pairs).drop(columns="examples"), "mistakes": mistakes}
    if len(neighbours):
        tables["neighbours"] = neighbours[neighbours["case_id"].isin(mistakes["case_id"])]
    return tables


def list_examples(confusions: Sequence[Confusion]) -> list[PredictedCase]:
    """The cases of all pairs."""
    return [case for pair in confusions for case in pair.examples]


def list_misclassifications(predictions: pd.DataFrame, facts: RunFacts) -> list[PredictedCase]:
    """The misclassified cases that the page shows: of the first head on the measured split."""
    table = tabulate_headline_cases(predictions, facts, split=facts.split)
    return list_examples(list_confusions(table)[:PAIRS])


def tabulate_headline_cases(predictions: pd.DataFrame, facts: RunFacts, *, split: str) -> pd.DataFrame:
    """What the model says of the first head, for the labelled cases of a split."""
    head = facts.headline
    return tabulate_predicted_cases(
        predictions, head=head, classes=facts.heads[head], costs_CC=facts.cost_matrices.get(head), split=split
    )


def gather_tables(data: ReportData, neighbours: pd.DataFrame) -> Tables:
    """What the observations are made from."""
    facts, predictions = data.facts, data.predictions
    answers = tabulate_headline_cases(predictions, facts, split=facts.split)
    if len(neighbours):
        nearest = neighbours[neighbours["rank"] == 0].rename(columns={"label": "nearest"})
        answers = answers.merge(nearest[["case_id", "nearest", "distance"]], on="case_id", how="left")
    train = tabulate_headline_cases(predictions, facts, split=TRAIN)
    return Tables(
        answers,
        train,
        facts.heads[facts.headline],
        unions=find_unions(facts),
        slices=facts.slices,
        group_noun=facts.group_noun,
    )


def find_unions(facts: RunFacts) -> dict[str, dict[str, str]]:
    """By head that is derived from the first one: class to union, for classes that are merged with others."""
    unions: dict[str, dict[str, str]] = {}
    for values in facts.merges:
        if values["head"] == facts.headline:
            merge = Merge(**values)
            union_of = unions.setdefault(merge.name, {})
            for union, names in merge_classes(merge, facts.heads[facts.headline]).items():
                if len(names) > 1:
                    union_of.update(dict.fromkeys(names, union))
    return unions


def make_card(case: PredictedCase, data: ReportData, neighbours: pd.DataFrame) -> Card:
    """A case with all that there is to see of it; in a folder without images no image."""
    nearest = neighbours[neighbours["case_id"] == case.case_id].sort_values("rank")
    maps = {
        row["role"]: row["file"].read_bytes()
        for row in data.explanations
        if (row["case_id"], row["method"]) == (case.case_id, GRAD_CAM)
    }
    beside = []
    for row in nearest.to_dict("records"):
        images = embed_images(read_images(data, row["neighbour"]), side=SMALL_SIDE)
        beside.append(Neighbour(row["neighbour"], row["label"], row["distance"], images))
    return Card(case, embed_images(read_images(data, case.case_id)), embed_images(maps), beside)


def read_images(data: ReportData, case_id: str) -> Mapping[str, bytes]:
    """The images of a case by role."""
    return {role: path.read_bytes() for role, path in data.gallery.get(case_id, {}).items()}
