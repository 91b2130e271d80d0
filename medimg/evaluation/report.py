"""The report: one HTML file that answers first how good, on whom, blessed or not and where it is weak, and then shows everything behind it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medimg.catalogue.provenance import name_provenance
from medimg.evaluation import charts
from medimg.evaluation.figures import Figure, format_figure
from medimg.evaluation.gallery import Mistake, choose_mistakes, embed_images
from medimg.evaluation.gates import OVERALL

WORDS = {
    "auc": "AUC",
    "auc_above_shortcut": "AUC above that of the shortcuts",
    "macro_auc": "AUC, mean over classes",
    "average_precision": "average precision",
    "sensitivity_at_specificity_90": "sensitivity at 90 % specificity",
    "specificity_at_sensitivity_90": "specificity at 90 % sensitivity",
    "specificity_at_sensitivity_85_9": "specificity at 85.9 % sensitivity, that of DREAM's radiologists",
    "partial_auc_sensitivity_80": "partial AUC, sensitivity at least 80 %",
    "sensitivity": "sensitivity at 0.5",
    "specificity": "specificity at 0.5",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "f1": "F1 at 0.5",
    "probabilistic_f1": "probabilistic F1",
    "net_benefit_2": "net benefit at 2 % (BI-RADS 4A)",
    "net_benefit_10": "net benefit at 10 % (BI-RADS 4B)",
    "net_benefit_50": "net benefit at 50 % (BI-RADS 4C)",
    "brier": "Brier score (lower is better)",
    "brier_reliability": "Brier: reliability (lower is better)",
    "brier_resolution": "Brier: resolution",
    "brier_uncertainty": "Brier: uncertainty of the cases",
    "ece": "calibration error (lower is better)",
}


@dataclass(frozen=True)
class RunFacts:
    """What a report says of its run beside the figures.

    Attributes:
        title, config_name: for people, and the config's name.
        data_set, licence, doi: of the data.
        blessed: whether every gate passed; None where none was asked for.
        gates: each gate in words and whether it passed.
        summary: the catalogue's summary.json: input, cases, images, splits, groups, excluded, quarantined, anomalies.
        heads: head to classes, the positive one last; the first head is the headline.
        config: dotted key to value, as shown.
        versions, hashes: of packages, and of data, code and model.
        warnings: lines that a reader must see: drift, what was quarantined while writing Examples.
        synthetic: the images are drawn, so the figures say nothing about medicine.
        split: the split that was measured.
    """

    title: str
    config_name: str
    data_set: str
    heads: Mapping[str, Sequence[str]]
    licence: str = ""
    doi: str = ""
    blessed: bool | None = None
    gates: Sequence[tuple[str, bool]] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    synthetic: bool = False
    split: str = "test"


def write_report(
    to: Path, *, figures: Sequence[Figure], predictions: pd.DataFrame, facts: RunFacts, gallery: Mapping[str, Mapping[str, bytes]] | None = None
) -> Path:
    """Writes one HTML file that needs no network, no server and no script.

    Args:
        to: the file.
        figures: of `medimg.evaluation.figures.measure`; the first head's first figure is the headline.
        predictions: cases; see medimg.evaluation.protocols.
        gallery: PNGs by role of cases chosen by `choose_mistakes`, by case_id.
    """
    heads = [describe_head(head, classes, figures=figures, predictions=predictions, facts=facts) for head, classes in facts.heads.items()]
    environment = Environment(
        loader=PackageLoader("medimg.evaluation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"figure": format_figure, "words": name_metric}
    page = environment.get_template("report.html.j2").render(
        facts=facts,
        heads=heads,
        headline=find_headline(figures, facts),
        slices=judge_slices(figures, facts),
        flow=describe_flow(facts.summary),
        mistakes=list_mistakes(predictions, facts=facts, gallery=gallery or {}),
    )
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(page, encoding="utf-8")
    return to


def name_metric(name: str) -> str:
    """A metric's name for people."""
    return WORDS.get(name, f"AUC, {name.removeprefix('auc_')} against the rest" if name.startswith("auc_") else name)


def find_headline(figures: Sequence[Figure], facts: RunFacts) -> Figure | None:
    """The first head's first metric on the whole split, under the first protocol."""
    first = next(iter(facts.heads))
    return next((figure for figure in figures if figure.head == first and figure.slice == OVERALL), None)


def judge_slices(figures: Sequence[Figure], facts: RunFacts) -> dict[str, list[Figure]]:
    """The headline's slices: `weak` ones, whose whole interval lies below the overall value; `lower` ones, without that proof; `unknown` ones."""
    headline = find_headline(figures, facts)
    judged: dict[str, list[Figure]] = {"weak": [], "lower": [], "unknown": []}
    if headline is None:
        return judged
    for figure in figures:
        if (figure.head, figure.name, figure.protocol) != (headline.head, headline.name, headline.protocol) or figure.slice == OVERALL:
            continue
        if math.isnan(figure.value) or math.isnan(figure.low):
            judged["unknown"].append(figure)
        elif figure.high < headline.value:
            judged["weak"].append(figure)
        elif figure.value < headline.value:
            judged["lower"].append(figure)
    for name in ("weak", "lower"):
        judged[name].sort(key=lambda figure: figure.value)
    return judged


def describe_head(head: str, classes: Sequence[str], *, figures: Sequence[Figure], predictions: pd.DataFrame, facts: RunFacts) -> dict[str, Any]:
    """Tables and charts of one head."""
    mine = [figure for figure in figures if figure.head == head]
    by_metric: dict[tuple[str, str], list[Figure]] = defaultdict(list)
    for figure in mine:
        by_metric[figure.name, figure.protocol].append(figure)
    first = mine[0].name if mine else ""
    forests = [part for (name, _), part in by_metric.items() if name == first and len(part) > 1]
    return {
        "name": head,
        "classes": list(classes),
        "overall": [figure for figure in mine if figure.slice == OVERALL],
        "sliced": [figure for figure in mine if figure.slice != OVERALL],
        "forests": [
            {"protocol": part[0].protocol, "level": part[0].level, "svg": Markup(charts.draw_forest(make_id("forest", head, part[0].protocol), part))}
            for part in forests
        ],
        **draw_head(head, classes, rows=labelled_rows(predictions, head, classes=classes, split=facts.split)),
    }


def labelled_rows(predictions: pd.DataFrame, head: str, *, classes: Sequence[str], split: str) -> pd.DataFrame:
    """The measured split's cases that have a label for the head."""
    return predictions[(predictions["split"] == split) & predictions[f"label_{head}"].isin(list(classes))]


def draw_head(head: str, classes: Sequence[str], *, rows: pd.DataFrame) -> dict[str, Any]:
    """The confusion matrix as counts, and for two classes that both occur the four charts, at the level of cases."""
    labels_N = rows[f"label_{head}"].map({name: index for index, name in enumerate(classes)}).to_numpy(dtype=np.int64)
    probabilities_NC = rows[[f"p_{head}_{name}" for name in classes]].to_numpy(dtype=np.float64)
    predicted_N = (probabilities_NC[:, -1] >= 0.5).astype(int) if len(classes) == 2 else probabilities_NC.argmax(axis=1)
    confusion_CC = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion_CC, (labels_N, predicted_N), 1)
    drawn: dict[str, Any] = {"confusion": confusion_CC.tolist(), "cases": len(rows), "charts": []}
    if len(classes) == 2 and 0 < labels_N.sum() < len(labels_N):
        scores_N = probabilities_NC[:, 1]
        drawn["charts"] = [
            ("ROC", Markup(charts.draw_roc(make_id("roc", head), labels_N, scores_N))),
            ("Precision and recall", Markup(charts.draw_precision_recall(make_id("precision", head), labels_N, scores_N))),
            ("Calibration", Markup(charts.draw_calibration(make_id("calibration", head), labels_N, scores_N))),
            ("Probabilities by true class", Markup(charts.draw_scores(make_id("scores", head), labels_N, scores_N, classes=classes))),
        ]
    return drawn


def make_id(*parts: str) -> str:
    """An element id of letters, digits and hyphens only."""
    return "-".join("".join(letter if letter.isalnum() and letter.isascii() else f"{ord(letter):x}" for letter in part) for part in parts)


def describe_flow(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Counts from the input to the splits, as the catalogue's summary.json has them; empty parts where it has none."""
    splits: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in summary.get("splits", ()):
        splits[row["split"]][row["class"] or row["status"]] += row["cases"]
    classes = list(dict.fromkeys(name for counts in splits.values() for name in sorted(counts)))
    order = {name: index for index, name in enumerate(("train", "eval", "test"))}
    reasons = []
    for status in ("excluded", "quarantined"):
        for row in summary.get(status, {}).get("reasons", ()):
            reasons.append({"status": status, **row, "names": [*row["cases"]["names"], *row["files"]["names"]]})
    return {
        "inputs": [(what, summary["input"][what], summary[what]) for what in ("cases", "images") if what in summary.get("input", {})],
        "classes": classes,
        "splits": [
            (name, summary.get("groups", {}).get(name, ""), splits[name]) for name in sorted(splits, key=lambda name: (order.get(name, 9), name))
        ],
        "reasons": reasons,
        "anomalies": list(summary.get("anomalies", ())),
        "duplicates": list(summary.get("duplicates", ())),
        "provenance": [name_provenance(row) for row in summary.get("provenance", ())],
    }


def mistakes_of(predictions: pd.DataFrame, facts: RunFacts) -> list[Mistake]:
    """The first head's most confident mistakes."""
    head, classes = next(iter(facts.heads.items()))
    return choose_mistakes(predictions, head=head, classes=classes, split=facts.split)


def list_mistakes(
    predictions: pd.DataFrame, *, facts: RunFacts, gallery: Mapping[str, Mapping[str, bytes]]
) -> list[tuple[Mistake, list[tuple[str, str]]]]:
    """Each mistake with its images as data addresses."""
    return [(mistake, embed_images(gallery.get(mistake.case_id, {}))) for mistake in mistakes_of(predictions, facts)]
