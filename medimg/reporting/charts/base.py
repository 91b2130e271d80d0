"""Charts of the report as inline SVG: readable on a phone, in print and by a screen reader, with no address outside the file."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from sklearn.metrics import precision_recall_curve, roc_curve

from medimg.evaluation.classification.calibration import make_reliability_bins
from medimg.evaluation.classification.conformal import ConformalSets
from medimg.evaluation.classification.decision_curve import make_decision_curve
from medimg.evaluation.classification.selective import make_risk_coverage
from medimg.evaluation.figures import Figure
from medimg.reporting.metric_names import name_metric

POSITIVE, NEGATIVE, GUIDE = "#9a3412", "#1d4e89", "#6b7280"
COLOURS = (NEGATIVE, "#e69f00", "#009e73", POSITIVE, "#56b4e9", "#cc79a7")
"""Of categories, told apart by those who see less of red or green; from the seventh on they come again with another marker."""
MARKERS = "o^sDvP"
LEGEND_COLUMNS, LEGEND_AREA = 3, 40
STYLE: Any = {  # The keys are literals to the types of newer versions of matplotlib, strings to those of older ones.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#374151",
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Chart:
    """A drawing, on the page as it is: `{{ chart }}` embeds the SVG.

    Attributes:
        title: what it shows, in words.
        svg: an `<svg>` element, the same bytes for the same data.
        canvas: for other formats.
    """

    title: str
    svg: str
    canvas: Canvas

    def __html__(self) -> str:
        """Markup for templates that escape everything else."""
        return self.svg

    def make_png(self) -> bytes:
        """The chart on white, 150 dots per inch."""
        buffer = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.canvas.savefig(buffer, format="png", dpi=150, facecolor="white", metadata={"Software": None})
        return buffer.getvalue()


def draw(name: str, *, title: str, size: tuple[float, float], paint: Callable[[Axes], None]) -> Chart:
    """One chart.

    Args:
        name: unique on the page; makes the element ids unique.
        title: what the chart shows, in words with its figures, for those who cannot see it.
        size: width and height in inches at 72 per inch.
        paint: draws onto the axes.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        canvas = Canvas(figsize=size, layout="constrained")
        paint(canvas.add_subplot())
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", dpi=200, transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(id="|"#|\(#)', rf"\g<1>{name}-", text)
    label = html.escape(title, quote=True)
    svg = re.sub(r"<svg([^>]*)>", rf'<svg role="img" aria-label="{escape_group(label)}"\1><title>{escape_group(label)}</title>', text, count=1)
    return Chart(title, svg, canvas)


def escape_group(text: str) -> str:
    """A text that stands for itself in a replacement of `re.sub`."""
    return text.replace("\\", "\\\\")


def draw_roc(name: str, labels: np.ndarray, scores: np.ndarray) -> Chart:
    """ROC curve; 0/1 labels."""
    false_positive_rate, sensitivity, _ = roc_curve(labels, scores)

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GUIDE, linestyle=":", linewidth=1)
        axes.plot(false_positive_rate, sensitivity, color=POSITIVE, linewidth=2)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")

    return draw(name, title=f"ROC curve of {len(labels)} cases", size=(4.2, 4.2), paint=paint)


def draw_precision_recall(name: str, labels: np.ndarray, scores: np.ndarray) -> Chart:
    """Precision against recall, with the prevalence as the guide."""
    precision, recall, _ = precision_recall_curve(labels, scores)
    prevalence = float(np.mean(labels))

    def paint(axes: Axes) -> None:
        axes.axhline(prevalence, color=GUIDE, linestyle=":", linewidth=1)
        axes.text(0.02, prevalence + 0.015, f"prevalence {prevalence:.2f}", color="#374151", fontsize=9)
        axes.plot(recall, precision, color=POSITIVE, linewidth=2, drawstyle="steps-pre")
        axes.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")

    return draw(name, title=f"Precision against recall of {len(labels)} cases, prevalence {prevalence:.2f}", size=(4.2, 4.2), paint=paint)


def draw_calibration(name: str, labels: np.ndarray, scores: np.ndarray) -> Chart:
    """Observed against predicted share of positives, in the bins of the expected calibration error."""
    bins = make_reliability_bins(labels, scores)

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GUIDE, linestyle=":", linewidth=1)
        axes.vlines([one.predicted for one in bins], [one.low for one in bins], [one.high for one in bins], color=NEGATIVE, linewidth=1.2)
        axes.plot([one.predicted for one in bins], [one.observed for one in bins], "o", color=NEGATIVE, markersize=5)
        axes.set(xlabel="predicted probability", ylabel="observed share", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")

    points = "; ".join(f"predicted {one.predicted:.2f}, observed {one.observed:.2f}" for one in bins)
    return draw(name, title=f"Calibration in {len(bins)} bins of equal mass: {points}", size=(4.2, 4.2), paint=paint)


def draw_scores(name: str, labels: np.ndarray, scores: np.ndarray, *, classes: Sequence[str]) -> Chart:
    """Histogram of the positive class's probability, by true class."""

    def paint(axes: Axes) -> None:
        edges = np.linspace(0, 1, 21)
        for index, (colour, hatch) in enumerate([(NEGATIVE, ""), (POSITIVE, "///")]):
            counts, _ = np.histogram(scores[labels == index], edges)
            axes.stairs(
                counts, edges, fill=not hatch, color=colour, alpha=1 if hatch else 0.55, hatch=hatch, linewidth=1.4, label=str(classes[index])
            )
        axes.set(xlabel=f"probability of {classes[-1]}", ylabel="cases", xlim=(0, 1))
        axes.legend(frameon=False, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.15))

    counts = " and ".join(f"{int((labels == index).sum())} {classes[index]}" for index in (0, 1))
    title = f"Histogram of the probability of {classes[-1]} for {counts} cases"
    return draw(name, title=title, size=(4.2, 4.2), paint=paint)


def draw_decision_curve(name: str, labels: np.ndarray, scores: np.ndarray) -> Chart:
    """Net benefit of acting on the model against acting on everybody and on nobody, over the thresholds at which one would act."""
    curve = make_decision_curve(labels, scores, thresholds=np.linspace(0.01, 0.99, 99))
    prevalence = float(np.mean(labels))

    def paint(axes: Axes) -> None:
        axes.axhline(0, color=GUIDE, linestyle=":", linewidth=1, label="nobody")
        axes.plot(curve.thresholds, curve.everybody, color=NEGATIVE, linestyle="--", linewidth=1.4, label="everybody")
        axes.plot(curve.thresholds, curve.model, color=POSITIVE, linewidth=2, label="the model")
        axes.set(xlabel="threshold probability", ylabel="net benefit per case", xlim=(0, 1), ylim=(-0.1 * prevalence, 1.05 * prevalence))
        axes.legend(frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 1.15), columnspacing=1, handlelength=1.4)

    middle = int(np.searchsorted(curve.thresholds, 0.1))
    words = f"{curve.model[middle]:.3f} by the model and {curve.everybody[middle]:.3f} by acting on everybody"
    return draw(name, title=f"Net benefit at a threshold of 10 %: {words}, {len(labels)} cases", size=(4.2, 4.2), paint=paint)


def draw_risk_coverage(name: str, labels: np.ndarray, probabilities: np.ndarray, *, costs_CC: np.ndarray | None = None) -> Chart:
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
        axes.set(xlabel="share of cases answered, most confident first", ylabel="share of wrong answers", xlim=(0, 1.02), ylim=(0, None))

    halves = f"{curve.risk[np.searchsorted(curve.coverage, 0.5)]:.2f} of the more confident half, {curve.risk[-1]:.2f} of all {len(labels)} cases"
    return draw(name, title=f"Share of wrong answers: {halves}; area {curve.area:.3f}", size=(4.2, 4.2), paint=paint)


def draw_set_sizes(name: str, labels: np.ndarray, probabilities: np.ndarray, *, sets: ConformalSets) -> Chart:
    """How many cases have a conformal set of each size, those whose set lacks the true class apart.

    Args:
        labels: class index [N].
        probabilities: [N, C].
    """
    contains_NC = sets.contains(probabilities)
    covered_N, size_N = contains_NC[np.arange(len(labels)), labels], contains_NC.sum(axis=1)
    covered, missed = (np.bincount(size_N[chosen], minlength=contains_NC.shape[1] + 1) for chosen in (covered_N, ~covered_N))

    def paint(axes: Axes) -> None:
        sizes = np.arange(len(covered))
        axes.bar(sizes, covered, color=NEGATIVE, alpha=0.55, label="holds the true class")
        axes.bar(sizes, missed, bottom=covered, color="none", edgecolor=POSITIVE, hatch="///", label="does not")
        axes.set_xticks(sizes)
        axes.set(xlabel="classes in the set", ylabel="cases")
        axes.legend(frameon=False, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.15))

    words = "; ".join(f"{covered[size] + missed[size]} with {size}, {missed[size]} of them without the true class" for size in range(len(covered)))
    return draw(name, title=f"Cases by number of classes in their set for {sets.coverage:.0%}: {words}", size=(4.2, 4.2), paint=paint)


def draw_forest(name: str, figures: Sequence[Figure]) -> Chart:
    """Value and interval of one metric per slice; the first figure is the whole and gives the guide."""
    metric = name_metric(figures[0].name) if figures else ""
    rows = [(f"{figure.slice} (n={figure.n})", figure.value, figure.low, figure.high) for figure in figures]
    return draw_intervals(name, rows, title=f"{metric} per slice", unit=f"{metric} with 95 % interval")


def draw_intervals(name: str, rows: Sequence[tuple[str, float, float, float]], *, title: str, unit: str) -> Chart:
    """Label, value and interval of one row each; rows without a value are left out. The first row is set apart and gives the guide."""
    shown = [row for row in rows if not math.isnan(row[1])]

    def paint(axes: Axes) -> None:
        for place, (_, value, low, high) in enumerate(shown):
            colour = POSITIVE if place == 0 else NEGATIVE
            if not math.isnan(low):
                axes.hlines(place, low, high, color=colour, linewidth=2)
            axes.plot(value, place, "D" if place == 0 else "o", color=colour, markersize=6, fillstyle="none" if math.isnan(low) else "full")
        if shown:
            axes.axvline(shown[0][1], color=GUIDE, linestyle=":", linewidth=1)
        axes.set_yticks(range(len(shown)), [label for label, *_ in shown])
        axes.set(ylim=(len(shown) - 0.5, -0.5), xlabel=unit)
        axes.grid(axis="x", color="#e5e7eb")
        axes.set_axisbelow(True)

    words = "; ".join(f"{label} {value:.3f}" for label, value, *_ in shown)
    return draw(name, title=f"{title}: {words}", size=(6.4, 0.9 + 0.34 * max(1, len(shown))), paint=paint)


def draw_map(name: str, places: np.ndarray, categories: Sequence[str], *, title: str) -> Chart:
    """Cases as points, each category in its own colour and marker; axes without a scale, for neither direction nor distance means anything.

    Args:
        places: [N, 2].
        categories: of each case, [N]; drawn and listed in the order in which they first occur.
    """
    names = list(dict.fromkeys(categories))
    category_N = np.array(categories)
    area = point_area(len(places))

    def paint(axes: Axes) -> None:
        for index, category in enumerate(names):
            x, y = places[category_N == category].T
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS) % len(MARKERS)]
            # As pixels within the drawing: 10,000 circles would be 2 MB.
            axes.scatter(x, y, s=area, c=colour, marker=marker, alpha=0.6, linewidths=0, label=category, rasterized=True)
        axes.set(xticks=[], yticks=[])
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "ncols": LEGEND_COLUMNS, "columnspacing": 1, "handletextpad": 0.1}
        axes.legend(frameon=False, fontsize=9, markerscale=math.sqrt(LEGEND_AREA / area), **below)

    counts = ", ".join(f"{int((category_N == category).sum())} {category}" for category in names)
    return draw(name, title=f"{title}: {counts}", size=(4.2, 4.2 + 0.2 * math.ceil(len(names) / LEGEND_COLUMNS)), paint=paint)


def point_area(cases: int) -> float:
    """Square points of a map's marker: some of a small map, just visible of a crowded one."""
    return float(np.clip(8000 / cases, 3, 25))
