"""What is shown after every epoch: exact figures on the whole eval split, by the same code as the report."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medimg.evaluation.classification.metrics import auc, evaluate, metrics_of
from medimg.tasks.classification.settings import ModelSettings

Figures = dict[str, float]


def measure_epoch(
    labels: Mapping[str, np.ndarray], probabilities: Mapping[str, np.ndarray], settings: ModelSettings
) -> Figures:
    """Returns `<head>/auc` and `<head>/loss` over the cases labelled for that head; NaN where undefined.

    The loss is the mean cross-entropy in nats.

    Args:
        labels: head to int [N], -1 where missing.
        probabilities: head to float [N, C].
    """
    figures: Figures = {}
    for head in settings.heads:
        known = labels[head.name] >= 0
        label, probability = labels[head.name][known], probabilities[head.name][known].astype(np.float64)
        figures[f"{head.name}/auc"] = head_auc(label, probability)
        chosen = probability[np.arange(len(label)), label]
        figures[f"{head.name}/loss"] = (
            float(-np.log(np.clip(chosen, 1e-7, 1.0)).mean()) if len(label) else float("nan")
        )
    return figures


def measure_predictions(
    labels: Mapping[str, np.ndarray], probabilities: Mapping[str, np.ndarray], settings: ModelSettings
) -> Figures:
    """Returns what `measure_epoch` does, and every metric of the report as `<head>/<metric>`.

    They are those of the head's classes. Arguments as for `measure_epoch`.
    """
    figures: Figures = {}
    for head in settings.heads:
        known = labels[head.name] >= 0
        undefined = dict.fromkeys(metrics_of(head.classes), float("nan"))
        values = (
            evaluate(labels[head.name][known], probabilities[head.name][known], classes=head.classes)
            if known.any()
            else undefined
        )
        figures |= {f"{head.name}/{name}": value for name, value in values.items()}
    return figures | measure_epoch(labels, probabilities, settings)


def head_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """AUC of the last class against the first for two classes.

    The mean of one-vs-rest AUCs over the classes that occur for more.

    NaN where a probability is none: what has diverged ranks nothing.
    """
    if np.isnan(probabilities).any():
        return float("nan")
    classes = probabilities.shape[1]
    if classes == 2:
        return float(auc(labels, probabilities[:, 1]))
    values = np.array(
        [auc((labels == index).astype(int), probabilities[:, index]) for index in range(classes)],
        dtype=np.float64,
    )
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def is_better(figures: Mapping[str, float], than: Mapping[str, float] | None, *, head: str) -> bool:
    """Whether an epoch is better by the head's AUC on eval.

    Its loss decides between equals, and alone where AUC is undefined (one class).
    """
    if than is None:
        return True
    return rank(figures, head) > rank(than, head)


def rank(figures: Mapping[str, float], head: str) -> tuple[float, float]:
    """Sort key of an epoch, larger is better; an undefined figure ranks lowest."""
    area, loss = figures[f"{head}/auc"], figures[f"{head}/loss"]
    return (area if np.isfinite(area) else -1.0, -loss if np.isfinite(loss) else -float("inf"))
