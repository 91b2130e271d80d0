"""Sheets of a comparison for people: an overview, the settings that differ, and every row, as on the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from medimg.console.plurals import count, make_plural
from medimg.evaluation.comparison import Difference
from medimg.evaluation.figures import Figure, format_figure
from medimg.evaluation.gates import OVERALL
from medimg.reporting.comparison import Comparison, ComparisonRow
from medimg.reporting.metric_names import describe_split, format_number, name_metric
from medimg.reporting.rendering import make_environment
from medimg.reporting.report_data import DEVELOPMENT_SPLITS

SUMMARY = ("auc", "macro_auc", "balanced_accuracy", "accuracy", "f1", "macro_f1", "mean_cost")
"""Metrics that sum up a run, whatever its heads are."""


@dataclass(frozen=True)
class Sheet:
    """A table for people: the figures of one head, protocol, level and split."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def make_overview(comparison: Comparison) -> Sheet:
    """A row per run: the first row's head and protocol on the whole split.

    Its metrics are those that sum up a run and those that any run is gated by, then the accuracy
    on the splits that the models know, where these were scored.
    """
    head, _, _, protocol, level, split = comparison.rows[0].key
    gated = chain.from_iterable(side.facts.gated for side in comparison.sides)
    metrics = {*SUMMARY, *(metric for gated_head, metric in gated if gated_head == head)}
    wanted = {(head, metric, OVERALL, protocol, level, split) for metric in metrics}
    rows = [row for row in comparison.rows if row.key in wanted]
    columns = [name_metric(row.key[1]) for row in rows]
    by_key = {row.key: row for row in comparison.rows}
    known = []
    for development_split, note in DEVELOPMENT_SPLITS.items():
        if row := by_key.get((head, "accuracy", OVERALL, protocol, level, development_split)):
            known.append(row)
            columns.append(f"{name_metric('accuracy')}, {development_split} ({note})")
    cells = []
    for number, (letter, side) in enumerate(zip(comparison.letters, comparison.sides, strict=True)):
        values = [format_figure(figure) if (figure := row.figures[number]) else "" for row in rows]
        values += [
            format_number(figure.value if (figure := row.figures[number]) else math.nan) for row in known
        ]
        cells.append([f"{letter}: {side.facts.config_name}", *values])
    return Sheet(
        f"In short: {head}, {protocol}: {make_plural(level)}, {split} split", ("run", *columns), cells
    )


def make_settings_sheet(comparison: Comparison) -> Sheet:
    """The settings that differ, a column per run."""
    configs = [side.facts.config for side in comparison.sides]
    rows = []
    for key in dict.fromkeys(chain.from_iterable(configs)):
        values = [str(config.get(key, "")) for config in configs]
        if len(set(values)) > 1:
            rows.append([key, *values])
    return Sheet("Settings that differ", ("setting", *comparison.letters), rows)


def make_sheets(
    comparison: Comparison, *, wanted: Callable[[ComparisonRow], bool] = lambda _: True
) -> Iterator[Sheet]:
    """One sheet for each head, protocol, level and split: figures that do not compare never share one."""
    groups: dict[tuple[str, ...], list[ComparisonRow]] = {}
    for row in comparison.rows:
        if wanted(row):
            head, _, _, protocol, level, split = row.key
            groups.setdefault((head, protocol, level, split), []).append(row)
    for (head, protocol, level, split), rows in groups.items():
        columns = ["metric", "slice"]
        for number, (letter, side) in enumerate(zip(comparison.letters, comparison.sides, strict=True)):
            figures = [row.figures[number] for row in rows]
            columns.append(f"{letter}: {describe_counts(figures, level=level, noun=side.facts.group_noun)}")
        for letter in comparison.letters[1:]:
            columns += [f"{letter} - A", "p", "p (Holm)"]
        known = f", {DEVELOPMENT_SPLITS[split]}" if split in DEVELOPMENT_SPLITS else ""
        yield Sheet(
            f"{head}, {protocol}: {make_plural(level)}, {describe_split(split)}{known}",
            tuple(columns),
            [list(list_cells(row)) for row in rows],
        )


def describe_counts(figures: Iterable[Figure | None], *, level: str, noun: str) -> str:
    """`25 breasts of 24 patients` of the whole split; a dash where there is none."""
    whole = next((figure for figure in figures if figure and figure.slice == OVERALL), None)
    if whole is None:
        return "-"
    return count(whole.n, level) + ("" if level == noun else f" of {count(whole.groups, noun)}")


def list_cells(row: ComparisonRow) -> Iterator[str]:
    """A row for people.

    A slice's figure that is of fewer units in one run than in another says so by its counts.
    """
    yield name_metric(row.key[1])
    yield row.key[2]
    counts = {figure.n for figure in row.figures if figure}
    for figure in row.figures:
        units = f" n={figure.n}" if figure and len(counts) > 1 else ""
        yield f"{format_figure(figure)}{units}" if figure else ""
    for figure, test in zip(row.figures[1:], row.tests, strict=True):
        yield format_difference(row.figures[0], figure, test)
        yield format_p_value(test.p_value) if test else ""
        yield format_p_value(test.adjusted) if test else ""


def format_difference(first: Figure | None, second: Figure | None, test: Difference | None) -> str:
    """`+0.012 (-0.030 to +0.050)`, the interval only where there is a paired test.

    Empty where a run has no figure.
    """
    if first is None or second is None or math.isnan(second.value - first.value):
        return ""
    interval = "" if test is None or math.isnan(test.low) else f" ({test.low:+.3f} to {test.high:+.3f})"
    return f"{second.value - first.value:+.3f}{interval}"


def format_p_value(value: float) -> str:
    """Three digits; a dash where there is none."""
    if math.isnan(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def render_comparison(comparison: Comparison) -> str:
    """A page of its own, offline."""
    overview = [sheet for sheet in (make_overview(comparison), make_settings_sheet(comparison)) if sheet.rows]
    template = make_environment(autoescape=True).get_template("comparison.html.j2")
    return template.render(comparison=comparison, overview=overview, sheets=list(make_sheets(comparison)))
