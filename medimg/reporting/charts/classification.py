"""Charts of probabilities: ROC, precision and recall, calibration, decision curve, risk and coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from sklearn.metrics import precision_recall_curve, roc_curve

from medimg.evaluation.classification.calibration import make_reliability_bins
from medimg.evaluation.classification.conformal import ConformalSets
from medimg.evaluation.classification.decision_curve import make_decision_curve
from medimg.evaluation.classification.selective import make_risk_coverage
from medimg.reporting.charts.base import GUIDE, NEGATIVE, POSITIVE, Chart, draw


def draw_roc(name: str, labels: np.ndarray, scores: np.ndarray) -> Chart:
    """ROC curve; 0/1 labels."""
    false_positive_rate, sensitivity, _ = roc_curve(labels, scores)

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GUIDE, linestyle=":", linewidth=1)
        axes.plot(false_positive_rate, sensitivity, color=POSITIVE, linewidth=2)
        axes.set(
            xlabel="1 - specificity",
            ylabel="sensitivity",
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            aspect="equal",
        )

    return draw(name, title=f"ROC curve of {len(labels)} cases", size=(4.2, 4.2), paint=paint)


def draw_precision_recall(name: str, labels: np.ndarray, scores: np.ndarray) -> Chart:
    """Precision against recall, with the prevalence as the guide."""
    precision, recall, _ = precision_recall_curve(labels, scores)
    prevalence = float(np.mean(labels))

    def paint(axes: Axes) -> None:
        axes.axhline(prevalence, color=GUIDE, linestyle=":", linewidth=1)
        axes.text(0.02, prevalence + 0.015, f"prevalence {prevalence:.2f}", color="#374151", fontsize=9)
        axes.plot(recall, precision, color=POSITIVE, linewidth=2, drawstyle="steps-pre")
        axes.set(
            xlabel="recall (sensitivity)",
            ylabel="precision",
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            aspect="equal",
        )

    return draw(
        name,
        title=f"Precision against recall of {len(labels)} cases, prevalence {prevalence:.2f}",
        size=(4.2, 4.2),
        paint=paint,
    )


def draw_calibration(name: str, labels: np.ndarray, scores: np.ndarray) -> Chart:
    """Observed against predicted share of positives, in the bins of the expected calibration error."""
    bins = make_reliability_bins(labels, scores)
    predicted = [one.predicted for one in bins]
    lows = [one.low for one in bins]
    highs = [one.high for one in bins]

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GUIDE, linestyle=":", linewidth=1)
        axes.vlines(predicted, lows, highs, color=NEGATIVE, linewidth=1.2)
        axes.plot(predicted, [one.observed for one in bins], "o", color=NEGATIVE, markersize=5)
        axes.set(
            xlabel="predicted probability",
            ylabel="observed share",
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            aspect="equal",
        )

    points = "; ".join(f"predicted {one.predicted:.2f}, observed {one.observed:.2f}" for one in bins)
    return draw(
        name, title=f"Calibration in {len(bins)} bins of equal mass: {points}", size=(4.2, 4.2), paint=paint
    )


def draw_scores(name: str, labels: np.ndarray, scores: np.ndarray, *, classes: Sequence[str]) -> Chart:
    """Histogram of the positive class's probability, by true class."""

    def paint(axes: Axes) -> None:
        edges = np.linspace(0, 1, 21)
        for index, (colour, hatch) in enumerate([(NEGATIVE, ""), (POSITIVE, "///")]):
            counts, _ = np.histogram(scores[labels == index], edges)
            axes.stairs(
                counts,
                edges,
                fill=not hatch,
                color=colour,
                alpha=1 if hatch else 0.55,
                hatch=hatch,
                linewidth=1.4,
                label=str(classes[index]),
            )
        axes.set(xlabel=f"probability of {classes[-1]}", ylabel="cases", xlim=(0, 1))
        axes.legend(frameon=False, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.15))

    counts = " and ".join(f"{int((labels == index).sum())} {classes[index]}" for index in (0, 1))
    title = f"Histogram of the probability of {classes[-1]} for {counts} cases"
    return draw(name, title=title, size=(4.2, 4.2), paint=paint)


def draw_decision_curve(name: str, labels: np.ndarray, scores: np.ndarray) -> Chart:
    """Net benefit over threshold probabilities, of acting on the model, on everybody and on nobody."""
    curve = make_decision_curve(labels, scores, thresholds=np.linspace(0.01, 0.99, 99))
    prevalence = float(np.mean(labels))

    def paint(axes: Axes) -> None:
        axes.axhline(0, color=GUIDE, linestyle=":", linewidth=1, label="nobody")
        axes.plot(
            curve.thresholds,
            curve.everybody,
            color=NEGATIVE,
            linestyle="--",
            linewidth=1.4,
            label="everybody",
        )
        axes.plot(curve.thresholds, curve.model, color=POSITIVE, linewidth=2, label="the model")
        axes.set(
            xlabel="threshold probability",
            ylabel="net benefit per case",
            xlim=(0, 1),
            ylim=(-0.1 * prevalence, 1.05 * prevalence),
        )
        axes.legend(
            frameon=False,
            loc="upper center",
            ncols=3,
            bbox_to_anchor=(0.5, 1.15),
            columnspacing=1,
            handlelength=1.4,
        )

    middle = int(np.searchsorted(curve.thresholds, 0.1))
    words = f"{curve.model[middle]:.3f} by the model and {curve.everybody[middle]:.3f} by acting on everybody"
    return draw(
        name,
        title=f"Net benefit at a threshold of 10 %: {words}, {len(labels)} cases",
        size=(4.2, 4.2),
        paint=paint,
    )


def draw_risk_coverage(
    name: str, labels: np.ndarray, probabilities: np.ndarray, *, costs_CC: np.ndarray | None = None
) -> Chart:
    """Error rate among the most confident share of cases, with that of all cases as the guide.

    Args:
        labels: class index [N].
        probabilities: [N, C].
        costs_CC: what answers cost, where that decides the predicted class.
    """
    curve = make_risk_coverage(labels, probabilities, costs_CC=costs_CC)

    def paint(axes: Axes) -> None:
        axes.axhline(curve.risk[-1], color=GUIDE, linestyle=":", linewidth=1)
        axes.plot(curve.coverage, curve.risk, color=POSITIVE, linewidth=2, drawstyle="steps-post")
        axes.set(
            xlabel="share of cases answered, most confident first",
            ylabel="share of wrong answers",
            xlim=(0, 1.02),
            ylim=(0, None),
        )

    half = curve.risk[np.searchsorted(curve.coverage, 0.5)]
    halves = f"{half:.2f} of the more confident half, {curve.risk[-1]:.2f} of all {len(labels)} cases"
    title = f"Share of wrong answers: {halves}; area {curve.area:.3f}"
    return draw(name, title=title, size=(4.2, 4.2), paint=paint)


def draw_set_sizes(name: str, labels: np.ndarray, probabilities: np.ndarray, *, sets: ConformalSets) -> Chart:
    """How many cases have a conformal set of each size, those whose set lacks the true class apart.

    Args:
        labels: class index [N].
        probabilities: [N, C].
    """
    contains_NC = sets.contains(probabilities)
    covered_N, size_N = contains_NC[np.arange(len(labels)), labels], contains_NC.sum(axis=1)
    covered, missed = (
        np.bincount(size_N[chosen], minlength=contains_NC.shape[1] + 1) for chosen in (covered_N, ~covered_N)
    )

    def paint(axes: Axes) -> None:
        sizes = np.arange(len(covered))
        axes.bar(sizes, covered, color=NEGATIVE, alpha=0.55, label="holds the true class")
        axes.bar(
            sizes, missed, bottom=covered, color="none", edgecolor=POSITIVE, hatch="///", label="does not"
        )
        axes.set_xticks(sizes)
        axes.set(xlabel="classes in the set", ylabel="cases")
        axes.legend(frameon=False, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.15))

    words = "; ".join(
        f"{covered[size] + missed[size]} with {size}, {missed[size]} of them without the true class"
        for size in range(len(covered))
    )
    return draw(
        name,
        title=f"Cases by number of classes in their set for {sets.coverage:.0%}: {words}",
        size=(4.2, 4.2),
        paint=paint,
    )
