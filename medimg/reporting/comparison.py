"""Runs side by side: figures of equal keys in one row, and paired tests where two runs were scored on the same cases."""

from __future__ import annotations

import dataclasses
import math
import string
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.console.plurals import count, make_plural
from medimg.errors import UsageError
from medimg.evaluation.comparison import Difference, compare_predictions
from medimg.evaluation.figures import Figure, format_figure, read_metrics
from medimg.evaluation.gates import OVERALL
from medimg.evaluation.paired_tests import adjust_holm
from medimg.evaluation.protocols import find_protocols
from medimg.reporting.bundle import METRICS_FILE, PREDICTIONS_FILE
from medimg.reporting.metric_names import describe_split, format_number, name_metric
from medimg.reporting.rendering import make_environment
from medimg.reporting.report_data import DEVELOPMENT_SPLITS
from medimg.reporting.run_facts import RunFacts, read_facts

SUMMARY = ("auc", "macro_auc", "balanced_accuracy", "accuracy", "f1", "macro_f1", "mean_cost")
"""Metrics that sum up a run, whatever its heads are."""
KEY = ("head", "metric", "slice", "protocol", "level", "split")


@dataclass(frozen=True)
class Side:
    """One run of a comparison."""

    name: str
    facts: RunFacts
    figures: Sequence[Figure]
    predictions: pd.DataFrame

    @property
    def cases(self) -> set[str]:
        """Ids of the cases of the measured split."""
        return set(self.predictions.loc[self.predictions["split"] == self.facts.split, "case_id"])


@dataclass(frozen=True)
class Row:
    """What runs have of one key.

    Attributes:
        key: head, metric, slice, protocol, level, split.
        figures: one per run; None where it has none.
        tests: one per run after the first, of that run less the first; None where there is none.
    """

    key: tuple[str, str, str, str, str, str]
    figures: Sequence[Figure | None]
    tests: Sequence[Difference | None]


@dataclass(frozen=True)
class Comparison:
    """Rows in the order of the first run, and lines that a reader must see: why there is no test, how many there are."""

    sides: Sequence[Side]
    rows: Sequence[Row]
    notes: Sequence[str]

    @property
    def letters(self) -> str:
        """What the runs are called in tables."""
        return string.ascii_uppercase[: len(self.sides)]


@dataclass(frozen=True)
class Sheet:
    """A table for people: the figures of one head, protocol, level and split."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def read_side(name: str, folder: Path) -> Side:
    """A run from its report's folder, or from a bundle's.

    Raises:
        UsageError: it is neither.
    """
    try:
        return Side(
            name,
            read_facts(folder),
            read_metrics(folder / METRICS_FILE),
            pd.read_parquet(folder / PREDICTIONS_FILE),
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: {error}, expected the report of a finished run") from None


def compare(sides: Sequence[Side]) -> Comparison:
    """Lines up two or more runs; every later one is tested against the first.

    Holm's adjustment covers all tests together.
    """
    found = [test_pair(sides[0], side) for side in sides[1:]]
    adjusted = iter(adjust_holm([test.p_value for tests, _ in found for test in tests]))
    tests = [
        {key_of(test): dataclasses.replace(test, adjusted=next(adjusted)) for test in tests}
        for tests, _ in found
    ]
    figures = [{figure.key: figure for figure in side.figures} for side in sides]
    keys = dict.fromkeys(key for side in figures for key in side)
    rows = [Row(key, [side.get(key) for side in figures], [side.get(key) for side in tests]) for key in keys]
    later = string.ascii_uppercase[1:]
    notes = list(
        join_alike(
            (letter, reason)
            for letter, pair in zip(later, found, strict=False)
            for reason in explain_missing(*pair)
        )
    )
    notes += [
        line
        for letter, side in zip(later, sides[1:], strict=False)
        for line in explain_costs(letter, sides[0].facts, side.facts)
    ]
    total = sum(not math.isnan(test.p_value) for side in tests for test in side.values())
    if total:
        notes.append(
            f"{count(total, 'paired test')} of the whole split; p (Holm) is adjusted for all of them"
        )
    return Comparison(sides, rows, notes)


def explain_missing(tests: Iterable[Difference], why: str) -> Iterator[str]:
    """One line for each reason why a run has no test, or some of its figures have no p-value.

    `{}` stands for the run's letter.
    """
    if why:
        yield f"no paired test of {{}} with A: {why}"
    untested = Counter((test.head, test.protocol, test.note) for test in tests if math.isnan(test.p_value))
    for (head, protocol, note), number in untested.items():
        yield f"no p-value of {{}} against A for {count(number, 'figure')} of {head}, {protocol}: {note}"


def join_alike(reasons: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Each line once, with the letters of all runs that it holds for."""
    letters: dict[str, list[str]] = {}
    for letter, reason in reasons:
        letters.setdefault(reason, []).append(letter)
    for reason, found in letters.items():
        yield reason.replace("{}", ", ".join(found), 1)


def explain_costs(letter: str, first: RunFacts, second: RunFacts) -> Iterator[str]:
    """One line for each head whose predicted classes follow other costs in a run than in the first."""
    for head in first.heads:
        if head in second.heads and first.costs.get(head) != second.costs.get(head):
            yield f"{head}: {letter} and A decide by different costs: figures of the predicted class differ by that too, mean costs do not compare"


def key_of(test: Difference) -> tuple[str, str, str, str, str, str]:
    """The key of the figures that a test is of."""
    return test.head, test.name, OVERALL, test.protocol, test.level, test.split


def test_pair(first: Side, second: Side) -> tuple[list[Difference], str]:
    """Every metric of two runs on the same cases, or why they cannot be tested."""
    obstacle = find_obstacle(first, second)
    if obstacle:
        return [], obstacle
    heads = {head: classes for head, classes in first.facts.heads.items() if head in second.facts.heads}
    protocols = find_protocols(name for name in first.facts.protocols if name in second.facts.protocols)
    facts = first.facts
    try:
        pair = first.predictions, second.predictions
        costs = facts.cost_matrices, second.facts.cost_matrices
        settings = dataclasses.replace(facts.measurement_settings, heads=heads, protocols=protocols)
        return compare_predictions(*pair, settings, costs=costs), ""
    except UsageError as error:
        return [], str(error)


def find_obstacle(first: Side, second: Side) -> str:
    """Why two runs have no cases, heads or protocols to be tested on; empty if they have."""
    if first.facts.split != second.facts.split:
        return f"measured on split {first.facts.split} and {second.facts.split}"
    apart = first.cases ^ second.cases
    if apart:
        shared = len(first.cases & second.cases)
        return f"different {first.facts.split} cases: {shared} are in both, {len(apart)} in one only"
    for head in first.facts.heads.keys() & second.facts.heads.keys():
        if list(first.facts.heads[head]) != list(second.facts.heads[head]):
            return f"head {head} has other classes"
    if not first.facts.heads.keys() & second.facts.heads.keys():
        return "no head in common"
    if not set(first.facts.protocols) & set(second.facts.protocols):
        return "no protocol in common"
    return ""


def make_overview(comparison: Comparison) -> Sheet:
    """A row per run: the first row's head and protocol on the whole split, by the metrics that sum up a run and those that any run is gated by.

    Then the accuracy on the splits that the models know, where these were scored.
    """
    head, _, _, protocol, level, split = comparison.rows[0].key
    metrics = {
        *SUMMARY,
        *(
            metric
            for side in comparison.sides
            for gated_head, metric in side.facts.gated
            if gated_head == head
        ),
    }
    rows = [
        row
        for row in comparison.rows
        if row.key in {(head, metric, OVERALL, protocol, level, split) for metric in metrics}
    ]
    known = [
        row
        for seen in DEVELOPMENT_SPLITS
        for row in comparison.rows
        if row.key == (head, "accuracy", OVERALL, protocol, level, seen)
    ]
    cells = []
    for number, (letter, side) in enumerate(zip(comparison.letters, comparison.sides, strict=True)):
        figures = [row.figures[number] for row in rows]
        seen = [figure.value if (figure := row.figures[number]) else math.nan for row in known]
        values = [*(format_figure(figure) if figure else "" for figure in figures), *map(format_number, seen)]
        cells.append([f"{letter}: {side.facts.config_name}", *values])
    columns = [
        *(name_metric(row.key[1]) for row in rows),
        *(f"{name_metric(row.key[1])}, {row.key[-1]} ({DEVELOPMENT_SPLITS[row.key[-1]]})" for row in known),
    ]
    return Sheet(
        f"In short: {head}, {protocol}: {make_plural(level)}, {split} split", ("run", *columns), cells
    )


def make_settings_sheet(comparison: Comparison) -> Sheet:
    """The settings that differ, a column per run."""
    configs = [side.facts.config for side in comparison.sides]
    keys = dict.fromkeys(key for config in configs for key in config)
    values = [(key, [str(config.get(key, "")) for config in configs]) for key in keys]
    return Sheet(
        "Settings that differ",
        ("setting", *comparison.letters),
        [[key, *found] for key, found in values if len(set(found)) > 1],
    )


def make_sheets(comparison: Comparison, *, wanted: Callable[[Row], bool] = lambda _: True) -> Iterator[Sheet]:
    """One sheet for each head, protocol, level and split, so that figures that do not compare never share one."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in comparison.rows:
        if wanted(row):
            head, _, _, protocol, level, split = row.key
            groups.setdefault((head, protocol, level, split), []).append(row)
    later = comparison.letters[1:]
    for (head, protocol, level, split), rows in groups.items():
        heads = (text for letter in later for text in (f"{letter} - A", "p", "p (Holm)"))
        units = [
            describe_counts([row.figures[number] for row in rows], level=level, noun=side.facts.group_noun)
            for number, side in enumerate(comparison.sides)
        ]
        columns = (
            "metric",
            "slice",
            *(f"{letter}: {words}" for letter, words in zip(comparison.letters, units, strict=True)),
            *heads,
        )
        known = f", {DEVELOPMENT_SPLITS[split]}" if split in DEVELOPMENT_SPLITS else ""
        yield Sheet(
            f"{head}, {protocol}: {make_plural(level)}, {describe_split(split)}{known}",
            columns,
            [list(list_cells(row)) for row in rows],
        )


def describe_counts(figures: Iterable[Figure | None], *, level: str, noun: str) -> str:
    """`25 breasts of 24 patients` of the whole split; a dash where there is none."""
    whole = next((figure for figure in figures if figure and figure.slice == OVERALL), None)
    if whole is None:
        return "-"
    return count(whole.n, level) + ("" if level == noun else f" of {count(whole.groups, noun)}")


def list_cells(row: Row) -> Iterator[str]:
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


def tabulate(comparison: Comparison) -> pd.DataFrame:
    """Every row with every digit: a run's figures as `A`, `A low`, `A high`, `A n`, `A groups`, its test against A as `B - A` and so on."""
    return pd.DataFrame(
        [
            dict(zip(KEY, row.key, strict=True)) | dict(list_numbers(row, comparison.letters))
            for row in comparison.rows
        ]
    )


def list_numbers(row: Row, letters: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Columns and values of one row."""
    for letter, figure in zip(letters, row.figures, strict=True):
        for column, name in (
            (letter, "value"),
            *((f"{letter} {name}", name) for name in ("low", "high", "n", "groups")),
        ):
            yield column, getattr(figure, name) if figure else None
    first = row.figures[0]
    for letter, figure, test in zip(list(letters)[1:], row.figures[1:], row.tests, strict=True):
        yield f"{letter} - A", figure.value - first.value if figure and first else None
        for name in ("low", "high", "p_value", "adjusted", "test", "note"):
            yield f"{letter} - A {name}", getattr(test, name) if test else None


def render_comparison(comparison: Comparison) -> str:
    """A page of its own, offline."""
    overview = [sheet for sheet in (make_overview(comparison), make_settings_sheet(comparison)) if sheet.rows]
    template = make_environment(autoescape=True).get_template("comparison.html.j2")
    return template.render(comparison=comparison, overview=overview, sheets=list(make_sheets(comparison)))
