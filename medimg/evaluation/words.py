"""Words for people: metrics by name, figures with their intervals, what a figure is of."""

from __future__ import annotations

import math

from medimg.evaluation.figures import Figure

WORDS = {
    "auc": "AUC",
    "macro_auc": "AUC, mean over classes",
    "average_precision": "average precision",
    "sensitivity_at_specificity_90": "sensitivity at 90 % specificity",
    "specificity_at_sensitivity_90": "specificity at 90 % sensitivity",
    "sensitivity": "sensitivity at 0.5",
    "specificity": "specificity at 0.5",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "brier": "Brier score (lower is better)",
    "ece": "calibration error (lower is better)",
}


def name_metric(name: str) -> str:
    """A metric's name for people."""
    if name.startswith("auc_"):
        return WORDS.get(name, f"AUC, {name.removeprefix('auc_')} against the rest")
    return WORDS.get(name, name.replace("_", " "))


def format_number(value: float) -> str:
    """Three decimals, or a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def count(number: int, noun: str) -> str:
    """`1 breast`, `25 breasts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def describe_units(figure: Figure) -> str:
    """`25 breasts, 17 positive, of 24 patients`: what a figure was measured on."""
    positives = "" if figure.positives is None else f", {figure.positives} positive"
    return f"{count(figure.n, figure.level)}{positives}, of {count(figure.groups, 'group')} (patients)"
