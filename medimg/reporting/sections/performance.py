"""How good, by protocol: every metric in a column per protocol, and the curves of the first one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from medimg.evaluation.figures import Figure
from medimg.evaluation.protocols import find_protocols
from medimg.evaluation.samples import make_sample
from medimg.reporting import charts
from medimg.reporting.charts import Chart
from medimg.reporting.evidence import SEEN_SPLITS, Evidence, Section, make_id
from medimg.reporting.sections.seen import compare_seen, tabulate_seen, tell_gap


def describe_performance(evidence: Evidence, head: str) -> Section:
    """All metrics of one head on the whole split, and its confusion matrix and curves under the first protocol that is defined for it."""
    overall = evidence.overall(head)
    protocols = [find_protocols([name])[0] for name in dict.fromkeys(figure.protocol for figure in overall)]
    classes = list(evidence.facts.heads[head])
    shown, notes = share_notes(overall)
    values: dict[str, Any] = {
        "head": head,
        "classes": classes,
        "protocols": [(protocol, next(figure for figure in overall if figure.protocol == protocol.name)) for protocol in protocols],
        "rows": pivot(shown),
        "notes": notes,
        "curves": None,
        "seen": None,
    }
    protocol = evidence.protocol_of(head)
    if protocol is None:
        return Section(f"{head}: {' · '.join(classes)}", "performance", values)
    labels_N, probabilities_NC = evidence.units(head, protocol)
    confusion_CC = make_sample(labels_N, probabilities_NC).confusion[0].astype(int)
    values |= {"curves": protocol, "confusion": confusion_CC.tolist(), "units": len(labels_N)}
    tables = {make_id("confusion", head): pd.DataFrame(confusion_CC, index=pd.Index(classes, name="true"), columns=classes).reset_index()}
    if seen := compare_seen(evidence, head):
        values |= {"seen": seen, "gap": tell_gap(seen), "seen_splits": SEEN_SPLITS}
        tables[make_id("seen", head)] = tabulate_seen(seen)
    return Section(
        f"{head}: {' · '.join(classes)}",
        "performance",
        values,
        draw_curves(head, classes, labels_N=labels_N, probabilities_NC=probabilities_NC),
        tables,
    )


def share_notes(figures: Sequence[Figure]) -> tuple[list[Figure], list[str]]:
    """The figures without a note that all of their protocol have, and those notes once."""
    notes: dict[str, set[str]] = {}
    for figure in figures:
        notes.setdefault(figure.protocol, set()).add(figure.note)
    shared = {protocol: next(iter(found)) for protocol, found in notes.items() if len(found) == 1 and any(found)}
    bare = [dataclasses.replace(figure, note="") if figure.protocol in shared else figure for figure in figures]
    return bare, [note if note.startswith(protocol) else f"{protocol}: {note}" for protocol, note in shared.items()]


def pivot(figures: Sequence[Figure]) -> dict[str, dict[str, Figure]]:
    """Metric to protocol to figure."""
    rows: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        rows.setdefault(figure.name, {})[figure.protocol] = figure
    return rows


def draw_curves(head: str, classes: Sequence[str], *, labels_N: np.ndarray, probabilities_NC: np.ndarray) -> dict[str, Chart]:
    """The charts of two classes that both occur; none otherwise."""
    if len(classes) != 2 or not 0 < labels_N.sum() < len(labels_N):
        return {}
    scores_N = probabilities_NC[:, 1]
    names = {kind: make_id(kind, head) for kind in ("roc", "precision", "calibration", "decision", "scores")}
    return {
        names["roc"]: charts.draw_roc(names["roc"], labels_N, scores_N),
        names["precision"]: charts.draw_precision_recall(names["precision"], labels_N, scores_N),
        names["calibration"]: charts.draw_calibration(names["calibration"], labels_N, scores_N),
        names["decision"]: charts.draw_decision_curve(names["decision"], labels_N, scores_N),
        names["scores"]: charts.draw_scores(names["scores"], labels_N, scores_N, classes=classes),
    }
