"""One Jinja environment for page and documents, with the words that both use."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from medimg.console.plurals import count, make_plural
from medimg.evaluation.figures import format_figure
from medimg.reporting.metric_names import describe_split, describe_units, format_number, name_metric
from medimg.reporting.report_data import make_id
from medimg.reporting.sections.classification.shortcuts import name_chart
from medimg.reporting.sections.shared.literature import name_pair

T = TypeVar("T")


def make_environment(*, autoescape: bool, group_noun: str = "group") -> Environment:
    """Templates of templates/; a name that is not there is an error.

    Escapes HTML or not: Markdown is for people to read as it is.

    `group_noun` is what a group is called in these data.
    """
    environment = Environment(
        loader=PackageLoader("medimg.reporting"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": format_figure,
        "number": format_number,
        "metric": name_metric,
        "split_name": describe_split,
        "plural": make_plural,
        "units": partial(describe_units, noun=group_noun),
        "id": make_id,
        "pair_id": name_pair,
        "shortcut_id": name_chart,
        "cell": escape_cell,
        "groupby_in_order": group_in_order,
    }
    environment.globals |= {"count": count, "group_noun": group_noun}
    return environment


def escape_cell(text: object) -> str:
    """A text that stays in its cell of a Markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def group_in_order(rows: Iterable[T], attribute: str) -> list[tuple[object, list[T]]]:
    """Rows by the value of an attribute, in the order in which the values first occur."""
    groups: dict[object, list[T]] = {}
    for row in rows:
        groups.setdefault(getattr(row, attribute), []).append(row)
    return list(groups.items())
