"""Words for people: metrics by name, figures with their intervals, what a figure is of."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from medimg.console.plurals import count
from medimg.evaluation.figures import Figure
from medimg.evaluation.folds import OUT_OF_FOLD

WORDS = {
    "auc": "AUC",
    "macro_auc": "AUC, mean over classes",
    "average_precision": "average precision",
    "sensitivity_at_specificity_90": "sensitivity at 90 % specificity",
    "sensitivity_at_specificity_95": "sensitivity at 95 % specificity",
    "specificity_at_sensitivity_90": "specificity at 90 % sensitivity",
    "specificity_at_sensitivity_85_9": "specificity at 85.9 % sensitivity, that of DREAM's radiologists",
    "partial_auc_sensitivity_80": "partial AUC, sensitivity at least 80 %",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "f1": "F1",
    "macro_f1": "F1, mean over classes",
    "mean_cost": "mean cost of an answer (lower is better)",
    "probabilistic_f1": "probabilistic F1",
    "net_benefit_2": "net benefit at 2 % (BI-RADS 4A)",
    "net_benefit_10": "net benefit at 10 % (BI-RADS 4B)",
    "net_benefit_50": "net benefit at 50 % (BI-RADS 4C)",
    "brier": "Brier score (lower is better)",
    "brier_reliability": "Brier: reliability (lower is better)",
    "brier_resolution": "Brier: resolution",
    "brier_uncertainty": "Brier: uncertainty of the cases",
    "ece": "calibration error (lower is better)",
    "auc_above_shortcut": "AUC above that of the shortcuts",
    "aurc": "area under risk and coverage (lower is better)",
    "excess_aurc": "the same above the best order (lower is better)",
}
PATTERNS = (
    (r"sensitivity_(.+)_at_specificity_(\d+)", r"sensitivity at \2 % specificity, \1 against the rest"),
    (r"accuracy_at_coverage_(\d+)", r"accuracy on the most confident \1 %"),
    (r"auc_at_coverage_(\d+)", r"AUC on the most confident \1 %"),
    (r"conformal_(\d+)_coverage", r"sets of \1 %: share that holds the true class"),
    (r"conformal_(\d+)_coverage_(.+)", r"sets of \1 %: the same, \2"),
    (r"conformal_(\d+)_set_size", r"sets of \1 %: mean number of classes"),
    (r"conformal_(\d+)_by_class_coverage", r"sets of \1 % by class: share that holds the true class"),
    (r"conformal_(\d+)_by_class_coverage_(.+)", r"sets of \1 % by class: the same, \2"),
    (r"conformal_(\d+)_by_class_set_size", r"sets of \1 % by class: mean number of classes"),
    (r".+_by_chance_(.+)", r"the same by chance, \1"),
    (r"nearest_in_train_(.+)", r"nearest case is a train case, \1"),
    (r"close_to_train_(.+)", r"close to a train case, \1"),
    (r"split_auc_(.+)", r"AUC of telling the splits apart, \1"),
    (r"mmd_squared_(.+)", r"maximum mean discrepancy of the splits, \1"),
    (r"mmd_p_value_(.+)", r"the same: p-value, \1"),
    (r"other_class_neighbours_(.+)", r"neighbours of another class, \1"),
    (r"folds_by_(case|group)_(.+)", r"balanced accuracy in folds by \1, \2"),
    (r"leak_(.+)", r"leak of a split by case, \1"),
)
AGAINST_THE_REST = ("auc", "average_precision", "sensitivity")
"""Metrics that a head of more than two classes has for each class."""
CHOSEN = "tuning.chosen."
"""Before the keys that a search has chosen, in a run's facts."""


def name_metric(name: str) -> str:
    """A metric's name for people."""
    if name in WORDS:
        return WORDS[name]
    for pattern, words in PATTERNS:
        if found := re.fullmatch(pattern, name):
            return found.expand(words)
    for metric in AGAINST_THE_REST:
        if name.startswith(f"{metric}_"):
            return f"{WORDS[metric]}, {name.removeprefix(f'{metric}_')} against the rest"
    return name.replace("_", " ")


def describe_split(split: str) -> str:
    """`test split`, or `cases out of fold`, which are of no one split."""
    return f"cases {split}" if split == OUT_OF_FOLD else f"{split} split"


def format_number(value: float) -> str:
    """Three decimals, or a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def describe_units(figure: Figure, noun: str) -> str:
    """`25 breasts, 17 positive, of 24 patients`: what a figure was measured on.

    `noun` is what a group is called.
    """
    positives = "" if figure.positives is None else f", {figure.positives} positive"
    groups = "" if figure.level == noun else f", of {count(figure.groups, noun)}"
    return f"{count(figure.n, figure.level)}{positives}{groups}"


def describe_tuning(config: Mapping[str, str]) -> str:
    """How a search has chosen settings and that the test split had no part in it; empty where none has.

    Args:
        config: dotted key to value, as in the run's facts.
    """
    if "tuning.trials" not in config:
        return ""
    chosen = [key.removeprefix(CHOSEN) for key in config if key.startswith(CHOSEN)]
    failed = f", {config['tuning.failed']} of which failed," if config["tuning.failed"] != "0" else ""
    return (
        f"Chosen in a search: {', '.join(chosen)}. The best of {config['tuning.trials']} trials{failed} "
        f"by {config['tuning.objective']} on the eval split, {float(config['tuning.score']):.3f} there; "
        "the test split had no part in it."
    )
