"""Literature: what is published of a data set, and which of it compares with a run.

One file per data set, data_sets/<name>.yaml: its figures, each with the protocol that it was measured under,
and what its data sheet says. docs/references.md holds the same tables.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml
from annotated_types import Ge

FOLDER = Path(__file__).parent / "data_sets"

Count = Annotated[int, Ge(1)]
STRICT = pydantic.ConfigDict(extra="forbid")  # A misspelt key is an error, not a figure without an interval.


@dataclass(frozen=True)
class Published:
    """A published figure.

    Attributes:
        source: who published it and where.
        tag: "V" read in its source, "C" computed from the collection's own tables.
        what: the model, or whatever else gives the figure.
        head, metric: as the figures of a run name them; `metric` may be one that they do not have.
        value, low, high: the figure and its interval, if published.
        protocol, level, split: as in a run's figures where they are the same, else in the source's words.
        n: units that were measured.
        remark: how it was measured.
        reason: why it compares with no run, whatever its protocol; empty where it does compare under an equal
            protocol.
    """

    __pydantic_config__ = STRICT

    source: str
    tag: Literal["V", "C"]
    what: str
    head: str
    metric: str
    value: float
    protocol: str
    level: str
    split: str
    low: float = math.nan
    high: float = math.nan
    n: Count | None = None
    remark: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Literature:
    """What is known of a data set beside its files.

    Attributes:
        title, citation: for people.
        sheet: heading of the data sheet to what is known under it.
        limits: what to beware of with a model of these data.
        figures: published ones.
    """

    __pydantic_config__ = STRICT

    title: str = ""
    citation: str = ""
    sheet: Mapping[str, str] = field(default_factory=dict)
    limits: Sequence[str] = ()
    figures: Sequence[Published] = ()


@cache
def read_literature(data_set: str) -> Literature:
    """What is known of a data set; nothing for one without a file."""
    path = FOLDER / f"{data_set}.yaml"
    if not path.exists():
        return Literature()
    return pydantic.TypeAdapter(Literature).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))


def find_obstacle(row: Published, measured: Collection[tuple[str, str, str, str]]) -> str:
    """Why a published figure does not compare with a run; empty if it does.

    Args:
        measured: (head, metric, protocol, level) of the run's figures on the whole split.
    """
    if row.reason:
        return row.reason
    if (row.head, row.metric, row.protocol, row.level) in measured:
        return ""
    same_head = {one for one in measured if one[0] == row.head}
    if not same_head:
        return f"the run has no head {row.head}"
    if row.metric not in {one[1] for one in same_head}:
        return f"the run has no {row.metric}"
    return f"protocol {row.protocol}, which the run was not measured under"


def format_table(rows: Sequence[Published]) -> str:
    """The rows as a Markdown table, as docs/references.md holds it."""
    lines = ["| source | what | figure | protocol, level, split | n | remark |", "|---|---|---|---|---|---|"]
    for row in rows:
        interval = "" if math.isnan(row.low) else f" ({row.low:.3f} to {row.high:.3f})"
        remark = "; ".join(filter(None, [row.remark, row.reason and f"does not compare: {row.reason}"]))
        cells = (
            f"{row.source} [{row.tag}]",
            row.what,
            f"{row.metric} {row.value:.4g}{interval}",
            ", ".join(filter(None, [row.protocol, row.level, row.split])),
            f"{row.n:,}" if row.n else "",
            remark,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
