"""Charts of the report as inline SVG, for phone, print and screen reader, with no outer address."""

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

from medimg.evaluation.figures import Figure
from medimg.reporting.metric_names import name_metric

POSITIVE, NEGATIVE, GUIDE = "#9a3412", "#1d4e89", "#6b7280"
COLOURS = (NEGATIVE, "#e69f00", "#009e73", POSITIVE, "#56b4e9", "#cc79a7")
"""Of categories, told apart by those who see less of red or green.

From the seventh on they come again with another marker.
"""
MARKERS = "o^sDvP"
LEGEND_COLUMNS, LEGEND_AREA = 3, 40
# The keys are literals to the types of newer versions of matplotlib, strings to those of older ones.
STYLE: Any = {
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
        canvas.savefig(
            buffer,
            format="svg",
            dpi=200,
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(id="|"#|\(#)', rf"\g<1>{name}-", text)
    label = html.escape(title, quote=True)
    svg = re.sub(
        r"<svg([^>]*)>",
        rf'<svg role="img" aria-label="{escape_group(label)}"\1><title>{escape_group(label)}</title>',
        text,
        count=1,
    )
    return Chart(title, svg, canvas)


def escape_group(text: str) -> str:
    """A text that stands for itself in a replacement of `re.sub`."""
    return text.replace("\\", "\\\\")


def draw_forest(name: str, figures: Sequence[Figure]) -> Chart:
    """Value and interval of one metric per slice; the first figure is the whole and gives the guide."""
    metric = name_metric(figures[0].name) if figures else ""
    rows = [(f"{figure.slice} (n={figure.n})", figure.value, figure.low, figure.high) for figure in figures]
    return draw_intervals(name, rows, title=f"{metric} per slice", unit=f"{metric} with 95 % interval")


def draw_intervals(
    name: str, rows: Sequence[tuple[str, float, float, float]], *, title: str, unit: str
) -> Chart:
    """Label, value and interval of one row each; rows without a value are left out.

    The first row is set apart and gives the guide.
    """
    shown = [row for row in rows if not math.isnan(row[1])]

    def paint(axes: Axes) -> None:
        for place, (_, value, low, high) in enumerate(shown):
            colour = POSITIVE if place == 0 else NEGATIVE
            if not math.isnan(low):
                axes.hlines(place, low, high, color=colour, linewidth=2)
            axes.plot(
                value,
                place,
                "D" if place == 0 else "o",
                color=colour,
                markersize=6,
                fillstyle="none" if math.isnan(low) else "full",
            )
        if shown:
            axes.axvline(shown[0][1], color=GUIDE, linestyle=":", linewidth=1)
        axes.set_yticks(range(len(shown)), [label for label, *_ in shown])
        axes.set(ylim=(len(shown) - 0.5, -0.5), xlabel=unit)
        axes.grid(axis="x", color="#e5e7eb")
        axes.set_axisbelow(True)

    words = "; ".join(f"{label} {value:.3f}" for label, value, *_ in shown)
    return draw(name, title=f"{title}: {words}", size=(6.4, 0.9 + 0.34 * max(1, len(shown))), paint=paint)


def draw_map(name: str, places: np.ndarray, categories: Sequence[str], *, title: str) -> Chart:
    """Cases as points, each category in its own colour and marker.

    Axes without a scale, for neither direction nor distance means anything.

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
            axes.scatter(
                x,
                y,
                s=area,
                c=colour,
                marker=marker,
                alpha=0.6,
                linewidths=0,
                label=category,
                rasterized=True,
            )
        axes.set(xticks=[], yticks=[])
        below = {
            "loc": "upper center",
            "bbox_to_anchor": (0.5, 0),
            "ncols": LEGEND_COLUMNS,
            "columnspacing": 1,
            "handletextpad": 0.1,
        }
        axes.legend(frameon=False, fontsize=9, markerscale=math.sqrt(LEGEND_AREA / area), **below)

    counts = ", ".join(f"{int((category_N == category).sum())} {category}" for category in names)
    return draw(
        name,
        title=f"{title}: {counts}",
        size=(4.2, 4.2 + 0.2 * math.ceil(len(names) / LEGEND_COLUMNS)),
        paint=paint,
    )


def point_area(cases: int) -> float:
    """Square points of a map's marker: some of a small map, just visible of a crowded one."""
    return float(np.clip(8000 / cases, 3, 25))
