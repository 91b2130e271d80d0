"""Looking at the data: maps of the cases, overlap of splits and of classes, leakage of a split by case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medimg.catalogue.split import SPLITS
from medimg.evaluation.figures import Figure
from medimg.evaluation.representation.figures import MODEL, PIXELS, read_embedded, tabulate_classes
from medimg.evaluation.representation.leakage_estimate import CLASSIFIERS
from medimg.evaluation.representation.maps import MAPS
from medimg.reporting.charts.base import Chart, draw_map
from medimg.reporting.report_data import ReportData, Section

TITLE = "Looking at the data"
EMBEDDING_NAMES = {PIXELS: "plain pixels", MODEL: "the model's embedding"}
MAP_NAMES = {"tsne": "t-SNE", "umap_like": "UMAP-like map"}
CLASSIFIER_NAMES = {"nearest": "nearest neighbour", "logistic": "logistic regression"}
COLOURINGS = ("split", "class")
NO_LABEL = "no label"
MEASURES = {
    "nearest_in_train": "cases whose nearest case is a train case",
    "close_to_train": "cases as close to a train case as the closest 5 % of train cases are "
    "to another group's",
    "split_auc": "AUC of a classifier that tells the two splits apart",
    "mmd_squared": "maximum mean discrepancy, squared",
}
"""Of the overlap of train and the measured split."""
EXPECTED = {"split_auc": 0.5, "mmd_squared": 0.0}
"""By chance, of measures that have no figure of it."""


@dataclass(frozen=True)
class Measure:
    """One row of a table: a figure in words, what chance would give, and the p-value where there is one."""

    words: str
    figure: Figure
    by_chance: float | None
    p_value: float | None


@dataclass(frozen=True)
class Representation:
    """What is said of one embedding.

    Attributes:
        splits: of train and the measured split.
        others: share of other classes among the neighbours, and by chance; None where there is none.
        classes: a row per class that occurs, a column per class, the mean share among its neighbours.
    """

    key: str
    name: str
    splits: list[Measure]
    others: tuple[Figure, Figure] | None
    classes: pd.DataFrame


def describe_representation(data: ReportData) -> Section:
    """Maps and figures of every embedding of the table."""
    if data.embedded is None:
        return Section(TITLE, "representation", absent="No case was embedded (evaluation.embedded_cases).")
    figures = {figure.name: figure for figure in data.overlap}
    representations = [
        describe_embedding(data, data.embedded, figures, key)
        for key in dict.fromkeys(data.embedded["embedding"])
    ]
    values = {
        "split": data.facts.split,
        "head": data.facts.headline,
        "cases": data.embedded["case_id"].nunique(),
        "used": data.facts.summary.get("cases", {}).get("used"),
        "by_case": data.facts.config.get("split.by") == "case",
        "representations": representations,
        "maps": MAP_NAMES,
        "leaks": [list_leakage(figures, name) for name in CLASSIFIERS],
    }
    tables = {
        f"class_neighbours_{one.key}": one.classes.reset_index(names="class") for one in representations
    }
    return Section(TITLE, "representation", values, draw_maps(data, data.embedded), tables)


def list_leakage(
    figures: Mapping[str, Figure], classifier: str
) -> tuple[str, Figure | None, Figure | None, Figure | None]:
    """A classifier for people, and its figures in folds by case, in folds by group, and their difference."""
    by_case, by_group, leak = (
        figures.get(f"{what}_{classifier}") for what in ("folds_by_case", "folds_by_group", "leak")
    )
    return CLASSIFIER_NAMES[classifier], by_case, by_group, leak


def describe_embedding(
    data: ReportData, table: pd.DataFrame, figures: Mapping[str, Figure], key: str
) -> Representation:
    """The rows on one embedding, those that have a figure."""
    found = {
        name.removesuffix(f"_{key}"): figure for name, figure in figures.items() if name.endswith(f"_{key}")
    }
    values = {name: figure.value for name, figure in found.items()}
    splits = [
        Measure(
            words,
            found[name],
            values.get(f"{name}_by_chance", EXPECTED.get(name)),
            values["mmd_p_value"] if name == "mmd_squared" else None,
        )
        for name, words in MEASURES.items()
        if name in found
    ]
    others = (
        (found["other_class_neighbours"], found["other_class_neighbours_by_chance"])
        if "other_class_neighbours" in found
        else None
    )
    classes = list(data.facts.heads[data.facts.headline])
    settings = data.facts.embedding_settings
    shares_CC = tabulate_classes(read_embedded(table, key, settings), settings)
    return Representation(
        key,
        EMBEDDING_NAMES[key],
        splits,
        others,
        pd.DataFrame(shares_CC, index=classes, columns=classes).dropna(how="all"),
    )


def draw_maps(data: ReportData, table: pd.DataFrame) -> dict[str, Chart]:
    """Each map of each embedding, by split and by class."""
    head = data.facts.headline
    orders = {"split": SPLITS, "class": (*data.facts.heads[head], NO_LABEL)}
    charts = {}
    for embedding, part in table.groupby("embedding", sort=False):
        coloured = {"split": part["split"], "class": part[f"label_{head}"].fillna(NO_LABEL)}
        for name in MAPS:
            for colouring in COLOURINGS:
                codes_N = pd.Categorical(coloured[colouring], categories=list(orders[colouring])).codes
                rows = np.argsort(codes_N, kind="stable")
                chart = f"map-{embedding}-{name}-{colouring}"
                title = f"{MAP_NAMES[name]} of {EMBEDDING_NAMES[str(embedding)]} by {colouring}"
                places_N2 = part[[f"{name}_x", f"{name}_y"]].to_numpy()[rows]
                charts[chart] = draw_map(
                    chart, places_N2, coloured[colouring].iloc[rows].tolist(), title=title
                )
    return charts
