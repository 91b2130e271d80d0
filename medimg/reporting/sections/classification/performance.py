"""How good: metrics in a column per protocol, each class in its own row, and curves of the first protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pandas as pd

from medimg.evaluation.classification.metrics import ONE_AGAINST_REST
from medimg.evaluation.classification.weighted_sample import make_sample
from medimg.evaluation.figures import Figure
from medimg.evaluation.protocols import Protocol, find_protocols
from medimg.reporting.charts.base import Chart
from medimg.reporting.charts.classification import (
    draw_calibration,
    draw_decision_curve,
    draw_precision_recall,
    draw_roc,
    draw_scores,
)
from medimg.reporting.report_data import DEVELOPMENT_SPLITS, ReportData, Section, make_id
from medimg.reporting.run_facts import RunFacts
from medimg.reporting.sections.classification.train_test_gap import (
    TrainTestGap,
    compare_splits,
    describe_gap,
    tabulate_gap,
)


@dataclass(frozen=True)
class ClassTable:
    """The classes of a head under one protocol.

    Attributes:
        protocol: which one.
        metrics: names, in the order of the columns.
        counts: units by class.
        figures: by class, one for each of `metrics`.
    """

    protocol: Protocol
    metrics: Sequence[str]
    counts: Mapping[str, int]
    figures: Mapping[str, Sequence[Figure | None]]


@dataclass(frozen=True)
class Performance:
    """What the section shows of one head.

    Attributes:
        head, classes: its name and classes, the positive one last.
        decision: which class is the predicted one, in words.
        prevalence: a sentence on the class frequencies that the probabilities are meant for.
        costs: true class by predicted class; None where none are stated.
        protocols: each with a figure of its units.
        rows: metric to protocol to figure, without those that are of one class.
        notes: what all figures of a protocol have in common.
        by_class: one table per protocol; empty for two classes.
        curves: the protocol of confusion matrix and curves; None where none is defined for the head.
        confusion: cases, true class by predicted class.
        units: number of units under `curves`.
        train_test_gap: figures of train and eval beside the measured ones; `gap` says it in words.
        development_splits: splits that the model knows, and in which way.
    """

    head: str
    classes: Sequence[str]
    decision: str
    prevalence: str
    costs: Sequence[Sequence[float]] | None
    protocols: Sequence[tuple[Protocol, Figure]]
    rows: Mapping[str, Mapping[str, Figure]]
    notes: Sequence[str]
    by_class: Sequence[ClassTable]
    curves: Protocol | None = None
    confusion: Sequence[Sequence[int]] = ()
    units: int = 0
    train_test_gap: TrainTestGap | None = None
    gap: str = ""
    development_splits: Mapping[str, str] = field(default_factory=lambda: DEVELOPMENT_SPLITS)


def describe_performance(data: ReportData, head: str) -> Section:
    """All metrics of one head on the whole split.

    Its confusion matrix and curves are under the first protocol that is defined for it.
    """
    classes = list(data.facts.heads[head])
    title = f"{head}: {' · '.join(classes)}"
    performance = measure_performance(data, head)
    protocol = data.protocol_of(head)
    if protocol is None:
        return Section(title, "performance", vars(performance))
    labels_N, probabilities_NC = data.units(head, protocol)
    costs_CC = data.facts.cost_matrices.get(head)
    confusion_CC = make_sample(labels_N, probabilities_NC, costs_CC=costs_CC).confusion[0].astype(int)
    matrix = pd.DataFrame(confusion_CC, index=pd.Index(classes, name="true"), columns=classes)
    tables = {make_id("confusion", head): matrix.reset_index()}
    performance = dataclasses.replace(
        performance, curves=protocol, confusion=confusion_CC.tolist(), units=len(labels_N)
    )
    if table := compare_splits(data, head):
        performance = dataclasses.replace(performance, train_test_gap=table, gap=describe_gap(table))
        tables[make_id("seen", head)] = tabulate_gap(table)
    charts = draw_curves(
        head, classes, labels_N=labels_N, probabilities_NC=probabilities_NC, prevalence=data.facts.prevalence
    )
    return Section(title, "performance", vars(performance), charts, tables)


def measure_performance(data: ReportData, head: str) -> Performance:
    """The metrics of one head under every protocol, in all and by class."""
    overall = data.overall(head)
    classes = list(data.facts.heads[head])
    costs_CC = data.facts.cost_matrices.get(head)
    shown, notes = share_notes(overall)
    rows, of_classes = pivot(shown), name_class_metrics(classes)
    units = pair_protocols(overall)
    against_the_rest = set(chain.from_iterable(names.values() for names in of_classes.values()))
    by_class = []
    if of_classes:
        defined = [protocol for protocol, figure in units if figure.n]
        by_class = [tabulate_classes(protocol, data, head, of_classes, rows) for protocol in defined]
    return Performance(
        head,
        classes,
        describe_decision(classes, costs_CC=costs_CC),
        describe_prevalence(data.facts),
        None if costs_CC is None else costs_CC.tolist(),
        protocols=units,
        rows={metric: figures for metric, figures in rows.items() if metric not in against_the_rest},
        notes=notes,
        by_class=by_class,
    )


def pair_protocols(figures: Sequence[Figure]) -> list[tuple[Protocol, Figure]]:
    """The protocols of some figures, each with its first figure, which says of how many units."""
    first = {figure.protocol: figure for figure in reversed(figures)}
    names = dict.fromkeys(figure.protocol for figure in figures)
    return [(find_protocols([name])[0], first[name]) for name in names]


def name_class_metrics(classes: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of more than two classes, metric against the rest to class to the name of its figure."""
    if len(classes) == 2:
        return {}
    names = {}
    for template in ONE_AGAINST_REST:
        names[template.replace("_{}", "")] = {name: template.format(name) for name in classes}
    return names


def tabulate_classes(
    protocol: Protocol,
    data: ReportData,
    head: str,
    names: Mapping[str, Mapping[str, str]],
    figures: Mapping[str, Mapping[str, Figure]],
) -> ClassTable:
    """Each class against the rest under a protocol.

    Args:
        names: of `name_class_metrics`.
        figures: of `pivot`.
    """
    classes = data.facts.heads[head]
    counts = np.bincount(data.units(head, protocol)[0], minlength=len(classes)).tolist()
    rows: dict[str, list[Figure | None]] = {}
    for one in classes:
        of_class = [figures.get(by_class[one], {}) for by_class in names.values()]
        rows[one] = [by_protocol.get(protocol.name) for by_protocol in of_class]
    return ClassTable(protocol, list(names), dict(zip(classes, counts, strict=True)), rows)


def describe_decision(classes: Sequence[str], *, costs_CC: np.ndarray | None) -> str:
    """Words for which class is the predicted one."""
    if costs_CC is None:
        return f"{classes[1]} at a probability of 0.5 and more" if len(classes) == 2 else "the likeliest"
    if len(classes) > 2:
        return "the one of least expected cost, which need not be the likeliest"
    threshold = costs_CC[0, 1] / (costs_CC[0, 1] + costs_CC[1, 0])
    return f"the one of least expected cost, {classes[1]} at a probability of {threshold:.3g} and more"


def describe_prevalence(facts: RunFacts) -> str:
    """A sentence on the class frequencies that the probabilities are meant for.

    Empty if they are not known.
    """
    if facts.prevalence == "balanced":
        return (
            "Probabilities are as if all classes were equally frequent: they favour rare classes, and are no "
            "chances of the disease where it is rare."
        )
    return (
        "Probabilities are meant for cases in which the classes are as frequent as in train."
        if facts.prevalence
        else ""
    )


def share_notes(figures: Sequence[Figure]) -> tuple[list[Figure], list[str]]:
    """The figures without a note that all of their protocol have, and those notes once."""
    notes: dict[str, set[str]] = {}
    for figure in figures:
        notes.setdefault(figure.protocol, set()).add(figure.note)
    shared = {
        protocol: next(iter(found)) for protocol, found in notes.items() if len(found) == 1 and any(found)
    }
    bare = [
        dataclasses.replace(figure, note="") if figure.protocol in shared else figure for figure in figures
    ]
    return bare, [
        note if note.startswith(protocol) else f"{protocol}: {note}" for protocol, note in shared.items()
    ]


def pivot(figures: Sequence[Figure]) -> dict[str, dict[str, Figure]]:
    """Metric to protocol to figure."""
    rows: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        rows.setdefault(figure.name, {})[figure.protocol] = figure
    return rows


def draw_curves(
    head: str,
    classes: Sequence[str],
    *,
    labels_N: np.ndarray,
    probabilities_NC: np.ndarray,
    prevalence: str,
) -> dict[str, Chart]:
    """The charts of two classes that both occur; none otherwise.

    What probabilities mean and what acting on them is worth is drawn where they are meant for the data's own
    class frequencies.
    """
    if len(classes) != 2 or not 0 < labels_N.sum() < len(labels_N):
        return {}
    scores_N = probabilities_NC[:, 1]
    drawings = {"roc": draw_roc, "precision": draw_precision_recall}
    if prevalence != "balanced":
        drawings |= {"calibration": draw_calibration, "decision": draw_decision_curve}
    charts = {}
    for kind, draw in drawings.items():
        name = make_id(kind, head)
        charts[name] = draw(name, labels_N, scores_N)
    scores = make_id("scores", head)
    return {**charts, scores: draw_scores(scores, labels_N, scores_N, classes=classes)}
