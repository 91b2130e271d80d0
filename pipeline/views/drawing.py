"""Charts in a notebook's cell."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field

from medimg.reporting.charts.base import Chart

STYLE = (
    "display:flex;flex-wrap:wrap;align-items:flex-start;gap:1rem;overflow-x:auto;"
    "background:#fff;color:#111827"
)


@dataclass(frozen=True)
class Drawing:
    """Charts by their captions, as many side by side as the page is wide.

    On white, because a dark theme would show through.
    """

    charts: Mapping[str, Chart] = field(repr=False)

    def _repr_html_(self) -> str:
        figures = (
            f'<figure style="margin:0"><figcaption>{html.escape(caption)}</figcaption>{chart.svg}</figure>'
            for caption, chart in self.charts.items()
        )
        return f'<div class="drawing" style="{STYLE}">{"".join(figures)}</div>'
